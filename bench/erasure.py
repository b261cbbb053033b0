"""Concept erasure: UCE's solve, and a step of ESD, SalUn and Scissorhands, by the releases' way and by ours.

The releases keep a second UNet for as long as they train, send one graph of all losses backwards, hold every mask by
name and step through the parameters one by one; ESD samples a path of its own for every step, UCE inverts a matrix for
every matrix that it edits. All of it is written anew from a description. Both ways see the same examples.
"""

import copy
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from bench.measure import Stopwatch, compared, peak_of_process, take_turns
from bench.networks import conditional_unet
from palimpsest.models.adamw import AdamW
from palimpsest.models.forward_process import add_noise
from palimpsest.models.text_diffusion import Conditioned
from palimpsest.run import torch_device
from palimpsest.unlearning import saliency
from palimpsest.unlearning.context import Conditioning, Context, Examples
from palimpsest.unlearning.engine import FlatParameters, Step, draw
from palimpsest.unlearning.methods import esd, salun, scissorhands, uce
from palimpsest.unlearning.pairs import anchor_conditions
from palimpsest.unlearning.selectors import select
from palimpsest.unlearning.streams import Stream

RATE, ALPHA, WEIGHT, ETA, GUIDANCE = 1e-5, 0.1, 0.1, 1.0, 3.0
STEPS_OF_ESD, PATHS, POINTS = 200, 32, 20  # a training of ours: steps, paths that serve all of them, points of each
SAMPLED = 25  # steps of a path that the release stops at one of 50, on average
METHODS = {"esd": "not_cross_attention", "salun": "full", "scissorhands": "full"}


@dataclass(frozen=True)
class Size:
    """A UNet, the side of its latents, its texts (length, width), the batch, the steps that are timed, how often ways
    take turns."""

    channels: tuple[int, ...]
    layers: int
    side: int
    text: tuple[int, int]
    batch: int
    steps: int
    repetitions: int
    heads: int = 8
    groups: int = 32


TINY = Size((8, 8), 1, 8, (4, 8), 2, 2, 1, heads=2, groups=4)
MEDIUM = Size((64, 128, 192), 1, 16, (20, 64), 4, 5, 3)
SD14 = Size((320, 640, 1280, 1280), 2, 64, (77, 768), 4, 10, 3)  # for a GPU


@dataclass(frozen=True)
class Contexts:
    """Shapes of the edited matrices (out, in), and tokens of the concept and of what is kept."""

    shapes: tuple[tuple[int, int], ...]
    concept: int
    kept: int
    repetitions: int


FEW = Contexts(((6, 8), (10, 8)), 3, 5, 1)
# The keys and values of Stable Diffusion 1's sixteen blocks of cross-attention.
ALL = Contexts(((320, 768),) * 10 + ((640, 768),) * 10 + ((1280, 768),) * 12, 6, 50, 3)


def rows(size: Size, contexts: Contexts) -> list[dict]:
    """The table's rows of this family."""
    memory = {
        (way, method): peak_of_process(peak, size, way, method) for way in ("original", "ours") for method in METHODS
    }
    told = f"{'/'.join(map(str, size.channels))}, {size.side} x {size.side} latents"
    found = []
    for method in METHODS:
        some = replace(size, batch=1) if method == "esd" else size  # the release's batch of ESD
        ways = {
            "original": lambda watch, method=method, some=some: train_original(some, method, watch),
            "ours": lambda watch, method=method, some=some: train_ours(some, method, watch),
        }
        taken = take_turns(ways, size.repetitions)
        gap = f"weights differ by at most {(taken['original'].result - taken['ours'].result).abs().max():.0e}"
        seconds = " against ".join(f"{taken[way].wall['training']:.3g}" for way in ways) + " s a step"
        columns = {"original MB": memory["original", method], "ours MB": memory["ours", method], "memory": "process"}
        remark = f"{seconds}; {SAMPLE_NOTE if method == 'esd' else gap}"
        label, name = f"{told}, batch {some.batch}", f"erasure step, {method}"
        found.append(
            compared(name, label, "steps/s", taken["original"], taken["ours"], "training", remark=remark, **columns)
        )
    return [closed_form(contexts), *found]


SAMPLE_NOTE = f"sampling included: ours samples {PATHS} paths for {STEPS_OF_ESD} steps, the original one for each"


# UCE -----------------------------------------------------------------------------------------------------------------


def matrices(contexts: Contexts) -> tuple[nn.ModuleDict, Tensor, Tensor, Tensor]:
    """Projections as a UNet names them, and contexts of the concept, the anchors, and what is kept."""
    generator = torch.Generator().manual_seed(0)
    unet, width = nn.ModuleDict(), contexts.shapes[0][1]
    for number, (outputs, inputs) in enumerate(contexts.shapes):
        linear = nn.Linear(inputs, outputs, bias=False).requires_grad_(False)
        linear.weight.copy_(torch.randn(outputs, inputs, generator=generator) / inputs**0.5)
        unet[f"block{number}"] = nn.ModuleDict({"attn2": nn.ModuleDict({"to_k": linear})})
    drawn = [torch.randn(count, width, generator=generator) for count in (contexts.concept, contexts.concept)]
    return unet.to(torch_device()), *(
        each.to(torch_device()) for each in (*drawn, torch.randn(contexts.kept, width, generator=generator))
    )


def uce_original(contexts: Contexts, watch: Stopwatch) -> list[Tensor]:
    """Matrix by matrix: sums of outer products, token by token, and an inverse of its own; float32."""
    unet, concept, anchors, kept = matrices(contexts)
    with watch("all", len(contexts.shapes)):
        for _, module in uce.keys_and_values(unet):
            before = module.weight
            numerator, denominator = 0.5 * before, 0.5 * torch.eye(before.shape[1], device=before.device)
            for one, other in [*zip(concept, anchors, strict=True), *zip(kept, kept, strict=True)]:
                numerator = numerator + (before @ other[:, None]) @ one[None]
                denominator = denominator + one[:, None] @ one[None]
            module.weight.copy_(numerator @ denominator.inverse())
    return [module.weight for _, module in uce.keys_and_values(unet)]


def uce_ours(contexts: Contexts, watch: Stopwatch) -> list[Tensor]:
    """One solve for all matrices, float64."""
    unet, *vectors = matrices(contexts)
    with watch("all", len(contexts.shapes)):
        change = uce.transformation(*(each.double() for each in vectors), 1.0, 1.0, 0.5)
        for _, module in uce.keys_and_values(unet):
            module.weight.copy_(module.weight.double() @ change)
    return [module.weight for _, module in uce.keys_and_values(unet)]


def closed_form(contexts: Contexts) -> dict:
    """Matrices a second."""
    ways = {"original": lambda watch: uce_original(contexts, watch), "ours": lambda watch: uce_ours(contexts, watch)}
    taken = take_turns(ways, contexts.repetitions)
    pairs = zip(taken["original"].result, taken["ours"].result, strict=True)
    gap = max(float((one - other).norm() / other.norm()) for one, other in pairs)
    label = f"{len(contexts.shapes)} matrices of width {contexts.shapes[0][1]}"
    remark = f"solutions differ by at most {gap:.0e} of their length"
    return compared("erasure, uce", label, "matrices/s", taken["original"], taken["ours"], "all", remark=remark)


# Steps ---------------------------------------------------------------------------------------------------------------


def network(size: Size) -> Conditioned:
    """The network with random weights, the same every time; its texts come embedded."""
    return Conditioned(conditional_unet(size), nn.Identity()).eval().to(torch_device())


def context(size: Size, frozen: nn.Module | None) -> Context:
    """Examples of the concept and of the rest, with texts; the schedule is Stable Diffusion's."""
    generator, device = torch.Generator().manual_seed(1), torch_device()

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    count = 2 * size.batch
    concept, anchors, others, none = (drawn(number, *size.text) for number in (2, 2, count, 1))
    shape = (count, 4, size.side, size.side)
    target, remember = Examples(drawn(*shape), concept[torch.arange(count) % 2]), Examples(drawn(*shape), others)
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0).to(device)
    conditioning = Conditioning(concept, none[0], others, anchors)
    parts = {"frozen": frozen, "alphas_cumprod": alphas, "conditioning": conditioning, "bounds": None}
    return Context("erasure", target, remember, len(alphas), **parts)


def step_of(model: nn.Module, parameters: FlatParameters | None, given: Context, size: Size, index: int) -> Step:
    """What a method of ours sees, its examples drawn as the engine draws them."""
    places = np.arange(size.batch)
    picks = (places + index) % len(given.target)
    times = given.random(Stream.TIMES, index).integers(given.timesteps, size=(2, size.batch))
    remember, forget = (
        draw(examples, picks, when, places, given.number(stream, index))
        for examples, when, stream in zip(
            (given.remember, given.target), times, (Stream.REMEMBER, Stream.FORGET), strict=True
        )
    )
    return Step(model, parameters, given, remember, forget, picks, places, size.batch, size.batch, index=index)


def marked(given: Context, parameters: FlatParameters, model: nn.Module, size: Size) -> Tensor:
    """SalUn's mask (of ours, for both ways): half of the weights."""
    return saliency.top(scissorhands.saliency(step_of(model, parameters, given, size, 0), 1), 0.5)


def train_ours(size: Size, method: str, watch: Stopwatch) -> Tensor:
    """Steps of ours; the trained weights, flat. What SalUn and Scissorhands do once, before the first, is not timed."""
    base = network(size)
    model = copy.deepcopy(base) if method == "esd" else base  # only ESD asks a teacher
    select(model, METHODS[method])
    parameters, given = FlatParameters(model), context(size, base if method == "esd" else None)
    memory = {"restarted": 0}
    if method == "salun":
        memory["mask"] = marked(given, parameters, model, size)
    optimiser = AdamW(parameters.values, (0.9, 0.999), 0.0)
    with watch("training", size.steps):
        for index in range(size.steps):
            step = step_of(model, parameters, given, size, index)
            step.memory = memory
            optimiser.step(direction(step, method, size), RATE)
    return parameters.values


def direction(step: Step, method: str, size: Size) -> Tensor:
    """The method's own gradient; of ESD's paths there are as many as these steps' part of a whole training."""
    if method == "esd":
        paths = -(-PATHS * size.steps // STEPS_OF_ESD)
        return esd.direction(step, eta=ETA, guidance=GUIDANCE, sampling_steps=POINTS, paths=paths)
    return salun.direction(step, alpha=ALPHA) if method == "salun" else scissorhands.direction(step, weight=WEIGHT)


def train_original(size: Size, method: str, watch: Stopwatch) -> Tensor:
    """Steps of the releases' way, with a second UNet in memory; the trained weights, flat."""
    model = network(size)
    frozen = copy.deepcopy(model).requires_grad_(False)
    select(model, METHODS[method])
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    given, masks = context(size, frozen), None
    if method == "salun":
        masks = by_name(marked(given, FlatParameters(model), model, size), trained)
    optimiser = torch.optim.Adam(trained.values(), RATE, foreach=False, fused=False)
    with watch("training", size.steps):
        for index in range(size.steps):
            step = step_of(model, None, given, size, index)
            optimiser.zero_grad()
            loss = esd_loss(step, *esd_point(step)) if method == "esd" else two_losses(step, method)
            loss.backward()
            for name in masks or ():
                trained[name].grad *= masks[name]
            optimiser.step()
    return torch.cat([parameter.detach().reshape(-1) for parameter in trained.values()])


def by_name(mask: Tensor, trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """A flat mask as tensors of the parameters' shapes."""
    parts = mask.split([parameter.numel() for parameter in trained.values()])
    return {name: part.view_as(trained[name]).float() for name, part in zip(trained, parts, strict=True)}


def two_losses(step: Step, method: str) -> Tensor:
    """SalUn's and Scissorhands' loss: toward what the network itself predicts for the anchor, and the ordinary one."""
    forget, remember = step.forget, step.remember
    noisy = step.noisy(forget)
    with torch.no_grad():
        wanted = step.network(noisy, forget.timesteps, anchor_conditions(step))
    erased = (step.network(noisy, forget.timesteps, forget.conditions) - wanted).square().mean()
    predicted = step.network(step.noisy(remember), remember.timesteps, remember.conditions)
    kept = (predicted - remember.noise).square().mean()
    return erased + ALPHA * kept if method == "salun" else kept + WEIGHT * erased


@torch.no_grad()
def esd_point(step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """A point of a guided path that the frozen network samples for this step, its timestep, and its condition."""
    alphas, conditioning = step.alphas_cumprod, step.conditioning
    times = torch.linspace(len(alphas) - 1, 0, 50, device=alphas.device).round().long()
    condition = conditioning.bare[:1].expand(step.size, -1, -1)
    both = torch.cat([conditioning.none.expand_as(condition), condition])
    noisy = step.forget.noise
    for here, there in pairwise(times[: SAMPLED + 1]):
        without, wanted = step.frozen(noisy.repeat(2, 1, 1, 1), here, both).chunk(2)
        noise = without + GUIDANCE * (wanted - without)
        clean = (noisy - (1 - alphas[here]).sqrt() * noise) / alphas[here].sqrt()
        noisy = add_noise(clean, noise, alphas, there.expand(step.size))
    return noisy, times[SAMPLED].expand(step.size), condition


def esd_loss(step: Step, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
    """The squared error to what leads away from the concept."""
    with torch.no_grad():
        none = step.conditioning.none.expand_as(condition)
        without, wanted = (step.frozen(noisy, times, each) for each in (none, condition))
    return (step.network(noisy, times, condition) - without + ETA * (wanted - without)).square().mean()


def peak(size: Size, way: str, method: str) -> None:
    """One step, in a process of its own."""
    some = replace(size, steps=1, batch=1 if method == "esd" else size.batch)
    (train_original if way == "original" else train_ours)(some, method, Stopwatch())
