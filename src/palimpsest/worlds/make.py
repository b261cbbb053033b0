"""Make one data set: the step over every world."""

import sys

import numpy as np

from palimpsest.options import check_types, module_of
from palimpsest.run import Output, UserError, step


def make(images: Output, masks: Output, manifest: Output, *, world: str, params: dict) -> dict:
    """Write images (n, h, w, 3) uint8, concept masks (n, h, w) bool and manifest of the set that params describe."""
    module = module_of("palimpsest.worlds", world, "make")
    check_types(module.make, params, f"params of the world {world}")
    try:
        data = module.make(**params)
    except (TypeError, ValueError) as error:
        raise UserError(f"data set of the world {world!r} with {params}: {error}") from error
    np.save(images, data.images)
    np.save(masks, data.masks)
    data.manifest.to_parquet(manifest, index=False)
    if unreadable := data.report.get("unreadable"):
        first = f"{unreadable[0]['path']}: {unreadable[0]['reason']}"
        print(f"warning: {len(unreadable)} files gave no image and were left out, the first {first}", file=sys.stderr)
    return {"images": len(data.images), **data.report}


if __name__ == "__main__":
    step(make)
