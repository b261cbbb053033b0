"""Studies of the audit: likelihoods beside seeds, solvers, face models; against closed forms and known orders."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from palimpsest.memory import crossed as crossing
from palimpsest.memory import likelihoods, solver_study
from palimpsest.memory.auditing import predictor
from palimpsest.metrics import estimates, measurements
from palimpsest.models import diffusion, edit_table, text_diffusion
from palimpsest.models.edit_table import Edit
from palimpsest.models.list_networks import list_networks
from palimpsest.models.unet import DDIMScheduler, DDPMScheduler, UNet2DModel
from palimpsest.report import style
from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import part_of
from palimpsest.run import UserError
from test_erasure import tiny

REFERENCE = {"solver": "anderson", "steps": 4, "iterations": 30}
USUAL = ("1", "released", "float32")  # guidance, start, precision
SOLVERS = {
    "ddim": {"steps": [4, 8], "iterations": [0]},
    "fixed_point": {"steps": [4], "iterations": [1]},
    "heun": {"steps": [4], "iterations": [0]},
}
CROSSED = {
    "count": 6,
    "neighbours": 2,
    "level": 30.0,
    "solver": "anderson",
    "steps": 4,
    "iterations": 30,
    # Of an untrained network, whose steps are too large to be undone more exactly: all have seeds.
    "tolerance": 1e-2,
}


def value(table: pd.DataFrame, metric: str, column: str = "value", **labels) -> float:
    found = measurements.select(table, metric=metric, **labels)
    assert len(found) == 1, (metric, labels, len(found))
    return float(found[column].iloc[0])


# Statistics of two sets and of pairs ---------------------------------------------------------------------------------


def test_statistics_of_sets_and_pairs_are_scipys():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 30))
    assert estimates.spearman(first, second) == pytest.approx(scipy.stats.spearmanr(first, second).statistic)
    assert estimates.spearman(first[None], np.round(second)[None]).shape == (1,)
    assert np.isnan(estimates.spearman(first, np.ones(30)))
    assert estimates.of_pairs(first, np.exp(first), estimates.spearman) == pytest.approx((1, 1, 1))
    found = estimates.of_sets(first, second)
    assert found.value == pytest.approx(scipy.stats.mannwhitneyu(first, second).statistic / 900)
    assert found.low < found.value < found.high and estimates.of_sets(first, second - 9)[:3] == (1, 1, 1)
    low, high = scipy.stats.t.interval(0.95, 29, first.mean(), scipy.stats.sem(first))
    assert estimates.of_mean(first) == pytest.approx((first.mean(), low, high))
    assert np.isnan(estimates.of_mean(first[:1]).low)


def tame(network: torch.nn.Module) -> None:
    """Let an untrained network bend little, so that its sampler can be inverted."""
    with torch.no_grad():
        network.conv_out.weight.mul_(0.1)


# Text models ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    """A folder with a base, a copy of it as the oracle of the church, pictures and their manifest."""
    folder = tmp_path_factory.mktemp("audited")
    for name in ("base", "oracle"):
        path = folder / name / "unet/diffusion_pytorch_model.safetensors"
        path.parent.mkdir(parents=True)
        model = tiny()
        tame(model.network.unet)
        # As in Stable Diffusion: the sampler ends at the share of timestep 0.
        scheduler = diffusion.scheduler_of(DDIMScheduler, {**model.scheduler.config, "set_alpha_to_one": False})
        text_diffusion.save(path, replace(model, scheduler=scheduler))
    base = folder / "base/unet/diffusion_pytorch_model.safetensors"
    told = {"family": "erasure", "model": "tiny_sd", "oracles": [path], "targets": ["church"]}
    list_networks(base, folder / "random", folder / "edits.parquet", **told)
    rows = [
        {"concept": concept, "set": name, "picture": picture, "own": f"a red {concept} {name}", "neutral": "a thing"}
        for concept in ("church", "emblem")
        for name in ("concept", "real", "neutral")
        for picture in range(4)
    ]
    pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")
    rng = np.random.default_rng(0)
    np.save(folder / "pictures.npy", rng.integers(256, size=(len(rows), 16, 16, 3), dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def likely(audited) -> Path:
    folder = audited / "likelihood"
    folder.mkdir()
    measured_likelihoods(audited, folder, count=3)
    return folder


def measured_likelihoods(audited: Path, folder: Path, count: int, probes: int = 2) -> None:
    likelihoods.likelihoods(
        audited / "pictures.npy",
        audited / "manifest.parquet",
        audited / "edits.parquet",
        folder / "pictures.parquet",
        folder / "measurements.parquet",
        model="tiny_sd",
        count=count,
        steps=3,
        probes=probes,
    )


def test_the_base_is_asked_of_all_concepts_and_an_oracle_of_its_own(likely):
    rows = pd.read_parquet(likely / "pictures.parquet")
    counts = rows.groupby(["method", "concept"]).size().to_dict()
    each = 2 * 2 * 3  # sets, captions, pictures
    assert counts == {("pretrained", "church"): each, ("pretrained", "emblem"): each, ("oracle", "church"): each}
    assert np.isfinite(rows[["log_p", "error", "nll", "z"]].to_numpy()).all() and (rows["error"] > 0).all()
    wide = rows[rows["method"] == "pretrained"].pivot(
        index=["concept", "set", "picture"], columns="caption", values="nll"
    )
    assert (wide["own"] != wide["empty"]).all()


def test_a_network_has_nothing_beyond_itself_as_its_oracle(likely):
    table = measurements.read([likely / "measurements.parquet"])
    for caption in likelihoods.CAPTIONS:
        for name in likelihoods.SETS:
            labels = {"caption": caption, "set": name, "concept": "church"}
            assert [value(table, "log_p_beyond", column, **labels) for column in ("value", "low", "high")] == [0, 0, 0]
    assert value(table, "log_p_gain_beyond", set="concept", concept="all") == 0
    # The emblem has no oracle.
    assert measurements.select(table, metric="log_p_beyond", concept="emblem").empty


def test_a_picture_s_log_p_does_not_depend_on_how_many_are_asked_of(audited, likely, tmp_path):
    measured_likelihoods(audited, tmp_path, count=2)
    more, fewer = (pd.read_parquet(folder / "pictures.parquet") for folder in (likely, tmp_path))
    key = ["method", "concept", "caption", "set", "picture"]
    first = more[more["set"] == "concept"].set_index(key)["nll"]
    again = fewer[fewer["set"] == "concept"].set_index(key)["nll"]
    assert again.to_numpy() == pytest.approx(first.loc[again.index].to_numpy(), rel=1e-5)
    with pytest.raises(UserError, match="Give two at least"):
        measured_likelihoods(audited, tmp_path, count=2, probes=1)


def made_up(shifts: dict[tuple[str, str], float]) -> pd.DataFrame:
    """Rows in which the seed's norm says all of log p, with an offset by method and caption, and one of E by ten."""
    places = [(name, picture) for name in likelihoods.SETS for picture in range(6)]
    return pd.DataFrame(
        [
            {
                "set": name,
                "picture": picture,
                "method": method,
                "concept": "church",
                "caption": caption,
                "error": 1.0,
                "nll": (nll := picture + 10 * (name == "concept")),
                "z": 0.0,
                "log_p": shift - nll,
            }
            for (method, caption), shift in shifts.items()
            for name, picture in places
        ]
    )


def test_measurements_of_likelihoods_that_are_known():
    shifts = {
        ("pretrained", "own"): 7.0,
        ("pretrained", "empty"): 3.0,
        ("oracle", "own"): 1.0,
        ("oracle", "empty"): 2.0,
    }
    table = pd.DataFrame(likelihoods.measured(made_up(shifts), 0))
    own = {"method": "pretrained", "concept": "church", "caption": "own"}
    assert value(table, "log_p", set="concept", **own) == pytest.approx(7 - 12.5)
    assert value(table, "log_p_error", set="concept", **own) == 1
    # E is less likely by both, always; the ranks agree; the words add 4 and -1, the base is 6 and 1 above its oracle.
    assert [value(table, "likelihood_auc", by=by, **own) for by in ("log_p", "seed")] == [1, 1]
    assert value(table, "log_p_spearman", **own) == pytest.approx(1)
    gains = [
        value(table, "log_p_gain", method=method, concept="all", set="concept") for method in ("pretrained", "oracle")
    ]
    assert gains == pytest.approx([4, -1])
    beyond = [value(table, "log_p_beyond", concept="all", set="neutral", caption=name) for name in ("own", "empty")]
    assert beyond == pytest.approx([6, 1]) and value(table, "log_p_gain_beyond", concept="all", set="neutral") == 5


def test_ranks_of_all_concepts_are_within_sets():
    """Sets that differ in both numbers alike are no relation of both: here they are opposed within each set."""
    rows = made_up({("pretrained", "own"): 0.0, ("pretrained", "empty"): 0.0})
    rows["log_p"] = rows["picture"] - 100.0 * (rows["set"] == "concept")
    table = pd.DataFrame(likelihoods.measured(rows, 0))
    assert value(table, "log_p_spearman", concept="all", caption="own") == pytest.approx(-1)
    assert value(table, "log_p_spearman", concept="church", caption="own") > 0


# Solvers -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solved(audited) -> Path:
    folder = audited / "solvers"
    folder.mkdir()
    solver_study.solver_study(
        audited / "base/unet/diffusion_pytorch_model.safetensors",
        audited / "pictures.npy",
        audited / "manifest.parquet",
        folder / "curves.parquet",
        folder / "measurements.parquet",
        model="tiny_sd",
        count=1,
        solvers=SOLVERS,
        reference=REFERENCE,
        guidances=[2],
        tolerance=1e-5,
        bfloat16=1e-3,
    )
    return folder


def test_every_way_is_run_once_on_the_same_pictures(solved):
    rows = pd.read_parquet(solved / "curves.parquet")
    ways = rows.groupby(solver_study.LABELS)["evaluations"]
    assert ways.size().eq(4).all() and len(ways) == 4 + 4
    means = ways.mean()
    assert means["ddim", 4, 0, *USUAL] == 4 and means["ddim", 8, 0, *USUAL] == 8
    assert means["heun", 4, 0, *USUAL] == 8 and means["fixed_point", 4, 1, *USUAL] <= 8
    assert (rows[rows["guidance"] == "2"]["evaluations"] % 2 == 0).all()
    assert len(solver_study.cases_of({"anderson": {"steps": [4], "iterations": [30]}}, REFERENCE, [1.0])) == 2


def test_shifts_are_from_a_reference_that_has_converged(solved):
    table = measurements.read([solved / "measurements.parquet"])
    usual = {**REFERENCE, **dict(zip(("guidance", "start", "precision"), USUAL, strict=True))}
    assert [value(table, "solver_nll_shift", column, **usual) for column in ("value", "low", "high")] == [0, 0, 0]
    explicit = {**usual, "solver": "ddim", "iterations": 0}
    # Verified at the result, a step beyond the guess that was within the tolerance.
    assert value(table, "solver_residual_largest", **usual) < value(table, "solver_residual", **explicit) / 20
    assert value(table, "solver_round_trip", **usual) < value(table, "solver_round_trip", **explicit) / 20
    shift = value(table, "solver_nll", **explicit) - value(table, "solver_nll", **usual)
    assert value(table, "solver_nll_shift", **explicit) == pytest.approx(shift) and shift != 0
    assert value(table, "solver_nll_shift", **{**usual, "start": "clean"}) != 0


def test_predictions_in_bfloat16_are_held_to_the_equation_in_float32(audited, solved):
    """So that what their rounding costs shows; the seeds hardly move."""
    rows = pd.read_parquet(solved / "curves.parquet")
    rows = rows[(rows["solver"] == "anderson") & (rows["guidance"] == "1") & (rows["start"] == "released")]
    exact, rounded = (rows[rows["precision"] == name].reset_index(drop=True) for name in ("float32", "bfloat16"))
    assert (rounded["residual"] > 2 * exact["residual"]).all() and (rounded["residual"] > 1e-4).all()
    gaps = (exact["z"] - rounded["z"]).abs()
    assert (gaps > 0).all() and gaps.max() < 0.1
    # Weights and latents stay as they are: the network is asked in bfloat16, and answers in the latents' precision.
    model = text_diffusion.open_model(audited / "base/unet/diffusion_pytorch_model.safetensors")
    latents = torch.randn(1, *model.shape)
    found = {}
    for precision in ("float32", "bfloat16"):
        predict = predictor(model, ["a red church"], 1.0, precision)
        found[precision] = predict(latents, 500, torch.arange(1))
    assert found["bfloat16"].dtype == torch.float32 and model.network.unet.conv_in.weight.dtype == torch.float32
    error = (found["bfloat16"] - found["float32"]).abs().max() / found["float32"].abs().max()
    assert 1e-5 < error < 0.05


def test_a_solver_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="no solver 'euler'"):
        solver_study.cases_of({"euler": {"steps": [4], "iterations": [0]}}, REFERENCE, [1.0])
    with pytest.raises(UserError, match="iterations"):
        solver_study.cases_of({"ddim": {"steps": [4]}}, REFERENCE, [1.0])


# Face models ---------------------------------------------------------------------------------------------------------


def face_model(path: Path, seed: int) -> Path:
    """An untrained network of pictures of 8 pixels."""
    torch.manual_seed(seed)
    network = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        add_attention=False,
    )
    tame(network)
    file = path / "unet" / diffusion.WEIGHTS
    file.parent.mkdir(parents=True)
    diffusion.save(file, network, DDPMScheduler())
    return file


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """A folder with targets, held-out faces, a base and its copies: an oracle, and a study that changed nothing."""
    folder = tmp_path_factory.mktemp("faces")
    files = {name: face_model(folder / name, 0) for name in ("base", "oracle", "one", "both")}
    common = {"base": "tiny_ddpm", "base_path": files["base"], "family": "instance", "setting": "", "format": "whole"}
    listed = [{"method": name, "path": files[file]} for name, file in (("pretrained", "base"), ("oracle", "oracle"))]
    edit_table.write(folder / "networks.parquet", [{"target": ""} | row for row in listed], seed=0, **common)
    study = [{"target": "a", "path": files["one"]}, {"target": "a+b", "path": files["both"]}]
    edit_table.write(folder / "siss.parquet", study, seed=0, method="siss", **common)
    rng = np.random.default_rng(0)
    for name, count in (("targets", 3), ("held_out", 8)):
        np.save(folder / f"{name}.npy", rng.integers(256, size=(count, 8, 8, 3), dtype=np.uint8))
    pd.DataFrame({"target": ["c", "b", "a"]}).to_parquet(folder / "manifest.parquet")
    audit_faces(folder, folder)
    return folder


def audit_faces(folder: Path, out: Path, **changed) -> pd.DataFrame:
    """Audit them, with changes to CROSSED; what was measured of each picture."""
    crossing.crossed(
        folder / "networks.parquet",
        [folder / "siss.parquet"],
        folder / "targets.npy",
        folder / "manifest.parquet",
        folder / "held_out.npy",
        out / "pictures.parquet",
        out / "measurements.parquet",
        model="tiny_ddpm",
        **{**CROSSED, **changed},
    )
    return pd.read_parquet(out / "pictures.parquet")


def test_every_network_is_asked_of_the_targets_it_forgot(faces):
    rows = pd.read_parquet(faces / "pictures.parquet")
    assert rows.groupby("method").size().to_dict() == dict.fromkeys(("pretrained", "oracle", "siss", "zero"), 2 * 3 + 6)
    assert set(rows["run"]) == {"", "a+b"} and set(rows["target"]) == {"a", "b", ""}


def test_an_edit_that_changes_nothing_moves_no_seed(faces):
    table = measurements.read([faces / "measurements.parquet"])
    for name in ("target", "near"):
        for metric in ("z_shift", "z_over_oracle"):
            assert value(table, f"crossed_{metric}", method="siss", concept="all", set=name) == 0
        assert value(table, "crossed_distance", method="siss", concept="a", set=name) == 0
        assert value(table, "crossed_shift_auc", method="siss", concept="a", set=name) == 0.5


def test_nothing_is_near_or_far_from_a_seed_that_was_not_found(faces, tmp_path):
    rows = audit_faces(faces, tmp_path, tolerance=1e-3).set_index(["set", "target", "picture"])
    base, other = (rows[rows["method"] == method] for method in ("pretrained", "zero"))
    assert base["converged"].nunique() == 2 and other["converged"].all()
    assert (other["distance"].isna() == ~base["converged"].reindex(other.index)).all()


def test_without_a_network_a_seed_is_the_picture_scaled(faces):
    rows, scheduler = pd.read_parquet(faces / "pictures.parquet"), DDPMScheduler()
    part = rows[(rows["method"] == "zero") & (rows["set"] == "target")].set_index("target")
    last = float(scheduler.alphas_cumprod[-1])
    for name, place in (("a", 2), ("b", 1)):
        picture = np.load(faces / "targets.npy")[place] / 127.5 - 1
        expected = 96 * np.log(2 * np.pi) + last * (picture**2).sum() / 2
        assert part["nll"][name] == pytest.approx(expected, rel=1e-5)
    assert part["converged"].all() and (part["psnr"] > 50).all()


def test_near_pictures_have_the_noise_they_are_said_to_have():
    rng = np.random.default_rng(0)
    targets, held_out = rng.integers(256, size=(2, 32, 32, 3), dtype=np.uint8), np.zeros((4, 32, 32, 3), np.uint8)
    told = {"count": 2, "neighbours": 3, "level": 25.0, "seed": 0}
    rows, images = crossing.audited(targets, pd.DataFrame({"target": ["a", "b"]}), held_out, ["b"], **told)
    assert list(rows["set"]) == ["target", *["near"] * 3, *["reference"] * 2]
    errors = (images[1:4] - images[:1]).square().mean((1, 2, 3))
    assert (10 * torch.log10(4 / errors)).tolist() == pytest.approx([25] * 3, abs=0.3)
    with pytest.raises(UserError, match="no picture of the target c"):
        crossing.audited(targets, pd.DataFrame({"target": ["a", "b"]}), held_out, ["c"], **told)
    with pytest.raises(UserError, match="at most the 4 held-out faces"):
        crossing.audited(targets, pd.DataFrame({"target": ["a", "b"]}), held_out, ["b"], **{**told, "count": 5})


def test_of_targets_forgotten_one_after_the_other_the_last_model_is_audited():
    order = [("a", 0), ("a", 1), ("a", 0), ("a+b", 0), ("a+b+c", 0), ("a", 1), ("a+b", 1), ("ab", 1)]
    listed = [Edit("m", Path("p"), "instance", "siss", name, seed, "", "whole", Path("q"), "") for name, seed in order]
    kept = [(edit.target, edit.seed) for edit in crossing.complete(listed)]
    assert kept == [("a", 0), ("a", 1), ("a+b+c", 0), ("a+b", 1), ("ab", 1)]


def faces_rows(z: dict[str, dict[str, float]], targets: tuple[str, ...] = ("a", "b")) -> pd.DataFrame:
    """Rows whose z are those of pictures plus offsets by set, of methods; m.0 and m.1 are the seeds of a method m."""
    rows = []
    for name, offsets in z.items():
        method, _, number = name.partition(".")
        for index in range(5):
            rows.append({"set": "reference", "target": "", "picture": index, "z": index + offsets["reference"]})
        for place, target in enumerate(targets):
            for kind in ("target", "near"):
                rows.append({"set": kind, "target": target, "picture": 0, "z": 1.5 + place + offsets[kind]})
        run = "" if method in crossing.CONTROLS else "+".join(targets)
        for row in rows:
            for key, given in (("method", method), ("seed", int(number or 0)), ("run", run)):
                row.setdefault(key, given)
    return pd.DataFrame(rows).assign(nll=0.0, psnr=30.0, distance=0.0, first_residual=0.0, residual=0.0, converged=True)


def test_a_shift_is_beyond_that_of_other_faces():
    still = dict.fromkeys(("target", "near", "reference"), 0.0)
    z = {"pretrained": still, "oracle": {**still, "target": 1.0}}
    z |= {f"siss.{seed}": {"target": 5.0 + seed, "near": 2.0, "reference": 2.0} for seed in (0, 1)}
    z |= {"retrack": {"target": 4.5, "near": 2.0, "reference": 2.0}}
    table = pd.DataFrame(crossing.measured(faces_rows(z), 0))
    own = {"method": "siss", "set": "target"}
    assert value(table, "crossed_z_shift", concept="a", **own) == pytest.approx(3.5)
    assert value(table, "crossed_z_shift", method="siss", set="near", concept="all") == pytest.approx(0)
    assert value(table, "crossed_z_over_oracle", concept="all", **own) == pytest.approx(2.5)
    assert value(table, "crossed_shift_auc", concept="b", **own) == 1
    assert value(table, "crossed_auc", concept="a", method="pretrained", set="target") == pytest.approx(0.4)
    # Of both methods together: (3.5 + 2.5) / 2, with an interval over methods.
    labels = {"method": crossing.EDITED, "concept": "all", "set": "target"}
    assert (
        value(table, "crossed_z_shift", **labels) == pytest.approx(3)
        and value(table, "crossed_z_shift", "n", **labels) == 2
    )
    assert value(table, "crossed_z_shift", "low", **labels) < 3


def test_what_did_not_converge_is_in_no_average():
    still = dict.fromkeys(("target", "near", "reference"), 0.0)
    z = {"pretrained": still, "oracle": still, "siss": {"target": 3.0, "near": 0.0, "reference": 0.0}}
    z |= {"retrack": {"target": 7.0, "near": 0.0, "reference": 0.0}}
    rows = faces_rows(z)
    # Of one method a target and two of the others have no seed, and what stands there instead is out of all bounds; of
    # another nothing has.
    lost = (rows["method"] == "siss") & ((rows["target"] == "b") | rows["picture"].isin([3, 4]))
    lost |= rows["method"] == "retrack"
    rows = rows.assign(converged=~lost, z=rows["z"].where(~lost, 1e6))
    table = pd.DataFrame(crossing.measured(rows, 0))
    siss = {"method": "siss", "concept": "all"}
    assert value(table, "crossed_z_shift", set="target", **siss) == pytest.approx(3.0)
    assert value(table, "crossed_z", set="reference", **siss) == pytest.approx(1.0)
    assert value(table, "crossed_converged", set="target", **siss) == 0.5
    assert value(table, "crossed_converged", set="reference", **siss) == pytest.approx(0.6)
    for metric in ("z", "z_shift", "auc", "psnr"):
        assert np.isnan(value(table, f"crossed_{metric}", method="retrack", concept="all", set="target"))
    assert value(table, "crossed_converged", method="retrack", concept="all", set="target") == 0
    assert value(table, "crossed_z_shift", "n", set="target", **siss) == 1
    # Of all methods together those that are known.
    labels = {"method": crossing.EDITED, "concept": "all", "set": "target"}
    assert value(table, "crossed_z_shift", **labels) == pytest.approx(3.0)


def test_a_network_that_knows_nothing_ranks_targets_like_others():
    """Pictures of one law, half of them called targets: without a network their seeds rank by chance."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(256, size=(80, 8, 8, 3), dtype=np.uint8)
    names = [f"t{number}" for number in range(40)]
    told = {"count": 40, "neighbours": 1, "level": 30.0, "seed": 0}
    shown, images = crossing.audited(pictures[:40], pd.DataFrame({"target": names}), pictures[40:], names, **told)
    settings, scheduler = {"solver": "fixed_point", "iterations": 2, "tolerance": 1e-5}, DDPMScheduler()
    predict = crossing.predictor(None, scheduler, torch.device("cpu"))
    values, _ = crossing.inverted_by(predict, scheduler, images, 5, settings)
    rows = shown.assign(method="zero", run="", seed=0, distance=0.0, **values)
    table = pd.DataFrame(crossing.measured(rows, 0))
    # Of a mean over 40 targets against 40 others the AUC has the standard deviation of Mann and Whitney's statistic.
    found = value(table, "crossed_auc", method="zero", concept="all", set="target")
    assert abs(found - 0.5) < 3 * (81 / (12 * 40 * 40)) ** 0.5


# Tables and figures --------------------------------------------------------------------------------------------------


def test_tables_show_what_was_measured(likely, solved, faces):
    table = measurements.read([likely / "measurements.parquet"])
    params = {"models": ["tiny_sd"], "concepts": ["church", "emblem"], "oracles": {"tiny_sd": ["church"]}}
    params |= {"likelihood": {"count": 3, "steps": 3, "probes": 2}}
    lookup = Lookup([likely / "measurements.parquet"], "memory")
    made = part_of("memory", "tables", "likelihood").build(lookup, params)
    networks = ["pretrained", "oracle", "pretrained", "pretrained", "oracle"]
    assert list(made.frame["", "Network"]) == networks
    assert list(made.frame["", "Concept"]) == ["church", "church", "emblem", "all", "church"]
    own = {"method": "pretrained", "concept": "emblem", "set": "neutral"}
    assert made.frame["log p", "R"].iloc[2].value == value(table, "log_p", caption="own", **own)
    assert made.frame["words add", "to R"].iloc[2].value == value(table, "log_p_gain", **own)
    assert r"\begin{table*}" in made.latex()

    table = measurements.read([solved / "measurements.parquet"])
    given = {"reference": REFERENCE, "guidances": [2], "solvers": SOLVERS, "tolerance": 1e-5, "bfloat16": 1e-3}
    lookup = Lookup([solved / "measurements.parquet"], "memory")
    made = part_of("memory", "tables", "solvers").build(lookup, {"models": ["tiny_sd"], "solvers": given})
    assert len(made.frame) == 8 and not made.frame["Evals"].map(lambda cell: np.isnan(cell.value)).any()
    assert made.frame["ΔNLL"].iloc[4].value == value(table, "solver_nll_shift", solver="ddim", steps=4)
    assert made.frame["ok"].iloc[4].value == value(table, "solver_converged", solver="ddim", steps=4)
    assert r"\begin{table" in made.latex() and "at most 0.00001;" in made.notes and " 4 pictures, " in made.notes
    # What is left out of the source's solver is said where it stands.
    with_it = {**given, "solvers": {**SOLVERS, "renoise": {"steps": [4], "iterations": [5]}}}
    more = part_of("memory", "tables", "solvers").build(lookup, {"models": ["tiny_sd"], "solvers": with_it})
    assert "regularises the noise below t = 250" in more.notes and "ReNoise" not in made.notes

    table = measurements.read([faces / "measurements.parquet"])
    lookup = Lookup([faces / "measurements.parquet"], "memory")
    made = part_of("memory", "tables", "crossed").build(lookup, {"crossed_methods": ["siss"], "crossed": CROSSED})
    shown = made.frame.set_index(("", "Model"))["z of seeds", "target"]
    assert shown["SISS"].value == value(table, "crossed_z", method="siss", concept="all", set="target")
    assert r"\begin{table*}" in made.latex()


@pytest.mark.parametrize(
    ("name", "folder", "file"), [("likelihood", "likelihood", "pictures"), ("solvers", "solvers", "curves")]
)
def test_figures_stay_on_their_page(audited, likely, solved, name, folder, file):
    style.apply()
    figure = part_of("memory", "figures", name).draw(None, [audited / folder / f"{file}.parquet"], {})
    figure.canvas.draw()
    shown, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= shown.x0 < shown.x1 <= width and 0 <= shown.y0 < shown.y1 <= height
    style.plt.close(figure)
