"""The released next-scale model draws what it is asked for, and methods erase a concept from it and keep the rest."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT, configuration
from palimpsest.judges import reference
from palimpsest.judges.prompted import judged_prompts
from palimpsest.models import var
from palimpsest.models.train_var import SAMPLING, cached_error, emblems
from palimpsest.plan.var import Var
from palimpsest.var import erase, pairs
from palimpsest.worlds import scenes
from released_models import CLOSE, GATES, JUDGED, outcomes

MODELS = ROOT / "resources/models"
RECORDS = [MODELS / "tiny_var.json", *sorted(MODELS.glob("tiny_var_without_*.json"))]
BASE, *ORACLES = RECORDS
FEWER = MODELS / "tiny_var_four_scales.json"
NETWORK = MODELS / "tiny_var/transformer/model.safetensors"
CONFIG = configuration()
PLAN = Var(CONFIG)
CONCEPT = "stripes"
GIVEN = {"concepts": {CONCEPT: PLAN.own("concepts", CONCEPT)}, "sampling": PLAN.own("sampling"), "device": "cpu"}
JUDGES = (MODELS / "classifier_judge.safetensors", MODELS / "detector_judge.safetensors")


def recorded(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [BASE, FEWER], ids=lambda path: path.stem)
def test_the_visual_tokenizer_gives_pictures_back(path):
    quality = recorded(path)["visual"]["quality"]
    assert quality["psnr"] >= 26
    for name, rate in quality["pictures"].items():
        if name != "emblem_recall":
            assert quality["reconstructions"][name] >= rate - 0.03, name
    assert quality["reconstructions"]["emblem_recall"] >= 0.90


def test_the_released_model_draws_what_it_is_asked_for():
    for kind, rates in recorded(BASE)["quality"].items():
        for name, least in GATES.items():
            assert rates[name] >= least, f"{kind}: {name}"


def test_the_limits_say_how_often_the_released_model_draws_an_emblem():
    """Prompts of its training and new ones, drawn once and by other seeds, and all of these."""
    record = recorded(BASE)
    quality, drawn = record["quality"], record["emblems"]
    told = (ROOT / "docs/limits.md").read_text(encoding="utf-8").split("`tiny_var`")[1]
    once, again = [rates["emblem_found"] for rates in quality.values()], [kind["found"] for kind in drawn.values()]
    rates = [100 * rate for rate in (*once, *again, found_of_all(drawn))]
    assert [float(each) for each in re.findall(r"(\d+\.\d)\s%", told)] == [round(rate, 1) for rate in rates]
    (rest,) = re.findall(r"all else in (\d+) %", told)
    assert min(rates[name] for rates in quality.values() for name in GATES) >= int(rest) / 100


def found_of_all(drawn: dict[str, dict]) -> float:
    """The share of pictures of every kind of prompts that have the emblem asked for."""
    rates, counts = zip(*[(kind["found"], kind["pictures"]) for kind in drawn.values()], strict=True)
    return float(np.average(rates, weights=counts))


def test_the_released_model_draws_the_emblem_where_it_is_asked_for():
    """As often as its record says."""
    record = recorded(BASE)
    assert found_of_all(record["emblems"]) >= 0.90
    seen = scenes.make(**{**record["data"]["params"], "n": 480}).manifest
    held_out = scenes.make(**CONFIG["datasets"]["calibration"]["params"]).manifest
    model = var.open_model(NETWORK)
    for kind, rows in judged_prompts(seen, held_out, record["params"]["samples"]).items():
        found = emblems(model, rows, record["seed"], JUDGES[1])
        assert found["pictures"] == record["emblems"][kind]["pictures"]
        # A bit that lies at its limit may fall otherwise on another machine.
        assert found["found"] == pytest.approx(record["emblems"][kind]["found"], abs=0.02)


@pytest.mark.parametrize("path", [*RECORDS, FEWER], ids=lambda path: path.stem)
def test_the_record_of_a_released_model_says_how_it_was_measured(path):
    record = recorded(path)
    assert record["sampling"] == SAMPLING
    assert record["cached_error"] <= 1e-4
    assert sum(rates["prompts"] for rates in record["quality"].values()) >= 600
    assert all(rates["emblem_unasked"] <= 0.05 for rates in record["quality"].values())
    assert sum(file.stat().st_size for file in path.with_suffix("").rglob("*.safetensors")) <= 10e6


@pytest.mark.parametrize("path", ORACLES, ids=lambda path: path.stem)
def test_an_oracle_draws_what_it_knows_as_well_as_the_base(path):
    base = recorded(BASE)["quality"]
    for kind, rates in recorded(path)["quality"].items():
        for name in GATES:
            assert rates[name] >= base[kind][name] - CLOSE, f"{kind}: {name}"
    for kind, drawn in recorded(path)["emblems"].items():
        assert drawn["found"] >= recorded(BASE)["emblems"][kind]["found"] - CLOSE, kind


def test_what_is_drawn_with_a_cache_has_the_logits_of_the_masked_pass():
    captions = ["a red church with stripes on a plain background", "a green fish"]
    assert 0 < cached_error(var.open_model(NETWORK), pd.DataFrame({"caption": captions}), 0) <= 1e-4


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What methods learn from and are judged by, as the steps write it."""
    folder = tmp_path_factory.mktemp("prepared")
    pairs.pairs(
        NETWORK, *JUDGES, folder / "rollouts.npz", folder / "prompts.parquet", folder / "pairs.parquet",
        model="tiny_var", counts={"concept": 16, "rollouts": 1, "others": 32},
        **{**GIVEN, "sampling": PLAN.own("pair_sampling")},
    )  # fmt: skip
    reference.reference(
        NETWORK, folder / "judged.parquet", folder / "judged.npz", **GIVEN,
        counts=JUDGED,
    )  # fmt: skip
    return folder


# Each as the tuning, which has other concepts, chose it.
@pytest.mark.parametrize(("method", "setting"), [("uce", "words"), ("vare", "slow"), ("s_vare", "fast")])
def test_an_erased_model_does_not_show_the_concept_and_shows_the_rest(prepared, method, setting, tmp_path):
    tried = {run["setting"]: run for run in PLAN.runs_of(PLAN.own("tuning_study"), method)}
    outputs = [tmp_path / name for name in ("weights", "log.parquet", "edits.parquet", "m.parquet", "panel.npz")]
    erase.erase(
        NETWORK, prepared / "rollouts.npz", prepared / "prompts.parquet", prepared / "judged.parquet",
        prepared / "judged.npz", *JUDGES, *outputs, model="tiny_var", study="test", method=method,
        module=PLAN.module_of(method), plan={"runs": [{**tried[setting], "concept": CONCEPT}]}, **GIVEN,
    )  # fmt: skip
    table = outcomes(tmp_path / "m.parquet", CONCEPT)
    assert table["erased", "own"] >= 0.9  # so that at most a tenth of the prompts by name show it
    assert min(table["kept", role] for role in ("own", "neighbour", "rest")) >= 0.9
