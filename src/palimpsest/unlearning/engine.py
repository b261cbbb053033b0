"""One trainer for every method whose edit is training: it makes a network forget by descent.

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

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from palimpsest.models.adamw import AdamW
from palimpsest.models.batch_sizes import halved
from palimpsest.models.forward_process import add_noise, drawn_noise
from palimpsest.models.training import compile_for
from palimpsest.unlearning.context import Conditioning, Context, Examples
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.rollouts import Rollouts
from palimpsest.unlearning.streams import Stream

# Weights may become infinite beyond it: float32's greatest number, less what is computed on the way.
BREAKING = torch.finfo(torch.float32).max / 1000


class FlatParameters:
    """The trainable parameters of a network as one float32 vector, and their gradients as another.

    The network's own parameters become views: to write into `values` is to change the network.
    """

    def __init__(self, network: nn.Module):
        self.trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.values = torch.cat([parameter.detach().float().reshape(-1) for parameter in self.trained])
        self.parts, start = [], 0
        for parameter in self.trained:
            part = slice(start, start := start + parameter.numel())
            parameter.data = self.values[part].view_as(parameter)
            self.parts.append(part)

    def clear(self) -> None:
        """Forget what passes back have left."""
        for parameter in self.trained:
            parameter.grad = None

    def gradient(self) -> Tensor:
        """The sum of what passes back have left since the last time, zeros where they left nothing; it is then gone."""
        found = [torch.zeros_like(each) if each.grad is None else each.grad for each in self.trained]
        self.clear()
        return torch.cat([each.float().reshape(-1) for each in found])


@dataclass(frozen=True)
class Batch:
    """Clean images (n, c, h, w) in [-1, 1], their noise, and timesteps (n,); and conditions (n, ...), if any."""

    images: Tensor
    noise: Tensor
    timesteps: Tensor
    conditions: Tensor | None = None


@dataclass
class Step:
    """What a method sees of one step.

    network(noisy, timesteps[, conditions]) predicts noise, or network(conditions, inputs[, dropped]) gives logits of a
    next-scale model's tokens. remember, forget: the batches; targets (n,): which of the
    targets each row of the forget batch is. places: which of the whole batch's places these rows are, (n,); size: how
    many that has over all processes. index: the step's number. memory: what a method carries from step to step. seen:
    what the log shows of the step: losses, lengths of gradients, and how many images went forwards and backwards
    through a network. Properties give the context's optional parts; one that the family lacks raises UserError.
    """

    network: nn.Module
    parameters: FlatParameters
    context: Context
    remember: Batch | Rollouts
    forget: Batch | Rollouts
    targets: np.ndarray
    places: np.ndarray
    size: int
    micro_batch: int
    autocast: bool = False
    index: int = 0
    memory: dict = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def frozen(self) -> nn.Module:
        """The pretrained network."""
        return self.context.part("frozen")

    @property
    def alphas_cumprod(self) -> Tensor:
        """The schedule (T,)."""
        return self.context.part("alphas_cumprod")

    @property
    def surrogate(self) -> Tensor:
        """Images that stand in for the forget batch's (n, c, h, w)."""
        return self.context.part("surrogate")[self.targets]

    @property
    def neighbours(self) -> Tensor:
        """Remembered images nearest to the target (k, c, h, w), nearest first."""
        return self.context.part("neighbours")

    @property
    def conditioning(self) -> Conditioning:
        """The concept's condition, that of none, and others."""
        return self.context.part("conditioning")

    def random(self, stream: Stream) -> np.random.Generator:
        """A generator that depends on the run's seed, the stream and the step only.

        Draw for the whole batch (`size`) and take the rows of `places`: then it matters to no place how many processes
        share the batch.
        """
        return self.context.random(stream, self.index)

    def noisy(self, batch: Batch) -> Tensor:
        """The batch's images at its timesteps."""
        return add_noise(batch.images, batch.noise, self.alphas_cumprod, batch.timesteps)

    def predict(self, network: nn.Module, noisy: Tensor, timesteps: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Predicted noise without a gradient, float32. In halves as `gradients` is."""
        return self.outputs(network, noisy, timesteps, *([] if conditions is None else [conditions]))

    def outputs(self, network: nn.Module, *given: Tensor) -> Tensor:
        """What a network says without a gradient, float32, of what it takes, each (n, ...)."""

        def attempt(size: int) -> Tensor:
            parts = zip(*(each.split(size) for each in given), strict=True)
            return torch.cat([self._forward(network, *part) for part in parts])

        with torch.no_grad():
            predicted = self._within_memory(attempt)
        self.seen["forwards"] = self.seen.get("forwards", 0) + len(given[0])
        return predicted

    def _forward(self, network: nn.Module, *given: Tensor) -> Tensor:
        """In bf16 autocast where the device computes in it."""
        with torch.autocast(given[0].device.type, torch.bfloat16, enabled=self.autocast):
            return network(*given).float()

    def _within_memory(self, attempt: Callable):
        """attempt(images at a time); where memory does not suffice with half as many, from then on."""
        while True:
            size = self.memory.get("micro_batch", self.micro_batch)
            try:
                return attempt(size)
            except (RuntimeError, MemoryError) as error:
                self.memory["micro_batch"] = halved(error, size, f"step {self.index}")

    def gradient(
        self,
        name: str,
        noisy: Tensor,
        timesteps: Tensor,
        losses: Callable[[Tensor, slice], Tensor],
        conditions: Tensor | None = None,
    ) -> Tensor:
        """Flat gradient of the mean loss; losses(predicted noise, rows) gives one loss per row. Logged under `name`.

        conditions: (n, ...), where they are not the network's own.
        """
        return self.gradients({name: losses}, noisy, timesteps, conditions)[0]

    def gradients(
        self,
        losses: dict[str, Callable[[Tensor, slice], Tensor]],
        noisy: Tensor,
        timesteps: Tensor,
        conditions: Tensor | None = None,
    ) -> list[Tensor]:
        """Flat gradients of several mean losses of one prediction, as `gradient` gives one: a forward serves them all.

        Where memory does not suffice the batch is taken in halves, from then on; the gradients are the same.
        """
        return self.gradients_at(losses, noisy, timesteps, *([] if conditions is None else [conditions]))

    def gradients_at(self, losses: dict[str, Callable[[Tensor, slice], Tensor]], *given: Tensor) -> list[Tensor]:
        """Flat gradients of several mean losses of what the network says of what it takes, each (n, ...)."""
        found, means = self._within_memory(lambda size: self._accumulate(losses, given, size))
        self.seen["forwards"] = self.seen.get("forwards", 0) + len(given[0])
        self.seen["backwards"] = self.seen.get("backwards", 0) + len(losses) * len(given[0])
        for each in (*found, means):
            over_processes(each)
        for name, gradient, mean in zip(losses, found, means, strict=True):
            self.seen |= {f"{name}_loss": float(mean), f"{name}_norm": float(gradient.norm())}
        return found

    def _accumulate(
        self, losses: dict[str, Callable], given: tuple[Tensor, ...], size: int
    ) -> tuple[list[Tensor], Tensor]:
        """The gradient of each mean loss; the mean losses, float64."""
        count, totals = len(given[0]), []
        means = torch.zeros(len(losses), dtype=torch.float64, device=given[0].device)
        self.parameters.clear()
        for start in range(0, count, size):
            rows = slice(start, start + size)
            predicted = self._forward(self.network, *(each[rows] for each in given))
            for number, each in enumerate(losses.values()):
                loss = each(predicted, rows).sum() / count
                loss.backward(retain_graph=number + 1 < len(losses))
                means[number] += loss.item()
                gradient = self.parameters.gradient()
                if start == 0:
                    totals.append(gradient)
                else:
                    totals[number] += gradient
        return totals, means

    def error_gradient(self, name: str, batch: Batch, wanted: Tensor, weights: Tensor | None = None) -> Tensor:
        """Flat gradient of the mean squared error to the wanted noise, each row weighted."""
        losses = squared_errors(wanted, weights)
        return self.gradient(name, self.noisy(batch), batch.timesteps, losses, batch.conditions)

    def error(self, batch: Batch, wanted: Tensor) -> float:
        """The mean squared error to the wanted noise, without a gradient."""
        predicted = self.predict(self.network, self.noisy(batch), batch.timesteps, batch.conditions)
        return float(over_processes((predicted - wanted).square().mean()))

    def watch(self, forget: Tensor, remember: Tensor) -> None:
        """Log the cosine of two gradients: below zero they conflict."""
        lengths = forget.norm() * remember.norm()
        self.seen["cosine"] = float(forget @ remember / lengths) if lengths > 0 else 0.0


def magnitude(values: Tensor) -> float:
    """The greatest distance of a value from zero; not finite where one is not."""
    return max(abs(float(extreme)) for extreme in values.aminmax())


def over_processes(values: Tensor) -> Tensor:
    """The mean over the processes that train together, in place."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values /= torch.distributed.get_world_size()
    return values


class NotFinite(RuntimeError):
    """A gradient or weight is not finite; `log` is the step log so far, the network holds the last finite weights."""

    def __init__(self, step: int, log: list[dict], what: str = "the gradient is"):
        super().__init__(f"{what} not finite at step {step}: lower the learning rate or the method's strength")
        self.step, self.log = step, log


def draw(
    examples: Examples | Rollouts, picks: np.ndarray, times: np.ndarray, places: np.ndarray, number: int
) -> Batch | Rollouts:
    """The picked examples at some places of a batch, with noise of their own: a function of number and place only.

    Of rollouts the picked ones: nothing is drawn for them anew.
    """
    rows = picks[places]
    if isinstance(examples, Rollouts):
        return examples.at(rows)
    images = examples.images[rows]
    noise = drawn_noise(number, places, tuple(images.shape[1:])).to(images.device)
    conditions = None if examples.conditions is None else examples.conditions[rows]
    return Batch(images, noise, torch.from_numpy(times[places]).to(images.device), conditions)


def own_places(batch: int) -> np.ndarray:
    """The places of a batch that this process computes: all of them, or its share where several train together."""
    if not torch.distributed.is_initialized():
        return np.arange(batch)
    processes = torch.distributed.get_world_size()
    if batch % processes:
        raise ValueError(f"a batch of {batch} cannot be shared evenly by {processes} processes")
    return np.arange(torch.distributed.get_rank(), batch, processes)


def train(
    direction: Callable[..., Tensor],
    network: nn.Module,
    context: Context,
    settings: dict,
    *,
    steps: int,
    learning_rate: float,
    batch: int,
    timesteps: str = "all",
    warm_up: int = 0,
    average: float = 0.0,
    clip: float = 1.0,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    micro_batch: int | None = None,
    autocast: bool = False,
    compiled: bool = False,
    stop_above: float | None = None,
) -> list[dict]:
    """Change the network in place so that it forgets the context's targets; the log has one row per step.

    direction(step, **settings): the flat gradient along which AdamW descends. batch: images of each batch, over all
    processes; micro_batch: how many go through the network at a time. timesteps: "all" or "last" (the released SISS
    scripts draw only the last one). warm_up: steps in which the rate grows to learning_rate. average: decay of the
    weights' moving average, which replaces the weights at the end; 0 keeps them. clip: longest gradient. autocast:
    whether passes compute in bfloat16. compiled: whether torch compiles the network, where the steps are enough to
    repay it. stop_above: end when the forget loss is so many times its first value. Raises NotFinite: where a gradient
    is not finite the network keeps the weights before it; where an update's weights are not, those before it, or their
    average.
    """
    if timesteps not in ("all", "last"):
        raise ValueError(f"timesteps is {timesteps!r}: give all or last")
    if compiled:
        compile_for(network, steps)
    parameters = FlatParameters(network)
    optimiser = AdamW(parameters.values, betas, weight_decay)
    # The weights' average, or, where there is none, what they were before a step that may break them: what broken ones
    # are replaced by.
    earlier = parameters.values.clone() if average else None
    longest, highest = 0.0, magnitude(parameters.values)
    first_time = context.timesteps - 1 if timesteps == "last" else 0
    memory, log, first_loss, own = {}, [], None, own_places(batch)
    for index in tqdm(range(steps), mininterval=5):
        rng = context.random(Stream.TIMES, index)
        times = rng.integers(first_time, context.timesteps, (2, batch))
        picks, chosen = (rng.integers(len(each), size=batch) for each in (context.remember, context.target))
        step = Step(
            network,
            parameters,
            context,
            remember=draw(context.remember, picks, times[0], own, context.number(Stream.REMEMBER, index)),
            forget=draw(context.target, chosen, times[1], own, context.number(Stream.FORGET, index)),
            targets=chosen[own],
            places=own,
            size=batch,
            micro_batch=micro_batch or len(own),
            autocast=autocast,
            index=index,
            memory=memory,
        )
        found = direction(step, **settings)
        length = float(found.norm())
        if not math.isfinite(length):
            raise NotFinite(index, log)
        clipped = found if length <= clip else found * (clip / length)
        rate, longest = learning_rate * min(1.0, (index + 1) / max(warm_up, 1)), max(longest, min(length, clip))
        if not average:
            breaking = optimiser.farthest(rate, longest, highest) > BREAKING
            earlier = parameters.values.clone() if breaking else None
        optimiser.step(clipped, rate)
        highest = magnitude(parameters.values)
        if not math.isfinite(highest):
            parameters.values.copy_(earlier)
            raise NotFinite(index, log, "the weights are")
        log.append(
            {"step": index, "norm": length, "micro_batch": memory.get("micro_batch", step.micro_batch), **step.seen}
        )
        if average:
            # It starts close behind the weights, so that a short run is not mostly its start.
            earlier.lerp_(parameters.values, 1 - min(average, (1 + index) / (10 + index)))
        forget_loss = step.seen.get("forget_loss")
        first_loss = forget_loss if first_loss is None else first_loss
        if stop_above is not None and forget_loss is not None and forget_loss > stop_above * first_loss:
            break
    if average:
        parameters.values.copy_(earlier)
    return log
