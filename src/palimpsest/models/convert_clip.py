"""A published CLIP, converted once to the tower of pictures alone, strictly."""

from palimpsest import run
from palimpsest.models import clip, weights
from palimpsest.models.published import check_hash
from palimpsest.run import Input, Output, step


def convert(
    config: Input,
    checkpoint: Input,
    network: Output,
    *,
    name: str,
    sha256: str | None = None,
    source: str = "",
    revision: str = "",
) -> dict:
    """Compare the weights with their hash, and write those of the tower of pictures with every key and shape checked.

    sha256: what the checkpoint has to hash to; source and revision: the publisher's, for the record.
    """
    found = check_hash(checkpoint, sha256, name)
    architecture, state = clip.read_published(config, checkpoint)
    weights.save(network, clip.filled(architecture, state), architecture)
    return {
        "sha256": found,
        "config_sha256": run.sha256(config),
        "architecture": architecture,
        "parameters": sum(tensor.numel() for tensor in state.values()),
    }


if __name__ == "__main__":
    step(convert)
