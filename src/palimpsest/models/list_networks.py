"""List a family's networks that nothing was erased from as edited models, so that audits compare with them.

They are the base ("pretrained"), its oracles, and a network of the base's architecture with random
weights ("random"), which is made here: it never saw anything. What others edited is listed with them.
"""

from pathlib import Path

from palimpsest.models import diffusion, vqgan, weights
from palimpsest.models.edit_table import write
from palimpsest.models.edits import is_text_diffusion, is_var
from palimpsest.options import Count
from palimpsest.run import Input, Output, seed_everything, step


def list_networks(
    network: Input,
    random: Output,
    edits: Output,
    *,
    family: str,
    model: str,
    oracles: list[Input] | None = None,
    targets: list[str] | None = None,
    others: list[Input] | None = None,
    about: dict | None = None,
    seed: Count = 0,
) -> None:
    """random: a folder with the random network; edits: a row for each network; model: the base's name.

    targets: what each oracle was trained without, where that is not all that is forgotten. others: checkpoints that
    others edited, of which about["rows"] says in their order which method, target, setting and format they are.
    """
    seed_everything(seed)
    rows, oracles = [{"method": "pretrained", "path": network}], oracles or []
    without = zip(oracles, targets or [""] * len(oracles), strict=True)
    rows += [{"method": "oracle", "path": file, "target": name} for file, name in without]
    rows.append({"method": "random", "path": save_random(random, network)})
    common = {"family": family, "base": model, "base_path": network, "format": "whole"}
    rows += [{**row, "path": path} for row, path in zip((about or {}).get("rows", []), others or [], strict=True)]
    complete = [{"target": "", "setting": "", **common, **row} for row in rows]
    write(edits, complete, seed=seed)


def save_random(folder: Path, network: Path) -> Path:
    """Write a network of another's architecture with random weights; gives the file of its weights."""
    if is_var(network):
        from palimpsest.models import var

        file = folder / "transformer" / var.WEIGHTS
        file.parent.mkdir(parents=True)
        var.save(file, var.random_like(var.open_model(network)))
        return file
    if is_text_diffusion(network):
        from palimpsest.models import text_diffusion

        file = folder / "unet" / diffusion.WEIGHTS
        text_diffusion.save(file, text_diffusion.random_like(text_diffusion.open_model(network)))
        return file
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
