"""The memory audit: pictures inverted to seeds, and to latents of a decoder, by the source's loops and by ours.

The source (Memories of Forgotten Concepts, Rusanovsky et al. 2025) audits a picture at a time, with ReNoise as it
configures it, and inverts the decoder anew for every edited model. Its way is written anew from a description, without
ReNoise's regularisation of the noise, which would cost it time and add to its residual; the extra evaluation of each
step that it pays for that is there.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.measure import Stopwatch, Taken, compared, product_per_second, row, take_turns
from bench.networks import conditional_unet
from palimpsest.judges import emblem, networks
from palimpsest.memory.ddim import Predict, Transition, inverted, schedule_of, transitions
from palimpsest.memory.decoder_inversion import Decode, DecoderInversion, decibels, decoder_of, invert_decoder
from palimpsest.memory.inversion import generate, invert
from palimpsest.memory.predictors import of_text
from palimpsest.memory.solvers import rms
from palimpsest.models import autoencoder, text_diffusion
from palimpsest.models.latent_networks import UNet2DConditionModel
from palimpsest.models.pixels import to_tensor, to_unit
from palimpsest.models.text_diffusion import TextDiffusion
from palimpsest.run import ROOT, torch_device
from palimpsest.worlds import scenes

WEIGHTS = ROOT / "resources/models/tiny_sd/unet/diffusion_pytorch_model.safetensors"
DETECTOR = ROOT / "resources/models/detector_judge.safetensors"
RENOISE, AVERAGED, AVERAGED_BELOW = 6, 5, 250  # evaluations of a step; how many are averaged, and below which timestep
ITERATIONS, TOLERANCES = 10, (1e-5, 1e-4)  # ours
CHECKED = 2  # pictures whose residuals are shown
ADAM_STEPS, RATE = 3000, 0.01  # of a decoder inversion in the source
QUERIES, SUPPORTS, MODELS = 5, 10, 9
# An own inversion of each query, and for each support its own and the one from there to the query; for each model.
SOURCE_STEPS = MODELS * QUERIES * (1 + 2 * SUPPORTS) * ADAM_STEPS
OUR_ROWS = QUERIES * (1 + SUPPORTS)


@dataclass(frozen=True)
class Size:
    """How much is measured: steps of the sampler; pictures that each way inverts; of the decoder, the pairs and steps
    of the source's way, the supports of ours and its longest run; how often ways take turns."""

    steps: int
    looped: int
    batched: int
    pairs: int
    adam_steps: int
    supports: int
    limit: int
    repetitions: int


QUICK = Size(3, 1, 3, 1, 2, 2, 4, 1)
WHOLE = Size(50, 2, 32, 2, 10, 4, ADAM_STEPS, 2)


@dataclass(frozen=True)
class Audit:
    """seeds (n, c, h, w); residuals (steps, n); evaluations of the network by an inversion; scores of the emblem in the
    reconstructions (n,)."""

    seeds: Tensor
    residuals: Tensor
    evaluations: float
    scores: Tensor


def rows(size: Size) -> list[dict]:
    """The table's rows of this family."""
    model = text_diffusion.open_model(WEIGHTS, torch_device())
    return (
        concept_level(model, size) + image_level(model, size) + (on_a_card(SD14) if torch.cuda.is_available() else [])
    )


# Concept level -------------------------------------------------------------------------------------------------------


def scenes_of(count: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Pictures and captions, every second figure with an emblem."""
    made = scenes.make(count, seed, "fit", emblem="half", size=64)
    return made.images, list(made.manifest["caption"])


def told(model: TextDiffusion, steps: int) -> dict:
    """What `invert` and `generate` are told of the model's sampler."""
    return schedule_of(text_diffusion.sampler_of(model, steps))


@torch.no_grad()
def audit_original(model: TextDiffusion, pictures: np.ndarray, captions: list[str], steps: int, watch: Stopwatch):
    """One picture after the other; each has its text embedded for either direction, and the detector opened twice."""
    found = []
    for picture, caption in zip(pictures, captions, strict=True):
        with watch("all", 1):
            for _ in range(2):
                detector = networks.load(DETECTOR)
            clean = autoencoder.encode(model.vae, picture[None])[0].to(model.alphas_cumprod.device).clone()
            path, evaluations = renoised(model, clean, embedded(model, caption), steps)
            shown = reconstructed(model, path[-1], embedded(model, caption), steps)
            score = emblem.best_scores(detector, to_tensor(shown))
        found.append(Audit(path[-1], residuals_of(model, path, caption, steps), evaluations, score))
    return Audit(
        torch.cat([each.seeds for each in found]),
        torch.cat([each.residuals for each in found], 1),
        found[0].evaluations,
        torch.cat([each.scores for each in found]),
    )


def embedded(model: TextDiffusion, caption: str) -> Tensor:
    """The embedding of a caption (1, length, width), computed anew."""
    return model.network.text_encoder(model.ids([caption]))[0]


def renoised(model: TextDiffusion, clean: Tensor, text: Tensor, steps: int) -> tuple[list[Tensor], int]:
    """The latents (1, c, h, w) at every step, clean ones first, and how many evaluations they took."""
    path, evaluations = [clean], 0
    for step in reversed(transitions(**told(model, steps))):
        latents, number = renoise_step(model, step, path[-1], clean, text)
        path.append(latents)
        evaluations += number
    return path, evaluations


def renoise_step(model: TextDiffusion, step: Transition, cleaner: Tensor, clean: Tensor, text: Tensor):
    """z_t of z_s, and the evaluations: the noise for the clean latents is predicted too, and not used."""
    time, guess, noises = torch.tensor(step.timestep, device=cleaner.device), cleaner, []
    for iteration in range(RENOISE):
        given = torch.cat([guess, clean]) if iteration == 0 else guess
        noise = model.network(given, time, text.expand(len(given), -1, -1))[:1]
        noises.append(noise)
        guess = inverted(step, cleaner, noise)
    if step.timestep < AVERAGED_BELOW:
        guess = inverted(step, cleaner, torch.stack(noises[:AVERAGED]).mean(0))
    return guess, RENOISE + 1


def reconstructed(model: TextDiffusion, seed: Tensor, text: Tensor, steps: int) -> np.ndarray:
    """The picture (1, H, W, 3) of a seed."""
    sampler, noisy = text_diffusion.sampler_of(model, steps), seed
    for timestep in sampler.timesteps:
        noisy = sampler.step(model.network(noisy, timestep, text), timestep, noisy, return_dict=False)[0]
    return autoencoder.decode(model.vae, noisy)


def residuals_of(model: TextDiffusion, path: list[Tensor], caption: str, steps: int) -> Tensor:
    """rms of F(z) - z at every step of a path (steps, 1)."""
    predict, picture = of_text(model, model.ids([caption])), torch.zeros(1, dtype=torch.int64)
    return torch.stack(
        [
            rms(inverted(step, cleaner, predict(noisy, step.timestep, picture)) - noisy)
            for step, cleaner, noisy in zip(reversed(transitions(**told(model, steps))), path, path[1:], strict=False)
        ]
    )


def audit_ours(
    model: TextDiffusion, pictures: np.ndarray, captions: list[str], steps: int, tolerance: float, watch: Stopwatch
) -> Audit:
    """All pictures together; the residuals are of the first pictures' results, taken when the watch has stopped."""
    with watch("all", len(pictures)):
        detector, sampler = networks.load(DETECTOR), told(model, steps)
        latents = autoencoder.encode(model.vae, pictures)[0].to(model.alphas_cumprod.device).clone()
        predict = of_text(model, model.ids(captions))
        solver = {"solver": "anderson", "iterations": ITERATIONS, "tolerance": tolerance}
        found = invert(predict, latents, **sampler, **solver)
        shown = autoencoder.decode(model.vae, generate(predict, found.seeds, **sampler))
        scores = emblem.best_scores(detector, to_tensor(shown))
    # Again, with the results evaluated: no picture depends on the others.
    checked = invert(predict, latents[:CHECKED], **sampler, **solver, verify=True)
    return Audit(found.seeds, checked.residuals, float(found.evaluations.double().mean()), scores)


def concept_level(model: TextDiffusion, size: Size) -> list[dict]:
    """Pictures a second from a picture to its seed, back, and through the detector."""
    pictures, captions = scenes_of(size.batched)
    few = (pictures[: size.looped], captions[: size.looped])
    ways = {"original": lambda watch: audit_original(model, *few, size.steps, watch)}
    for tolerance in TOLERANCES:
        ways[f"tolerance {tolerance:.0e}"] = lambda watch, tolerance=tolerance: audit_ours(
            model, pictures, captions, size.steps, tolerance, watch
        )
    taken = take_turns(ways, size.repetitions)
    base = taken.pop("original")
    label = f"{size.steps} steps; {size.batched} pictures together against {size.looped} in turn"
    return [
        compared(f"audit by inversion: {name}", label, "pictures/s", base, way, "all", remark=audited(base, way, size))
        for name, way in taken.items()
    ]


def audited(base: Taken, way: Taken, size: Size) -> str:
    """Evaluations and residuals of both ways, and whether they see the same."""
    texts = []
    for name, audit in (("original", base.result), ("ours", way.result)):
        residuals = audit.residuals[:, : min(size.looped, CHECKED)]
        texts.append(
            f"{name} {audit.evaluations:.0f} evaluations an inversion, residual {residuals.mean():.1e} on average, "
            f"{residuals.max():.1e} at worst"
        )
    gap = float((base.result.scores - way.result.scores[: size.looped]).abs().max())
    return f"{'; '.join(texts)}; scores of the detector differ by at most {gap:.1g}"


# Image level ---------------------------------------------------------------------------------------------------------


def adam(decode: Decode, target: Tensor, start: Tensor, steps: int) -> Tensor:
    """Latents (1, c, h, w) after so many steps of torch's Adam towards a target (1, 3, H, W) in [0, 1]."""
    latents = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([latents], lr=RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(decode(latents), target).backward()
        optimiser.step()
    return latents.detach()


def pairs_original(decode: Decode, query: Tensor, supports: Tensor, starts: Tensor, steps: int, watch: Stopwatch):
    """Pair after pair: the support's own inversion, and from there to the query; an item is a step."""
    found = []
    with watch("all", 2 * steps * len(supports)):
        for support, start in zip(supports.split(1), starts.split(1), strict=True):
            found.append(adam(decode, query, adam(decode, support, start, steps), steps))
    return torch.cat(found)


def pairs_ours(decode: Decode, query: Tensor, starts: Tensor, limit: int, watch: Stopwatch) -> DecoderInversion:
    """A query from all starts together, each until it gains no more; an item is a row, whatever it takes."""
    with watch("all", len(starts)):
        return invert_decoder(decode, query, starts, learning_rate=RATE, steps=limit)


def image_level(model: TextDiffusion, size: Size) -> list[dict]:
    """Decoder steps, and pairs of query and support a second, of the whole audit of so many models."""
    decode, device = decoder_of(model.vae), model.alphas_cumprod.device
    pictures = np.concatenate([scenes_of(1)[0], scenes_of(max(size.supports, size.pairs), 1)[0]])
    starts = autoencoder.encode(model.vae, pictures)[0].to(device).clone()
    wanted = to_unit(to_tensor(pictures)).to(device)
    query, some = wanted[:1], slice(1, 1 + size.pairs)
    ways = {
        "original": lambda watch: pairs_original(decode, query, wanted[some], starts[some], size.adam_steps, watch),
        "ours": lambda watch: pairs_ours(decode, query, starts[: 1 + size.supports], size.limit, watch),
    }
    taken = take_turns(ways, size.repetitions)
    found, pairs = taken["ours"].result, QUERIES * SUPPORTS
    steps = float(found.steps.double().mean())
    walls, processors = (
        {
            "original": getattr(taken["original"], clock)["all"] * SOURCE_STEPS,
            "ours": getattr(taken["ours"], clock)["all"] * OUR_ROWS,
        }
        for clock in ("wall", "processor")
    )
    label = f"{QUERIES} queries x {SUPPORTS} supports x {MODELS} models"
    slices = (
        f"scaled: the original's way measured on {size.pairs} pairs of {2 * size.adam_steps} steps, ours on one query "
        f"and {size.supports} supports"
    )
    with torch.no_grad():
        begun = decibels((decode(starts[:1]) - query).square().flatten(1).mean(1)).mean()
    reached = f"{steps:.0f} steps a row, {found.psnr.mean():.1f} dB; encoded and decoded the query has {begun:.1f}"
    return [
        row(
            "decoder inversion: steps of a picture",
            label,
            "steps",
            steps * OUR_ROWS,
            f"ours: {reached}",
            original=float(SOURCE_STEPS),
            gain=SOURCE_STEPS / (steps * OUR_ROWS),
        ),
        row(
            "decoder inversion: wall",
            label,
            "pairs/s",
            pairs / walls["ours"],
            f"{slices}; {walls['original'] / 3600:.3g} h against {walls['ours'] / 3600:.3g} h",
            original=pairs / walls["original"],
            **{
                "gain": walls["original"] / walls["ours"],
                "processor gain": processors["original"] / processors["ours"],
            },
        ),
    ]


# On a GPU ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """A UNet with random weights, how many latents pass through it together, steps of the sampler, and the side of the
    matrices whose product says what the card can do."""

    channels: tuple[int, ...]
    layers: int
    side: int
    text: tuple[int, int]
    batch: int
    steps: int
    matrix: int
    heads: int = 8
    groups: int = 32


SD14 = Card((320, 640, 1280, 1280), 2, 64, (77, 768), 16, 50, 8192)
TINY = Card((8, 8), 1, 8, (4, 8), 2, 2, 64, heads=2, groups=4)


def on_a_card(card: Card) -> list[dict]:
    """Seconds of an inversion, and the share of what the card reaches in a large product, by precision and batch."""
    network = conditional_unet(card).to(torch_device()).eval().requires_grad_(False)
    found = []
    for name, dtype, tolerance in (("float32", torch.float32, 1e-5), ("bfloat16", torch.bfloat16, 1e-3)):
        peak = product_per_second(card.matrix, dtype)
        for batch in sorted({1, card.batch}):
            run = replace(card, batch=batch)
            taken = take_turns(
                {"ours": lambda watch, run=run, dtype=dtype, tol=tolerance: seeds(network, run, dtype, tol, watch)}, 2
            )["ours"]
            work, evaluations = taken.result
            rate = work * evaluations / taken.wall["all"]
            remark = (
                f"tolerance {tolerance:.0e}, {evaluations:.0f} evaluations; {taken.wall['all']:.3g} s an inversion, "
                f"{rate / 1e12:.3g} TFLOP/s: {rate / peak:.0%} of a product of {card.matrix} x {card.matrix} matrices"
            )
            label = f"{'/'.join(map(str, card.channels))}, {card.side} x {card.side} latents, batch {batch}"
            found.append(row(f"inversion, {name}", label, "inversions/s", 1 / taken.wall["all"], remark))
    return found


def seeds(network: UNet2DConditionModel, card: Card, dtype: torch.dtype, tolerance: float, watch: Stopwatch):
    """Floating-point operations of one picture's evaluation, and evaluations of its inversion; latents stay float32."""
    generator, device = torch.Generator().manual_seed(1), torch_device()
    latents = torch.randn(card.batch, 4, card.side, card.side, generator=generator).to(device)
    text = torch.randn(card.batch, *card.text, generator=generator).to(device)
    predict = predictor(network, text, dtype)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        predict(latents, 500, torch.arange(card.batch, device=device))
    shares = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0).to(device)
    gap = len(shares) // card.steps
    sampler = {"timesteps": range(1 + gap * (card.steps - 1), 0, -gap), "final_alpha": float(shares[0])}
    with watch("all", card.batch):
        solver = {"solver": "anderson", "iterations": ITERATIONS, "tolerance": tolerance}
        found = invert(predict, latents, shares, **sampler, **solver)
    return counter.get_total_flops() / card.batch, float(found.evaluations.double().mean())


def predictor(network: UNet2DConditionModel, text: Tensor, dtype: torch.dtype) -> Predict:
    """predict under texts (n, length, width), in autocast unless in float32."""

    def predict(noisy: Tensor, timestep: int, rows: Tensor) -> Tensor:
        time = torch.tensor(timestep, device=noisy.device)
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            return network(noisy, time, text[rows], return_dict=False)[0].float()

    return predict
