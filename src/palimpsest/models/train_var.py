"""Train a text-to-image model of the scenes by next-scale prediction, and its text encoder; judge what it draws.

The visual tokenizer is trained before (`train_visual_tokenizer`) and stays as it is. Every picture is shown with a
caption that is drawn anew each time, now and then with none (classifier-free guidance, Ho and Salimans 2022), and with
some symbols wrong that later scales mend (bitwise self-correction, Han et al. 2025).
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.judges.prompted import emblem_shown, judged_prompts, known_rows, shown
from palimpsest.models import var, visual_tokenizer
from palimpsest.models.next_scale import NextScaleTransformer, symbol_losses
from palimpsest.models.pixels import shares
from palimpsest.models.residual_quantiser import drawn_offsets
from palimpsest.models.scales import as_row, size_weights, spans
from palimpsest.models.text_encoder import untrained_text
from palimpsest.models.training import Kept, Training, built, compile_for, fit_average
from palimpsest.models.var import NextScale, Var
from palimpsest.models.visual_tokenizer import VisualTokenizer
from palimpsest.models.weights import halved
from palimpsest.options import Count, Positive, Share, Size, check
from palimpsest.run import Input, Output, sha256, step, torch_device
from palimpsest.worlds.captions import drawn_caption

EMPTY_SHARE = 0.1  # of the captions
SAMPLING = {"guidance": 4.0, "temperature": 0.5, "top_p": 0.97}  # of the samples that are judged
EMBLEM_DRAWS = 4  # of each prompt that asks for an emblem, which are too few for a rate from one draw


class Settings(Training):
    """Options of the training. architecture: width, depth and heads of the transformer; text: as transformers names it.

    length: tokens of a prompt; average: decay of the kept weights' average; flips: the highest share of wrong symbols
    of a scale; mask_weight: how much more a token of the concept counts; samples: how many are judged, of seen and of
    held-out prompts each.
    """

    architecture: dict
    text: dict
    length: Positive
    average: Share
    flips: Share
    mask_weight: Size
    samples: Positive


def train(
    train_images: Input,
    train_masks: Input,
    train_manifest: Input,
    test_images: Input,
    test_manifest: Input,
    visual: Input,
    judge: Input,
    detector: Input,
    network: Output,
    *,
    params: dict,
    seed: Count = 0,
    device: str = "auto",
) -> dict:
    """Train the model that params describe, and write its folder."""
    check(Settings, params, "params of the next-scale model")
    place = torch_device(device)
    rows = pd.read_parquet(train_manifest)
    tokens = visual_tokenizer.load(visual).to(place)
    parts = tokens.quantiser
    features = visual_tokenizer.encode(tokens, np.load(train_images, mmap_mode="r"))
    weights = token_weights(np.load(train_masks, mmap_mode="r"), parts.sizes, params["mask_weight"])
    model = untrained(params, tokens, place)
    records = rows.to_dict("records")

    def loss_of(picks: np.ndarray, index: int) -> Tensor:
        rng = np.random.default_rng((seed, index))
        captions = [drawn_caption(records[pick], rng) for pick in picks]
        dropped = torch.from_numpy(rng.random(len(picks)) < EMPTY_SHARE).to(place)
        offsets = drawn_offsets(rng, len(picks), parts.sizes, parts.symbols, parts.values, params["flips"])
        found = parts.quantise(features[picks].to(place), offsets.to(place))
        logits = model.network(model.ids(captions), found.inputs, dropped)
        losses = symbol_losses(logits, found.symbols).mean(2)
        return (weights[picks].to(place) * losses).sum(1).mean()

    known = hashlib.sha256(features.numpy().tobytes()).hexdigest()
    compile_for(model.network, params["steps"])
    recipe = {"params": params, "seed": seed, "data": sha256(train_manifest), "features": known}
    averaged, losses = fit_average(
        model.network, loss_of, params, count=len(rows), seed=seed, kept=Kept.beside(network, recipe)
    )
    kept = model.with_network(halved(averaged.eval()))
    var.save(network, kept)
    held_out = pd.read_parquet(test_manifest)
    prompts = judged_prompts(rows, held_out, params["samples"])
    return {
        "losses": losses,
        "quality": {name: shown(drawn(kept, some, seed), some, judge, detector) for name, some in prompts.items()},
        "emblems": {name: emblems(kept, some, seed, detector) for name, some in prompts.items()},
        "teacher_forced": teacher_forced(
            kept, np.load(test_images, mmap_mode="r"), held_out, known_rows(held_out, rows)
        ),
        "sampling": SAMPLING,
        "cached_error": cached_error(kept, prompts["seen"], seed),
        "parameters": {name: sum(part.numel() for part in each.parameters()) for name, each in parts_of(kept).items()},
    }


def parts_of(model: Var) -> dict[str, torch.nn.Module]:
    """The networks of a model by name."""
    return {
        "transformer": model.network.transformer,
        "text_encoder": model.network.text_encoder,
        "visual_tokenizer": model.visual,
    }


def untrained(params: dict, visual: VisualTokenizer, place: torch.device) -> Var:
    """A model with random weights around a visual tokenizer."""
    text, tokenizer = untrained_text(params["text"], params["length"])
    parts = visual.quantiser
    tokens = {"sizes": parts.sizes, "channels": parts.channels, "symbols": parts.symbols, "values": parts.values}
    texts = {"text_width": text.config.hidden_size, "length": params["length"]}
    transformer = built(NextScaleTransformer, {**tokens, **texts, **params["architecture"]})
    return Var(NextScale(transformer, text).to(place), visual, tokenizer, Path())


def token_weights(masks: np.ndarray, sizes: tuple[int, ...], more: float) -> Tensor:
    """What each token's loss counts (n, L): that of its scale, and the more the more of it a mask (n, H, W) covers."""
    covered = torch.cat([as_row(shares(masks, (side, side)))[..., 0] for side in sizes], 1)
    return size_weights(sizes) * (1 + more * covered)


def drawn(model: Var, rows: pd.DataFrame, seed: int) -> np.ndarray:
    """What a model draws from the rows' captions."""
    return var.draw(model, list(rows["caption"]), np.arange(len(rows)), seed=seed, **SAMPLING)


def emblems(model: Var, rows: pd.DataFrame, seed: int, detector: Path) -> dict[str, float | int]:
    """How many pictures are drawn for the rows that ask for an emblem, and the share of them that have one.

    By seeds that `quality` does not use.
    """
    asked = rows[rows["emblem"].astype(bool)]
    if asked.empty:
        return {"pictures": 0}
    pictures = np.concatenate([drawn(model, asked, seed + draw) for draw in range(1, EMBLEM_DRAWS + 1)])
    return {"pictures": len(pictures), "found": float(emblem_shown(pictures, detector).mean())}


@torch.inference_mode()
def cached_error(model: Var, rows: pd.DataFrame, seed: int) -> float:
    """The greatest difference of the logits of cached drawing from those of the masked pass, over the first 8 rows."""
    ids = model.ids(list(rows["caption"].head(8)))
    made = var.roll_out(model, ids, var.noise_of(model, np.arange(len(ids)), seed), guidance=1)
    return float((model.network(ids, made.inputs) - made.logits).abs().max())


@torch.inference_mode()
def teacher_forced(model: Var, pictures: np.ndarray, rows: pd.DataFrame, known: pd.DataFrame) -> dict[str, list[float]]:
    """Loss of a symbol (nats) and share of right ones by scale, on held-out pictures and their captions.

    known: those of the rows that are asked.
    """
    device, parts, sums = next(model.network.parameters()).device, model.visual.quantiser, 0.0
    places = np.flatnonzero(rows.index.isin(known.index))
    for part in np.array_split(places, -(-len(places) // 64)):
        found = parts.quantise(visual_tokenizer.encode(model.visual, pictures[part]).to(device))
        logits = model.network(model.ids(list(rows["caption"].iloc[part])), found.inputs)
        right = (logits.argmax(-1) == found.symbols).float()
        sums = sums + torch.stack([symbol_losses(logits, found.symbols).mean(2), right.mean(2)]).sum(1).cpu()
    means = sums / len(places)
    return {
        name: [round(float(row[part].mean()), 5) for part in spans(parts.sizes)]
        for name, row in zip(("loss", "right"), means, strict=True)
    }


if __name__ == "__main__":
    step(train)
