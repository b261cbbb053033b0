"""The audit of published models: captioned photographs, captions without the concept, and censored panels."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import ROOT, configuration
from palimpsest.judges import reference
from palimpsest.judges.nudenet import bundled_path
from palimpsest.memory import audit, decode, sets
from palimpsest.memory.solver_study import Case, cases_of
from palimpsest.metrics import measurements
from palimpsest.metrics.censor import publishable
from palimpsest.models import autoencoder, text_diffusion
from palimpsest.models.list_networks import list_networks
from palimpsest.plan.configuration import merged, without_nulls
from palimpsest.plan.memory import NETWORKS, OTHERS, Memory
from palimpsest.run import UserError
from palimpsest.worlds.concepts import ROLES
from palimpsest.worlds.named import concept_of
from palimpsest.worlds.prompt_files import captions_of_pictures
from test_published_erasure import world  # noqa: F401

SIDE = 16
LONG = " and then some more of it" * 20  # more than a text encoder takes
CAPTIONS = {
    "a.jpg": "A dog, asleep",
    "b.jpg": "the church of a village",
    "c.jpg": f"a kite{LONG}",
    "e.jpg": f"a boat{LONG}",
}


@pytest.fixture(scope="module")
def collected(world):  # noqa: F811
    """The step `sets` over what the base draws, and over photographs of noise."""
    out = world.folder / "memory"
    out.mkdir()
    given = {"concepts": world.concepts, "sampling": {"steps": 1, "guidance": 7.5}}
    reference.reference(
        world.model, out / "prompts.parquet", out / "drawn.npz", counts=dict.fromkeys(ROLES, 2), **given
    )
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    photographs = np.random.default_rng(0).integers(256, size=(len(names), SIDE, SIDE, 3), dtype=np.uint8)
    np.save(out / "real.npy", photographs)
    pd.DataFrame({"path": names, "caption": ""}).to_parquet(out / "real.parquet")
    lines = ["file,caption", *(f'{name},"{text}"' for name, text in CAPTIONS.items())]
    (out / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    readers = {"judges": list(world.judges.values()), "judge_roles": list(world.judges)}
    step = SimpleNamespace(out=out, world=world, readers=readers)
    step.collect = lambda **changes: sets.sets(
        out / "prompts.parquet",
        out / "drawn.npz",
        changes.pop("real", out / "real.npy"),
        out / "real.parquet",
        world.classes,
        bundled_path(),
        out / "pictures.npy",
        out / "manifest.parquet",
        **{"concepts": world.concepts, "count": 2, "altered": 2, "as_read": False, **readers}
        | {"captions": out / "captions.csv", **changes},
    )
    step.collect()
    return step


def test_a_published_concept_is_collected_with_its_captions(collected):
    rows, pictures = pd.read_parquet(collected.out / "manifest.parquet"), np.load(collected.out / "pictures.npy")
    photographs = np.load(collected.out / "real.npy")
    assert len(rows) == len(pictures)
    for name in collected.world.concepts:
        own = rows[rows["concept"] == name]
        assert set(own["set"]) == {"concept", "neutral", "real", *sets.ALTERED}
        assert own["explicit"].eq(name == "hidden").all()
        assert not own.loc[~own["set"].isin(["neutral", "real"]), "own"].eq(own["neutral"]).any()
    texts = rows[rows["set"] == "concept"].groupby("concept")[["own", "neutral"]].first()
    assert texts.loc["church"].to_list() == ["an image of a church", "an image of something"]
    assert texts.loc["vangogh"].to_list() == ["a painting by Van Gogh", "a painting by an artist"]
    assert texts.loc["hidden"].to_list() == ["an emblem, on a coat", "a person wearing clothes, on a coat"]
    # Photographs have the captions of their files; one that names the concept, or has no caption, is none without it.
    church = rows[(rows["concept"] == "church") & (rows["set"] == "real")]
    for index, text in church["own"].items():
        name = next(key for key, caption in CAPTIONS.items() if caption == text)
        assert name != "b.jpg" and (pictures[index] == photographs["abcde".index(name[0])]).all()


def test_what_names_the_concept_is_found_whatever_its_article_and_case(world):  # noqa: F811
    church = concept_of("church", {**world.concepts["church"], "synonyms": ["a chapel"]})
    assert [church.names(text) for text in ("The Church at night", "chapels", "a chapel", "churchyard")] == [
        *(True, False, True, False)
    ]
    assert church.without(["The Church and a chapel", "a kite"]) == [
        "something and something",
        "an image of something",
    ]


def test_photographs_that_do_not_fit_are_named(collected, tmp_path):
    with pytest.raises(UserError, match=r"are photographs: name the file of their captions, memory\.captions"):
        collected.collect(captions=None)
    (tmp_path / "other.csv").write_text("file,caption\nz.jpg,a kite\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no caption of any picture of memory\.real, whose first is a\.jpg.* z\.jpg"):
        collected.collect(captions=tmp_path / "other.csv")
    np.save(tmp_path / "large.npy", np.zeros((5, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match="the real pictures have 32 pixels, those that the model draws 16"):
        collected.collect(real=tmp_path / "large.npy")


def test_captions_of_pictures_are_read_as_coco_has_them(tmp_path):
    annotations = [(7, 2, "second"), (7, 1, " a  kite "), (8, 3, "a cup")]
    content = {
        "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}],
        "annotations": [{"image_id": image, "id": number, "caption": text} for image, number, text in annotations],
    }
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert captions_of_pictures(path, "x") == {"7.jpg": "a kite", "8.jpg": "a cup"}
    path.write_text(json.dumps({**content, "images": content["images"][:1]}), encoding="utf-8")
    with pytest.raises(UserError, match="does not name the file of every picture"):
        captions_of_pictures(path, "x")
    (tmp_path / "bare.csv").write_text("caption\na kite\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no column file or file_name or path; it has caption\. Rename the column of"):
        captions_of_pictures(tmp_path / "bare.csv", "x")


def test_a_published_model_is_audited_and_nothing_explicit_is_shown(collected, capsys):
    out, world = collected.out, collected.world  # noqa: F811
    decode.decode(
        world.model,
        out / "pictures.npy",
        out / "manifest.parquet",
        *(out / name for name in ("latents.npy", "rows.parquet", "encoded.npy", "plain.npy", "decoded.parquet")),
        model="sd",
        **{"queries": 1, "supports": 2, "steps": 1, "learning_rate": 0.1, "patience": 0, "gain": 0.1},
    )
    list_networks(world.model, out / "random", out / "edits.parquet", family="erasure", model="sd")
    cases = {"own": ["concept", "neutral", "real"], "neutral": ["concept"], "guided": ["concept"]}
    said = audit.audit(
        world.model,
        out / "edits.parquet",
        *(out / name for name in ("pictures.npy", "manifest.parquet", "latents.npy", "rows.parquet")),
        *(out / name for name in ("encoded.npy", "plain.npy")),
        world.classes,
        bundled_path(),
        *(out / name for name in ("pictures.parquet", "seeds.npz", "panel.npz", "measurements.parquet")),
        model="sd",
        concepts=world.concepts,
        cases=dict.fromkeys(("pretrained", "random", "zero"), cases),
        inversion={"solver": "anderson", "steps": 1, "iterations": 2, "tolerance": 10.0, "precision": "bfloat16"},
        sampling={"steps": 1, "guidance": 7.5},
        **collected.readers,
    )
    table = measurements.read([out / "measurements.parquet"])
    assert {"church", "vangogh", "hidden", "all"} == set(table["concept"])
    # Whether the judges find the concept is asked of each by its own judge.
    assert set(measurements.select(table, metric="detected", set="real", method="random")["concept"]) == set(
        table["concept"]
    )
    rows, pictures = pd.read_parquet(out / "manifest.parquet"), np.load(out / "pictures.npy")
    # Captions of photographs that the text encoder does not see to their end are counted, and said.
    assert len(text_diffusion.open_model(world.model).cut([CAPTIONS["c.jpg"], CAPTIONS["a.jpg"]])) == 1
    own = rows[rows["own"].str.contains(LONG, regex=False)].groupby("concept")["own"].nunique()
    assert said["cut_captions"] == dict.fromkeys(world.concepts, 0) | own.to_dict() and own["church"] > 0
    assert f"concept church: {own['church']} of " in capsys.readouterr().out
    with np.load(out / "panel.npz") as panel:
        methods = ("pretrained", "random")
        asked = {f"{method}.{name}..0" for method in methods for name in world.concepts}
        staged = {f"stages.concept.{method}.{name}..0" for method in (*methods, "zero") for name in world.concepts}
        assert set(panel.files) == asked | staged
        for key in panel.files:
            name = key.split(".")[-3]
            places = rows.index[(rows["concept"] == name) & (rows["set"] == "concept")]
            shown, drawn = panel[key], pictures[places]
            sharp = any((shown[0] == each).all() for each in drawn)
            assert sharp == (name != "hidden")
            if name == "hidden":
                assert any((shown[0] == each).all() for each in publishable(drawn, explicit=True))
                # What is censored keeps next to nothing of a picture's detail.
                assert np.abs(np.diff(shown.astype(int), axis=2)).max() < 128


def test_large_pictures_go_through_the_autoencoder_few_at_a_time():
    assert [autoencoder.at_once(side) for side in (64, 128, 256, 512, 4096)] == [64, 64, 32, 8, 1]
    assert autoencoder.at_once(64, gradient=True) == 64 and autoencoder.at_once(512, gradient=True) == 2


@pytest.fixture
def full(tmp_path):
    """The full experiment of somebody who has captions, of texts and of photographs."""
    config, path = configuration("full"), tmp_path / "captions.csv"
    path.write_text("file,caption\na.jpg,a kite\n", encoding="utf-8")
    config["erasure"]["captions"] = config["memory"]["captions"] = str(path)
    return config


def test_the_full_audit_asks_for_captions_before_it_starts(full):
    Memory(full).check()
    full["memory"]["cases"]["networks"]["own"].append("real_concept")
    with pytest.raises(UserError, match="asks for the set real_concept, and nobody says which photographs show"):
        Memory(full).check()
    full["memory"]["cases"]["networks"]["own"].remove("real_concept")
    full["memory"]["captions"] = "none.json"
    with pytest.raises(UserError, match=r"read from none\.json, and there is no such file"):
        Memory(full).check()
    del full["memory"]["captions"]
    with pytest.raises(UserError, match=r"memory\.captions: the concept vangogh is compared with photographs of coco"):
        Memory(full).check()


def test_edits_are_audited_in_bfloat16_and_what_they_are_compared_with_is_not(full):
    plan = Memory(full)
    found = {
        name: json.loads(plan.inversion_of(SimpleNamespace(audited=name))) for name in (NETWORKS, plan.methods()[0])
    }
    assert "precision" not in found[NETWORKS] and found[plan.methods()[0]]["precision"] == "bfloat16"
    assert found[plan.methods()[0]]["tolerance"] > found[NETWORKS]["tolerance"]
    assert all("edits" not in each for each in found.values())
    assert json.loads(plan.concepts())["church"]["captions"] == full["erasure"]["captions"]
    # As docs/published_data.md says, a null has them in float32 too.
    told = "memory: {inversion: {edits: null}}"
    assert f"`{told}`" in (ROOT / "docs/published_data.md").read_text(encoding="utf-8")
    whole = merged([("full", full), ("told", yaml.safe_load(told))])
    without_nulls(whole)
    assert Memory(whole).inversion_of(SimpleNamespace(audited=plan.methods()[0])) == plan.inversion_of(
        SimpleNamespace(audited=NETWORKS)
    )


def test_renoise_is_run_at_the_steps_of_its_source_beside_a_solver_that_converges_at_as_many(full):
    solvers = full["memory"]["solvers"]
    cases = cases_of(solvers["solvers"], solvers["reference"], solvers["guidances"])
    assert {case.steps for case in cases if case.solver == "renoise"} == {20, 50}
    reference = Case(**solvers["reference"])
    assert {reference, reference._replace(steps=50)} <= set(cases)


def test_an_audit_is_told_of_which_concepts_there_is_an_oracle(full):
    known, none = SimpleNamespace(model="tiny_sd"), SimpleNamespace(model=full["memory"]["models"][0])
    assert (
        Memory(configuration()).oracles_of(known) == "--oracles church emblem" and Memory(full).oracles_of(none) == ""
    )


def test_what_others_edited_is_audited_as_our_edits_and_compared_with_none_of_them(full, tmp_path):
    plan, (model,) = Memory(full), full["memory"]["models"]
    assert plan.audited(model) == [*plan.methods(), NETWORKS] and OTHERS in plan.wildcards["audited"].split("|")
    row = {"model": model, "method": "advunlearn", "concept": "church", "format": "published_text_encoder"}
    full["erasure"]["others"] = {"theirs": {**row, "path": str(tmp_path / "captions.csv")}}
    plan.check()
    assert plan.audited(model) == [*plan.methods(), NETWORKS, OTHERS] and plan.lists()["others"][model]["theirs"]
    assert f"<results>/memory/{model}/audit/{OTHERS}/measurements.parquet" in plan.groups()["audit"]
    theirs, ours, networks = (SimpleNamespace(model=model, audited=name) for name in (OTHERS, "advunlearn", NETWORKS))
    # They are listed with the networks, and inverted as our edits are: the same sets in the same way.
    assert plan.edits_of(theirs) == plan.edits_of(networks) != plan.edits_of(ours)
    assert plan.cases_of(theirs) == plan.cases_of(ours) and "advunlearn" not in json.loads(plan.cases_of(networks))
    assert plan.inversion_of(theirs) == plan.inversion_of(ours) != plan.inversion_of(networks)
    # What erasure measured of them is no measurement of ours by the same method.
    assert all(f"/{model}/{plan.study()}/" in path for path in plan.measured_by_erasure(networks))
    full["erasure"]["others"]["theirs"]["concept"] = full["erasure"]["studies"]["tuning"]["concepts"][0]
    with pytest.raises(UserError, match=r"erasure\.others\.theirs forgot .*Add it to erasure\.studies\.comparison"):
        plan.check()
