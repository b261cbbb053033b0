"""List a family's networks that nothing was erased from as edited models, so that audits compare with them.

They are the base ("pretrained"), where there is one its oracle, and a network of the base's architecture with random
weights ("random"), which is made here: it never saw anything.
"""

from pathlib import Path

from palimpsest.models import diffusion, vqgan, weights
from palimpsest.models.edit_table import write
from palimpsest.options import Count
from palimpsest.run import Input, Output, seed_everything, step


def list_networks(
    network: Input,
    random: Output,
    edits: Output,
    *,
    family: str,
    model: str,
    oracle: Input | None = None,
    seed: Count = 0,
) -> None:
    """random: a folder with the random network; edits: a row for each network; model: the base's name."""
    seed_everything(seed)
    files = {"pretrained": network, "oracle": oracle, "random": save_random(random, network)}
    rows = [{"method": method, "path": file} for method, file in files.items() if file]
    common = {"family": family, "base": model, "base_path": network, "format": "whole"}
    write(edits, rows, **common, target="", seed=seed, setting="")


def save_random(folder: Path, network: Path) -> Path:
    """Write a network of another's architecture with random weights; gives the file of its weights."""
    if (network.parent / "config.json").exists():
        like, scheduler = diffusion.load(network)
        file = folder / "unet" / diffusion.WEIGHTS
        diffusion.save(file, type(like).from_config(like.config), scheduler)
        return file
    fresh = vqgan.VQGAN(vqgan.load(network).config)
    folder.mkdir(parents=True)
    file = folder / "network.safetensors"
    weights.save(file, fresh, fresh.to_metadata())
    return file


if __name__ == "__main__":
    step(list_networks)
