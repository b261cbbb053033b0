"""A published diffusion model of pixels, converted once to this package's layout, strictly.

The Hub's `google/ddpm-*` keep config.json, scheduler_config.json and the weights at the root of the repository, with
the attention's old names; newer ones have unet/ and scheduler/. Both are read by `diffusion.load`.
"""

from palimpsest.models import diffusion
from palimpsest.models.published import check_hash
from palimpsest.run import Input, Output, step


def convert(
    weights: Input, network: Output, *, name: str, sha256: str | None = None, source: str = "", revision: str = ""
) -> dict:
    """Compare the weights with their hash, load them with every key and shape checked, and write them in our layout.

    sha256: what the weights have to hash to; source and revision: the publisher's, for the record.
    """
    found = check_hash(weights, sha256, name)
    unet, scheduler = diffusion.load(weights)
    diffusion.save(network, unet, scheduler)
    return {
        "sha256": found,
        "parameters": sum(parameter.numel() for parameter in unet.parameters()),
        "architecture": dict(unet.config),
        "scheduler": dict(scheduler.config),
    }


if __name__ == "__main__":
    step(convert)
