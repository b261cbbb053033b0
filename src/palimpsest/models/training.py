"""What the trainings of the small networks share: batches, the optimiser's loop, and going on where one was killed."""

import atexit
import copy
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from palimpsest.models.pixels import to_tensor
from palimpsest.options import Positive, Size
from palimpsest.run import UserError, atomic

SAVED_EVERY = 250  # steps
COMPILED_FROM = 500  # steps: compiling takes a minute or two


class Training(TypedDict):
    """Options that every training has."""

    batch: Positive
    steps: Positive
    learning_rate: Size


def built(kind: Callable[..., nn.Module], architecture: dict) -> nn.Module:
    """A network of this kind; raises UserError for an architecture that it does not take."""
    try:
        return kind(**architecture)
    except (TypeError, ValueError) as error:
        raise UserError(f"architecture of {kind.__name__} with {architecture}: {error}") from error


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """`steps` index arrays of `size`, each pass over the data in a new order."""
    rng = np.random.default_rng(seed)
    order = np.empty(0, np.int64)
    for _ in range(steps):
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(count)])
        yield np.sort(order[:size])
        order = order[size:]


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def compile_for(network: nn.Module, steps: int) -> None:
    """Let torch compile what a network's call computes, in place, for a training that is long enough to repay it.

    A fifth faster or more on a processor. Without a C++ compiler nothing changes. What is compiled is kept for this
    process alone: of a cache that all share, a run that was killed leaves halves which no later one can load.

    For transformers only: of diffusers' UNet2DModel, torch 2.13 compiles the outputs right and the gradients of the
    first block wrong (cosine to the plain ones down to -.8), and what is trained so paints blobs.
    """
    if steps >= COMPILED_FROM and (shutil.which("c++") or shutil.which("g++")):
        folder = tempfile.mkdtemp(prefix="compiled-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        network.compile()


def uncompile(network: nn.Module) -> None:
    """Let a network, and all in it, compute again as it is written: what is compiled serves the training's shapes."""
    for module in network.modules():
        module._compiled_call_impl = None


class Kept:
    """The state of a training in a file, for a run that was killed: what it holds after a step, and of which recipe.

    recipe: whatever the result depends on. A file of another recipe is not gone on with. No path: nothing is kept.
    """

    def __init__(self, path: Path | None, recipe: dict):
        self.path, self.recipe = path, json.dumps(recipe, sort_keys=True)

    @classmethod
    def beside(cls, output: Path, recipe: dict) -> "Kept":
        """In the folder of a training's output, which a step writes under a temporary name."""
        # Not under the output's own suffix, by which torch would take it for a file of another kind.
        return cls(output.with_name(f".unfinished-{output.stem.removeprefix('.partial-')}.pt"), recipe)

    def read(self, device: torch.device) -> dict | None:
        """The state, or none where there is nothing to go on with."""
        if self.path is None or not self.path.exists():
            return None
        state = torch.load(self.path, map_location=device, weights_only=True)
        if state["recipe"] != self.recipe:
            return None
        print(f"going on from step {state['index']} of {self.path}", flush=True)
        return state

    def write(self, state: dict) -> None:
        """Replace the file."""
        if self.path is not None:
            with atomic(self.path) as partial, partial.open("wb") as file:
                torch.save({**state, "recipe": self.recipe}, file)

    def remove(self) -> None:
        """Forget the state: the training is over."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def fit(
    network: nn.Module,
    loss_of: Callable[[np.ndarray, int], Tensor],
    *,
    count: int,
    batch: int,
    steps: int,
    learning_rate: float,
    seed: int,
    weight_decay: float = 1e-4,
    clip: float = math.inf,
    averaged: nn.Module | None = None,
    average: float = 0.0,
    kept: Kept | None = None,
) -> list[float]:
    """AdamW under a one-cycle schedule; loss_of(indices, step) gives the loss of a batch.

    In bf16 autocast where the device computes in it; elsewhere it would be emulated, some ten times slower than
    float32. On a processor attention is then plain products, as the gradient of the fused one is several times slower
    in bf16. Gradients are clipped to the length `clip`. averaged: a copy of the network that becomes the moving average
    of its weights, with the decay `average`. kept: where the state is kept; loss_of must then draw from generators of
    its own for each step, so that what goes on is what was not interrupted.

    Returns the mean loss of each twentieth of the run. A loss that is not finite stops it.
    """
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(network.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps + 1, pct_start=0.1)
    parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
    parts |= {} if averaged is None else {"averaged": averaged}
    losses, done, kept = [], 0, kept or Kept(None, {})
    if state := kept.read(device):
        for name, part in parts.items():
            part.load_state_dict(state[name])
        losses, done = state["losses"], state["index"]
    network.train()
    on_processor = device.type == "cpu"
    autocast = has_bfloat16() if on_processor else torch.cuda.is_bf16_supported()
    attention = partial(sdpa_kernel, SDPBackend.MATH) if autocast and on_processor else nullcontext
    progress = tqdm(batches(count, batch, steps, seed), total=steps, mininterval=5)
    for index, picks in enumerate(progress):
        if index < done:
            continue
        with attention(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = loss_of(picks, index)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {index}: lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimiser.step()
        schedule.step()
        if averaged is not None:
            decay = min(average, (1 + index) / (10 + index))
            with torch.no_grad():
                torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)
        losses.append(loss.item())
        progress.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
        if (index + 1) % SAVED_EVERY == 0:
            states = {name: part.state_dict() for name, part in parts.items()}
            kept.write({**states, "index": index + 1, "losses": losses})
    network.eval()
    kept.remove()
    return [round(float(np.mean(part)), 5) for part in np.array_split(losses, min(20, len(losses)))]


def fit_average(
    network: nn.Module,
    loss_of: Callable[[np.ndarray, int], Tensor],
    params: dict,
    *,
    count: int,
    seed: int,
    kept: Kept | None = None,
) -> tuple[nn.Module, list[float]]:
    """`fit` by params (those of `Training`, and average); the moving average of the weights, frozen, and the losses."""
    averaged = copy.deepcopy(network).requires_grad_(False)
    settings = {key: params[key] for key in ("batch", "steps", "learning_rate", "average")}
    losses = fit(network, loss_of, count=count, seed=seed, clip=1.0, averaged=averaged, kept=kept, **settings)
    return averaged, losses


def weighed_pictures(
    images: np.ndarray, masks: np.ndarray, picks: np.ndarray, more: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Some pictures (n, 3, H, W) in [-1, 1], and what each pixel counts (n, 1, H, W): 1, and `more` in its mask.

    images: uint8 (N, H, W, 3); masks: (N, H, W). Half of the times all are mirrored.
    """
    pictures, weight = to_tensor(images[picks]), 1 + more * torch.from_numpy(masks[picks])[:, None].float()
    return (pictures.flip(3), weight.flip(3)) if rng.random() < 0.5 else (pictures, weight)
