"""A model of classes in the family of next-scale models: what is asked of it, and every step on an untrained one."""

import numpy as np
import pandas as pd
import pytest
import torch

from palimpsest.judges import judge_networks, reference
from palimpsest.judges.nudenet import bundled_path
from palimpsest.metrics import measurements
from palimpsest.models import edits, var
from palimpsest.models.list_networks import list_networks
from palimpsest.models.words import check_words, named_tokens
from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import part_of
from palimpsest.run import UserError
from palimpsest.var import erase, exchange, feeding, likelihoods, pairs
from palimpsest.worlds import named
from palimpsest.worlds.concepts import ROLES
from palimpsest.worlds.named import Named, concept_of
from test_published_erasure import checked, classifier
from test_var import CODES, model_of

CHURCH = {"kind": "class", "value": "class 1", "label": 1, "anchor": "class 2"}
CONCEPTS = {"church": {**CHURCH, "neighbours": [{"value": "class 3", "label": 3}, {"value": "class 4", "label": 4}]}}
CLASSES = ("tench", "church", "mosque", "golf ball", "horn", "saw", "pump", "kite")
SAMPLING = {"guidance": [1.0, 1.5, 2.0, 2.5], "temperature": 1.0, "top_p": 0.95, "top_k": 6}


@pytest.fixture(autouse=True)
def few_classes(monkeypatch):
    monkeypatch.setattr(named, "CLASSES", len(CLASSES))


def test_prompts_of_a_class_are_classes_and_the_rest_are_all_others():
    concept = concept_of("church", CONCEPTS["church"])
    rows = named.judging_prompts(concept, dict.fromkeys(ROLES, 3))
    asked = {role: list(zip(part["prompt"], part["asked"], strict=True)) for role, part in rows.groupby("role")}
    assert asked["own"] == [("class 1", "")] * 3 and asked["unnamed"] == [("class 2", "")] * 3
    assert asked["neighbour"] == [("class 3", "3"), ("class 4", "4"), ("class 3", "3")]
    assert {prompt for prompt, _ in asked["rest"]} <= {"class 0", "class 5", "class 6", "class 7"}
    assert all(prompt == f"class {label}" for prompt, label in asked["rest"])
    assert "template" not in asked and "synonym" not in asked
    with pytest.raises(UserError, match=r"concept church: prompts\.rest asks for 5 .* the other classes have 4"):
        named.judging_prompts(concept, dict.fromkeys(ROLES, 5))
    learned = named.learned_prompts(concept, {"concept": 2, "others": 3})
    pair = [list(learned[role]["prompt"]) for role in ("concept", "anchor")]
    assert pair == [["class 1"] * 2, ["class 2"] * 2]
    # Edits learn from the first of the rest, and are judged by its last.
    assert not set(learned["others"]["prompt"][:1]) & {prompt for prompt, _ in asked["rest"]}


def test_a_class_has_no_words():
    model, concept = model_of(CODES, len(CLASSES)), Named("church", **CHURCH)
    assert check_words(model, concept) == []
    assert named_tokens(model, ["class 1"] * 2, [["class 1"]] * 2).shape == (2, 0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict:
    """Every step from pairs to measurements, with three kinds of methods."""
    out = tmp_path_factory.mktemp("classes")
    network = out / "transformer/model.safetensors"
    network.parent.mkdir()
    var.save(network, model_of(CODES, len(CLASSES)))
    judges = checked(classifier(out / "resnet", CLASSES)), bundled_path()
    learned, judged = (out / "rollouts.npz", out / "pairs.parquet"), (out / "prompts.parquet", out / "pictures.npz")
    given, attacks = {"model": "tiny", "concepts": CONCEPTS}, {"pictures": 2, "scales": [2]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(named, "CLASSES", len(CLASSES))
        counts = {"concept": 3, "rollouts": 1, "others": 3, "filtered": False}
        pairs.pairs(network, *judges, *learned, out / "pairs", counts=counts, sampling=SAMPLING, **given)
        counts = dict.fromkeys(ROLES, 2)
        reference.reference(network, *judged, concepts=CONCEPTS, counts=counts, sampling=SAMPLING)
    list_networks(network, out / "random", out / "networks.parquet", family="var", model="tiny")
    judge_networks.judge(
        network, out / "networks.parquet", *judged, *judges, *learned, out / "networks", out / "networks.npz",
        family="var", study="networks", pooled=["church"], sampling=SAMPLING, attacks=attacks, **given,
    )  # fmt: skip
    trained = {"steps": 2, "batch": 2, "learning_rate": 0.01}
    for method, training in {"s_vare": trained, "negative_prompt": {}, "steering": {}}.items():
        run = {"concept": "church", "setting": "one", "seed": 0, "selection": "modulation_and_feed"}
        run |= {"training": training, "settings": {}}
        made = [out / f"{method}.{name}" for name in ("weights", "log", "edits.parquet", "measured", "panel.npz")]
        erase.erase(
            network, *learned, *judged, *judges, *made, study="comparison", method=method, module=method,
            plan={"runs": [run]}, sampling=SAMPLING, attacks=attacks, **given,
        )  # fmt: skip
    feeding.feeding(network, *learned, out / "feeding", out / "feeding.npz", **given)
    exchange.exchange(network, *learned, *judges, out / "exchange", count=2, tops=[0.5], sampling=SAMPLING, **given)
    likelihoods.likelihoods(
        network, *learned, out / "networks.parquet", [out / "s_vare.edits.parquet"], *judges, out / "likely.parquet",
        out / "likelihood", count=2, sampling=SAMPLING, **given,
    )  # fmt: skip
    return {"folder": out, "network": network, "learned": learned, "judged": judged, "judges": judges}


@pytest.mark.parametrize("method", ["s_vare", "negative_prompt", "steering"])
def test_a_model_of_classes_is_edited_and_judged_by_a_classifier(ran, method):
    table = measurements.read([ran["folder"] / f"{method}.measured"])
    found = set(zip(table["metric"], table["prompts"], strict=True))
    assert {("erased", "own"), ("appears", "unnamed"), ("kept", "neighbour"), ("kept", "rest")} <= found
    assert not {("erased", "template"), ("erased", "synonym"), ("clip", "rest")} & found
    # There is no word to search for or to learn: a picture is begun.
    assert {each for metric, each in found if metric == "recovered"} == {"own", "prefix"}
    (row,) = edits.read(ran["folder"] / f"{method}.edits.parquet")
    base = var.open_model(ran["network"])
    edited = base.with_network(edits.open_edit(row))
    one, two = (
        var.sample(model, model.ids(["class 1", "class 5"]), var.noise_of(model, np.arange(2), 0), **SAMPLING)
        for model in (base, edited)
    )
    assert not torch.equal(one, two)


def test_pictures_of_classes_are_likely_or_not_with_their_own_with_another_and_with_none(ran):
    table = pd.read_parquet(ran["folder"] / "likely.parquet")
    assert set(table["caption"]) == {"own", "neutral", "empty"} and set(table["set"]) == {"concept", "others"}
    base = table[(table["method"] == "pretrained") & (table["set"] == "concept")]
    assert base.groupby("caption")["loss"].mean().nunique() == 3
    fed = measurements.read([ran["folder"] / "feeding"])
    assert {"safe_safe", "concept_safe", "concept_own", "concept_blank"} == set(fed["fed"]) - {""}
    exchanged = measurements.read([ran["folder"] / "exchange"])
    assert set(exchanged["kind"]) >= {"put", "taken", "put_null", "taken_null"}
    # A token that is one code is not asked twice; all concepts together have what each has.
    rules = exchanged[exchanged["kind"] == "replaced"]
    assert set(rules["part"]) == {"tokens_0.5", "placed_tokens_0.5"}
    assert set(map(tuple, rules[["concept", "metric"]].values)) >= {("all", "shows"), ("all", "changed")}
    params = {"models": ["tiny"], "studies": {"comparison": {"concepts": list(CONCEPTS)}}}
    figure = part_of("var", "figures", "exchange").draw(Lookup([ran["folder"] / "exchange"], "var"), [], params)
    titles = [axis.get_ylabel() for axis in figure.axes[:: len(CONCEPTS)]]
    assert len(titles) == 3
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == ["50 % of\nthe whole tokens"]


def test_what_needs_words_or_attention_to_them_is_refused(ran, tmp_path):
    made = [tmp_path / name for name in ("weights", "log", "edits.parquet", "measured", "panel.npz")]
    run = {"concept": "church", "setting": "one", "seed": 0, "training": {}, "settings": {}}
    with pytest.raises(UserError, match="cross_attention"):
        erase.erase(
            ran["network"], *ran["learned"], *ran["judged"], *ran["judges"], *made, model="tiny", study="comparison",
            method="uce", module="uce", plan={"runs": [{**run, "selection": "cross_attention"}]}, sampling=SAMPLING,
            concepts=CONCEPTS,
        )  # fmt: skip
