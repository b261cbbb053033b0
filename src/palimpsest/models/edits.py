"""Open any edited model that a table lists (`edit_table`): the network of a row, or its codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from palimpsest.models import compvis
from palimpsest.models.adapters import DOWN, merge, weights_of
from palimpsest.models.edit_table import FORMATS, Edit, read
from palimpsest.models.published import DAMAGE, read_state
from palimpsest.models.steering import load_steering, save_steering
from palimpsest.models.weights import check_state
from palimpsest.run import UserError, sha256

TEXT_PREFIX = "text_encoder."
CONCEPT = "concept"  # the tensor of a gate's prompts
VISUAL = "visual_tokenizer"  # the folder by which a next-scale model is known

__all__ = ["open_edit", "read", "save_delta"]


def open_edit(edit: Edit, device: torch.device | str = "cpu") -> nn.Module | np.ndarray:
    """The network of a row, in evaluation mode, or the array of its codes.

    Raises UserError for an unknown format, a missing file, a file with another sha256, and what does not fit the base.
    """
    openers = {"whole": lambda: open_network(edit.path), "delta": lambda: with_delta(edit)}
    openers |= {"text_encoder": lambda: with_delta(edit), "lora": lambda: with_adapters(edit)}
    openers |= {"codes": lambda: codes_of(edit), "steering": lambda: with_steering(edit)}
    openers |= {"gated": lambda: with_gate(edit)}
    openers |= {f"published_{part}": lambda part=part: with_published(edit, part) for part in ("unet", "text_encoder")}
    if edit.format not in openers:
        raise UserError(f"{edit.path}: the format {edit.format!r} of the row is unknown; known: {', '.join(FORMATS)}")
    for path in (edit.base_path, edit.path):
        if not path.is_file():
            raise UserError(f"{path} is missing: {edit.method} of {edit.base} needs it. Make it again, or move it too.")
    if sha256(edit.path) != edit.sha256:
        raise UserError(
            f"{edit.path} is not the file that the row of {edit.method} lists (sha256 {edit.sha256[:12]}...): it was "
            "changed or replaced. Delete it and make it again."
        )
    found = openers[edit.format]()
    return found if isinstance(found, np.ndarray) else found.eval().requires_grad_(False).to(device)


def open_network(path: Path) -> nn.Module:
    """A whole network, its kind known by its layout, frozen."""
    # Imported where they are used: each takes seconds, and a row needs one of them.
    if path.suffix == ".json":
        from palimpsest.models.stable_diffusion_3 import load_transformer

        return load_transformer(path)
    if is_var(path):
        from palimpsest.models import var

        return var.open_model(path).network
    if is_text_diffusion(path):
        from palimpsest.models import text_diffusion

        return text_diffusion.open_model(path).network
    if (path.parent / "config.json").exists():
        from palimpsest.models import diffusion

        return diffusion.load(path)[0]
    from palimpsest.models import vqgan

    return vqgan.load(path)


def is_text_diffusion(path: Path) -> bool:
    """Whether a file of weights is that of the UNet of a text-to-image pipeline."""
    return (path.parent.parent / "text_encoder").is_dir() and not is_var(path)


def is_var(path: Path) -> bool:
    """Whether a file of weights is that of the transformer of a next-scale model."""
    return (path.parent.parent / VISUAL).is_dir()


@torch.no_grad()
def save_delta(path: Path, network: nn.Module, base_path: Path, half: bool = False) -> str:
    """Write the tensors of a network that differ from its base's; they replace the base's when they are read.

    half: in bfloat16, of half the size; the network's own are rounded to it, so that it is what its file says.
    Or its adapters, where it has some, with what gates them if anything does; or, of a network that steers what it
    draws, its steering: its weights are to be the base's. Gives the row's format.
    Of a text-to-image model either the UNet (or the transformer) or the text encoder may differ, and the names are
    those of the part alone, as diffusers and transformers load them.
    """
    if (gated := getattr(network, "adapters", None)) is not None:
        concept = network.concept.cpu().contiguous()
        save_file({CONCEPT: concept, **gated}, path, metadata={"base": sha256(base_path)})
        return "gated"
    if state := weights_of(network):
        save_file(state, path)
        return "lora"
    base, edited = open_network(base_path).state_dict(), network.state_dict()
    if base.keys() != edited.keys():
        raise ValueError(f"the network has other tensors than {base_path}: {sorted(base.keys() ^ edited.keys())[:5]}")
    changed = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in edited.items()
        if not torch.equal(tensor.detach().cpu(), base[name])
    }
    if half:
        changed = {name: tensor.bfloat16() for name, tensor in changed.items()}
        for name, tensor in changed.items():
            edited[name].copy_(tensor)
    if (steering := getattr(network, "steering", None)) is not None:
        if changed:
            raise ValueError(f"the network steers and its weights differ from {base_path}: {list(changed)[:3]}")
        save_steering(path, steering, sha256(base_path))
        return "steering"
    found = "text_encoder" if any(name.startswith(TEXT_PREFIX) for name in changed) else "delta"
    prefix = prefix_of(base_path, found)
    if others := [name for name in changed if not name.startswith(prefix)]:
        raise ValueError(f"both the text encoder and what it speaks to differ from {base_path}: {others[:3]}")
    changed = {name.removeprefix(prefix): tensor for name, tensor in changed.items()}
    save_file(changed, path, metadata={"base": sha256(base_path)})
    return found


def prefix_of(base_path: Path, kind: str) -> str:
    """What the names in a file of a format lack of the names of the network's tensors."""
    if kind == "text_encoder":
        return TEXT_PREFIX
    if is_var(base_path):
        return "transformer."
    return "unet." if is_text_diffusion(base_path) else ""


def with_delta(edit: Edit) -> nn.Module:
    """The base with the tensors that changed; names, shapes and the base itself are checked."""
    refuse_other_base(edit)
    network, prefix = open_network(edit.base_path), prefix_of(edit.base_path, edit.format)
    state = network.state_dict()
    changed = {f"{prefix}{name}": tensor for name, tensor in read_state(edit.path).items()}
    check_names(edit.path, changed, state)
    network.load_state_dict({**state, **changed})
    return network


def refuse_other_base(edit: Edit) -> None:
    """Raise UserError where a file says that it is of another base than its row does."""
    with safe_open(edit.path, "pt") as file:
        base = (file.metadata() or {}).get("base")
    if base != sha256(edit.base_path):
        raise UserError(f"{edit.path} was made of another base than {edit.base_path} (sha256 {base}): give that one")


def with_steering(edit: Edit) -> nn.Module:
    """The base, which leads what it draws away from a concept. Raises UserError for a base that draws by no scales."""
    if not is_var(edit.base_path):
        raise UserError(f"{edit.path} steers a next-scale model, and {edit.base} is none. Name its base")
    network = open_network(edit.base_path)
    length = network.transformer.config["length"]
    like = torch.zeros(length, dtype=torch.int64) if length else torch.tensor(0)
    network.steering = load_steering(edit.path, sha256(edit.base_path), like)
    return network


def with_published(edit: Edit, part: str) -> nn.Module:
    """The base with a whole UNet or text encoder that others published; every key and shape is checked.

    Raises UserError for half of one, and for that of another model: of other widths, or of another vocabulary.
    """
    from palimpsest.models import text_diffusion

    if not is_text_diffusion(edit.base_path):
        raise UserError(f"{edit.path} is a {part} of a text-to-image model, and {edit.base} is none. Name its base")
    network = open_network(edit.base_path)
    target, state = getattr(network, part), tensors_in(edit.path)
    if part == "text_encoder":
        state = text_diffusion.renamed_text(state)
    elif compvis.is_compvis(state):
        state = compvis.renamed(state, list(target.state_dict()), target.config.layers_per_block)
    else:
        state = {name.removeprefix("unet."): tensor for name, tensor in state.items()}
    refuse_other_model(edit, state, target)
    check_state(state, target, edit.path)
    target.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network


def tensors_in(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, also of one that keeps them under `state_dict`; no code of it runs."""
    if path.suffix == ".safetensors":
        return read_state(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE:
        content = None
    inner = content.get("state_dict") if isinstance(content, dict) else None
    if isinstance(inner, dict):
        return {name: each for name, each in inner.items() if isinstance(each, Tensor)}
    return read_state(path)


def refuse_other_model(edit: Edit, state: dict[str, Tensor], target: nn.Module) -> None:
    """Raise UserError, in words, for the most likely mistakes: a part of Stable Diffusion 2, another vocabulary."""
    known = target.state_dict()
    for name, tensor in state.items():
        if name not in known or tensor.shape == known[name].shape:
            continue
        if name.endswith("attn2.to_k.weight"):
            raise UserError(
                f"{edit.path} takes texts of width {tensor.shape[1]}, {edit.base} of {known[name].shape[1]}: it is of "
                "another model (Stable Diffusion 1 has 768, Stable Diffusion 2 has 1024). Nothing was loaded"
            )
        if name.endswith("token_embedding.weight") and tensor.shape[0] != known[name].shape[0]:
            raise UserError(
                f"{edit.path} knows {tensor.shape[0]} tokens, the tokenizer of {edit.base} {known[name].shape[0]}: it "
                "is of another tokenizer. Nothing was loaded"
            )


def check_names(path: Path, given: dict[str, Tensor], known: dict[str, Tensor]) -> None:
    """Raise a UserError for a tensor that a network does not have, or has in another shape."""
    faults = [f"unexpected {name}" for name in given if name not in known]
    faults += [
        f"shape of {name} is {tuple(tensor.shape)}, expected {tuple(known[name].shape)}"
        for name, tensor in given.items()
        if name in known and tensor.shape != known[name].shape
    ]
    if faults:
        raise UserError(f"{path} does not fit its base; nothing was loaded: {'; '.join(faults[:20])}")


def with_adapters(edit: Edit) -> nn.Module:
    """The base with its adapters merged into it; every tensor of the file has its place, every adapter its tensors."""
    state = {name.removeprefix("transformer."): each for name, each in read_state(edit.path).items()}
    if not any(name.endswith(DOWN) for name in state):
        raise UserError(f"{edit.path} holds no adapters: make them again")
    network = open_network(edit.base_path)
    with fitting(edit):
        merge(network, state)
    return network


def with_gate(edit: Edit) -> nn.Module:
    """The base with adapters that act on a prompt as much as it has to do with the concept."""
    from palimpsest.models.gated import Gated

    refuse_other_base(edit)
    state = read_state(edit.path)
    if CONCEPT not in state:
        raise UserError(f"{edit.path} does not say which prompts its adapters are for: make it again")
    concept = state.pop(CONCEPT)
    with fitting(edit):
        return Gated(open_network(edit.base_path), state, concept)


@contextmanager
def fitting(edit: Edit) -> Iterator[None]:
    """Say of adapters that do not fit which file they are of."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{edit.path} does not fit {edit.base_path}: {error}. Nothing was loaded") from error


def codes_of(edit: Edit) -> np.ndarray:
    """The edited codes of the row's setting (images, h, w)."""
    name = edit.setting.rpartition("/")[2]
    with np.load(edit.path) as file:
        if name not in file:
            raise UserError(f"{edit.path} has no codes of the setting {name}; it has {', '.join(file.files)}")
        return file[name]
