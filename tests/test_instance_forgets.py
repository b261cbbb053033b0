"""Unpromptable forgets a face in the released model, and the control that only replaces it does not."""

import copy

import numpy as np
import pytest
import torch

from conftest import ROOT, configuration
from palimpsest.judges.batches import in_batches
from palimpsest.judges.face_networks import load
from palimpsest.models import diffusion
from palimpsest.models.pixels import to_tensor
from palimpsest.unlearning.context import Context, Examples
from palimpsest.unlearning.door import edit
from palimpsest.worlds import faces

RELEASED = ROOT / "resources/models"
TARGET = {"single-2": 1}
CONFIGURED = configuration()["instance"]


def pictures(n: int, **more) -> np.ndarray:
    return faces.make(n, 1, "train", **more).images


@pytest.fixture(scope="module")
def similarity():
    """How far a network still knows the target: by the descriptor, after injection, the mean of eight draws."""
    target, descriptor = pictures(0, celebrities=TARGET), load(RELEASED / "sscd_mini.safetensors")

    def of(network, scheduler) -> float:
        rebuilt = diffusion.injected(network, scheduler, target, timestep=140, draws=8, steps=50, seed=0)[0]
        return float((in_batches(descriptor.embed, rebuilt) @ in_batches(descriptor.embed, target).T).mean())

    return of


@pytest.fixture(scope="module")
def pretrained():
    return diffusion.load(RELEASED / "tiny_ddpm/unet" / diffusion.WEIGHTS)


def forget(pretrained, method: str, folder) -> tuple:
    """The network after the configured training, which sees 500 of the pictures that are to be remembered."""
    network, scheduler = pretrained
    student = diffusion.NoisePredictor(copy.deepcopy(network).requires_grad_(True), scheduler)
    kept = to_tensor(pictures(500))
    context = Context(
        "instance",
        target=Examples(to_tensor(pictures(0, celebrities=TARGET))),
        remember=Examples(kept),
        timesteps=len(scheduler.alphas_cumprod),
        seed=1,
        frozen=diffusion.NoisePredictor(network, scheduler),
        alphas_cumprod=scheduler.alphas_cumprod,
        surrogate=to_tensor(pictures(0, celebrities=TARGET, strength=1.0)),
    )
    log = edit(
        method,
        student,
        context,
        settings=CONFIGURED["methods"][method].get("settings", {}),
        training=CONFIGURED["training"],
        beside=folder / "log.parquet",
        save=lambda path: None,
    )
    assert len(log) == CONFIGURED["training"]["steps"] and np.isfinite([row["norm"] for row in log]).all()
    return student.unet, scheduler


def test_unpromptable_forgets_and_training_on_the_surrogate_does_not(pretrained, similarity, tmp_path):
    before = copy.deepcopy(pretrained[0].state_dict())
    assert similarity(*pretrained) > 0.85
    assert similarity(*forget(pretrained, "unpromptable", tmp_path)) <= 0.4
    assert similarity(*forget(pretrained, "replace", tmp_path)) > 0.6
    assert all(torch.equal(before[name], tensor) for name, tensor in pretrained[0].state_dict().items())
