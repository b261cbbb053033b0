"""Instance unlearning: a step of training by the public SISS trainer's way and by ours, on the same tensors.

The public way sends one graph backwards twice (`retain_graph`), keeps every gradient in dictionaries by parameter name,
and steps through the parameters one by one; all in float32. It is written anew from a description.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from bench.measure import Stopwatch, compared, peak_of_process, row, take_turns
from palimpsest.instance.methods import unpromptable
from palimpsest.models.diffusion import NoisePredictor, sample
from palimpsest.models.forward_process import implied_noise, surrogate_noise
from palimpsest.models.training import has_bfloat16
from palimpsest.run import torch_device
from palimpsest.unlearning import streams
from palimpsest.unlearning.context import Context, Examples
from palimpsest.unlearning.engine import Batch, FlatParameters, Step
from palimpsest.unlearning.methods import siss

METHODS = {"siss": siss, "unpromptable": unpromptable}
RATE, CLIP, FRACTION = 5e-6, 1.0, 0.1


@dataclass(frozen=True)
class Size:
    """A network, the side of its pictures, the batch, the steps that are timed, how often ways take turns."""

    channels: tuple[int, ...]
    side: int
    batch: int
    steps: int
    repetitions: int
    layers: int = 1
    attention: bool = False


TINY = Size((8, 8), 16, 2, 2, 1)
MEDIUM = Size((64, 128, 192), 64, 8, 10, 3)
# The architecture of google/ddpm-celebahq-256: for a GPU.
CELEBA = Size((128, 128, 256, 256, 512, 512), 256, 8, 10, 3, 2, True)


def network(size: Size) -> UNet2DModel:
    """The network with random weights, the same every time."""
    torch.manual_seed(0)
    blocks = len(size.channels)
    down, up = ["DownBlock2D"] * blocks, ["UpBlock2D"] * blocks
    if size.attention:
        down[4], up[1] = "AttnDownBlock2D", "AttnUpBlock2D"
    return UNet2DModel(
        sample_size=size.side,
        block_out_channels=size.channels,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=size.layers,
        norm_num_groups=8 if not size.attention else 32,
        add_attention=size.attention,
    ).to(torch_device())


def tensors(size: Size) -> tuple[Batch, Batch, Tensor, Tensor]:
    """A remember batch, a forget batch, its surrogate, and the schedule."""
    generator = torch.Generator().manual_seed(1)
    shape, device = (size.batch, 3, size.side, size.side), torch_device()

    def drawn() -> Tensor:
        return torch.randn(shape, generator=generator).clamp(-1, 1).to(device)

    times = torch.randint(100, 900, (2, size.batch), generator=generator).to(device)
    batches = [Batch(drawn(), torch.randn(shape, generator=generator).to(device), each) for each in times]
    return *batches, drawn(), DDPMScheduler().alphas_cumprod.to(device)


def step_of(model: nn.Module, parameters: FlatParameters, size: Size, autocast: bool = False) -> Step:
    """What a method of ours sees."""
    remember, forget, stand_in, alphas = tensors(size)
    pools = Examples(forget.images), Examples(remember.images)
    context = Context("instance", *pools, len(alphas), frozen=model, alphas_cumprod=alphas, surrogate=stand_in)
    places = np.arange(size.batch)
    return Step(model, parameters, context, remember, forget, places, places, size.batch, size.batch, autocast)


def train_ours(size: Size, method: str, watch: Stopwatch, autocast: bool = False, channels_last: bool = False):
    """Steps of ours; gives the last gradient."""
    unet = network(size)
    model = NoisePredictor(unet.to(memory_format=torch.channels_last) if channels_last else unet, DDPMScheduler())
    parameters = FlatParameters(model)
    vector = nn.Parameter(parameters.values)
    optimiser, memory = torch.optim.AdamW([vector], RATE, fused=True), {}
    direction = None
    with watch("training", size.steps):
        for index in range(size.steps):
            step = step_of(model, parameters, size, autocast)
            step.index, step.memory = index, memory
            direction = METHODS[method].direction(step)
            vector.grad = direction * min(1.0, CLIP / float(direction.norm()))
            optimiser.step()
    return direction


def train_original(size: Size, method: str, watch: Stopwatch):
    """Steps of the public way; gives the last gradient, flat."""
    model = network(size)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, foreach=False, fused=False)
    gradient = {}
    with watch("training", size.steps):
        for index in range(size.steps):
            gradient = (two_losses_siss if method == "siss" else two_losses_unpromptable)(model, optimiser, size, index)
            norm = torch.stack([each.norm() for each in gradient.values()]).norm()
            for name, parameter in model.named_parameters():
                parameter.grad = gradient[name] * min(1.0, CLIP / float(norm))
            optimiser.step()
    return torch.cat([each.reshape(-1) for each in gradient.values()])


def gradients(model: nn.Module, optimiser, first: Tensor, second: Tensor) -> tuple[dict, dict]:
    """Both gradients, by name: two backwards over one graph, everything cloned."""
    optimiser.zero_grad()
    first.backward(retain_graph=True)
    one = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    optimiser.zero_grad()
    second.backward()
    return one, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def two_losses_siss(model: nn.Module, optimiser, size: Size, index: int) -> dict:
    """SISS: both losses read one prediction; the second gradient is scaled by name. index: the step's number."""
    remember, forget, _, alphas = tensors(size)
    drawn = streams.generator(0, streams.Stream.MIXTURE, index).random(size.batch) < 0.5  # as ours draws it
    from_target = torch.from_numpy(drawn).to(remember.images.device)
    clean = torch.where(from_target.view(-1, 1, 1, 1), forget.images, remember.images)
    signal = alphas[remember.timesteps].view(-1, 1, 1, 1)
    noisy = signal.sqrt() * clean + (1 - signal).sqrt() * remember.noise
    wanted = [implied_noise(noisy, each.images, alphas, remember.timesteps) for each in (remember, forget)]
    weights = siss.importance_weights(*wanted, 0.5)
    predicted = model(noisy, remember.timesteps).sample
    losses = [
        (weight * (predicted - each).square().mean((1, 2, 3))).mean()
        for weight, each in zip(weights, wanted, strict=True)
    ]
    kept, lost = gradients(model, optimiser, *losses)
    length = [torch.stack([each.norm() for each in one.values()]).norm() for one in (kept, lost)]
    return {name: kept[name] - FRACTION * length[0] / length[1] * lost[name] for name in kept}


def two_losses_unpromptable(model: nn.Module, optimiser, size: Size, index: int) -> dict:
    """Unpromptable over one graph of both batches, with the projection by name."""
    remember, forget, stand_in, alphas = tensors(size)
    wanted = surrogate_noise(forget.noise, forget.images, stand_in, alphas, forget.timesteps)
    images, noise = torch.cat([remember.images, forget.images]), torch.cat([remember.noise, forget.noise])
    times = torch.cat([remember.timesteps, forget.timesteps])
    signal = alphas[times].view(-1, 1, 1, 1)
    predicted = model(signal.sqrt() * images + (1 - signal).sqrt() * noise, times).sample
    weight = (times + 1) / len(alphas)
    errors = (predicted - torch.cat([remember.noise, wanted])).square().mean((1, 2, 3))
    half = len(remember.timesteps)
    kept, lost = gradients(model, optimiser, ((1 - weight) * errors)[:half].mean(), (weight * errors)[half:].mean())
    product = sum((kept[name] * lost[name]).sum() for name in kept)
    length = sum(kept[name].square().sum() for name in kept)
    share = product / length if product < 0 else 0.0
    return {name: kept[name] + lost[name] - share * kept[name] for name in kept}


def peak(size: Size, way: str, method: str) -> None:
    """One short training, in a process of its own."""
    (train_original if way == "original" else train_ours)(replace(size, steps=1), method, Stopwatch())


def rows(size: Size) -> list[dict]:
    """The table's rows of this family."""
    told = f"{'/'.join(map(str, size.channels))}, {size.side} px, batch {size.batch}"
    memory = {
        (way, method): peak_of_process(peak, size, way, method) for way in ("original", "ours") for method in METHODS
    }
    found = []
    for method in METHODS:
        ways = {
            "original": lambda watch, method=method: train_original(size, method, watch),
            "ours": lambda watch, method=method: train_ours(size, method, watch),
        }
        ways["channels last"] = lambda watch, method=method: train_ours(size, method, watch, channels_last=True)
        if torch.cuda.is_available() or has_bfloat16():
            ways["bfloat16"] = lambda watch, method=method: train_ours(size, method, watch, autocast=True)
        taken = take_turns(ways, size.repetitions)
        for way in [name for name in ways if name != "original"]:
            own = {"original MB": memory["original", method], "ours MB": memory["ours", method], "memory": "process"}
            columns = own if way == "ours" else {}
            name = f"unlearning step, {method}" + ("" if way == "ours" else f", {way}")
            found.append(compared(name, told, "steps/s", taken["original"], taken[way], "training", **columns))
    taken = take_turns({"ours": lambda watch: evaluation(size, watch)}, size.repetitions)["ours"]
    found.append(row("evaluation: DDIM samples, 10 steps", told, "images/s", 1 / taken.wall["sampling"]))
    return found


def evaluation(size: Size, watch: Stopwatch) -> None:
    """Sampling as the evaluation does it."""
    unet, count = network(size), 2 * size.batch
    with watch("sampling", count):
        sample(unet, DDPMScheduler(), np.arange(count), steps=10, seed=0)
