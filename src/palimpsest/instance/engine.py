"""One trainer for every method that makes a diffusion model forget single images.

A method gives, at each step, one flat gradient: a function of what it may see of the step (`Step`). The engine draws
the batches, keeps parameters and gradients as flat float32 buffers, clips, warms up, averages the weights and logs. Two
gradients are two passes, each freed before the next, unless both are taken at the same points (`Step.gradients`). Where
several processes train together (torch.distributed) each computes its share of one batch, and every gradient and loss
is averaged over them before a method combines it; whatever else is drawn belongs to a place of the batch
(`Step.places`): the result is that of one process.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from palimpsest.models.adamw import AdamW
from palimpsest.models.forward_process import add_noise, drawn_noise
from palimpsest.models.pixels import Pictures

REMEMBER, FORGET, TIMES = 0, 1, 2  # streams of the random draws


class FlatParameters:
    """The trainable parameters of a network as one float32 vector, and their gradients as another.

    The network's own parameters become views: to write into `values` is to change the network.
    """

    def __init__(self, network: nn.Module):
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.values = torch.cat([parameter.detach().float().reshape(-1) for parameter in parameters])
        self.gradient = torch.zeros_like(self.values)
        self.parts, start = [], 0
        for parameter in parameters:
            part = slice(start, start := start + parameter.numel())
            parameter.data = self.values[part].view_as(parameter)
            parameter.grad = self.gradient[part].view_as(parameter)
            self.parts.append(part)


@dataclass(frozen=True)
class Batch:
    """Clean images (n, c, h, w) in [-1, 1], their noise, and timesteps (n,)."""

    images: Tensor
    noise: Tensor
    timesteps: Tensor


@dataclass
class Step:
    """What a method sees of one step.

    network(noisy, timesteps) predicts noise; frozen is the pretrained network. remember, forget: the batches.
    surrogate: images that stand in for the forget batch's; neighbours: (k, c, h, w), remembered images nearest to it.
    places: which of the whole batch's places these rows are, (n,); size: how many that has over all processes. index:
    the step's number; seed: the run's. memory: what a method carries from step to step. seen: what the log shows of the
    step: losses, lengths of gradients, and how many images went forwards and backwards through a network.
    """

    network: nn.Module
    frozen: nn.Module
    parameters: FlatParameters
    alphas_cumprod: Tensor
    remember: Batch
    forget: Batch
    surrogate: Tensor
    neighbours: Tensor
    micro_batch: int
    autocast: bool
    places: np.ndarray
    size: int
    index: int = 0
    memory: dict = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    seed: int = 0

    def random(self, stream: int) -> np.random.Generator:
        """A generator that depends on the run's seed, the stream and the step only.

        Draw for the whole batch (`size`) and take the rows of `places`: then it matters to no place how many processes
        share the batch.
        """
        return np.random.default_rng((self.seed, stream, self.index))

    def noisy(self, batch: Batch) -> Tensor:
        """The batch's images at its timesteps."""
        return add_noise(batch.images, batch.noise, self.alphas_cumprod, batch.timesteps)

    def predict(self, network: nn.Module, noisy: Tensor, timesteps: Tensor, *labels: Tensor) -> Tensor:
        """Predicted noise without a gradient, float32; of other classes, if given. In halves as `gradient` is."""

        def attempt(size: int) -> Tensor:
            parts = zip(*(each.split(size) for each in (noisy, timesteps, *labels)), strict=True)
            return torch.cat([self._forward(network, *part) for part in parts])

        with torch.no_grad():
            predicted = self._within_memory(attempt)
        self.seen["forwards"] = self.seen.get("forwards", 0) + len(noisy)
        return predicted

    def _forward(self, network: nn.Module, noisy: Tensor, timesteps: Tensor, *labels: Tensor) -> Tensor:
        """In bf16 autocast where the device computes in it."""
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=self.autocast):
            return network(noisy, timesteps, *labels).float()

    def _within_memory(self, attempt: Callable):
        """attempt(images at a time); where memory does not suffice with half as many, from then on."""
        while True:
            size = self.memory.get("micro_batch", self.micro_batch)
            try:
                return attempt(size)
            except (RuntimeError, MemoryError) as error:
                if not _says_out_of_memory(error) or size == 1:
                    raise
                self.memory["micro_batch"] = (size + 1) // 2

    def gradient(
        self,
        name: str,
        noisy: Tensor,
        timesteps: Tensor,
        losses: Callable[[Tensor, slice], Tensor],
        labels: Tensor | None = None,
    ) -> Tensor:
        """Flat gradient of the mean loss; losses(predicted noise, rows) gives one loss per row. Logged under `name`.

        labels: classes (n,), where they are not the network's own.
        """
        return self.gradients({name: losses}, noisy, timesteps, labels)[0]

    def gradients(
        self,
        losses: dict[str, Callable[[Tensor, slice], Tensor]],
        noisy: Tensor,
        timesteps: Tensor,
        labels: Tensor | None = None,
    ) -> list[Tensor]:
        """Flat gradients of several mean losses of one prediction, as `gradient` gives one: a forward serves them all.

        Where memory does not suffice the batch is taken in halves, from then on; the gradients are the same.
        """
        found, means = self._within_memory(lambda size: self._accumulate(noisy, timesteps, losses, labels, size))
        self.seen["forwards"] = self.seen.get("forwards", 0) + len(noisy)
        self.seen["backwards"] = self.seen.get("backwards", 0) + len(losses) * len(noisy)
        for each in (*found, means):
            over_processes(each)
        for name, gradient, mean in zip(losses, found, means, strict=True):
            self.seen |= {f"{name}_loss": float(mean), f"{name}_norm": float(gradient.norm())}
        return found

    def _accumulate(
        self, noisy: Tensor, timesteps: Tensor, losses: dict[str, Callable], labels: Tensor | None, size: int
    ) -> tuple[list[Tensor], Tensor]:
        """The gradient of each mean loss; the mean losses, float64."""
        totals = [torch.zeros_like(self.parameters.gradient) for _ in losses]
        means = torch.zeros(len(losses), dtype=torch.float64, device=noisy.device)
        for start in range(0, len(noisy), size):
            rows = slice(start, start + size)
            given = () if labels is None else (labels[rows],)
            predicted = self._forward(self.network, noisy[rows], timesteps[rows], *given)
            for number, each in enumerate(losses.values()):
                self.parameters.gradient.zero_()
                loss = each(predicted, rows).sum() / len(noisy)
                loss.backward(retain_graph=number + 1 < len(losses))
                totals[number] += self.parameters.gradient
                means[number] += loss.item()
        return totals, means

    def error_gradient(self, name: str, batch: Batch, wanted: Tensor, weights: Tensor | None = None) -> Tensor:
        """Flat gradient of the mean squared error to the wanted noise, each row weighted."""
        return self.gradient(name, self.noisy(batch), batch.timesteps, squared_errors(wanted, weights))

    def error(self, batch: Batch, wanted: Tensor) -> float:
        """The mean squared error to the wanted noise, without a gradient."""
        predicted = self.predict(self.network, self.noisy(batch), batch.timesteps)
        return float(over_processes((predicted - wanted).square().mean()))

    def watch(self, forget: Tensor, remember: Tensor) -> None:
        """Log the cosine of two gradients: below zero they conflict."""
        lengths = forget.norm() * remember.norm()
        self.seen["cosine"] = float(forget @ remember / lengths) if lengths > 0 else 0.0


def over_processes(values: Tensor) -> Tensor:
    """The mean over the processes that train together, in place."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values /= torch.distributed.get_world_size()
    return values


def squared_errors(wanted: Tensor, weights: Tensor | None = None) -> Callable[[Tensor, slice], Tensor]:
    """losses(predicted, rows) for `Step.gradient`: mean squared errors to the wanted noise, each row weighted."""

    def losses(predicted: Tensor, rows: slice) -> Tensor:
        errors = (predicted - wanted[rows]).square().mean((1, 2, 3))
        return errors if weights is None else weights[rows] * errors

    return losses


def _says_out_of_memory(error: Exception) -> bool:
    """Whether an error means too little memory; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class NotFinite(RuntimeError):
    """A loss or gradient is not finite; `log` is the step log so far, the network holds the last finite weights."""

    def __init__(self, step: int, log: list[dict]):
        super().__init__(f"the gradient is not finite at step {step}: lower the learning rate or the method's strength")
        self.step, self.log = step, log


def keep_steps(log: Path, error: NotFinite) -> Path:
    """Write the steps of a stopped run beside the log it would have had; gives the path, which is no output."""
    path = log.with_name("failed.parquet")
    pd.DataFrame(error.log).to_parquet(path, index=False)
    return path


def draw(
    images: Tensor | Pictures, picks: np.ndarray, times: np.ndarray, places: np.ndarray, seed: tuple[int, int, int]
) -> Batch:
    """The picked images at some places of a batch, with noise of their own: a function of seed and place only."""
    picked, number = images[picks[places]], int(np.random.SeedSequence(seed).generate_state(1)[0])
    noise = drawn_noise(number, places, tuple(picked.shape[1:])).to(picked.device)
    return Batch(picked, noise, torch.from_numpy(times[places]).to(picked.device))


def own_places(batch: int) -> np.ndarray:
    """The places of a batch that this process computes: all of them, or its share where several train together."""
    if not torch.distributed.is_initialized():
        return np.arange(batch)
    processes = torch.distributed.get_world_size()
    if batch % processes:
        raise ValueError(f"a batch of {batch} cannot be shared evenly by {processes} processes")
    return np.arange(torch.distributed.get_rank(), batch, processes)


def unlearn(
    method: ModuleType,
    network: nn.Module,
    frozen: nn.Module,
    alphas_cumprod: Tensor,
    remember: Tensor | Pictures,
    target: Tensor,
    surrogate: Tensor,
    neighbours: Tensor,
    *,
    steps: int,
    learning_rate: float,
    batch: int,
    settings: dict,
    seed: int,
    timesteps: str = "all",
    warm_up: int = 0,
    average: float = 0.0,
    clip: float = 1.0,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    micro_batch: int | None = None,
    autocast: bool = False,
    stop_above: float | None = None,
) -> list[dict]:
    """Change the network in place so that it forgets the targets (n, c, h, w); the log has one row per step.

    method: a module with direction(step, **settings) -> flat gradient. surrogate: an image for each target. remember:
    images (m, c, h, w). timesteps: "all" or "last" (the released SISS scripts draw only the last one). average: decay
    of the weights' moving average, which replaces the weights at the end; 0 keeps them. stop_above: end when the forget
    loss is so many times its first value. Raises NotFinite.
    """
    if timesteps not in ("all", "last"):
        raise ValueError(f"timesteps is {timesteps!r}: give all or last")
    parameters = FlatParameters(network)
    optimiser = AdamW(parameters.values, betas, weight_decay)
    mean = parameters.values.clone()
    first_time = len(alphas_cumprod) - 1 if timesteps == "last" else 0
    memory, log, first_loss, own = {}, [], None, own_places(batch)
    for index in tqdm(range(steps), mininterval=5):
        rng = np.random.default_rng((seed, TIMES, index))
        times = rng.integers(first_time, len(alphas_cumprod), (2, batch))
        picks, chosen = rng.integers(len(remember), size=batch), rng.integers(len(target), size=batch)
        step = Step(
            network,
            frozen,
            parameters,
            alphas_cumprod,
            draw(remember, picks, times[REMEMBER], own, (seed, REMEMBER, index)),
            draw(target, chosen, times[FORGET], own, (seed, FORGET, index)),
            surrogate[chosen[own]],
            neighbours,
            micro_batch or len(own),
            autocast,
            own,
            batch,
            index,
            memory,
            seed=seed,
        )
        direction = method.direction(step, **settings)
        length = float(direction.norm())
        if not math.isfinite(length):
            raise NotFinite(index, log)
        log.append(
            {"step": index, "norm": length, "micro_batch": memory.get("micro_batch", step.micro_batch), **step.seen}
        )
        clipped = direction * min(1.0, clip / max(length, 1e-12))
        optimiser.step(clipped, learning_rate * min(1.0, (index + 1) / max(warm_up, 1)))
        # The average starts close behind the weights, so that a short run is not mostly its start.
        mean.lerp_(parameters.values, 1 - min(average, (1 + index) / (10 + index)))
        forget_loss = step.seen.get("forget_loss")
        first_loss = forget_loss if first_loss is None else first_loss
        if stop_above is not None and forget_loss is not None and forget_loss > stop_above * first_loss:
            break
    if average:
        parameters.values.copy_(mean)
    return log
