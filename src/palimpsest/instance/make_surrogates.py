"""Make the surrogates of one kind for every target."""

from importlib import import_module

import numpy as np
import pandas as pd

from palimpsest.instance.surrogates.context import Context
from palimpsest.run import Input, Output, UserError, step


def make_surrogates(
    images: Input,
    manifest: Input,
    data_images: Input,
    neighbours: Input,
    network: Input,
    surrogates: Output,
    *,
    kind: str,
    params: dict,
    seed: int = 0,
) -> dict:
    """Write surrogates (targets, h, w, 3) uint8, in the order of the targets."""
    targets = np.load(images)
    context = Context(
        targets, pd.read_parquet(manifest), np.load(data_images, mmap_mode="r"), np.load(neighbours), network, seed
    )
    try:
        made = import_module(f"palimpsest.instance.surrogates.{kind}").make(context, **params)
    except (TypeError, ValueError, IndexError) as error:
        raise UserError(f"surrogate {kind} with {params}: {error}") from error
    check(made, targets, list(context.manifest["target"]), kind)
    np.save(surrogates, made)
    return {"mean_squared_error": ((made / 255.0 - targets / 255.0) ** 2).mean((1, 2, 3)).tolist()}


def check(made: np.ndarray, targets: np.ndarray, names: list[str], kind: str) -> None:
    """Raise UserError for surrogates of another number, size or range, and for one that is its target."""
    if made.shape != targets.shape or made.dtype != np.uint8:
        raise UserError(
            f"surrogate {kind}: {made.dtype} {made.shape} for targets {targets.shape}. "
            "Give one picture per target, of its size, as uint8 in 0 to 255."
        )
    same = [name for name, one, other in zip(names, made, targets, strict=True) if (one == other).all()]
    if same:
        raise UserError(f"surrogate {kind}: it equals the target for {', '.join(same)}, and so cannot forget it")


if __name__ == "__main__":
    step(make_surrogates)
