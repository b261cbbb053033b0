"""Next-scale models: an iteration of S-VARE, what is kept of a pair, and drawing, by the release's way and by ours.

The release keeps of both pictures of a pair the bits as 64-bit numbers, what the transformer was fed, and the teacher's
logits twice, all in float32, in files that it reads at every iteration; an iteration is two losses with a step of the
optimiser each, parameter by parameter, and every block is computed again on the way back (checkpointing). Ours keeps
bits packed and one half-precision logit of each, in memory, feeds made of them again, and flat parameters, and lets
torch compile the transformer, as the trainings of `full` do, which are long enough to repay it. Both are written anew
from a description, see the same pairs, and do both losses.
"""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from bench.measure import Stopwatch, compared, peak_of_process, product_per_second, row, take_turns
from palimpsest.models import var
from palimpsest.models.next_scale import NextScaleTransformer, Seen, symbol_losses
from palimpsest.models.scales import spans
from palimpsest.models.text_encoder import untrained_text
from palimpsest.models.var import NextScale, Var
from palimpsest.models.visual_tokenizer import VisualTokenizer
from palimpsest.run import torch_device
from palimpsest.unlearning.context import Context
from palimpsest.unlearning.draw_rollouts import rolled_out
from palimpsest.unlearning.engine import train
from palimpsest.unlearning.rollouts import Rollouts, packed
from palimpsest.var.methods import s_vare
from palimpsest.var.parts import select

THRESHOLD, WEIGHT, RATE, DECAY, CLIP = 0.25, 0.5, 1e-5, 0.005, 5.0
BETAS = (0.9, 0.97)
# How `full` computes on a card, where it does not as the bench does.
OTHERWISE = {"training": "; `full` trains in bfloat16", "drawing": ""}
UNSAFE, SAFE = "a red church in the sea", "a red tree in the sea"


@dataclass(frozen=True)
class Size:
    """A transformer over scales of bits; pairs, of a batch too; iterations, and how often the ways take turns.

    compiled: whether our way lets torch compile the transformer, before the iterations that are timed. matrix: the side
    of the matrices whose product says what a card can do.
    """

    width: int
    depth: int
    heads: int
    sizes: tuple[int, ...]
    bits: int
    pairs: int
    batch: int
    iterations: int
    repetitions: int
    compiled: bool = True
    matrix: int = 8192


TINY = Size(16, 1, 2, (1, 2, 3), 4, 2, 2, 1, 1, False, 64)
# Infinity's bits and the scales of its 256 pixels, but the largest.
MEDIUM = Size(256, 8, 8, (1, 2, 4, 6, 8, 12), 32, 8, 2, 4, 3)
INFINITY = Size(2048, 32, 16, (1, 2, 4, 6, 8, 12, 16), 32, 8, 2, 10, 3)  # for a GPU


def rows(size: Size) -> list[dict]:
    """The table's rows of this family."""
    told = f"{size.width} x {size.depth}, {sum(side**2 for side in size.sizes)} tokens of {size.bits} bits"
    ways, columns = WAYS["training"], memory_of("training", size)
    taken = take_turns({way: partial(run, size) for way, run in ways.items()}, size.repetitions)
    gap = float((taken["original"].result - taken["ours"].result).abs().max())
    seconds = " against ".join(f"{taken[way].wall['training']:.3g}" for way in ways) + " s an iteration"
    remark = f"{seconds}; weights differ by at most {gap:.0e}{of_a_card('training', size, taken['ours'].wall)}"
    label = f"{told}, batch {size.batch}"
    found = [compared("S-VARE iteration", label, "iterations/s", *taken.values(), "training", remark=remark, **columns)]
    pairs = rollouts(model_of(size), size)
    released, kept = (sum(each.nbytes for each in made(pairs).values()) / size.pairs for made in (stored, packed))
    remark = f"{released / 1e3:.4g} against {kept / 1e3:.4g} kB"
    found.append(
        row("kept of a pair", told, "pairs/MB", 1e6 / kept, remark, original=1e6 / released, gain=released / kept)
    )
    ways, columns = WAYS["drawing"], memory_of("drawing", size)
    taken = take_turns({way: partial(run, size) for way, run in ways.items()}, size.repetitions)
    same = float((taken["original"].result == taken["ours"].result).float().mean())
    remark = f"{100 * same:.4g} % of the bits alike{of_a_card('drawing', size, taken['ours'].wall)}"
    return [*found, compared("draw", told, "tokens/s", *taken.values(), "drawing", remark=remark, **columns)]


def memory_of(stage: str, size: Size) -> dict:
    """The columns of peak memory of a stage, both ways."""
    peaks = {f"{way} MB": peak_of_process(peak, stage, size, way) for way in WAYS[stage]}
    return {**peaks, "memory": "process"}


def of_a_card(stage: str, size: Size, seconds: dict[str, float]) -> str:
    """What of a card our way of a stage reaches, for the remark; seconds: of an item. Nothing without a card."""
    return f"; {share_of_card(stage, size, seconds)}" if torch.cuda.is_available() else ""


def share_of_card(stage: str, size: Size, seconds: dict[str, float]) -> str:
    """Floating-point operations a second of our way, and their share of those of a large product, both in float32.

    So that weights of both ways can be compared; what `full` trains computes in bfloat16, which is another share.
    """
    counter, items = FlopCounterMode(display=False), []

    def counted(_: str, count: int) -> FlopCounterMode:
        items.append(count)
        return counter

    WAYS[stage]["ours"](replace(size, iterations=1, compiled=False), counted)
    rate = counter.get_total_flops() / items[0] / seconds[stage]
    share = rate / product_per_second(size.matrix, torch.float32)
    matrix = f"{size.matrix} x {size.matrix} matrices"
    return f"{rate / 1e12:.3g} TFLOP/s in float32: {share:.0%} of a product of {matrix} in it{OTHERWISE[stage]}"


def model_of(size: Size) -> Var:
    """A model with random weights, the same every time."""
    torch.manual_seed(0)
    quantiser = {"kind": "bits", "bits": size.bits, "sizes": list(size.sizes)}
    visual = VisualTokenizer(quantiser, blocks=[8], layers=1, groups=4, patch=2)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text, tokenizer = untrained_text(sizes, 16)
    parts = {"width": size.width, "depth": size.depth, "heads": size.heads, "text_width": 64, "length": 16}
    transformer = NextScaleTransformer(list(size.sizes), size.bits, size.bits, 2, **parts)
    network = NextScale(transformer, text).eval().requires_grad_(False).to(torch_device())
    return Var(network, visual.eval().requires_grad_(False).to(torch_device()), tokenizer, Path("model"))


def rollouts(model: Var, size: Size) -> Rollouts:
    """Pairs of the model's own."""
    asked, safe = (model.ids([prompt] * size.pairs) for prompt in (UNSAFE, SAFE))
    return rolled_out(model, asked, safe, var.noise_of(model, np.arange(size.pairs), 0), guidance=4.0)


def stored(pairs: Rollouts) -> dict[str, np.ndarray]:
    """What the release keeps of both pictures of each pair."""
    logits = pairs.guided.float().cpu().numpy()
    found = {}
    for name, tokens in {"safe": pairs.tokens, "unsafe": pairs.own}.items():
        inputs = pairs.quantiser.read(tokens).inputs.float().cpu().numpy()
        found |= {f"{name}.bits": tokens.cpu().numpy(), f"{name}.inputs": inputs}
        found |= {f"{name}.logits": logits, f"{name}.cut_logits": logits.copy()}
    return found


# An iteration --------------------------------------------------------------------------------------------------------


def chosen(model: Var) -> list[nn.Parameter]:
    """The parameters that are trained, in both ways."""
    select(model.network, "cross_attention_and_feed")
    return [each for each in model.network.parameters() if each.requires_grad]


def places(index: int, size: Size) -> np.ndarray:
    """The pairs of an iteration, the same in both ways: those that the engine draws."""
    rng = np.random.default_rng((0, 2, 2 * index))
    rng.integers(0, 1, (2, size.batch))
    rng.integers(size.pairs, size=size.batch)  # of what is to be kept
    return rng.integers(size.pairs, size=size.batch)


def train_original(size: Size, watch: Stopwatch) -> Tensor:
    """Iterations of the release's way; the trained weights, flat."""
    model = model_of(size)
    pairs, parameters = rollouts(model, size), chosen(model)
    optimiser = torch.optim.AdamW(parameters, RATE, betas=BETAS, weight_decay=DECAY)
    for block in model.network.transformer.blocks:
        block.forward = recomputed(block.forward)
    with tempfile.TemporaryDirectory() as folder:
        whole = stored(pairs)
        for number in range(size.pairs):
            torch.save({name: torch.from_numpy(each[number]) for name, each in whole.items()}, f"{folder}/{number}.pt")
        with watch("training", size.iterations):
            for index in range(size.iterations):
                picks = places(index, size)
                read = [torch.load(f"{folder}/{pick}.pt", weights_only=True) for pick in picks]
                given = {name: torch.stack([each[name] for each in read]).to(torch_device()) for name in read[0]}
                released_step(model, pairs.asked[picks], given, optimiser, parameters, filtered)
                released_step(model, pairs.safe[picks], given, optimiser, parameters, preserved)
    return torch.cat([each.detach().reshape(-1) for each in parameters])


def recomputed(forward: Callable) -> Callable:
    """A block that is computed again on the way back."""
    return lambda *given, **more: checkpoint(forward, *given, use_reentrant=False, **more)


def released_step(model, conditions: Tensor, given: dict, optimiser, parameters, loss_of: Callable) -> None:
    """One loss, backwards, clipped, and a step."""
    optimiser.zero_grad(set_to_none=True)
    loss_of(model.network(conditions, given["safe.inputs"]), given).backward()
    nn.utils.clip_grad_norm_(parameters, CLIP)
    optimiser.step()


def filtered(logits: Tensor, given: dict[str, Tensor]) -> Tensor:
    """L_FCE."""
    losses = symbol_losses(logits, given["safe.bits"])
    with torch.no_grad():
        kept = ((losses > np.log(2)).float().mean(2) >= THRESHOLD).float()
    return (kept * losses.mean(2)).mean()


def preserved(logits: Tensor, given: dict[str, Tensor]) -> Tensor:
    """lambda L_Pre."""
    wanted = given["safe.logits"].log_softmax(-1)
    return WEIGHT * (wanted.exp() * (wanted - logits.log_softmax(-1))).mean()


def train_ours(size: Size, watch: Stopwatch) -> Tensor:
    """The same iterations by the engine: two of its steps each."""
    model = model_of(size)
    pairs, frozen = rollouts(model, size), copy.deepcopy(model.network)
    context = Context("var", pairs, pairs, timesteps=1, frozen=frozen, bounds=None)
    parameters = chosen(model)
    trained = partial(
        train, s_vare.direction, model.network, context, {"threshold": THRESHOLD, "weight": WEIGHT, "drop": 0.0},
        batch=size.batch, betas=BETAS, weight_decay=DECAY, clip=CLIP,
    )  # fmt: skip
    if size.compiled:
        model.network.compile()
        trained(steps=2, learning_rate=0.0)  # which changes no weight: what is computed is compiled
    with watch("training", size.iterations):
        trained(steps=2 * size.iterations, learning_rate=RATE)
    return torch.cat([each.detach().reshape(-1) for each in parameters])


# Drawing -------------------------------------------------------------------------------------------------------------


def draw_original(size: Size, watch: Stopwatch) -> Tensor:
    """Every scale by a pass over all scales so far; the drawn bits."""
    return drawn(size, watch, cached=False)


def draw_ours(size: Size, watch: Stopwatch) -> Tensor:
    """Every scale by a pass over itself, which sees the keys and values of those before."""
    return drawn(size, watch, cached=True)


@torch.inference_mode()
def drawn(size: Size, watch: Stopwatch, *, cached: bool) -> Tensor:
    """The likeliest bits of each scale, of so many pictures as pairs, without guidance."""
    model = model_of(size)
    transformer, quantiser = model.network.transformer, model.visual.quantiser
    conditions = model.ids([UNSAFE] * size.pairs)
    with watch("drawing", size.pairs * model.shape[0]):
        told = transformer.conditioned(model.network.embed(conditions), None)
        seen = [Seen() for _ in transformer.blocks]
        total, fed, symbols = quantiser.nothing(size.pairs, conditions.device), [], []
        for scale, part in enumerate(spans(size.sizes)):
            if cached:
                logits = transformer.next_logits(told, seen, scale, fed[-1] if fed else None)
            else:
                logits = so_far(model, told, fed, part.stop)[:, part]
            symbols.append(logits.argmax(-1))
            total = quantiser.add(total, symbols[-1], scale)
            if scale + 1 < len(size.sizes):
                fed.append(quantiser.next_input(total, scale))
    return torch.cat(symbols, 1).cpu()


def so_far(model: Var, told, fed: list[Tensor], count: int) -> Tensor:
    """Logits of the first tokens, from a pass over all of them under the mask."""
    transformer = model.network.transformer
    tokens = [transformer.start(told.pooled)[:, None], *map(transformer.embed, fed)]
    tokens = transformer.placed(torch.cat(tokens, 1), slice(count), transformer.levels[:count])
    for block in transformer.blocks:
        tokens = block(tokens, told.blocks, told.words, transformer.allowed[:count, :count])
    return transformer.logits(tokens, told)


WAYS = {
    "training": {"original": train_original, "ours": train_ours},
    "drawing": {"original": draw_original, "ours": draw_ours},
}


def peak(stage: str, size: Size, way: str) -> None:
    """One run of a stage, in a process of its own."""
    WAYS[stage][way](size, Stopwatch())
