"""What steps read is checked at the door: each fault ends in one line that names the file, the find and the remedy."""

import inspect
import json
import shutil
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pandas as pd
import pytest
import torch

from palimpsest.arrays import read_array, read_pictures, read_table
from palimpsest.judges.boxes import CORNERS, read_boxes
from palimpsest.judges.calibrate import calibrate
from palimpsest.judges.detect import detect
from palimpsest.judges.networks import EmblemDetector
from palimpsest.judges.train import train
from palimpsest.judges.train_faces import train as train_faces
from palimpsest.lcr.arrays import load_counts, load_fit, load_scores, network_of, same_network
from palimpsest.lcr.cells import cells_of
from palimpsest.lcr.classify import classify
from palimpsest.lcr.code_stats import code_stats
from palimpsest.lcr.codes import count_codes, pair_counts
from palimpsest.lcr.cooccurrence import cooccurrence
from palimpsest.lcr.count import count
from palimpsest.lcr.counterfactual import counterfactual
from palimpsest.lcr.encode import encode
from palimpsest.lcr.encoder_noise import encoder_noise
from palimpsest.lcr.gather import gather
from palimpsest.lcr.injection import injection
from palimpsest.lcr.localise import localise
from palimpsest.lcr.locality import locality
from palimpsest.lcr.masks import masks
from palimpsest.lcr.reconstruct import reconstruct
from palimpsest.lcr.replace import replace
from palimpsest.lcr.score import score
from palimpsest.lcr.selection import choose
from palimpsest.models import edits, weights
from palimpsest.models.vqgan import VQGAN, VQGANConfig
from palimpsest.run import Input, Output, UserError, read_record, sha256, step
from palimpsest.worlds.make import make

K, SIDE, GRID, IMAGES = 24, 32, 8, 6
SETS = ("forget", "safe")
DETECTOR = {"module": "emblem", "params": {"channels": "rgb"}}
EVALUATED = {"concept": "emblem", "classes": ["emblem"], "shows_concept": True, "detector": DETECTOR}
CHOSEN = {
    "selection": {"score": "ratio_legacy", "contrast": "whole", "top": 4},
    "min_count": 1,
    "variants": [["mask", "all"]],
    "seeds": [0],
    **EVALUATED,
}
MASKS = {"classes": ["emblem"], "min_score": 0.5, "expand": 0.0, "coverage": "any"}
NETWORK, OTHER = "network.safetensors", "other.safetensors"


def run(function, folder, values=None, **files):
    """Run a step as from the command line, so that its record stands beside its output."""
    arguments = [f"--{name.replace('_', '-')}={folder / file}" for name, file in files.items()]
    for name, value in (values or {}).items():
        text = json.dumps(value) if isinstance(value, dict) else value
        arguments.append(f"--{name.replace('_', '-')}={text}")
    step(function, arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two models of equal K; of the first, every artifact of two small sets, each with its record."""
    folder = tmp_path_factory.mktemp("made")
    for seed, name in enumerate((NETWORK, OTHER)):
        torch.manual_seed(seed)
        config = VQGANConfig("nearest", K, 4, SIDE, 32, 32, (1, 1), 1, patch=2)
        vqgan = VQGAN(config)
        weights.save(folder / name, vqgan, vqgan.to_metadata())
    weights.save(folder / "judge.safetensors", EmblemDetector(4), {"kind": "detector", "width": 4, "depth": 2})
    rng = np.random.default_rng(0)
    for name in SETS:
        np.save(folder / f"{name}_images.npy", rng.integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8))
        pd.DataFrame({"id": range(IMAGES), "source": "stock", "object": "figure"}).to_parquet(
            folder / f"{name}_m.parquet"
        )
        boxes = {"image": range(IMAGES), "label": "emblem", "score": 0.9, "x0": 4.0, "y0": 4.0, "x1": 16.0, "y1": 16.0}
        pd.DataFrame(boxes).to_parquet(folder / f"{name}_boxes.parquet")
        for network, end in ((NETWORK, "codes"), (OTHER, "foreign")):
            files = {"images": f"{name}_images.npy", "codes": f"{name}_{end}.npy", "entropy": f"{name}_{end}_bits.npy"}
            run(encode, folder, network=network, **files)
        files = {"codes": f"{name}_codes.npy", "masks": f"{name}_masks.npy"}
        chosen = {"detections": f"{name}_boxes.parquet", "images": f"{name}_images.npy"}
        run(masks, folder, {"params": MASKS}, **chosen, **files)
        run(count, folder, {"codebook_size": K}, **files, counts=f"{name}_counts.parquet")
    files = {f"{name}_codes": f"{name}_codes.npy" for name in ("forget", "safe")} | {"forget_masks": "forget_masks.npy"}
    files["safe_fit_codes"] = files.pop("safe_codes")
    counts = {"forget_counts": "forget_counts.parquet", "retain_counts": "safe_counts.parquet"}
    values = {"codebook_size": K, "draws": 4}
    run(score, folder, values | {"prior": 10.0}, **files, **counts, scores="scores.parquet")
    out = {"pairs": "pairs.npz", "table": "t.parquet", "patches": "p.parquet", "measurements": "co.parquet"}
    labels = {"model": "m", "preset": "p", "min_count": 1, "ratio": 1.0}
    run(cooccurrence, folder, values | labels, **files, **out)
    run(gather, folder, {"codebook_size": K}, **FIT, fit="fit.npz")
    labels = {"model": "m", "preset": "p", "set": "forget"}
    out = {"reconstruction": "plain.npy", "measurements": "plain.parquet", "judge": "judge.safetensors"}
    inputs = {"codes": "forget_codes.npy", "masks": "forget_masks.npy", "images": "forget_images.npy"}
    inputs |= {"network": NETWORK, "manifest": "forget_m.parquet"}
    run(reconstruct, folder, labels | {"params": EVALUATED}, **inputs, **out)
    return folder


FIT = {
    "scores": "scores.parquet",
    "safe_fit_codes": "safe_codes.npy",
    "forget_fit_codes": "forget_codes.npy",
    "forget_fit_masks": "forget_masks.npy",
}
REPLACE = {
    "network": NETWORK,
    "codes": "forget_codes.npy",
    "masks": "forget_masks.npy",
    "images": "forget_images.npy",
    "manifest": "forget_m.parquet",
    "reconstruction": "plain.npy",
    "fit": "fit.npz",
    "judge": "judge.safetensors",
}


def gathered(folder, out, **changes):
    """Run lcr.gather on the files of `made`, some of them changed."""
    return gather(**{name: folder / file for name, file in (FIT | changes).items()}, fit=out, codebook_size=K)


def replaced(folder, out, params=None, rule="random_safe", **changes):
    """Run lcr.replace on the files of `made`, some of them changed."""
    function_inputs = {name: folder / file for name, file in (REPLACE | changes).items()}
    names = ("edited.npz", "per_image.parquet", "panel.npz", "measurements.parquet", "edits.parquet")
    outputs = {Path(name).stem: out / name for name in names}
    labels = {"model": "m", "preset": "p", "set": "forget", "rule": rule}
    return replace(**function_inputs, **outputs, **labels, params=CHOSEN | (params or {}))


def test_each_artifact_says_of_which_network_it_is(made):
    owner = sha256(made / NETWORK)[:16]
    for name in (
        "forget_codes.npy",
        "safe_masks.npy",
        "safe_counts.parquet",
        "scores.parquet",
        "pairs.npz",
        "fit.npz",
        "plain.npy",
    ):
        assert network_of(made / name) == owner
    assert network_of(made / "forget_foreign.npy") == sha256(made / OTHER)[:16] != owner
    assert same_network(made / "forget_codes.npy", network=made / NETWORK) == {"network": owner}


def test_a_file_that_no_step_made_belongs_to_nobody(made, tmp_path):
    shutil.copy(made / "forget_codes.npy", tmp_path)
    assert same_network(tmp_path / "forget_codes.npy") == {}
    assert same_network(tmp_path / "forget_codes.npy", made / "safe_foreign.npy") == {
        "network": sha256(made / OTHER)[:16]
    }


def test_replace_takes_what_belongs_together(made, tmp_path):
    assert replaced(made, tmp_path)["variants"] == 1


@pytest.mark.parametrize("name", ["codes", "twin_codes"])
def test_replace_refuses_codes_of_another_model_with_as_many_codes(made, tmp_path, name):
    with pytest.raises(UserError, match=rf"forget_foreign\.npy: its record says .*{NETWORK}.*[Ee]ncode the sets"):
        replaced(made, tmp_path, **{name: "forget_foreign.npy"})


def test_replace_refuses_what_fit_sets_of_another_model_teach(made, tmp_path):
    """A fit of the other model, with a record that says so."""
    files = FIT | {"safe_fit_codes": "safe_foreign.npy", "forget_fit_codes": "forget_foreign.npy"}
    files = {name: made / file for name, file in files.items()}
    for name in ("scores", "forget_fit_masks"):  # without a record they belong to nobody
        files[name] = shutil.copy(files[name], tmp_path)
    run(gather, tmp_path, {"codebook_size": K}, **files, fit="fit.npz")
    assert network_of(tmp_path / "fit.npz") == sha256(made / OTHER)[:16]
    with pytest.raises(UserError, match=rf"fit\.npz: its record says .*{NETWORK}.*[Ee]ncode the sets"):
        replaced(made, tmp_path, fit=tmp_path / "fit.npz")


def test_replace_refuses_another_network_than_the_codes(made, tmp_path):
    with pytest.raises(UserError, match=r"forget_codes\.npy: its record says that it is of the network"):
        replaced(made, tmp_path, network=OTHER)


# Of each: the input of lcr.replace, or of lcr.gather, the array of its file made wrong, the message.
PIXELS = np.ones((IMAGES, SIDE, SIDE), bool)
FAULTS = {
    "float masks": (
        "masks",
        lambda cells: cells.astype(float),
        r"must be bool \(6, 8, 8\), this is float64 \(6, 8, 8\)",
    ),
    "pixel masks": ("masks", lambda cells: PIXELS, r"must be bool \(6, 8, 8\), this is bool \(6, 32, 32\).*not pixels"),
    "masks of fewer": ("masks", lambda cells: cells[:3], r"this is bool \(3, 8, 8\)"),
    "fit masks": ("forget_fit_masks", lambda cells: PIXELS, r"masks must be bool"),
    "float codes": ("codes", lambda codes: codes.astype(float), r"codes must be uint16 or uint32"),
    "a large code": ("codes", lambda codes: codes + np.uint16(K), r"the largest code is \d+, but the codebook has 24"),
    "another grid": (
        "forget_fit_codes",
        lambda codes: codes[:, :4],
        r"codes must be .*\(any, 8, 8\), this is uint16 \(6, 4, 8\)",
    ),
    "no bank": ("safe_fit_codes", lambda codes: codes[:0], r"this is uint16 \(0, 8, 8\)"),
    "twins of fewer": ("twin_codes", lambda codes: codes[:2], r"codes must be .*\(6, 8, 8\)"),
    "float images": (
        "images",
        lambda pictures: pictures / np.float32(255),
        r"must be uint8 .*this is float32",
    ),
    "fewer images": ("images", lambda pictures: pictures[:2], r"must be uint8 \(6, 32, 32, 3\), this is uint8 \(2,"),
    "smaller images": ("images", lambda pictures: pictures[:, :16], r"must be uint8 \(6, 32, 32, 3\)"),
    "grey twins": ("twins", lambda pictures: pictures[..., 0], r"must be uint8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_replace_refuses_arrays_of_another_kind(made, tmp_path, fault):
    name, spoilt, message = FAULTS[fault]
    file = {"twin_codes": "forget_codes.npy", "twins": "forget_images.npy"} | REPLACE | FIT
    np.save(tmp_path / "wrong.npy", spoilt(np.load(made / file[name])))
    with pytest.raises(UserError, match=rf"wrong\.npy: .*{message}"):
        (gathered if name in FIT else replaced)(made, tmp_path / "out", **{name: tmp_path / "wrong.npy"})


def test_tables_of_another_codebook_and_of_another_set_are_refused(made, tmp_path):
    counts, scores = (pd.read_parquet(made / name) for name in ("safe_counts.parquet", "scores.parquet"))
    wrong = {
        "counts": [counts[:-1], counts.assign(all=counts["all"] + 1), counts.drop(columns="inside")],
        "scores": [scores[scores["code"] < 20], scores.assign(code=scores["code"] - 1), scores.drop(columns="rank")],
        "manifest": [pd.read_parquet(made / "forget_m.parquet")[:-1]],
    }
    readers = {
        "counts": lambda path: load_counts(path, K),
        "scores": lambda path: gathered(made, tmp_path / "fit.npz", scores=path),
        "manifest": lambda path: replaced(made, tmp_path, manifest=path),
    }
    for name, tables in wrong.items():
        for table in tables:
            table.to_parquet(tmp_path / "wrong.parquet")
            with pytest.raises(UserError, match=r"wrong\.parquet: .*(expected|no column)"):
                readers[name](tmp_path / "wrong.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"cut\.parquet: not a readable"):
        replaced(made, tmp_path, manifest=tmp_path / "cut.parquet")


def test_what_the_fit_sets_teach_is_read_as_it_was_made(made, tmp_path):
    fit = load_fit(made / "fit.npz", K, (GRID, GRID))
    for name, file in (("safe_codes", "safe_codes"), ("forget_codes", "forget_codes"), ("forget_masks",) * 2):
        expected = np.load(made / f"{file}.npy")
        assert np.array_equal(getattr(fit, name), expected) and getattr(fit, name).dtype == expected.dtype
    scores = pd.read_parquet(made / "scores.parquet")
    pd.testing.assert_frame_equal(fit.scores, scores[list(fit.scores)], check_exact=True, check_dtype=False)
    for name, contrast in (("log_odds", "masked"), ("ratio_legacy", "whole")):
        chosen = [choose(table, score=name, contrast=contrast).tolist() for table in (fit.scores, scores)]
        assert chosen[0] == chosen[1] != []
    # What a rule may ask for follows from the grids, so the file need not hold it.
    assert np.array_equal(count_codes(fit.safe_codes, K), pd.read_parquet(made / "safe_counts.parquet")["all"])
    with np.load(made / "pairs.npz") as pairs:
        for name, direction in (("horizontal", (0, 1)), ("vertical", (1, 0))):
            assert np.array_equal(pair_counts(fit.safe_codes, K, direction), pairs[name])
    gathered(made, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (made / "fit.npz").read_bytes()


def test_a_fit_of_other_grids_or_of_none_is_refused(made, tmp_path):
    for name in ("safe", "forget"):
        np.save(tmp_path / f"{name}.npy", np.load(made / f"{name}_codes.npy")[:, :4])
    np.save(tmp_path / "masks.npy", np.load(made / "forget_masks.npy")[:, :4])
    files = {"safe_fit_codes": "safe.npy", "forget_fit_codes": "forget.npy", "forget_fit_masks": "masks.npy"}
    gathered(made, tmp_path / "low.npz", **{name: tmp_path / file for name, file in files.items()})
    with pytest.raises(UserError, match=r"low\.npz: .*grids of \(8, 8\), found 24 and \(4, 8\)\. Run .*lcr\.gather"):
        replaced(made, tmp_path, fit=tmp_path / "low.npz")
    with pytest.raises(UserError, match=r"fit\.npz: expected scores of 25 codes"):
        load_fit(made / "fit.npz", K + 1, (GRID, GRID))
    for file in ("pairs.npz", "scores.parquet", "forget_codes.npy"):
        with pytest.raises(UserError, match=rf"{file}: not what the fit sets teach.*Run palimpsest\.lcr\.gather"):
            replaced(made, tmp_path, fit=file)


def test_rows_of_two_presets_and_sets_differ_and_each_opens_its_codes(made, tmp_path):
    replaced(made, tmp_path, {"variants": [["mask", "all"], ["global", "all"]]})
    rows = edits.read(tmp_path / "edits.parquet")
    assert [row.setting for row in rows] == ["p/forget/mask-all-0", "p/forget/global-all-0"]
    with np.load(tmp_path / "edited.npz") as codes:
        assert codes.files == ["mask-all-0", "global-all-0"]
        for row in rows:
            assert np.array_equal(edits.open_edit(row), codes[row.setting.split("/")[2]])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"variants": [["masc", "all"]]}, r"variants is .*one of mask, elsewhere, global"),
        ({"variants": []}, r"variants is \[\]"),
        ({"seeds": [-1]}, r"seeds is \[-1\]"),
        ({"minimum": 3}, r"no option minimum; there are .*min_count"),
        ({"selection": {"score": "logodds", "contrast": "whole"}}, r"score is 'logodds'.*log_odds"),
        ({"selection": {"score": "auc", "contrast": "whole", "q": 2}}, r"q is 2.*from 0 to 1"),
        ({"selection": {"contrast": "whole"}}, r"option score is missing"),
        ({"settings": {"stepps": 3}}, r"settings of the rule random_safe: no option stepps"),
        ({"shows_concept": "no"}, r"shows_concept is 'no'.*true or false"),
    ],
)
def test_replace_refuses_misspelt_options(made, tmp_path, params, message):
    with pytest.raises(UserError, match=message):
        replaced(made, tmp_path, params)


def test_a_fixed_index_is_a_code_of_the_model(made, tmp_path):
    for index, message in (
        (K, "the model has codes 0 to 23"),
        (-1, r"index is -1"),
        ("mod", r"index is 'mod'.*'mode'"),
    ):
        with pytest.raises(UserError, match=message):
            replaced(made, tmp_path, {"settings": {"index": index}}, rule="fixed")


def test_modules_that_an_option_names_are_looked_up(made, tmp_path):
    with pytest.raises(UserError, match=r"no module 'randomsafe'.*random_safe"):
        replaced(made, tmp_path, rule="randomsafe")
    with pytest.raises(UserError, match=r"no module 'emblems'.*emblem, "):
        replaced(made, tmp_path, {"detector": {"module": "emblems"}})
    with pytest.raises(UserError, match=r"palimpsest\.judges\.boxes has no opened"):
        detect(made / "forget_images.npy", tmp_path / "b", detector="boxes")
    with pytest.raises(UserError, match=r"channels is 'grb'.*one of rgb, bgr"):
        replaced(made, tmp_path, {"detector": {"module": "emblem", "params": {"channels": "grb"}}})
    with pytest.raises(UserError, match=r"the detector emblem: no option chanels; there are channels, floor"):
        network = made / "judge.safetensors"
        detect(
            made / "forget_images.npy", tmp_path / "b", detector="emblem", network=network, params={"chanels": "rgb"}
        )
    with pytest.raises(UserError, match=r"no module 'scene'.*scenes"):
        make(tmp_path / "i", tmp_path / "m", tmp_path / "t", world="scene", params={})


def test_encode_refuses_misspelt_sampling_and_what_are_no_pictures(made, tmp_path, capsys):
    paths = [made / NETWORK, made / "forget_images.npy", tmp_path / "codes.npy", tmp_path / "bits.npy"]
    with pytest.raises(UserError, match=r"sampling is 'gumble'\. Give one of argmax, gumbel"):
        encode(*paths, sampling="gumble")
    with pytest.raises(SystemExit):
        step(encode, ["--sampling=gumble"])
    assert "invalid choice: 'gumble'" in capsys.readouterr().err
    pictures = np.load(made / "forget_images.npy")
    for wrong in (pictures / np.float32(255), pictures[:0], pictures[..., :1], pictures[0]):
        np.save(tmp_path / "wrong.npy", wrong)
        with pytest.raises(UserError, match=r"wrong\.npy: pictures \(n, H, W, 3\) must be uint8"):
            encode(paths[0], tmp_path / "wrong.npy", *paths[2:])


# Boxes


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("image", -1, r"image of row 2 is -1, expected an image of 0 to 5"),
        ("image", IMAGES, r"image of row 2 is 6"),
        ("image", 0.5, r"image of row 2 is 0\.5"),
        ("score", np.nan, r"score of row 2 is nan"),
        ("score", 90.0, r"score of row 2 is 90"),
        ("x0", np.nan, r"x0, y0, x1, y1 of row 2 is nan, 4, 16, 16, expected a box"),
        ("y1", np.inf, r".* of row 2 is 4, 4, 16, inf"),
        ("x1", 3.0, r".* of row 2 is 4, 4, 3, 16"),
    ],
)
def test_masks_refuse_boxes_that_are_none(made, tmp_path, column, value, message):
    boxes = pd.read_parquet(made / "forget_boxes.parquet").astype({"image": float})
    boxes.loc[2, column] = value
    boxes.to_parquet(tmp_path / "boxes.parquet")
    paths = (tmp_path / "boxes.parquet", made / "forget_images.npy", made / "forget_codes.npy", tmp_path / "masks.npy")
    with pytest.raises(UserError, match=rf"boxes\.parquet: {message}"):
        masks(*paths, params=MASKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coverage": "flor"}, r"coverage is 'flor'.*any, half, nearest, floor"),
        ({"min_score": 50}, r"min_score is 50.*from 0 to 1"),
        ({"min_score": float("nan")}, r"min_score is nan"),
        ({"expand": -0.1}, r"expand is -0\.1"),
        ({"classes": "emblem"}, r"classes is 'emblem'\. Give a list"),
        ({"classes": []}, r"classes is \[\]"),
        ({"expnd": 0}, r"no option expnd"),
    ],
)
def test_masks_refuse_misspelt_options(made, tmp_path, change, message):
    paths = [made / f"forget_{name}" for name in ("boxes.parquet", "images.npy", "codes.npy")]
    with pytest.raises(UserError, match=message):
        masks(*paths, tmp_path / "masks.npy", params=MASKS | change)


def test_masks_refuse_codes_of_another_set(made, tmp_path):
    np.save(tmp_path / "few.npy", np.load(made / "forget_codes.npy")[:2])
    with pytest.raises(UserError, match=r"few\.npy: codes must be .*\(6, any, any\), this is uint16 \(2, 8, 8\)"):
        masks(
            made / "forget_boxes.parquet",
            made / "forget_images.npy",
            tmp_path / "few.npy",
            tmp_path / "m",
            params=MASKS,
        )


def test_cells_of_no_image_and_of_no_number_are_refused():
    box = np.array([[4.0, 4.0, 16.0, 16.0]])
    for coverage in ("any", "half", "nearest", "floor"):
        for image, given in ((-1, box), (2, box), (0, box * np.nan)):
            with pytest.raises(ValueError, match="boxes have to be numbers, their images 0 to 1"):
                cells_of(np.array([image]), given, (2, 8, 8), (32, 32), coverage)


# The other steps


STEPS = {
    "count": (count, {"codes": "forget_foreign", "masks": "forget_masks"}, {}),
    "score": (score, {"safe_fit_codes": "safe_foreign"}, {"prior": 1.0}),
    "cooccurrence": (cooccurrence, {"safe_fit_codes": "safe_foreign"}, {"min_count": 1, "ratio": 1.0}),
    "code_stats": (code_stats, {"safe_fit_codes": "safe_foreign"}, {}),
    "localise": (localise, {"safe_fit_codes": "safe_foreign"}, {}),
    "classify": (
        classify,
        {"safe_fit_codes": "safe_foreign"},
        {
            "params": {
                "rank": 2,
                "weight_decay": 0.0,
                "iterations": 1,
                "patience": 1,
                "validation": 0.5,
                "levels": 2,
                "sources": ["stock", "scrape"],
                "carriers": ["figure"],
            }
        },
    ),
    "counterfactual": (
        counterfactual,
        {"safe_test_codes": "safe_foreign", "weights": "forget_codes"},
        {"baseline_token": 0, "budget": 1, "combination_size": 1, "threshold": 0.1},
    ),
    "locality": (
        locality,
        {"codes": "safe_foreign"},
        {"params": {"images": 2, "sites": 1, "blocks": [1], "batch": 2}},
    ),
    "injection": (
        injection,
        {"safe_test_codes": "safe_foreign"},
        {"threshold": 0.5, "params": {"images": 2, "batch": 2, "panel": 1}},
    ),
    "gather": (gather, {"safe_fit_codes": "safe_foreign"}, {}),
    "reconstruct": (reconstruct, {"codes": "forget_foreign"}, {"params": EVALUATED}),
}


@pytest.mark.parametrize("name", STEPS)
def test_no_step_mixes_the_codes_of_two_models(made, tmp_path, name):
    """Each step with the artifacts of one model, but for one set's codes."""
    function, foreign, values = STEPS[name]
    kinds = {"codes": ".npy", "masks": ".npy", "foreign": ".npy", "images": ".npy", "counts": ".parquet"}
    given = {"model": "m", "preset": "p", "set": "s", "codebook_size": K, "draws": 2} | values
    for argument, hint in get_type_hints(function, include_extras=True).items():
        if hint == Output:
            given[argument] = tmp_path / argument
        elif hint == Input:
            part = argument.split("_")
            side = "safe" if part[0] in ("safe", "retain", "background") else "forget"
            file = foreign.get(argument, f"{side}_{part[-1]}")
            own = {"network": NETWORK, "detector": "judge.safetensors", "manifest": f"{side}_m.parquet"}
            own |= {"scores": "scores.parquet"}
            given[argument] = made / own.get(part[-1], f"{file}{kinds.get(file.split('_')[-1], '')}")
    wanted = inspect.signature(function).parameters
    with pytest.raises(UserError, match=r"its record says that it is of the network .*two models"):
        function(**{argument: value for argument, value in given.items() if argument in wanted})


def test_steps_refuse_options_out_of_range(made, tmp_path):
    settings = {"images": 2, "draws": 2, "batch": 2}
    paths = (made / NETWORK, made / "forget_images.npy", tmp_path / "c", tmp_path / "m")
    for change in ({"images": 0}, {"draws": 1}, {"batch": 2.5}, {"images": True}):
        with pytest.raises(UserError, match=r"params of the encoder's noise: .* a whole number from"):
            encoder_noise(*paths, model="m", preset="p", set="s", params=settings | change)
    paths = (made / NETWORK, made / "forget_codes.npy", tmp_path / "c", tmp_path / "m")
    with pytest.raises(UserError, match=r"blocks is \[\]"):
        locality(*paths, model="m", preset="p", params={"images": 2, "sites": 1, "blocks": [], "batch": 2})


def test_the_judges_check_what_they_are_given(made, tmp_path):
    paths = [made / name for name in ("forget_images.npy", "forget_masks.npy", "forget_m.parquet")] * 2
    settings = {"width": 4, "batch": 2, "steps": 1, "learning_rate": 0.001}
    with pytest.raises(UserError, match=r"judge: kind is 'clasifier'\. Give one of classifier, detector"):
        train(*paths, tmp_path / "n", params=settings | {"kind": "clasifier"})
    with pytest.raises(UserError, match=r"the option kind is missing\. Give one of descriptor, attributes"):
        train_faces(paths[0], paths[2], paths[0], paths[2], tmp_path / "n", params=dict(settings))
    with pytest.raises(UserError, match=r"forget_m\.parquet: the table has no column emblem"):
        train(*paths, tmp_path / "n", params=settings | {"kind": "detector", "depth": 1})
    pd.DataFrame({"emblem": [True] * IMAGES}).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(UserError, match=r"forget_masks\.npy: masks \(n, H, W\) must be bool \(6, 32, 32\)"):
        calibrate([made / "judge.safetensors"], *paths[:2], tmp_path / "m.parquet", tmp_path / "x", set="s")


# The readers


def test_arrays_in_archives_and_damaged_files_are_refused(tmp_path):
    np.savez(tmp_path / "many.npz", a=np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([{}]))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    for name, message in (("many.npz", "this is an archive"), ("objects.npy", "not a readable"), ("cut.npy", "not a")):
        with pytest.raises(UserError, match=rf"{name}: .*{message}.* Do this"):
            read_array(tmp_path / name, (np.float64,), (3,), "numbers", "Do this")


def test_readers_give_what_is_right(made):
    assert read_pictures(made / "forget_images.npy", IMAGES, (SIDE, SIDE)).shape == (IMAGES, SIDE, SIDE, 3)
    assert len(read_table(made / "forget_m.parquet", ("id",), IMAGES)) == IMAGES
    assert list(read_boxes(made / "forget_boxes.parquet", IMAGES)[list(CORNERS)].iloc[0]) == [4, 4, 16, 16]
    assert load_counts(made / "forget_counts.parquet", K)["all"].sum() == IMAGES * GRID**2
    assert set(load_scores(made / "scores.parquet", K)["contrast"]) == {"whole", "masked", "paired"}
    assert read_record(made / "forget_codes.npy")["result"]["images"] == IMAGES
