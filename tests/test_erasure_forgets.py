"""Erasers erase a concept from the released model and keep the rest; a table of the paper says how many each erases."""

import numpy as np
import pytest

from conftest import ROOT, configuration
from palimpsest.erasure import draw, erase
from palimpsest.judges import reference
from palimpsest.plan.erasure import Erasure
from released_models import JUDGED, outcomes

PLAN = Erasure(configuration())
MODELS = ROOT / "resources/models"
NETWORK = MODELS / "tiny_sd/unet/diffusion_pytorch_model.safetensors"
CONCEPT = "church"
CONCEPTS = {CONCEPT: PLAN.own("concepts", CONCEPT)}
SAMPLING = PLAN.own("sampling")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What methods learn from and are judged by, as the steps write it."""
    folder = tmp_path_factory.mktemp("prepared")
    draw.draw(
        NETWORK, folder / "latents.npz", folder / "prompts.parquet",
        concepts=CONCEPTS, counts={"concept": 16, "others": 32}, sampling=SAMPLING, device="cpu",
    )  # fmt: skip
    reference.reference(
        NETWORK, folder / "judged.parquet", folder / "judged.npz", concepts=CONCEPTS, sampling=SAMPLING, device="cpu",
        counts=JUDGED,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize(("method", "setting"), [("uce", "all"), ("ac", "fast")])
def test_an_erased_model_does_not_show_the_concept_and_shows_the_rest(prepared, method, setting, tmp_path):
    tried = {run["setting"]: run for run in PLAN.runs_of(PLAN.own("tuning_study"), method)}
    run = {**tried[setting], "concept": CONCEPT}
    erase.erase(
        NETWORK, prepared / "latents.npz", prepared / "prompts.parquet", prepared / "judged.parquet",
        prepared / "judged.npz", MODELS / "classifier_judge.safetensors", MODELS / "detector_judge.safetensors",
        tmp_path / "weights", tmp_path / "log.parquet", tmp_path / "edits.parquet", tmp_path / "m.parquet",
        tmp_path / "panel.npz", model="tiny_sd", study="test", method=method, module=PLAN.module_of(method),
        concepts=CONCEPTS, sampling=SAMPLING, plan={"runs": [run]}, device="cpu",
    )  # fmt: skip
    table = outcomes(tmp_path / "m.parquet", CONCEPT)
    assert table["erased", "own"] >= 0.9
    assert np.mean([table["kept", role] for role in ("own", "neighbour", "rest")]) >= 0.9
