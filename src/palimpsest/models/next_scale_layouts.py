"""Published next-scale models by their own names and shapes: VAR (Tian et al. 2024) and Infinity (Han et al. 2025).

What a file is, its keys tell (`class_emb.weight` is VAR's, `cfg_uncond` Infinity's), and its shapes how large. Tensors
are given our modules' names; what stands for none of ours keeps its own, and the strict check names it. What follows
from the sizes alone (the mask, the levels, the bias of keys, which is zero) is compared and left out.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from palimpsest.models.published import read_inert
from palimpsest.models.scales import block_causal, levels
from palimpsest.run import UserError

# Where weights lie: as they are; in training checkpoints of both; in those of S-VARE's release; in a tokenizer's file.
NESTS = ((), ("trainer", "var_wo_ddp"), ("trainer", "gpt_fsdp"), ("model",), ("vae",), ("trainer", "vae_local"))
VAR_MARK, INFINITY_MARK = "class_emb.weight", "cfg_uncond"
VISUAL_MARKS = ("encoder.conv_in.weight", "encoder.conv_in.conv.weight")
PIXELS = 16  # of a side, to each token's place, in both tokenizers
INFINITY_SIZES = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64)  # square pictures of up to 1024 pixels
VAR_DEPTHS = (16, 20, 24, 30)  # the models of 256 pixels: as many heads as blocks, 64 channels each
# What the published names stand for.
PUBLISHED = {
    f"var_d{depth}": {"depth": depth, "width": 64 * depth, "symbols": 1, "values": 4096} for depth in VAR_DEPTHS
}
TWO_B = {"depth": 32, "width": 2048, "symbols": 32, "values": 2}
PUBLISHED |= {"infinity_2b": TWO_B, "infinity_2b_512": TWO_B, "infinity_2b_256": TWO_B}
PUBLISHED |= {"infinity_125m": {"depth": 12, "width": 768, "symbols": 16, "values": 2}}
SIDES = {"infinity_2b_512": 512, "infinity_2b_256": 256, "infinity_125m": 256}  # of pictures; else 1024

TRANSFORMER = {
    r"pos_start": "start.vector",
    r"pos_1LC": "places",
    r"lvl_embed\.weight": "level",
    r"word_embed\.(\w+)": r"embed.\1",
    r"class_emb\.weight": "condition.embedding.weight",
    r"cfg_uncond": "condition.none",
    r"text_norm\.weight": "condition.norm.weight",
    r"text_proj_for_sos\.ca\.mat_q": "condition.query",
    r"text_proj_for_sos\.ca\.mat_kv\.weight": "condition.kv.weight",
    r"text_proj_for_sos\.ca\.v_bias": "condition.kv.value_bias",
    r"text_proj_for_sos\.ca\.proj\.(\w+)": r"condition.out.\1",
    r"text_proj_for_ca\.(\d)\.(\w+)": r"condition.words.\1.\2",
    r"shared_ada_lin\.1\.(\w+)": r"modulation.\1",
    r"head_nm\.ada_lin\.1\.(\w+)": r"last_modulation.\1",
    r"head\.(weight|bias)": r"head.\1",
    r"(blocks\.\d+)\.(?:attn|sa)\.scale_mul_1H11": r"\1.attention.scale",
    r"(blocks\.\d+)\.(?:attn|sa)\.mat_qkv\.weight": r"\1.attention.qkv.weight",
    r"(blocks\.\d+)\.(?:attn|sa)\.q_bias": r"\1.attention.qkv.query_bias",
    r"(blocks\.\d+)\.(?:attn|sa)\.v_bias": r"\1.attention.qkv.value_bias",
    r"(blocks\.\d+)\.(?:attn|sa)\.proj\.(\w+)": r"\1.attention.out.\2",
    r"(blocks\.\d+)\.ca\.mat_q\.(\w+)": r"\1.text_attention.q.\2",
    r"(blocks\.\d+)\.ca\.mat_kv\.weight": r"\1.text_attention.kv.weight",
    r"(blocks\.\d+)\.ca\.v_bias": r"\1.text_attention.kv.value_bias",
    r"(blocks\.\d+)\.ca\.proj\.(\w+)": r"\1.text_attention.out.\2",
    r"(blocks\.\d+)\.ca_norm\.(\w+)": r"\1.text_norm.\2",
    r"(blocks\.\d+)\.ffn\.fc1\.(\w+)": r"\1.feed.0.\2",
    r"(blocks\.\d+)\.ffn\.fc2\.(\w+)": r"\1.feed.2.\2",
    r"(blocks\.\d+)\.ada_lin\.1\.(\w+)": r"\1.modulation.\2",
    r"(blocks\.\d+)\.ada_gss": r"\1.offset",
}
# Of these only the axes differ from ours: those of length 1, and of the query, which is kept by heads.
RESHAPED = {
    r"start\.vector": (-1,),
    r"places": (0, -1),
    r"condition\.query": (1, 1, -1),
    r".+\.attention\.scale": (-1, 1, 1),
    r".+\.offset": (6, -1),
}
VISUAL = {
    r"(encoder|decoder)\.(conv_in|conv_out)\.(\w+)": r"\1.\2.\3",
    r"(encoder|decoder)\.norm_out\.(\w+)": r"\1.conv_norm_out.\2",
    r"(encoder|decoder)\.mid\.block_1\.(.+)": r"\1.mid_block.resnets.0.\2",
    r"(encoder|decoder)\.mid\.block_2\.(.+)": r"\1.mid_block.resnets.1.\2",
    r"(encoder|decoder)\.mid\.attn_1\.(.+)": r"\1.mid_block.attentions.0.\2",
    r"encoder\.down\.(\d+)\.block\.(\d+)\.(.+)": r"encoder.down_blocks.\1.resnets.\2.\3",
    r"encoder\.down\.(\d+)\.attn\.(\d+)\.(.+)": r"encoder.down_blocks.\1.attentions.\2.\3",
    r"encoder\.down\.(\d+)\.downsample\.(.+)": r"encoder.down_blocks.\1.downsamplers.0.\2",
    r"decoder\.up\.(\d+)\.block\.(\d+)\.(.+)": r"decoder.up_blocks.\1.resnets.\2.\3",
    r"decoder\.up\.(\d+)\.attn\.(\d+)\.(.+)": r"decoder.up_blocks.\1.attentions.\2.\3",
    r"decoder\.up\.(\d+)\.upsample\.(.+)": r"decoder.up_blocks.\1.upsamplers.0.\2",
    r"quantize\.embedding\.weight": "quantiser.tokens.embedding.weight",
    r"quantize\.quant_resi\.qresi_ls\.(\d+)\.(\w+)": r"quantiser.mix.\1.\2",
    r"quant_conv\.(\w+)": r"before.\1",
    r"post_quant_conv\.(\w+)": r"after.\1",
}
INNER = {"nin_shortcut": "conv_shortcut", "norm": "group_norm", "proj_out": "to_out.0"}
INNER |= {"q": "to_q", "k": "to_k", "v": "to_v"}
# Counts of codes and the places of bits, which say nothing that the shapes do not; both names are of one module.
COUNTS, PLACES = "quantize.ema_vocab_hit_SV", ("quantizer.lfq.mask", "quantize.lfq.mask")


def read_weights(path: Path, marks: Iterable[str], what: str) -> dict[str, Tensor]:
    """The tensors of a file, flat or nested, that has one of these keys; what: it is to hold, for the message.

    Raises UserError for a damaged file, and for one that holds something else.
    """
    content, marks = read_inert(path, "model"), tuple(marks)
    for nest in NESTS:
        found = content
        for key in nest:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict) and any(mark in found for mark in marks):
            return checked_tensors(found, path)
    given = ", ".join(map(str, content))[:200] if isinstance(content, dict) else f"a {type(content).__name__}"
    raise UserError(f"{path} holds no {what} (none of its keys is {' or '.join(marks)}), but {given}. Give that file")


def checked_tensors(state: dict, path: Path) -> dict[str, Tensor]:
    """A state dict whose values are finite tensors."""
    if faults := [
        f"{key} is {type(value).__name__}, no tensor" if not isinstance(value, Tensor) else f"{key} is not finite"
        for key, value in state.items()
        if not isinstance(value, Tensor) or not (key == MASK or value.isfinite().all())
    ]:
        raise UserError(f"{path} is damaged; nothing was loaded:\n  " + "\n  ".join(faults[:20]))
    return state


def renamed(name: str, names: dict[str, str]) -> str:
    """Our name of a tensor; its own where it stands for none of ours."""
    for theirs, ours in names.items():
        if found := re.fullmatch(theirs, name):
            return found.expand(ours)
    return name


# The transformer

MASK, LEVELS, NO_BIAS = "attn_bias_for_masking", "lvl_1L", ".zero_k_bias"


def transformer_of(state: dict[str, Tensor], path: Path, pixels: int) -> tuple[dict, dict[str, Tensor]]:
    """A published transformer as our configuration and tensors, from its own by name.

    pixels: the side of pictures, which Infinity's weights leave open. Raises UserError for what is no such transformer,
    in words: other logits than its tokens have, keys without a scale, only some of the blocks.
    """
    infinity = INFINITY_MARK in state
    sizes = sizes_of(pixels, path) if infinity else sizes_told(state, path)
    check_derived(state, sizes, path)
    derived = (MASK, LEVELS)
    own = {key: value for key, value in unchunked(state).items() if key not in derived and not key.endswith(NO_BIAS)}
    ours = {renamed(key, TRANSFORMER): value for key, value in own.items()}
    check_whole(ours, path)
    width, channels = ours["embed.weight"].shape
    rows = len(ours["head.weight"])
    if infinity and rows != 2 * channels:
        raise UserError(
            f"{path} gives {rows} logits for tokens of {channels} bits, not two for each bit: it predicts no bits, or "
            "it folds several tokens into one, as the 8B model does. Known are Infinity-2B and Infinity-125M"
        )
    config = {"sizes": list(sizes), "channels": channels, "symbols": channels if infinity else 1}
    config |= {"values": 2 if infinity else rows, "width": width, "depth": 1 + max(block_numbers(ours))}
    config |= {"heads": ours["blocks.0.attention.scale"].numel(), "level_rows": len(ours["level"])}
    config |= {"start": "added", "key_bias": False}
    config |= {"modulation": "shared" if "modulation.weight" in ours else "own"}
    if infinity:
        length, text_width = ours["condition.none"].shape
        config |= {"text_width": text_width, "length": length, "pooled_width": width}
        config |= {"text_heads": ours["condition.query"].shape[1], "turned_over": INFINITY_SIZES[-1]}
    else:
        config |= {"classes": len(ours["condition.embedding.weight"]) - 1}
    return config, {name: with_our_axes(name, tensor) for name, tensor in ours.items()}


def sizes_of(pixels: int, path: Path) -> tuple[int, ...]:
    """The scales of Infinity for square pictures of this side."""
    if pixels % PIXELS or pixels // PIXELS not in INFINITY_SIZES:
        known = ", ".join(str(PIXELS * side) for side in INFINITY_SIZES[1:])
        raise UserError(f"{path}: there are no scales for pictures of {pixels} pixels, but of {known}")
    return INFINITY_SIZES[: INFINITY_SIZES.index(pixels // PIXELS) + 1]


def sizes_told(state: dict[str, Tensor], path: Path) -> tuple[int, ...]:
    """The scales of a VAR, which the level of each of its tokens tells."""
    if LEVELS not in state:
        raise UserError(f"{path} lacks {LEVELS}, which tells the scales. Fetch the published file again")
    counts = state[LEVELS].flatten().bincount().tolist()
    return tuple(round(count**0.5) for count in counts)


def check_derived(state: dict[str, Tensor], sizes: tuple[int, ...], path: Path) -> None:
    """Raise UserError where a tensor that follows from the sizes is not what they give: then the model is another."""
    faults = [key for key, value in state.items() if key.endswith(NO_BIAS) and value.any()]
    if LEVELS in state and not torch.equal(state[LEVELS].flatten(), levels(sizes)):
        faults.append(LEVELS)
    if MASK in state:
        allowed = block_causal(sizes)
        given = state[MASK].flatten(0, -3) if state[MASK].ndim > 2 else state[MASK][None]
        if given.shape[1:] != allowed.shape or not torch.equal(given[0] == 0, allowed):
            faults.append(MASK)
    if faults:
        raise UserError(
            f"{path}: {', '.join(faults[:5])} is not what a model of scales {list(sizes)} has: it is another"
        )


def unchunked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with blocks counted through: Infinity keeps them in chunks."""
    pattern = re.compile(r"block_chunks\.(\d+)\.module\.(\d+)\.(.+)")
    found = {key: match for key in state if (match := pattern.fullmatch(key))}
    places = {(int(match[1]), int(match[2])) for match in found.values()}
    per = 1 + max((place for _, place in places), default=0)
    return {
        f"blocks.{per * int(found[key][1]) + int(found[key][2])}.{found[key][3]}" if key in found else key: value
        for key, value in state.items()
    }


def block_numbers(ours: Iterable[str]) -> set[int]:
    """The numbers of the blocks that there is something of."""
    return {int(name.split(".")[1]) for name in ours if name.startswith("blocks.")}


def check_whole(ours: dict[str, Tensor], path: Path) -> None:
    """Raise UserError where the tensors that tell the architecture are missing: half of a file, or an older model's."""
    numbers = block_numbers(ours)
    if absent := sorted(set(range(max(numbers, default=0) + 1)) - numbers):
        raise UserError(f"{path} lacks blocks {absent}: it is a part of a model. Give all of it, in one file")
    needed = ["embed.weight", "head.weight", "level"]
    needed += ["condition.query"] if "condition.none" in ours else ["condition.embedding.weight"]
    if absent := [name for name in needed if name not in ours]:
        raise UserError(
            f"{path} lacks {', '.join(absent)} (by our names): it is a part of a model. Fetch it again, whole"
        )
    if absent := [number for number in sorted(numbers) if f"blocks.{number}.attention.scale" not in ours]:
        raise UserError(
            f"{path} has no scale_mul_1H11 in blocks {absent[:5]}: it is of code before the released models, in which "
            "queries and keys are not normalised. Convert it there, or give the released file"
        )


def with_our_axes(name: str, tensor: Tensor) -> Tensor:
    """A tensor with the axes of ours; 0 keeps the second one."""
    for pattern, shape in RESHAPED.items():
        if re.fullmatch(pattern, name):
            return tensor.squeeze(0) if 0 in shape else tensor.reshape(shape)
    return tensor


def check_published(name: str, config: dict, path: Path) -> None:
    """Raise UserError where a published name stands over another model: another depth, width, or kind of tokens."""
    wanted = PUBLISHED.get(name, {})
    if faults := [f"{key} {config[key]}, not {value}" for key, value in wanted.items() if config[key] != value]:
        raise UserError(
            f"{path} has {', '.join(faults)} as {name}: it is another size. Give the file that the row names"
        )


# The visual tokenizer


def visual_of(state: dict[str, Tensor], sizes: Iterable[int], path: Path) -> tuple[dict, dict[str, Tensor], dict]:
    """A published tokenizer as our configuration and tensors; and how many tensors beside it, by the first of a name.

    Raises UserError where it lacks what tells its architecture, and for other scales than the transformer's.
    """
    sizes = list(sizes)
    kinds = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.", "quantizer.")
    taken = {plain(key): value for key, value in state.items() if key.startswith(kinds)}
    beside = Counter(key.split(".")[0] for key in state if not key.startswith(kinds))
    if COUNTS in taken and len(taken[COUNTS]) != len(sizes):
        raise UserError(f"{path} is for {len(taken[COUNTS])} scales, the transformer for {len(sizes)}: it is another's")
    taken = {key: value for key, value in taken.items() if key != COUNTS and key not in PLACES}
    ours = {name: value for key, tensor in taken.items() for name, value in in_our_parts(key, tensor)}
    downs, ups = (
        sorted({int(found[1]) for key in taken if (found := re.match(rf"{part}\.(\d+)\.", key))})
        for part in (r"encoder\.down", r"decoder\.up")
    )
    if downs != ups:
        raise UserError(
            f"{path}: its encoder has {len(downs)} resolutions, its decoder {len(ups)}. Fetch it again, whole"
        )
    ours = {mirrored(name, len(downs)): value for name, value in ours.items()}
    needed = ["encoder.conv_in.weight", "encoder.conv_out.weight"]
    needed += [f"encoder.down_blocks.{level}.resnets.0.conv1.weight" for level in downs or [0]]
    if absent := [name for name in needed if name not in ours]:
        raise UserError(f"{path} lacks {', '.join(absent)} (by our names): it is a part of a tokenizer. Fetch it again")
    channels, codebook = len(ours["encoder.conv_out.weight"]), ours.get("quantiser.tokens.embedding.weight")
    quantiser = {"sizes": sizes, "kind": "bits", "bits": channels}
    if codebook is not None:
        mixing = len({name.split(".")[2] for name in ours if name.startswith("quantiser.mix.")})
        quantiser = {"sizes": sizes, "kind": "codes", "codes": len(codebook), "channels": codebook.shape[1]}
        quantiser |= {"mixing": mixing, "up": "bicubic", "shown": "area"}
    config = {"quantiser": quantiser, "groups": 32, "patch": 1, "around": "before.weight" in ours}
    config |= {"blocks": [len(ours[name]) for name in needed[2:]]}
    config |= {
        "layers": len({name.split(".")[4] for name in ours if name.startswith("encoder.down_blocks.0.resnets.")})
    }
    config |= {"attention": any(".attentions." in name for name in ours)}
    return config, ours, dict(beside)


def plain(key: str) -> str:
    """A tokenizer's key without the module that Infinity puts around each convolution and norm."""
    return re.sub(r"\.(conv\w*|norm\w*|nin_shortcut|[qkv]|proj_out)\.(?:conv|norm)\.(weight|bias)$", r".\1.\2", key)


def in_our_parts(key: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """A tokenizer's tensor by our name; one of queries, keys and values together is three of ours."""
    name = renamed(key, VISUAL)
    before, layer, kind = name.rsplit(".", 2) if name.count(".") > 1 else ("", name, "")
    if ".attentions." not in name:
        return [(f"{before}.{INNER[layer]}.{kind}" if layer == "nin_shortcut" else name, tensor)]
    if layer == "qkv":
        parts = tensor.flatten(1) if kind == "weight" else tensor
        return [(f"{before}.to_{part}.{kind}", each) for part, each in zip("qkv", parts.chunk(3), strict=True)]
    flat = tensor.flatten(1) if kind == "weight" and layer != "norm" else tensor
    return [(f"{before}.{INNER.get(layer, layer)}.{kind}", flat)]


def mirrored(name: str, levels_: int) -> str:
    """The name of a decoder's tensor: its blocks are counted from the coarsest with us, from the finest there."""
    if found := re.fullmatch(r"decoder\.up_blocks\.(\d+)\.(.+)", name):
        return f"decoder.up_blocks.{levels_ - 1 - int(found[1])}.{found[2]}"
    return name
