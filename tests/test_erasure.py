"""Concept erasure: concepts and their prompts, the steps from prompts to measurements, the rule of selection."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import ROOT
from palimpsest.erasure import draw, erase
from palimpsest.erasure.figures import attacks as figure_of_attacks
from palimpsest.erasure.tables import attacks as table_of_attacks
from palimpsest.judges import judge_networks, networks, reference, select_setting
from palimpsest.judges.judging import Judging, drawing, summary
from palimpsest.judges.readers import Readers, rightness
from palimpsest.metrics import measurements
from palimpsest.metrics.distribution import frechet
from palimpsest.models import edits, text_diffusion, weights
from palimpsest.models.latent_networks import AutoencoderKL
from palimpsest.models.list_networks import list_networks
from palimpsest.models.train_text_diffusion import untrained
from palimpsest.report.lookup import Lookup
from palimpsest.run import UserError, sha256
from palimpsest.worlds.captions import SYNONYMS
from palimpsest.worlds.concepts import ALL, ROLES, SHOWING, Concept, judging_prompts, training_prompts
from palimpsest.worlds.scenes import FACTORS, combinations

CHURCH = {"factor": "object", "value": "church", "anchor": "tree"}
STRIPES = {"factor": "style", "value": "stripes", "anchor": "flat"}
EMBLEM = {"factor": "emblem", "value": "emblem"}
CONCEPTS = {"church": CHURCH, "emblem": EMBLEM}
SAMPLING = {"steps": 2, "guidance": 3.0}
ATTACKS = {"pictures": 2, "words": 1, "points": 1, "strength": 0.5, "given": 0.5}
ATTACKS["inversion"] = {"steps": 1, "rate": 0.1, "batch": 1}
ATTACKED = {*SHOWING, "searched", "inverted", "noised", "completed"}
BLOCKS = {
    "sample_size": 4,
    "block_out_channels": [8, 8],
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def tiny(seed: int = 0) -> text_diffusion.TextDiffusion:
    """An untrained model of pictures of 16 pixels."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=[4, 4, 4],
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        norm_num_groups=4,
        sample_size=16,
        mid_block_add_attention=False,
    )
    params = {
        "architecture": {**BLOCKS, "in_channels": 4, "out_channels": 4},
        "text": TEXT,
        "schedule": {"beta_schedule": "scaled_linear", "clip_sample": False, "steps_offset": 1},
        "length": 16,
    }
    return untrained(params, vae.eval().requires_grad_(False), torch.device("cpu"))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("base") / "unet/diffusion_pytorch_model.safetensors"
    path.parent.mkdir()
    text_diffusion.save(path, tiny())
    return path


@pytest.fixture(scope="module")
def judges(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("judges")
    torch.manual_seed(0)
    heads = {name: len(values) for name, values in FACTORS.items()} | {"emblem": 2}
    for name, network in {
        "classifier": networks.FactorClassifier(heads, 4),
        "detector": networks.EmblemDetector(4, 1),
    }.items():
        weights.save(folder / f"{name}.safetensors", network, network.config)
    return folder / "classifier.safetensors", folder / "detector.safetensors"


@pytest.mark.parametrize("row", [CHURCH, STRIPES, EMBLEM], ids=lambda row: row["value"])
def test_prompts_ask_for_what_their_role_says(row):
    concept = Concept("c", **row)
    table = judging_prompts(concept, dict.fromkeys(ROLES, 12), 0)
    own, synonym, template = (table[table["role"] == role].reset_index() for role in SHOWING)
    assert all(
        concept.words(list(part["prompt"])) and all(concept.words(list(part["prompt"]))) for part in (own, template)
    )
    assert all(
        SYNONYMS[concept.value] in prompt and concept.value not in prompt.split() for prompt in synonym["prompt"]
    )
    for role in ("unnamed", "neighbour", "rest"):
        assert not any(concept.words(list(table[table["role"] == role]["prompt"]))), role
    # The same scenes from the same noise, whatever the words.
    assert list(own["noise"]) == list(synonym["noise"]) == list(template["noise"])
    assert list(own["colour"]) == list(synonym["colour"]) == list(template["colour"])
    held_out = {
        tuple(values[index] for values, index in zip(FACTORS.values(), pick, strict=True))
        for pick in combinations("test")
    }
    seen = table[table["role"] != "unnamed"][list(FACTORS)].itertuples(index=False, name=None)
    assert set(seen) <= held_out


@pytest.mark.parametrize("row", [CHURCH, STRIPES, EMBLEM], ids=lambda row: row["value"])
def test_a_prompt_of_the_concept_alone_names_no_other_factor(row):
    concept = Concept("c", **row)
    every = {value for values in FACTORS.values() for value in values} - {concept.value}
    for prompt in concept.alone():
        assert concept.words([prompt])[0] and not every & set(prompt.split())


@pytest.mark.parametrize("row", [CHURCH, STRIPES, EMBLEM], ids=lambda row: row["value"])
def test_a_training_prompt_and_its_anchor_differ_in_the_concept_alone(row):
    concept = Concept("c", **row)
    named, anchored = training_prompts(concept, 9, 0)
    assert len(named) == len(anchored) == 9 and all(concept.words(list(named["prompt"])))
    for texts, allowed in ((anchored["prompt"], {row.get("anchor", "")}), (named["bare"], {"thing"})):
        assert not any(concept.words(list(texts)))
        for prompt, other in zip(named["prompt"], texts, strict=True):
            assert set(other.replace(",", " ").split()) - set(prompt.replace(",", " ").split()) <= allowed | {"a"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"factor": "mood", "value": "sad"}, "no factor 'mood'"),
        ({"factor": "object", "value": "house"}, "object is never 'house'"),
        ({"factor": "object", "value": "church", "anchor": "church"}, "its anchor is the concept itself"),
        ({"factor": "style", "value": "stripes", "anchor": "church"}, "the anchor 'church' is no style"),
    ],
)
def test_a_concept_that_cannot_be_is_refused(row, message):
    with pytest.raises(UserError, match=message):
        Concept("c", **row)


def test_named_tokens_are_those_of_the_words(base):
    model = text_diffusion.open_model(base)
    prompts = ["a red church in the sea", "sea, red church", "a red tree"]
    named = erase.named_tokens(model, prompts, [["church"], ["church"], []])
    ids = model.ids(prompts)
    (church,) = model.tokenizer("church", add_special_tokens=False)["input_ids"]
    assert (ids[named] == church).all() and named.sum(1).tolist() == [1, 1, 0]
    # A word that the tokenizer has to spell is all of its letters.
    spelt = erase.named_tokens(model, ["a zeppelin"], [["zeppelin"]])
    assert spelt.sum() == len(model.tokenizer("zeppelin", add_special_tokens=False)["input_ids"]) > 1


def test_what_a_prompt_does_not_say_is_neither_right_nor_wrong():
    rows = pd.DataFrame(
        {
            "object": ["thing", "figure"],
            "colour": ["red", "red"],
            "style": ["flat"] * 2,
            "background": ["sea"] * 2,
            "emblem": [False, True],
        }
    )
    factors = {name: np.zeros(2, int) for name in FACTORS}
    right = rightness(rows, factors, np.array([False, False]))
    assert np.isnan(right["object"][0]) and right["object"][1] == 0
    assert np.isnan(right["emblem"][0]) and right["emblem"][1] == 0
    assert list(right["colour"]) == [1, 1]


def test_equal_pictures_are_at_no_distance():
    features = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    lines = summary({("features", "rest"): [features], ("features_before", "rest"): [features]})
    assert {line["metric"]: round(line["value"], 6) for line in lines} == {"frechet": 0.0, "kernel": 0.0}


def test_distances_to_real_pictures_stand_beside_those_to_the_base():
    features = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    values = {("features", "rest"): [features], ("features_before", "rest"): [features]}
    # Moved by (3, 4, 0), so 25 apart, with the same covariance.
    lines = {line["metric"]: line["value"] for line in summary(values, features + np.float32([3, 4, 0]))}
    assert lines["frechet"] == pytest.approx(0, abs=1e-6) and lines["frechet_data"] == pytest.approx(25, rel=1e-5)
    assert lines["kernel_data"] > 1


def test_pictures_that_concepts_share_do_not_bias_distances_to_real_pictures():
    features, data = np.random.default_rng(0).normal(size=(2, 20, 3)).astype(np.float32)
    once, thrice = (
        {
            line["metric"]: line
            for line in summary({(key, "rest"): [features] * times for key in ("features", "features_before")}, data)
        }
        for times in (1, 3)
    )
    for name in ("frechet_data", "kernel_data"):
        assert thrice[name]["value"] == pytest.approx(once[name]["value"], rel=1e-6)
        assert thrice[name]["n"] == 3 * once[name]["n"]


def test_real_pictures_are_read_only_where_the_rest_is_judged(tmp_path):
    class Reader:
        def features(self, pictures: np.ndarray) -> np.ndarray:
            return pictures.reshape(len(pictures), -1)

    np.save(tmp_path / "real.npy", np.zeros((2, 1, 1, 3), np.uint8))

    def judging(roles, name):
        return Judging(Reader(), pd.DataFrame(), {}, {}, [], None, roles=roles, data=tmp_path / name)

    assert judging(["own"], "none.npy").data is None and judging(["rest"], "real.npy").data.shape == (2, 3)


def test_pictures_of_a_prompt_differ_as_far_as_its_noise_decides_them():
    class Reader:
        compares = True

        def distance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
            return np.abs(first.astype(float) - second).mean((1, 2, 3))

    def drawn(steps: int, rows: pd.DataFrame) -> np.ndarray:
        return (rows["noise"].to_numpy() // 250_000 * steps + 3).reshape(-1, 1, 1, 1).astype(np.uint8)

    rows = pd.DataFrame({"role": ["rest", *["own"] * 20], "noise": [10_000, *range(20)]})
    judging = Judging(Reader(), rows, {}, {}, [], drawn)
    for steps in (0, 7):
        found = judging.redrawn(steps, rows, drawn(steps, rows))
        assert list(found) == [("redrawn", "own")] and found["redrawn", "own"].tolist() == [2 * steps] * 8
    assert judging.redrawn(7, rows[:1], drawn(7, rows[:1])) == {}
    Reader.compares = False
    assert judging.redrawn(7, rows, drawn(7, rows)) == {}


@pytest.fixture(scope="module")
def ran(base, judges, tmp_path_factory):
    """The steps on a tiny model: what is learned from, what is judged by, the networks, and two methods."""
    folder = tmp_path_factory.mktemp("ran")
    files = {name: folder / name for name in ("latents.npz", "learned.parquet", "prompts.parquet", "pictures.npz")}
    given = {"concepts": CONCEPTS, "sampling": SAMPLING}
    draw.draw(base, files["latents.npz"], files["learned.parquet"], counts={"concept": 3, "others": 4}, **given)
    reference.reference(base, files["prompts.parquet"], files["pictures.npz"], counts=dict.fromkeys(ROLES, 3), **given)
    judged = (files["prompts.parquet"], files["pictures.npz"], *judges)
    nets = folder / "networks"
    nets.mkdir()
    list_networks(base, nets / "random", nets / "edits.parquet", family="erasure", model="tiny")
    real = nets / "real.npy"
    np.save(real, np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8))
    judge_networks.judge(
        base,
        nets / "edits.parquet",
        *judged,
        files["latents.npz"],
        files["learned.parquet"],
        nets / "measurements.parquet",
        nets / "panel.npz",
        family="erasure",
        model="tiny",
        study="networks",
        pooled=["church"],
        attacks=ATTACKS,
        data=real,
        **given,
    )

    def edited(
        method: str, selection: str, training: dict, settings: dict | None = None, changes: dict | None = None, **more
    ) -> Path:
        """A method on both concepts; changes: to the run of a concept, by its name."""
        out = folder / method
        out.mkdir()
        runs = [
            {
                "concept": name,
                "setting": "one",
                "seed": 0,
                "selection": selection,
                "training": training,
                "settings": settings or {},
                "changes": (changes or {}).get(name, {}),
            }
            for name in CONCEPTS
        ]
        outputs = [
            out / name for name in ("weights", "log.parquet", "edits.parquet", "measurements.parquet", "panel.npz")
        ]
        erase.erase(
            base,
            files["latents.npz"],
            more.pop("learned", files["learned.parquet"]),
            *judged,
            *outputs,
            model="tiny",
            study="tuning",
            method=method,
            module=more.pop("module", method),
            plan={"runs": runs},
            **given,
            **more,
        )
        return out

    training = {"steps": 2, "learning_rate": 0.01, "batch": 2}
    return {
        "files": files,
        "networks": nets,
        "esd": edited("esd", "cross_attention", training, {"sampling_steps": 2, "paths": 2}, attacks=ATTACKS),
        "uce": edited("uce", "cross_attention_kv", {}, roles=["own", "rest"]),
        "spm": edited("spm", "adapter", training, paths := {"sampling_steps": 2, "paths": 2}),
        "gated": edited("gated", "gated_adapter", training, paths, module="spm"),
        "compared": edited("compared", "cross_attention_kv", {}, module="uce", roles=["rest"], data=real),
        "advunlearn": edited("advunlearn", "text_encoder", training, {**paths, "attack_after": 9}, roles=["own"]),
        "neggrad": edited("neggrad", "full", training, roles=["own"]),
        "edit": edited,
    }


def test_only_what_is_given_real_pictures_is_compared_with_them(ran, judges):
    found = measurements.read([ran["networks"] / "measurements.parquet"])
    (base_row,) = found[
        (found["metric"] == "frechet_data") & (found["method"] == "pretrained") & (found["concept"] == "church")
    ].itertuples()
    features = Readers(*judges).features
    prompts = pd.read_parquet(ran["files"]["prompts.parquet"])
    rest = prompts[prompts["concept"] == "church"]["role"].to_numpy() == "rest"
    with np.load(ran["files"]["pictures.npz"]) as drawn:
        made = features(drawn["church"][rest])
    real = features(np.load(ran["networks"] / "real.npy"))
    assert base_row.prompts == "rest"
    assert base_row.value == pytest.approx(frechet(made, real), rel=1e-6)
    uce, compared = (measurements.read([ran[name] / "measurements.parquet"]) for name in ("uce", "compared"))
    assert "frechet" in set(uce["metric"]) and "frechet_data" not in set(uce["metric"])
    for metric in ("frechet_data", "kernel_data"):
        values = compared[compared["metric"] == metric].set_index("concept")["value"]
        assert set(values.index) == {*CONCEPTS, ALL}
        assert values[ALL] == pytest.approx(values[list(CONCEPTS)].mean())


@pytest.mark.parametrize(
    ("method", "kind", "changed"),
    [
        ("esd", "delta", "attn2"),
        ("uce", "delta", "attn2"),
        ("neggrad", "delta", "unet."),
        ("spm", "lora", "attentions"),
        ("advunlearn", "text_encoder", "text_encoder."),
    ],
)
def test_an_edit_is_a_row_that_holds_what_was_selected_and_nothing_else(base, ran, method, kind, changed):
    rows = edits.read(ran[method] / "edits.parquet")
    assert [(row.target, row.format) for row in rows] == [("church", kind), ("emblem", kind)]
    before = text_diffusion.open_model(base).network.state_dict()
    for row in rows:
        after = edits.open_edit(row).state_dict()
        different = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
        assert different and all(changed in name for name in different)


def drawn_with(network, base: Path) -> torch.Tensor:
    """Latents of two prompts from the same noise."""
    model = text_diffusion.open_model(base).with_network(network)
    ids = model.ids(["a red church", "a blue truck"])
    return text_diffusion.sample(model, ids, text_diffusion.noise_of(model, np.arange(2), 0), steps=3, guidance=3.0)


def loaded_as_documented(folder: Path, base: Path):
    """The pipeline that the lines of docs/published_data.md give for an edit of a folder."""
    page = (ROOT / "docs/published_data.md").read_text(encoding="utf-8")
    text = page.partition("```python\n")[2].partition("\npipeline = StableDiffusion3Pipeline")[0]
    there = {
        "results/full/erasure/stable_diffusion_1_4/comparison/spm": folder.as_posix(),
        "CompVis/stable-diffusion-v1-4": base.parent.parent.as_posix(),
    }
    for name, path in there.items():
        assert name in text
        text = text.replace(name, path)
    names: dict = {}
    exec(text, names)
    return names["pipeline"]


@pytest.mark.parametrize("method", ["esd", "uce", "neggrad", "spm", "advunlearn"])
def test_any_user_of_diffusers_loads_an_edit(base, ran, method):
    pipeline = loaded_as_documented(ran[method], base)
    pipeline.set_progress_bar_config(disable=True)
    (row, _) = edits.read(ran[method] / "edits.parquet")
    model = text_diffusion.open_model(base)
    theirs = pipeline(
        ["a red church", "a blue truck"], latents=text_diffusion.noise_of(model, np.arange(2), 0),
        num_inference_steps=3, guidance_scale=3.0, output_type="latent", height=16, width=16,
    ).images  # fmt: skip
    ours, before = drawn_with(edits.open_edit(row), base), drawn_with(model.network, base)
    assert torch.allclose(theirs, ours, atol=1e-4)
    assert (ours - before).abs().max() > 1e-2


@pytest.mark.parametrize("method", ["esd", "uce", "neggrad", "spm", "gated", "advunlearn"])
def test_an_edit_draws_when_it_is_opened_what_was_judged(base, ran, method):
    (row, _) = edits.read(ran[method] / "edits.parquet")
    prompts = pd.read_parquet(ran["files"]["prompts.parquet"])
    model = text_diffusion.open_model(base).with_network(edits.open_edit(row))
    with np.load(ran[method] / "panel.npz") as panel:
        asked = prompts[(prompts["concept"] == "church") & prompts["role"].isin(panel["roles"])]
        seen = panel[f"{method}.church.one.0"].astype(int)
    drawn = drawing(SAMPLING, 0)(model, asked)
    assert len(seen) == len(asked) and np.abs(drawn - seen).max() <= 1


def test_what_is_gated_is_the_same_training_and_acts_less_on_other_prompts(base, ran):
    (merged, _), (gated, _) = (edits.read(ran[method] / "edits.parquet") for method in ("spm", "gated"))
    assert (merged.format, gated.format) == ("lora", "gated")
    one, other = load_file(merged.path), load_file(gated.path)
    assert one.keys() == other.keys() - {"concept"} and all(torch.equal(one[name], other[name]) for name in one)
    network, model = edits.open_edit(gated), text_diffusion.open_model(base)
    ids = model.ids(["a church", "a blue truck in the sea"])
    assert network.gates(ids)[0] == 1 > network.gates(ids)[1] > 0
    noisy, times = text_diffusion.noise_of(model, np.arange(2), 0), torch.tensor([500, 500])
    with torch.no_grad():
        before, whole, found = (each(noisy, times, ids) for each in (model.network, edits.open_edit(merged), network))
    moved, less = ((each - before).flatten(1).norm(dim=1) for each in (whole, found))
    assert torch.allclose(less[0], moved[0], rtol=1e-4) and less[1] < moved[1]
    # Of another base it is refused, and so is a file that does not say what it is gated by.
    save_file(other, gated.path.with_name("other.safetensors"), metadata={"base": "0" * 64})
    save_file(one, gated.path.with_name("none.safetensors"), metadata={"base": sha256(base)})
    for name, message in (("other", "another base"), ("none", "does not say which prompts")):
        path = gated.path.with_name(f"{name}.safetensors")
        with pytest.raises(UserError, match=message):
            edits.open_edit(replace(gated, path=path, sha256=sha256(path)))


def test_measurements_have_each_role_by_concept_and_together(ran):
    table = measurements.read([ran["esd"] / "measurements.parquet"])
    assert set(table["concept"]) == {"church", "emblem", ALL}
    assert set(table[table["metric"] == "erased"]["prompts"]) == set(SHOWING)
    assert set(table[table["metric"] == "kept"]["prompts"]) == set(ROLES)
    assert {"perceptual", "ssim", "frechet", "kernel", "appears"} <= set(table["metric"])
    assert set(table[table["metric"] == "redrawn"]["prompts"]) == {"own"}
    one = table[(table["metric"] == "erased") & (table["prompts"] == "own")].set_index("concept")
    assert one.loc[ALL, "value"] == pytest.approx(one.loc[["church", "emblem"], "value"].mean())
    assert one.loc[ALL, "n"] == one.loc[["church", "emblem"], "n"].sum()


def test_what_an_edit_costs_is_measured_as_its_log_has_it(ran):
    for method in ("esd", "uce"):
        table, log = (ran[method] / name for name in ("measurements.parquet", "log.parquet"))
        found = measurements.read([table]).set_index(["metric", "concept"])["value"]
        steps = pd.read_parquet(log)
        for metric in ("forwards", "backwards"):
            counted = steps[steps["concept"] == "church"][metric].sum() if method == "esd" else 0
            assert found[metric, "church"] == counted
    # Two steps of two pictures.
    assert measurements.read([ran["esd"] / "measurements.parquet"]).query("metric == 'backwards'")["value"].eq(4).all()


def test_what_is_attacked_is_measured_by_attack(ran):
    table = measurements.read([ran["esd"] / "measurements.parquet"])
    found = table[(table["metric"] == "recovered") & (table["concept"] == ALL)].set_index("prompts")
    assert set(found.index) == ATTACKED and found.loc["noised", "n"] == 2 * ATTACKS["pictures"]
    erased = table[(table["metric"] == "erased") & (table["concept"] == ALL)].set_index("prompts")["value"]
    for role in SHOWING:
        assert found.loc[role, "value"] == pytest.approx(1 - erased[role])
    networks = measurements.read([ran["networks"] / "measurements.parquet"])
    assert set(networks[networks["metric"] == "recovered"]["concept"]) == {"church", ALL}


def test_the_table_and_the_figure_of_attacks_show_those_that_were_made(ran, tmp_path):
    paths = [ran[name] / "measurements.parquet" for name in ("esd", "networks")]
    params = {"models": ["tiny"], "methods": ["esd"], "oracles": {"tiny": []}, "attacks": ATTACKS}
    params["studies"] = {"comparison": {"concepts": list(CONCEPTS), "seeds": [0]}}
    table = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    table["variant"] = table["variant"].str.replace("tuning", "comparison")
    fewer = table[~table["variant"].str.contains("searched|template")]
    for rows, absent in ((table, set()), (fewer, {"Search", "Order"})):
        path = tmp_path / "measurements.parquet"
        rows.to_parquet(path)
        lookup = Lookup([path], "erasure")
        made = table_of_attacks.build(lookup, params)
        shown = set(made.formats)
        assert shown == {"Name", "Synonym", "Order", *table_of_attacks.ATTACKS} - absent
        assert all(
            (f"{title}: " in made.caption) == (title in shown) for title in ("Name", "Order", "Search", "Noised")
        )
        figure = figure_of_attacks.draw(lookup, [], params)
        titles = [axes.get_title() for axes in figure.axes]
        assert len(titles) == len(shown) and ("searched word" in titles) == ("Search" in shown)


def test_only_the_roles_that_are_asked_for_are_judged(ran):
    table = measurements.read([ran["uce"] / "measurements.parquet"])
    # What a run cost, and whether it ended early, is of no prompts.
    judged = set(table[~table["metric"].isin(["unfinished", "forwards", "backwards"])]["prompts"])
    assert judged == {"own", "rest"} and "recovered" not in set(table["metric"])


def test_the_base_is_judged_by_what_the_reference_holds_which_it_draws_again(base, ran):
    table = measurements.read([ran["networks"] / "measurements.parquet"])
    same = table[(table["method"] == "pretrained") & (table["metric"] == "perceptual")]
    other = table[(table["method"] == "random") & (table["metric"] == "perceptual")]
    assert len(same) and (same["value"] < 1e-9).all() and (other["value"] > 0).all()
    files = ran["files"]
    prompts, model = pd.read_parquet(files["prompts.parquet"]), text_diffusion.open_model(base)
    with np.load(files["pictures.npz"]) as held:
        for name, rows in prompts.groupby("concept"):
            np.testing.assert_array_equal(drawing(SAMPLING, 0)(model, rows), held[name])
    with np.load(ran["networks"] / "panel.npz") as panel:
        assert set(panel["roles"]) == set(ROLES)


def test_what_settings_are_chosen_on_alone_is_read_of_the_base_alone(ran):
    """The emblem is no pooled concept here."""
    table = measurements.read([ran["networks"] / "measurements.parquet"])
    assert set(table[table["concept"] == "emblem"]["method"]) == {"pretrained"}
    assert set(table[table["concept"] == "church"]["method"]) == {"pretrained", "random"}


def test_a_run_whose_numbers_end_is_kept_and_loses_no_other(base, ran, capsys):
    wild = {"church": {"training": {"learning_rate": 1e30, "clip": 1e30}}}
    folder = ran["edit"](
        "broken", "cross_attention", {"steps": 3, "learning_rate": 0.01, "batch": 2},
        {"sampling_steps": 2, "paths": 2}, wild, module="esd",
    )  # fmt: skip
    church, emblem = edits.read(folder / "edits.parquet")
    assert "not finite at step 1" in church.failure and emblem.failure == ""
    assert "church.one.0" in capsys.readouterr().out
    # The log has the steps before, and the file the last finite weights; the other concept is as without the first.
    steps = pd.read_parquet(folder / "log.parquet").groupby("concept")["step"].max()
    assert steps.to_dict() == {"church": 0, "emblem": 2}
    before = text_diffusion.open_model(base).network.state_dict()
    for row in (church, emblem):
        after = edits.open_edit(row).state_dict()
        assert all(tensor.isfinite().all() for tensor in after.values())
        assert any(not torch.equal(tensor, before[name]) for name, tensor in after.items())
    table = measurements.read([folder / "measurements.parquet"])
    ended = table[table["metric"] == "unfinished"].set_index("concept")["value"]
    assert ended.to_dict() == {"church": 1, "emblem": 0}
    assert set(table[table["metric"] == "erased"]["concept"]) == {"church", "emblem", ALL}


def test_a_solution_that_there_is_not_loses_no_other(base, ran):
    # So great a weight leaves no room for a finite sum.
    wild = {"church": {"settings": {"erase": 1.7e308}}}
    folder = ran["edit"]("unsolved", "cross_attention_kv", {}, changes=wild, module="uce", roles=["own"])
    church, emblem = edits.read(folder / "edits.parquet")
    assert "the solution is not finite" in church.failure and emblem.failure == ""
    assert set(pd.read_parquet(folder / "log.parquet")["concept"]) == {"emblem"}
    before = text_diffusion.open_model(base).network.state_dict()
    same = [
        all(torch.equal(tensor, before[name]) for name, tensor in edits.open_edit(row).state_dict().items())
        for row in (church, emblem)
    ]
    assert same == [True, False]


@pytest.mark.parametrize(
    ("wrong", "changes", "message"),
    [
        ("setting", {"settings": {"paths": 0}}, "settings of the method esd: paths is 0"),
        ("name", {"settings": {"etta": 1}}, "settings of the method esd: no option etta"),
        ("training", {"training": {"steps": 1.5}}, "training of the method esd: steps is 1.5"),
        ("selection", {"selection": "attention"}, "selection is 'attention'. Give"),
    ],
)
def test_what_is_wrong_with_the_last_run_is_said_before_the_first(ran, monkeypatch, wrong, changes, message):
    begun = []
    monkeypatch.setattr("palimpsest.unlearning.runs.edit", lambda *given, **more: begun.append(given))
    training = {"steps": 1, "learning_rate": 0.01, "batch": 2}
    with pytest.raises(UserError, match=rf"emblem\.one\.0: {message}"):
        ran["edit"](f"wrong_{wrong}", "cross_attention", training, {}, {"emblem": changes}, module="esd")
    assert begun == []


def test_a_concept_without_prompts_is_named_before_any_work(ran, tmp_path):
    table = pd.read_parquet(ran["files"]["learned.parquet"])
    for rows, missing in (
        (table["concept"] != "emblem", "concept, anchor, others"),
        (table["role"] != "anchor", "anchor"),
    ):
        table[rows].to_parquet(tmp_path / "learned.parquet")
        with pytest.raises(UserError, match=rf"concept \w+: .*learned.parquet has no prompts of its {missing}"):
            ran["edit"](
                f"none_{missing[:3]}", "cross_attention", {}, learned=tmp_path / "learned.parquet", module="esd"
            )


@pytest.fixture
def selected(tmp_path) -> Callable:
    """The choice among settings from (erased, kept[, words kept]) of each, of so many prompts."""

    def choose(rates: dict[str, tuple], shown: float = 0.9, count: int = 400) -> dict:
        every = []
        for setting, (erased, kept, *words) in rates.items():
            labels = {"concept": ALL, "setting": setting, "n": count}
            every.append(measurements.row("erased", erased, prompts="own", **labels))
            kinds = {"own": (words or [kept])[0], "neighbour": kept, "rest": kept}
            every += [measurements.row("kept", rate, prompts=role, **labels) for role, rate in kinds.items()]
        every += [{**line, "concept": "truck"} for line in every]
        base = [measurements.row("kept", shown, prompts=role, concept="truck", n=count) for role in ROLES]
        for name, rows, study, method in (("m", every, "tuning", "esd"), ("b", base, "networks", "pretrained")):
            measurements.write(
                tmp_path / f"{name}.parquet", rows, family="erasure", model="tiny", study=study, method=method
            )
        files = [tmp_path / name for name in ("m.parquet", "b.parquet", "s.json", "c.parquet")]
        grid = {"settings": [{"name": name} for name in rates]}
        found = select_setting.select(*files, family="erasure", method="esd", model="tiny", grid=grid)
        assert json.loads(files[2].read_text(encoding="utf-8"))["name"] == found["setting"]
        return found | {"chosen": measurements.read([files[3]]).set_index("metric")["value"]}

    return choose


def test_the_selection_takes_the_setting_whose_worse_rate_is_best(selected):
    rates = {"weak": (0.2, 0.9), "good": (0.8, 0.81), "strong": (1.0, 0.3), "blind": (1.0, 0.9, 0.2)}
    found = selected(rates)
    assert found["setting"] == "good"
    assert found["chosen"]["tuning_kept"] == pytest.approx(0.9)
    assert found["chosen"]["selected_again"] > 0.99
    # Of a model that shows nothing, as with random weights, nothing can be lost: what is erased decides.
    assert selected(rates, shown=0.0)["rates"]["strong"] == [1.0, 1.0, 1.0]


def test_the_selection_takes_the_first_where_prompts_do_not_tell_settings_apart(selected):
    first, other = (0.90, 0.81), (0.92, 0.81)
    # The kept rate decides, which is .9 of both; of few prompts .84 and .90 erased are one standard error apart or so.
    assert selected({"gentle": first, "strong": other})["setting"] == "gentle"
    assert selected({"strong": other, "gentle": first})["setting"] == "strong"
    few, many = (selected({"gentle": (0.84, 0.9), "strong": (0.9, 0.9)}, count=count) for count in (24, 2400))
    assert (few["setting"], many["setting"]) == ("gentle", "strong")
    assert many["again"] > 0.99 > few["again"] > 0.5
    # Where all were erased nothing is certain yet: one prompt of 24 is less than a standard error.
    assert selected({"gentle": (23 / 24, 0.9), "strong": (1.0, 0.9)}, count=24)["setting"] == "gentle"
