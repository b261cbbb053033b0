"""The audit: what is inverted, other latents of a picture, every model on the same pictures, and what is memory."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from palimpsest.judges.readers import Readers
from palimpsest.memory import audit as audits
from palimpsest.memory import compare as comparing
from palimpsest.memory import decode, sets, statistics
from palimpsest.memory.tables.verdict import verdict
from palimpsest.metrics import measurements
from palimpsest.models import text_diffusion
from palimpsest.models.list_networks import list_networks
from palimpsest.report import style
from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import optional_of, part_of
from palimpsest.report.typeset import Estimate, Table
from palimpsest.run import UserError
from palimpsest.worlds import scenes
from palimpsest.worlds.captions import SYNONYMS
from palimpsest.worlds.concepts import ROLES, Concept, judging_prompts
from test_erasure import CHURCH, EMBLEM, SAMPLING, tiny

CONCEPTS = {"church": CHURCH, "emblem": EMBLEM}
INVERSION = {"solver": "anderson", "steps": 4, "iterations": 12, "tolerance": 1e-4}
CASES = {
    "pretrained": {"own": ["concept", "neutral", "real", "scrambled"], "empty": ["concept"], "guided": ["concept"]},
    "random": {"own": ["concept", "neutral"]},
    "zero": {"own": ["concept", "neutral"]},
}
THEIRS = {"method": "esd_x", "target": "church", "setting": "theirs", "format": "published_unet"}


@pytest.fixture(autouse=True, scope="module")
def truthful_judges():
    """Judges that read what the captions ask for: pictures carry it in their first pixel."""
    patch = pytest.MonkeyPatch()
    patch.setattr(Readers, "__init__", lambda self, classifier, detector: None)
    patch.setattr(Readers, "shows", lambda self, concept, pictures: pictures[:, 0, 0, 0] > 127)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("base") / "unet/diffusion_pytorch_model.safetensors"
    path.parent.mkdir()
    text_diffusion.save(path, tame(0))
    return path


def tame(seed: int) -> text_diffusion.TextDiffusion:
    """An untrained model that bends little, so that its sampler can be inverted."""
    model = tiny(seed)
    with torch.no_grad():
        model.network.unet.conv_out.weight.mul_(0.1)
    return model


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> Path:
    """The folder of the step `sets` over made-up pictures."""
    folder = tmp_path_factory.mktemp("sets")
    table = pd.concat(
        [judging_prompts(Concept(name, **row), dict.fromkeys(ROLES, 8), 0) for name, row in CONCEPTS.items()]
    )
    rng, drawn = np.random.default_rng(0), {}
    for name, rows in table.groupby("concept"):
        drawn[name] = rng.integers(256, size=(len(rows), 16, 16, 3), dtype=np.uint8)
        drawn[name][:, 0, 0, 0] = 255 * rows["role"].isin(["own", "synonym", "template"])
        drawn[name][np.flatnonzero(rows["role"] == "own")[0], 0, 0, 0] = 0  # the first picture shows no concept
    np.savez(folder / "drawn.npz", **drawn)
    table.to_parquet(folder / "prompts.parquet")
    world = scenes.make(n=120, size=32, seed=3, split="test", emblem="half")
    np.save(folder / "real.npy", world.images[:, ::2, ::2])
    world.manifest.to_parquet(folder / "real.parquet")
    sets.sets(
        folder / "prompts.parquet",
        folder / "drawn.npz",
        folder / "real.npy",
        folder / "real.parquet",
        folder,
        folder,
        folder / "pictures.npy",
        folder / "manifest.parquet",
        concepts=CONCEPTS,
        count=6,
        altered=2,
    )
    return folder


def test_sets_hold_what_their_names_say(collected):
    rows, pictures = pd.read_parquet(collected / "manifest.parquet"), np.load(collected / "pictures.npy")
    assert len(rows) == len(pictures)
    for name, row in CONCEPTS.items():
        concept, own = Concept(name, **row), rows[rows["concept"] == name]
        assert own.groupby("set").size().to_dict() == {
            **dict.fromkeys(("concept", "neutral", "real", "real_concept"), 6),
            **dict.fromkeys(sets.ALTERED, 2),
        }
        assert all(concept.words(list(own.loc[own["set"].isin(["concept", "real_concept"]), "own"])))
        others = list(own.loc[own["set"].isin(["neutral", "real"]), "own"]) + list(own["neutral"])
        assert not any(concept.words(others)) and not any(SYNONYMS[concept.value] in each for each in others)
        # Only pictures that judges read rightly: the first of the concept was not.
        assert (pictures[own.index[own["set"] == "concept"], 0, 0, 0] == 255).all()


def test_a_scrambled_picture_has_the_blocks_of_the_picture_in_another_order():
    pictures = np.arange(2 * 16 * 16 * 3, dtype=np.uint16).reshape(2, 16, 16, 3)
    found = sets.scrambled(pictures, np.random.default_rng(0))

    def blocks(picture: np.ndarray) -> set[bytes]:
        return {picture[y : y + 2, x : x + 2].tobytes() for y in range(0, 16, 2) for x in range(0, 16, 2)}

    for before, after in zip(pictures, found, strict=True):
        assert blocks(before) == blocks(after) and not np.array_equal(before, after)


def test_adjacent_latents_decode_at_the_quality_asked_for():
    latents = torch.rand(3, 2, 4, 4)
    wanted = torch.tensor([20.0, 30.0, 40.0])
    found, psnr = decode.adjacent(lambda given: given, latents, latents, wanted, seed=0)
    assert psnr.tolist() == pytest.approx(wanted.tolist(), abs=0.01)
    # For a decoder that changes nothing the noise's power is that of the error: 10^(-PSNR / 10).
    assert (found - latents).square().mean((1, 2, 3)).tolist() == pytest.approx([1e-2, 1e-3, 1e-4], rel=0.01)


@pytest.fixture(scope="module")
def decoded(base, collected) -> Path:
    decode.decode(
        base,
        collected / "pictures.npy",
        collected / "manifest.parquet",
        collected / "latents.npy",
        collected / "rows.parquet",
        *(collected / name for name in ("encoded.npy", "plain.npy")),
        collected / "decoded.parquet",
        model="tiny",
        queries=2,
        supports=3,
        steps=6,
        learning_rate=0.1,
        patience=0,
        gain=0.1,
    )
    return collected


def run(base: Path, folder: Path, concepts: dict, cases: dict = CASES, out: str = "") -> pd.DataFrame:
    theirs = folder / "theirs.safetensors"
    save_file(tame(1).network.unet.state_dict(), theirs)
    others = {"others": [theirs], "about": {"rows": [THEIRS]}}
    list_networks(base, folder / "random", folder / "edits.parquet", family="erasure", model="tiny", **others)
    names = [f"{out}{name}" for name in ("rows_of_pictures.parquet", "seeds.npz", "panel.npz", "measurements.parquet")]
    audits.audit(
        base,
        folder / "edits.parquet",
        *(folder / name for name in ("pictures.npy", "manifest.parquet", "latents.npy", "rows.parquet")),
        *(folder / name for name in ("encoded.npy", "plain.npy")),
        folder,
        folder,
        *(folder / name for name in names),
        model="tiny",
        concepts=concepts,
        cases=cases,
        inversion=INVERSION,
        sampling=SAMPLING,
        oracles=["church"],
    )
    return pd.read_parquet(folder / names[0])


@pytest.fixture(scope="module")
def audited(base, decoded) -> pd.DataFrame:
    return run(base, decoded, CONCEPTS)


def test_a_network_that_predicts_nothing_gives_everything_back(base, decoded, audited):
    """Its seeds are the latents, shortened: the NLL and the picture follow in closed form."""
    model = text_diffusion.open_model(base)
    rows = audited[audited["method"] == "zero"].reset_index(drop=True)
    assert rows["converged"].all() and rows["round_trip"].max() < 1e-5
    plain = rows[rows["kind"] == ""]
    assert plain["psnr"].to_numpy() == pytest.approx(plain["ceiling"].to_numpy(), abs=0.01)
    latents = text_diffusion.autoencoder.encode(model.vae, np.load(decoded / "pictures.npy"))[0]
    sampler = text_diffusion.sampler_of(model, INVERSION["steps"])
    share = model.alphas_cumprod[sampler.timesteps[0]] / sampler.final_alpha_cumprod
    expected = (share.sqrt().numpy() * latents.numpy())[plain["row"]]
    assert plain["z"].to_numpy() == pytest.approx(statistics.z_score(expected), abs=1e-3)
    for name, values in zip(("mean", "variance"), statistics.channel_moments(expected), strict=True):
        found = plain[[f"channel_{name}_{channel}" for channel in range(values.shape[1])]]
        assert found.to_numpy() == pytest.approx(values, abs=1e-3)


def test_every_case_is_inverted_for_every_concept_and_written_down(decoded, audited):
    plain = audited[audited["kind"] == ""]
    for method, cases in CASES.items():
        asked = {(name, caption) for caption, some in cases.items() for name in some}
        for concept in CONCEPTS:
            part = plain[(plain["method"] == method) & (plain["concept"] == concept)]
            assert set(zip(part["set"], part["caption"], strict=True)) == asked
    images = audited[audited["kind"] != ""]
    assert images.groupby(["method", "concept", "kind"]).size().unstack().drop_duplicates().to_dict("records") == [
        {"adjacent": 6, "distant": 6, "own": 2, "reencoded": 6}
    ]
    found = measurements.read([decoded / "measurements.parquet"])
    assert {"church", "emblem", "all", "with_oracle"} == set(found["concept"])
    # There is an oracle of the church alone: all that is measured over concepts with one is that of the church.
    known, church = (
        found[found["concept"] == name].drop(columns="concept").reset_index(drop=True)
        for name in ("with_oracle", "church")
    )
    pd.testing.assert_frame_equal(known, church)
    whole = measurements.select(found, metric="psnr", method="pretrained", concept="all", set="concept", caption="own")
    own = plain[(plain["method"] == "pretrained") & (plain["set"] == "concept") & (plain["caption"] == "own")]
    assert own["converged"].any()
    own = own[own["converged"]]
    assert whole["value"].item() == pytest.approx(own["psnr"].mean()) and whole["n"].item() == len(own)
    with np.load(decoded / "seeds.npz") as seeds:
        assert sum(len(seeds[name]) for name in seeds.files) == len(audited)


@pytest.mark.parametrize("kind", audits.STAGED)
def test_stages_are_those_of_the_first_picture_of_a_set(base, decoded, audited, kind):
    model, key = text_diffusion.open_model(base), "pretrained.church..0"
    rows, pictures = pd.read_parquet(decoded / "manifest.parquet"), np.load(decoded / "pictures.npy")
    place = rows.index[(rows["concept"] == "church") & (rows["set"] == kind)][0]
    part = audited[(audited["method"] == "pretrained") & (audited["concept"] == "church")].reset_index(drop=True)
    own = part[(part["set"] == kind) & (part["caption"] == "own") & (part["kind"] == "")].iloc[0]
    with np.load(decoded / "panel.npz") as panel, np.load(decoded / "seeds.npz") as seeds:
        picture, plain, seed, back = panel[f"stages.{kind}.{key}"]
        assert f"stages.concept.{key.replace('pretrained', 'zero')}" in panel.files
        assert (seed == audits.as_picture(seeds[key][own.name], 16)).all()
    assert (picture == pictures[place]).all()
    assert audits.decibels(pictures[[place]], back[None]) == pytest.approx(own["psnr"])
    encoded = text_diffusion.autoencoder.encode(model.vae, pictures[[place]])[0]
    # One picture and a batch of them differ by rounding.
    assert np.abs(plain - text_diffusion.autoencoder.decode(model.vae, encoded)[0].astype(int)).max() <= 1


def test_a_seed_is_shown_on_one_scale():
    seed = np.zeros((4, 2, 2), np.float32)
    seed[:3, 0, 1], seed[:3, 1, 0], seed[0, 1, 1], seed[3] = audits.SPAN, -9, np.nan, 7
    shown = audits.as_picture(seed, 4)
    assert shown.shape == (4, 4, 3) and shown.dtype == np.uint8
    assert [shown[y, x].tolist() for y, x in ((0, 0), (1, 3), (3, 0), (2, 2))] == [
        *([128] * 3, [255] * 3, [0] * 3, [128] * 3)
    ]


def test_the_relative_distance_of_the_image_level_is_that_of_moved_laws():
    """What lies so many nats beyond the law of N(0, I) is at that W1 from it; by the source's code, at the square."""
    size, each = 512, 5
    law = statistics.normal_quantile((np.arange(300) + 0.5) / 300, size)
    sd = statistics.normal_sd(size)
    reference = pd.DataFrame({"set": "neutral", "kind": "", "picture": np.arange(300), "nll": law + 2 * sd})
    found = pd.DataFrame({"set": "concept", "kind": "distant", "picture": np.arange(300) // each, "nll": law + 3 * sd})
    lost = found[:each].assign(picture=99, nll=1e6)  # a query of which one seed was not found
    rows = pd.concat([reference, found, lost], ignore_index=True).assign(concept="c", caption="own", converged=True)
    rows.loc[rows.index[-1], "converged"] = False
    table = {line["metric"]: line for line in audits.of_others(rows, size)}
    assert table["seeds_w1_ratio"]["value"] == pytest.approx(3 / 2, rel=1e-3)
    assert table["seeds_fitted_ratio"]["value"] == pytest.approx(9 / 4, rel=1e-3)
    assert all(line["n"] == 300 // each and line["low"] < line["value"] < line["high"] for line in table.values())


def test_sets_are_compared_on_the_concepts_of_which_seeds_of_both_were_found():
    """A concept that one set has none of would move the ratio of all, and say nothing of them."""
    size, law = 512, statistics.normal_quantile((np.arange(50) + 0.5) / 50, 512)
    known = [
        pd.DataFrame({"set": kind, "concept": concept, "picture": np.arange(50), "nll": law + moved})
        for concept, kind, moved in (
            ("a", "concept", 40),
            ("a", "neutral", 20),
            ("b", "concept", 900),
            ("b", "neutral", 0),
        )
    ]
    rows = pd.concat(known, ignore_index=True).assign(kind="", caption="own", converged=True)
    rows.loc[(rows["concept"] == "b") & (rows["set"] == "neutral"), "converged"] = False

    def ratio(some: pd.DataFrame) -> dict:
        lines = list(audits.of_sets(some, size))
        return {
            line["metric"]: line for line in lines if line["set"] == "concept" and line.get("reference") == "neutral"
        }

    both, alone, other = (ratio(rows[rows["concept"].isin(list(names))]) for names in ("ab", "a", "b"))
    assert both["w1_ratio"] == alone["w1_ratio"] and both["w1_ratio"]["n"] == 50
    assert np.isnan(other["w1_ratio"]["value"]) and other["w1_ratio"]["n"] == 0
    rows["converged"] = True
    assert ratio(rows)["w1_ratio"]["n"] == 100 and ratio(rows)["w1_ratio"]["value"] > 5 * both["w1_ratio"]["value"]


def test_the_image_level_is_shown(decoded, audited):
    paths = [decoded / name for name in ("measurements.parquet", "decoded.parquet")]
    lookup, found = Lookup(paths, "memory"), measurements.read(paths)
    params = {"models": ["tiny"], "methods": [], "oracles": {"tiny": []}, "inversion": INVERSION}
    table = part_of("memory", "tables", "images").build(lookup, {**params, "images": {"queries": 2, "supports": 3}})
    shown = table.frame.set_index(("", "Model"))["distant", "d_N"]
    labels = {"method": "zero", "concept": "all", "kind": "distant"}
    assert shown["no noise predicted"].value == value(found, "seeds_w1_ratio", **labels)["value"]
    style.apply()
    figure = part_of("memory", "figures", "seeds").draw(lookup, [], params)
    for panel, metric in zip(figure.axes, ("cosine", "apart", "distance", "variation", "psnr"), strict=True):
        drawn = panel.containers[0].lines[0].get_xdata()
        assert drawn[-1] == pytest.approx(value(found, f"seeds_{metric}", **labels)["value"])
    stays_on_its_page(figure)


def test_the_distances_stand_beside_the_likelihoods(decoded, audited):
    style.apply()
    paths = [decoded / name for name in ("rows_of_pictures.parquet", "seeds.npz")]
    measured = decoded / "measurements.parquet"
    lookup, found = Lookup([measured], "memory"), measurements.read([measured])
    params = {"models": ["tiny"], "methods": [], "oracles": {"tiny": []}, "concepts": list(CONCEPTS)}
    histograms = part_of("memory", "figures", "histograms")
    figure = histograms.draw(lookup, paths, params)
    panels = {panel.get_title(): panel.texts[0].get_text() for panel in figure.axes if panel.texts}
    assert panels.keys() == {"pretrained", "no noise predicted"}
    labels = {"method": "zero", "concept": "all", "caption": "own"}
    e, r = (value(found, "w1", set=name, **labels)["value"] for name in ("concept", "neutral"))
    assert panels["no noise predicted"] == f"E {e:.0f}\nR {r:.0f}\n$d_N$ {e / r:.2f}"
    stays_on_its_page(figure)
    # Of seeds that were not found there is no distance.
    assert histograms.distances(lookup.of(method="none", model="tiny", concept="all")) == "E –\nR –\n$d_N$ –"


def test_stages_are_drawn_of_every_model_that_has_them(decoded, audited):
    style.apply()
    paths = [decoded / name for name in ("rows_of_pictures.parquet", "panel.npz") for _ in range(2)]
    params = {"methods": ["random"], "concepts": list(CONCEPTS)}
    figure = part_of("memory", "figures", "stages").draw(None, paths, params)
    rows = [axis.get_ylabel() for axis in figure.axes[::4]]
    assert rows == ["pretrained", "no noise predicted", "random network", "pretrained,\nscrambled"]
    own = audited[(audited["kind"] == "") & (audited["caption"] == "own") & (audited["concept"] == "church")]
    for row, (method, kind) in enumerate(
        [*((name, "concept") for name in ("pretrained", "zero", "random")), ("pretrained", "scrambled")]
    ):
        first = own[(own["method"] == method) & (own["set"] == kind)].iloc[0]
        assert figure.axes[4 * row + 3].get_xlabel() == f"{first['psnr']:.1f} dB"
    stays_on_its_page(figure)


def stays_on_its_page(figure) -> None:
    figure.canvas.draw()
    shown, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= shown.x0 < shown.x1 <= width and 0 <= shown.y0 < shown.y1 <= height
    style.plt.close(figure)


def test_what_others_edited_is_audited_on_its_own_concept_and_kept_apart(base, decoded, audited):
    assert set(audited["method"]) == set(CASES)  # a job audits what its cases name
    rows = run(base, decoded, CONCEPTS, {"esd_x": CASES["random"]}, "others_")
    names = {"method": "esd_x", "concept": "church", "setting": "theirs", "checkpoint": "theirs"}
    assert all(rows[column].eq(name).all() for column, name in names.items())
    # Beside an edit of ours by the same method: who asks for the method means that.
    ours, files = decoded / "ours.parquet", [decoded / "others_measurements.parquet"]
    audits.write(
        ours,
        audits.measured(
            rows.assign(setting="tuned", checkpoint="", z=7.0),
            np.load(decoded / "others_seeds.npz")["esd_x.church.theirs.0"],
        ),
        family="memory",
        model="tiny",
    )
    lookup = Lookup([*files, ours], "memory", method="esd_x", concept="church", set="concept", caption="own")
    assert lookup.get("z").value == 7
    own = rows[(rows["kind"] == "") & (rows["set"] == "concept")]
    assert lookup.get("z", checkpoint="theirs").value == pytest.approx(own.loc[own["converged"], "z"].mean())
    paths = [decoded / name for name in ("rows_of_pictures.parquet", "others_rows_of_pictures.parquet")]
    judged = decoded / "judged.parquet"
    measurements.write(judged, [measurements.row("erased", 0.5, method="uce", prompts="own", setting="")], family="e")
    comparing.compare(paths, [judged], decoded / "compared.parquet", decoded / "points.parquet", model="tiny")
    params = {"models": ["tiny"], "inversion": INVERSION}
    params |= {"others": {"tiny": {"theirs": {"method": "esd_x", "concept": "church"}}}}
    made = table_of("others", [decoded / "measurements.parquet", *files, decoded / "compared.parquet"], params)
    shown = made.frame.set_index("Checkpoint").loc["theirs"]
    assert shown["z(E)"].value == lookup.get("z", checkpoint="theirs").value and shown["Concept"] == "church"
    assert (
        shown["shift"].value
        == value(measurements.read([decoded / "compared.parquet"]), "shift", checkpoint="theirs", concept="church")[
            "value"
        ]
    )


def table_of(name: str, files: list[Path], params: dict) -> Table:
    """A table of the family, which typesets."""
    module = part_of("memory", "tables", name)
    made = module.build(Lookup(files, "memory", optional_of(module)), params)
    assert r"\begin{" in made.latex() and made.html()
    return made


CHANNELS = ("channel_mean_0", "channel_mean_1", "channel_variance_0", "channel_variance_1")


def found_by_hand(some: float = 1.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows and seeds of an audit: z of E is 0 to 5, of R 0 to 3, and each seed of a query is at a distance it names."""
    rng, lines, seeds = np.random.default_rng(0), [], []
    for name, count in (("concept", 6), ("neutral", 4), ("real", 4)):
        for picture in range(count):
            lines.append({"set": name, "picture": picture, "kind": "", "support": -1, "z": float(picture)})
            seeds.append(rng.normal(size=(1, 2, 2)))
    for query in range(3):
        for kind in ("own", "distant", "reencoded"):
            for support in [-1] if kind == "own" else [0, 1]:
                place = {"own": 0.0, "distant": 3.0, "reencoded": 4.0}[kind] * (1 if support < 1 else -1)
                lines.append({"set": "concept", "picture": query, "kind": kind, "support": support, "z": 1.0})
                seeds.append(np.array([[[place, 1.0], [0.0, query]]]))
    rows = pd.DataFrame(lines).assign(
        caption="own", nll=lambda table: 10 + table["z"], psnr=30.0, ceiling=31.0, detected=True, converged=True
    )
    names = (*CHANNELS, "autocorrelation", "residual", "evaluations")
    labels = {"method": "pretrained", "concept": "church", "setting": "", "seed": 0, "checkpoint": ""}
    return rows.assign(**dict.fromkeys(names, some), **labels), np.stack(seeds)


def of_rows(tmp_path: Path, rows: pd.DataFrame, seeds: np.ndarray) -> Lookup:
    audits.write(tmp_path / "measured.parquet", audits.measured(rows, seeds), family="memory", model="tiny")
    return Lookup([tmp_path / "measured.parquet"], "memory", model="tiny", concept="church", method="pretrained")


def lost(rows: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    """The rows, of which the inversion of some left the numbers."""
    read = ["z", "nll", *CHANNELS, "autocorrelation", "residual"]
    return rows.assign(converged=~chosen, **{name: rows[name].where(~chosen) for name in read})


def test_a_seed_that_was_not_found_is_in_no_average_and_is_counted(tmp_path):
    rows, seeds = found_by_hand()
    plain = rows["kind"] == ""
    gone = plain & (rows["set"] == "concept") & (rows["picture"] >= 4)
    rows.loc[gone, ["psnr", "detected"]] = [5.0, False]
    here = of_rows(tmp_path, lost(rows, gone), seeds).of(set="concept", caption="own")
    assert here.get("converged").value == pytest.approx(4 / 6) and here.row("converged")["n"] == 6
    expected = {"z": 1.5, "psnr": 30, "ceiling": 31, "lost": 1, "detected": 1, "autocorrelation": 1}
    assert {name: here.get(name).value for name in expected} == pytest.approx(expected)
    assert here.row("z")["n"] == here.row("detected")["n"] == 4 and here.row("evaluations")["n"] == 6
    assert np.isnan(here.get("residual").value)  # the largest is no number
    assert here.get("nll_erased", reference="neutral").value == pytest.approx(11.5)


def test_a_query_without_its_own_seed_or_without_two_others_has_no_distances(tmp_path):
    rows, seeds = found_by_hand()
    of = rows["kind"].eq
    at = {query: rows["picture"] == query for query in range(3)}
    gone = (of("own") & at[0]) | (of("distant") & at[1] & (rows["support"] == 0))
    seeds[gone.to_numpy()] = np.nan
    here = of_rows(tmp_path, lost(rows, gone), seeds)
    # Of three queries one is left, whose seeds lie 3 to either side of its own.
    assert here.get("seeds_distance", kind="distant").value == pytest.approx(3)
    assert here.row("seeds_distance", kind="distant")["n"] == 1 == here.row("seeds_apart", kind="distant")["n"]
    assert here.get("seeds_apart", kind="distant").value == pytest.approx(6)
    assert here.row("seeds_distance", kind="reencoded")["n"] == 2
    # It is the query 2, whose own seed is (0, 1, 0, 2), and the others (3, 1, 0, 2) and (-3, 1, 0, 2).
    assert here.get("seeds_cosine_to_own", kind="distant").value == pytest.approx(1 - 5 / (5 * 14) ** 0.5)
    assert here.get("seeds_converged", kind="distant").value == pytest.approx(5 / 6)
    assert here.get("seeds_converged", kind="own").value == pytest.approx(2 / 3)
    # Pairs of the same start, both found.
    assert here.get("seeds_moved_by_reencoding").value == pytest.approx(1)
    assert here.row("seeds_moved_by_reencoding")["n"] == 3


PARAMS = {
    "models": ["tiny"],
    "methods": [],
    "concepts": ["church"],
    "oracles": {"tiny": []},
    "inversion": INVERSION,
    "images": {"queries": 3, "supports": 2},
    "cases": {"networks": {"own": ["concept", "neutral"]}, "edits": {"own": ["neutral", "concept", "real"]}},
}


@pytest.mark.parametrize("name", ["audit", "concepts", "sets", "edited_sets", "images", "verdict"])
@pytest.mark.parametrize("some", [True, False], ids=["some", "none"])
def test_every_table_of_averages_says_of_how_many_they_are(tmp_path, name, some):
    rows, seeds = found_by_hand()
    rows = lost(rows, (rows["picture"] >= 2) & (rows["kind"] == "") if some else rows["picture"] >= 0)
    of_rows(tmp_path, rows, seeds if some else seeds * np.nan)
    rows.to_parquet(tmp_path / "rows.parquet")
    decoded = [measurements.row("decoded_psnr", 30, kind=kind) for kind in ("distant", "adjacent")]
    measurements.write(tmp_path / "d.parquet", decoded, family="memory", model="tiny", concept="church")
    judged = [measurements.row("erased", 0.5, method="uce", prompts="own", setting="")]
    measurements.write(tmp_path / "judged.parquet", judged, family="erasure")
    paths = [tmp_path / "compared.parquet", tmp_path / "points.parquet"]
    comparing.compare([tmp_path / "rows.parquet"], [tmp_path / "judged.parquet"], *paths, model="tiny")
    made = table_of(name, [tmp_path / "measured.parquet", tmp_path / "d.parquet", paths[0]], PARAMS)
    first = made.frame.iloc[0]
    heads = {
        column[-1] if isinstance(column, tuple) else column: first[column] for column in reversed(list(made.frame))
    }
    images = name == "images"
    parts = {"audit": 2 / 6, "concepts": 2 / 6, "sets": 2 / 6, "edited_sets": 2 / 4, "images": 1, "verdict": 4 / 10}
    assert heads["ok"].value == pytest.approx(parts[name] if some else 0)
    average = {"images": "to own", "verdict": "excess", "edited_sets": "z", "sets": "z"}.get(name, "z(E)")
    assert heads[average].value == pytest.approx({"images": 3, "verdict": 0}.get(name, 0.5), nan_ok=False) or not some
    assert np.isnan(heads[average].value) != some
    # What was measured, not what was asked for.
    said = "4 pictures" if name == "edited_sets" else "4 to 6 pictures"
    assert said in made.notes or name in ("sets", "verdict") or images
    assert name != "sets" or list(made.frame["", "n"]) == ["6", "4"]


def test_the_channel_farthest_from_white_noise_is_shown(tmp_path):
    rows, seeds = found_by_hand()
    of_rows(tmp_path, rows.assign(**dict(zip(CHANNELS, (0.1, -0.3, 1.5, 0.2), strict=True))), seeds)
    shown = table_of("sets", [tmp_path / "measured.parquet"], PARAMS).frame["pretrained"].iloc[0]
    assert (shown["mean"].value, shown["var."].value) == pytest.approx((-0.3, 0.2))


def test_what_edits_invert_under_other_captions_has_columns_of_its_own(tmp_path):
    rows, seeds = found_by_hand()
    bare = rows["set"].eq("concept") & rows["kind"].eq("")
    rows = pd.concat([rows, rows[bare].assign(caption="empty", z=7.0)], ignore_index=True)
    of_rows(tmp_path, rows, np.concatenate([seeds, seeds[bare.to_numpy()]]))
    cases = {"edits": {"own": ["concept", "neutral", "real"], "empty": ["concept"]}}
    shown = table_of("edited_sets", [tmp_path / "measured.parquet"], {**PARAMS, "cases": cases}).frame
    assert list(dict.fromkeys(shown.columns.get_level_values(0)))[1:] == [
        "others, real",
        "E, no caption",
    ]
    assert shown["E, no caption", "z"].iloc[0].value == pytest.approx(7)
    assert shown["others, real", "z"].iloc[0].value == pytest.approx(1.5)


@pytest.fixture
def beside(tmp_path) -> Path:
    """An audit of the base on a church and an emblem whose seeds lie further out, and of an oracle of the church."""
    rows, seeds = found_by_hand()
    emblem = rows.assign(concept="emblem", z=rows["z"] + 10)
    whole = pd.concat([rows, emblem, rows.assign(method="oracle")], ignore_index=True)
    lines = audits.measured(whole, np.tile(seeds, (3, 1, 1, 1)), ["church"])
    audits.write(tmp_path / "measured.parquet", lines, family="memory", model="tiny")
    decoded = [measurements.row("decoded_psnr", 30, kind=kind) for kind in ("distant", "adjacent")]
    measurements.write(tmp_path / "decoded.parquet", decoded, family="memory", model="tiny", concept="church")
    whole.to_parquet(tmp_path / "rows.parquet")
    np.savez(tmp_path / "seeds.npz", some=seeds)
    return tmp_path


BESIDE = {**PARAMS, "oracles": {"tiny": ["church"]}, "concepts": ["church", "emblem"]}
ROWS = ["pretrained", "pretrained: church", "oracle: church"]


@pytest.mark.parametrize(("name", "column"), [("audit", "z(E)"), ("edited_sets", "z"), ("images", "z")])
def test_beside_an_oracle_stands_the_base_on_the_same_concepts(beside, name, column):
    frame = table_of(name, [beside / "measured.parquet", beside / "decoded.parquet"], BESIDE).frame
    frame.columns = [each[-1] if isinstance(each, tuple) else each for each in frame]
    frame = frame.loc[:, ~frame.columns.duplicated()].set_index("Model")
    assert list(frame.index[:3]) == ROWS
    church = {"audit": 2.5, "edited_sets": 1.5, "images": 1}[name]  # of the first set that is asked for
    assert [frame[column][row].value for row in ROWS] == pytest.approx([church + 5, church, church])


def test_networks_that_were_not_edited_are_compared_on_the_concepts_of_the_oracles(beside):
    made = table_of("sets", [beside / "measured.parquet"], BESIDE)
    assert [made.frame[method, "z"].iloc[0].value for method in ("pretrained", "oracle")] == pytest.approx([2.5, 2.5])
    assert "concepts that there is an oracle of: church." in made.notes


def test_figures_say_on_which_concepts_an_oracle_stands(beside):
    style.apply()
    lookup = Lookup([beside / "measured.parquet"], "memory")
    seeds = part_of("memory", "figures", "seeds").draw(lookup, [], BESIDE)
    assert [label.get_text() for label in seeds.axes[0].get_yticklabels()][:3] == ROWS
    inputs = [beside / "rows.parquet", beside / "seeds.npz"]
    histograms = part_of("memory", "figures", "histograms").draw(lookup, inputs, BESIDE)
    panels = {panel.get_title().replace("\n", " "): panel for panel in histograms.axes if panel.get_visible()}
    assert list(panels) == ROWS
    strokes = [[line for line in panel.lines if line.get_marker() == "|"] for panel in panels.values()]
    assert [len(lines[0].get_xdata()) for lines in strokes] == [12, 6, 6]
    for figure in (seeds, histograms):
        stays_on_its_page(figure)


def test_concepts_in_another_order_give_the_same_rows(base, decoded, audited, tmp_path):
    for path in decoded.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    other = run(base, tmp_path, dict(reversed(CONCEPTS.items())))
    keys = ["method", "concept", "kind", "set", "caption", "picture", "support"]
    one, two = (each.sort_values(keys).reset_index(drop=True) for each in (audited, other))
    pd.testing.assert_frame_equal(one[[*keys, "z", "psnr"]], two[[*keys, "z", "psnr"]], atol=1e-3, rtol=1e-4)


def rows_of(method: str, concept: str, shift: float, converged: tuple[int, ...] = (), seed: int = 0) -> pd.DataFrame:
    """What an audit measured: z of E further out by a shift, and some pictures that did not converge."""
    rng = np.random.default_rng(seed)
    frames = []
    for name in ("concept", "neutral"):
        z = rng.normal(size=8) + (shift if name == "concept" else 0.0)
        frames.append(pd.DataFrame({"set": name, "picture": range(8), "z": z, "psnr": 30.0 + shift, "detected": True}))
    labels = {"method": method, "concept": concept, "setting": "", "seed": 0, "checkpoint": ""}
    table = pd.concat(frames, ignore_index=True).assign(**labels)
    return table.assign(kind="", caption="own", converged=~table["picture"].isin(converged))


def compared(tmp_path, tables: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    paths = []
    for number, table in enumerate(tables):
        paths.append(tmp_path / f"{number}.parquet")
        table.to_parquet(paths[-1])
    erased = [
        measurements.row(
            "erased", 0.1 * number, concept="church", prompts="own", study="c", setting=setting, method=name
        )
        for number, (name, setting) in enumerate((table["method"][0], table["setting"][0]) for table in tables)
    ]
    measurements.write(tmp_path / "erasure.parquet", erased, family="erasure")
    comparing.compare(
        paths, [tmp_path / "erasure.parquet"], tmp_path / "m.parquet", tmp_path / "points.parquet", model="t"
    )
    return measurements.read([tmp_path / "m.parquet"]), pd.read_parquet(tmp_path / "points.parquet")


def value(table: pd.DataFrame, metric: str, **labels) -> pd.Series:
    return measurements.select(table, metric=metric, **labels).iloc[0]


def test_what_is_remembered_is_what_the_oracle_lacks(tmp_path):
    found, points = compared(
        tmp_path,
        [
            rows_of("pretrained", "church", 0.0),
            rows_of("oracle", "church", 2.0),
            *(rows_of(f"method_{number}", "church", 0.5 * number) for number in range(5)),
        ],
    )
    for method, shift in (("pretrained", 0.0), ("oracle", 2.0), ("method_1", 0.5), ("method_4", 2.0)):
        kept = value(found, "remembered", method=method, concept="church")
        # The same pictures in every model: the difference is exact, and its interval has no width.
        assert (kept["value"], kept["low"], kept["high"]) == pytest.approx((2.0 - shift,) * 3)
        assert value(found, "shift", method=method, concept="all")["value"] == pytest.approx(shift)
        assert value(found, "psnr_over_oracle", method=method, concept="church")["value"] == pytest.approx(shift - 2)
    assert set(points["method"]) == {f"method_{number}" for number in range(5)}
    assert value(found, "rank_excess", shown="erased")["value"] == pytest.approx(1.0)
    assert value(found, "rank_remembered", shown="erased")["value"] == pytest.approx(-1.0)


def test_what_an_oracle_says_of_several_concepts_is_of_those_that_it_lacks(tmp_path):
    moved = pd.concat([rows_of("method_1", concept, 0.5) for concept in ("church", "emblem")], ignore_index=True)
    moved["z"] += np.where(moved["concept"] == "church", 3.0, 7.0)
    base = pd.concat([rows_of("pretrained", concept, 0.0) for concept in ("church", "emblem")], ignore_index=True)
    found, _ = compared(tmp_path, [base, rows_of("oracle", "church", 2.0), moved])
    of = {"method": "method_1"}
    assert value(found, "remembered", concept="with_oracle", **of)["value"] == pytest.approx(1.5)
    assert measurements.select(found, metric="remembered", concept="all", **of).empty
    # By how much the seeds of other pictures have moved.
    for concept, shift in (("church", 3), ("emblem", 7), ("all", 5), ("with_oracle", 3)):
        assert value(found, "reference_shift", concept=concept, **of)["value"] == pytest.approx(shift)
        assert value(found, "reference_shift", concept=concept, method="pretrained")["value"] == 0
    params = {**PARAMS, "models": ["t"], "methods": ["method_1"], "oracles": {"t": ["church"]}}
    shown = table_of("verdict", [tmp_path / "m.parquet"], params).frame.set_index(("", "Model"))["church"]
    assert list(shown["verdict"][["pretrained", "oracle", "method 1"]]) == ["memory", "no difference", "not testable"]
    assert shown["remembered"]["method 1"].value == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("low", "high", "moved", "said"),
    [
        (0.1, 2, 1.9, "memory"),
        (0.1, 2, -1.9, "memory"),
        (-2, -0.1, 0, "pushed out"),
        (-1, 1, 0, "no difference"),
        (0.1, 2, 2, "not testable"),
        (-2, -0.1, -2, "not testable"),
        (np.nan, np.nan, 0, ""),
    ],
)
def test_a_verdict_is_of_models_that_leave_other_pictures_alone(low, high, moved, said):
    assert verdict(Estimate((low + high) / 2, low, high), Estimate(moved)) == said


def test_what_others_edited_by_the_same_method_is_no_point_of_ours(tmp_path):
    ours = rows_of("method_1", "church", 0.5).assign(setting="tuned")
    theirs = rows_of("method_1", "church", 2.0).assign(setting="theirs", checkpoint="theirs")
    _, points = compared(tmp_path, [rows_of("pretrained", "church", 0.0), ours, theirs])
    assert len(points) == 1 and points["erased"].item() == pytest.approx(0.1) and points["shift"].item() == 0.5
    for concept in ("church", "all"):
        here = Lookup([tmp_path / "m.parquet"], "memory", method="method_1", concept=concept)
        assert here.get("shift").value == pytest.approx(0.5)
        assert here.get("shift", checkpoint="theirs").value == pytest.approx(2.0)


def test_pictures_that_did_not_converge_are_left_out_of_every_model(tmp_path):
    broken = rows_of("method_1", "church", 1.0, converged=(0, 1))
    broken.loc[broken["picture"] < 2, "z"] = 1e6
    found, _ = compared(tmp_path, [rows_of("pretrained", "church", 0.0), broken])
    row = value(found, "shift", method="method_1", concept="church")
    assert row["value"] == pytest.approx(1.0) and row["n"] == 6
    kept = value(found, "compared", method="method_1", concept="all")
    assert kept["value"] == pytest.approx(12 / 16) and kept["n"] == 16
    assert measurements.select(found, metric="remembered").empty  # there is no oracle


def test_memory_without_erasure_is_refused():
    from palimpsest.plan.memory import Memory

    with pytest.raises(UserError, match="Add erasure to the families"):
        Memory({"families": ["memory"], "memory": {}}).check()
