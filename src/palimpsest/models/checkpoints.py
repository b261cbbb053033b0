"""Published VQ-GAN checkpoints of taming-transformers, converted once to safetensors, strictly.

A published model is a pair of files: `model.yaml`, whose `target` names the class and so the quantiser, and
`last.ckpt`, a Lightning checkpoint. The weights of the encoder, decoder, quantiser and the two convolutions around it
are taken, and each must fit; the rest (the loss's networks, the optimisers) is training state and is left out.
The first stage of a latent diffusion checkpoint is read in the same way.
No code of a file runs: weights are read with `weights_only`, the yaml as plain data.
"""

import re
from collections import Counter
from pathlib import Path

import torch
import yaml
from torch import Tensor

from palimpsest import run
from palimpsest.models import weights
from palimpsest.models.published import check_hash, read_inert
from palimpsest.models.vqgan import VQGAN, VQGANConfig
from palimpsest.run import Input, Output, UserError, step

QUANTISERS = {"taming.models.vqgan.GumbelVQ": "gumbel", "taming.models.vqgan.VQModel": "nearest"}
# What the published names stand for: quantiser, codes, pixels per side of a code.
PUBLISHED = {
    "vqgan_gumbel_f8": ("gumbel", 8192, 8),
    "vqgan_imagenet_f16_1024": ("nearest", 1024, 16),
    "vqgan_imagenet_f16_16384": ("nearest", 16384, 16),
}
PREFIXES = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")
FIRST_STAGE = "first_stage_model."  # what latent diffusion calls its autoencoder
NETWORK_KEYS = {"ch", "ch_mult", "num_res_blocks", "attn_resolutions", "resolution", "z_channels", "in_channels"}
# Settings of ddconfig that our network has at one value only; dropout does nothing in evaluation.
FIXED = {"double_z": False, "resamp_with_conv": True, "give_pre_end": False}


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
    """Convert a published VQ-GAN to the safetensors that `vqgan.load` reads.

    name: what the model is called; a published name has to fit the yaml. sha256: what the checkpoint has to hash to.
    source and revision: the publisher's, for the record.
    """
    architecture = read_architecture(config)
    check_name(name, architecture, config)
    found = check_hash(checkpoint, sha256, name)
    content = read_checkpoint(checkpoint)
    prefix = find_prefix(content["state_dict"], checkpoint)
    state, unused = split_state(content["state_dict"], prefix, checkpoint)
    with torch.device("meta"):  # the shapes alone: the weights are put in place, not copied
        model = VQGAN(architecture)
    weights.check_state(state, model, checkpoint)
    model.load_state_dict(state, assign=True)
    weights.save(network, model, model.to_metadata())
    return {
        "sha256": found,
        "config_sha256": run.sha256(config),
        "architecture": model.to_metadata(),
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "prefix_taken_off": prefix,
        "unused_tensors": unused,
        "unused_entries": sorted(str(key) for key in content if key != "state_dict"),
    }


def read_architecture(path: Path) -> VQGANConfig:
    """The architecture that a published `model.yaml` describes; what ours cannot express is refused."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        target, params = content["model"]["target"], content["model"]["params"]
        given = dict(params["ddconfig"])
        codes, embed_dim = params["n_embed"], params["embed_dim"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no readable yaml ({error}). Fetch the model's yaml again.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not describe a VQ-GAN as taming publishes it: model.target and model.params with ddconfig, "
            f"n_embed and embed_dim ({type(error).__name__}: {error}). Give the model.yaml that belongs to the weights."
        ) from error
    if target not in QUANTISERS:
        raise UserError(f"{path} describes a {target}. Known are {' and '.join(QUANTISERS)}.")
    faults = [f"{key} is missing" for key in sorted(NETWORK_KEYS - given.keys())]
    known = NETWORK_KEYS | FIXED.keys() | {"out_ch", "dropout"}
    faults += [f"{key} is unknown" for key in sorted(given.keys() - known)]
    sizes = {"n_embed": codes, "embed_dim": embed_dim, **{key: given[key] for key in NETWORK_KEYS & given.keys()}}
    faults += [f"{key} is {value!r}" for key, value in sorted(sizes.items()) if not _is_size(key, value)]
    faults += [f"{key} is {given[key]}" for key, value in FIXED.items() if given.get(key, value) != value]
    # taming's encoder has double_z unless the configuration says otherwise.
    faults += ["double_z is not given"] if "double_z" not in given else []
    if given.get("out_ch") != given.get("in_channels"):
        faults.append(f"out_ch is {given.get('out_ch')} and in_channels {given.get('in_channels')}")
    if params.get("remap") is not None:
        faults.append("params.remap is set")
    if QUANTISERS[target] == "gumbel" and embed_dim != given.get("z_channels"):
        faults.append(f"embed_dim {embed_dim} is not z_channels {given.get('z_channels')}, which its quantiser reads")
    if faults:
        raise UserError(f"{path} describes a network that cannot be loaded here: {'; '.join(faults)}.")
    network = {key: given[key] for key in NETWORK_KEYS}
    return VQGANConfig(quantiser=QUANTISERS[target], codes=codes, embed_dim=embed_dim, **network)


def check_name(name: str, architecture: VQGANConfig, path: Path) -> None:
    """Raise a UserError if a published name stands over the yaml of another model."""
    described = (architecture.quantiser, architecture.codes, architecture.downsampling)
    if name in PUBLISHED and PUBLISHED[name] != described:
        raise UserError(
            "{}: {} has a {} quantiser, {} codes and f{}, but this yaml describes {}, {} and f{}. "
            "Give the yaml of that model, or another name.".format(path, name, *PUBLISHED[name], *described)
        )


def read_checkpoint(path: Path) -> dict:
    """The content of a Lightning checkpoint, tensors mapped from the file where its format allows; no code runs.

    Objects of the classes in HARMLESS are replaced by inert ones. Raises UserError for a file that asks for any other.
    """
    content = read_inert(path, "state_dict")
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        found = ", ".join(map(str, content))[:200] if isinstance(content, dict) else f"a {type(content).__name__}"
        raise UserError(f"{path} is no Lightning checkpoint: no state_dict, but {found}. Give the model's last.ckpt.")
    return content


def find_prefix(state: dict[str, Tensor], path: Path) -> str:
    """What stands before the names of the model's tensors: nothing, or FIRST_STAGE; a UserError names any other."""
    keys = [str(key) for key in state]
    for prefix in ("", FIRST_STAGE):
        if any(key.startswith(tuple(prefix + ours for ours in PREFIXES)) for key in keys):
            return prefix
    inner = re.compile("(.+?[.])(?:" + "|".join(map(re.escape, PREFIXES)) + ")")
    outer = Counter(match[1] for match in map(inner.match, keys) if match)
    if outer:
        prefix, _ = outer.most_common(1)[0]
        which = "all keys" if all(key.startswith(prefix) for key in keys) else "the keys of its network"
        raise UserError(
            f"{path}: {which} begin with {prefix}: the model was saved as a part of another. Take that off: "
            f'`torch.save({{"state_dict": {{key.removeprefix("{prefix}"): value for key, value in '
            'checkpoint["state_dict"].items()}}, ...)`.'
        )
    return ""


def split_state(state: dict[str, Tensor], prefix: str, path: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The model's tensors as float32, named without the prefix; how many others by the first part of their name."""
    whole = tuple(prefix + ours for ours in PREFIXES)
    taken = {key: value for key, value in state.items() if str(key).startswith(whole)}
    unused = Counter(str(key).split(".")[0] for key in state if key not in taken)
    faults = [
        f"{key} is {type(value).__name__}, not a tensor" if not isinstance(value, Tensor) else f"{key} is not finite"
        for key, value in taken.items()
        if not isinstance(value, Tensor) or not torch.isfinite(value).all()
    ]
    if faults:
        raise UserError(f"{path} is damaged; nothing was loaded:\n  " + "\n  ".join(faults[:20]))
    return {key.removeprefix(prefix): value.float() for key, value in taken.items()}, dict(unused)


def _is_size(key: str, value) -> bool:
    """Whether a value is a positive whole number, or where the setting is a list, made of such."""
    if key in ("ch_mult", "attn_resolutions"):
        return isinstance(value, list) and all(_is_size("", item) for item in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


if __name__ == "__main__":
    step(convert)
