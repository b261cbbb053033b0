"""Make the surrogates of one kind for every target."""

from importlib import import_module

import numpy as np
import pandas as pd

from palimpsest.instance.surrogates.context import Context, check
from palimpsest.options import Count, check_types
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
    seed: Count = 0,
) -> dict:
    """Write surrogates (targets, h, w, 3) uint8, in the order of the targets."""
    targets = np.load(images)
    context = Context(
        targets, pd.read_parquet(manifest), np.load(data_images, mmap_mode="r"), np.load(neighbours), network, seed
    )
    make = import_module(f"palimpsest.instance.surrogates.{kind}").make
    check_types(make, params, f"params of the surrogate {kind}")
    try:
        made = make(context, **params)
    except (TypeError, ValueError, IndexError) as error:
        raise UserError(f"surrogate {kind} with {params}: {error}") from error
    check(made, targets, list(context.manifest["target"]), kind)
    np.save(surrogates, made)
    return {"mean_squared_error": ((made / 255.0 - targets / 255.0) ** 2).mean((1, 2, 3)).tolist()}


if __name__ == "__main__":
    step(make_surrogates)
