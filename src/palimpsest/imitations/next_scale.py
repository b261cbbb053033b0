"""VAR and Infinity with random weights as they are published: two state dicts, and for Infinity flan-t5's folder.

Names and shapes are those of the public files, of which nothing else is like them. The tokenizers are made of taming's
own modules, whose names both publishers keep; VAR has queries, keys and values of an attention as one convolution,
Infinity no attention, and a module around each convolution and norm.
"""

import contextlib
import io
import json
import re
from pathlib import Path

import torch
from taming.modules.diffusionmodules.model import Decoder, Encoder
from torch import Tensor
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from palimpsest.imitations.pipeline import PIECES
from palimpsest.imitations.taming import ddconfig
from palimpsest.models.scales import block_causal, levels

VAR_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
MULTIPLES = {"var": (1, 1, 2, 2, 4), "infinity": (1, 2, 4, 4, 4)}
VAR_TOKENIZER = {"ch": 160, "channels": 32, "codes": 4096}
WHOLE_WORDS = ("church", "tree", "red", "house")  # a search tries whole words, so some have to be tokens
TEXT = {"d_model": 2048, "d_ff": 5120, "d_kv": 64, "num_layers": 24, "num_heads": 32, "vocab_size": 32128}
ARCHITECTURES = {
    "var_d16": ("var", {"depth": 16, "width": 1024, "heads": 16}),
    "infinity_125m": ("infinity", {"depth": 12, "width": 768, "heads": 8, "chunks": 4, "bits": 16}),
    "infinity_2b": ("infinity", {"depth": 32, "width": 2048, "heads": 16, "chunks": 8, "bits": 32}),
}


def imitate(folder: Path, files: list[str], name: str, text_layers: int | None = None) -> None:
    """Write the published model of this name; text_layers: of the text encoder, all unless given.

    files: their names; that of the tokenizer says vae.
    """
    kind, architecture = ARCHITECTURES[name]
    transformer, tokenizer = (
        folder / file for file in sorted(files, key=lambda name: "vae" in name) if file.endswith(".pth")
    )
    if kind == "var":
        torch.save(var_state(**architecture), transformer)
        torch.save(var_tokenizer_state(**VAR_TOKENIZER), tokenizer)
        return
    torch.save(infinity_state(**architecture), transformer)
    torch.save({"vae": infinity_tokenizer_state(architecture["bits"])}, tokenizer)
    write_texts(folder, {**TEXT, **({"num_layers": text_layers} if text_layers else {})})


def layer(name: str, *shape: int, bias: bool = True) -> dict[str, Tensor]:
    """A linear layer's tensors (out, in), of a size that keeps what goes through it."""
    made = {f"{name}.weight": torch.randn(*shape) / shape[-1] ** 0.5}
    return made | ({f"{name}.bias": torch.randn(shape[0]) / 50} if bias else {})


def attention(name: str, width: int, heads: int) -> dict[str, Tensor]:
    """The self-attention of a block."""
    made = {f"{name}.scale_mul_1H11": torch.full((1, heads, 1, 1), 4.0).log() + torch.randn(1, heads, 1, 1) / 9}
    made |= {f"{name}.{part}_bias": torch.randn(width) / 50 for part in "qv"}
    made |= {f"{name}.zero_k_bias": torch.zeros(width)}
    return made | layer(f"{name}.mat_qkv", 3 * width, width, bias=False) | layer(f"{name}.proj", width, width)


def feed(name: str, width: int) -> dict[str, Tensor]:
    """The two layers of each token."""
    return layer(f"{name}.fc1", 4 * width, width) | layer(f"{name}.fc2", width, 4 * width)


def var_state(
    depth: int,
    width: int,
    heads: int,
    channels: int = 32,
    codes: int = 4096,
    classes: int = 1000,
    sizes: tuple[int, ...] = VAR_SIZES,
) -> dict[str, Tensor]:
    """The state dict of VAR's transformer."""
    place, row = levels(sizes), lambda count: torch.randn(1, count, width) / 9
    mask = torch.where(block_causal(sizes), 0.0, -torch.inf)
    made = {"pos_start": row(1), "pos_1LC": row(len(place)), "lvl_1L": place[None]}
    made |= {"attn_bias_for_masking": mask[None, None], "class_emb.weight": torch.randn(classes + 1, width) / 9}
    made |= {"lvl_embed.weight": torch.randn(len(sizes), width) / 9} | layer("word_embed", width, channels)
    for number in range(depth):
        block = f"blocks.{number}"
        made |= attention(f"{block}.attn", width, heads) | feed(f"{block}.ffn", width)
        made |= layer(f"{block}.ada_lin.1", 6 * width, width)
    return made | layer("head_nm.ada_lin.1", 2 * width, width) | layer("head", codes, width)


def infinity_state(
    depth: int,
    width: int,
    heads: int,
    chunks: int,
    bits: int,
    text_width: int = 2048,
    length: int = 512,
    rows: int = 15,
) -> dict[str, Tensor]:
    """The state dict of Infinity's transformer; rows: of its table of scales."""
    pool, pools = "text_proj_for_sos.ca", text_width // 128
    made = {"cfg_uncond": torch.randn(length, text_width) / 40, "pos_start": torch.randn(1, 1, width) / 9}
    made |= {"text_norm.weight": 1 + torch.randn(text_width) / 9}
    made |= {f"{pool}.mat_q": torch.randn(1, pools, width // pools), f"{pool}.v_bias": torch.randn(width) / 50}
    made |= {f"{pool}.zero_k_bias": torch.zeros(width)} | layer(f"{pool}.mat_kv", 2 * width, text_width, bias=False)
    made |= layer(f"{pool}.proj", width, width) | layer("text_proj_for_ca.0", width, text_width)
    made |= layer("text_proj_for_ca.2", width, width) | {"lvl_embed.weight": torch.randn(rows, width) / 9}
    made |= layer("word_embed", width, bits) | layer("shared_ada_lin.1", 6 * width, width)
    for number in range(depth):
        chunk, place = divmod(number, depth // chunks)
        block = f"block_chunks.{chunk}.module.{place}"
        made |= {f"{block}.ada_gss": torch.randn(1, 1, 6, width) / width**0.5}
        made |= attention(f"{block}.sa", width, heads) | feed(f"{block}.ffn", width)
        made |= {f"{block}.ca.v_bias": torch.randn(width) / 50, f"{block}.ca.zero_k_bias": torch.zeros(width)}
        made |= layer(f"{block}.ca.mat_q", width, width) | layer(f"{block}.ca.mat_kv", 2 * width, width, bias=False)
        made |= layer(f"{block}.ca.proj", width, width)
        made |= {f"{block}.ca_norm.weight": 1 + torch.randn(width) / 9, f"{block}.ca_norm.bias": torch.randn(width) / 9}
    return made | layer("head_nm.ada_lin.1", 2 * width, width) | layer("head", 2 * bits, width)


def convolutions(ch: int, multiples: tuple[int, ...], channels: int, attention: bool) -> dict[str, Tensor]:
    """The encoder and decoder of a tokenizer, by taming's names."""
    side = 2 ** (len(multiples) + 3)  # of pictures, whose last resolution is 16 or, of fewer resolutions, any
    network = ddconfig(multiples, side // 2 ** (len(multiples) - 1) if attention else 0)
    network |= {"ch": ch, "z_channels": channels, "resolution": side}
    with contextlib.redirect_stdout(io.StringIO()):
        parts = {"encoder": Encoder(**network), "decoder": Decoder(**network)}
    return {f"{part}.{key}": each for part, net in parts.items() for key, each in net.state_dict().items()}


def var_tokenizer_state(
    ch: int,
    channels: int,
    codes: int,
    scales: int = len(VAR_SIZES),
    multiples: tuple[int, ...] = MULTIPLES["var"],
) -> dict[str, Tensor]:
    """The state dict of VAR's tokenizer: attention with its three parts as one, four phi, and a count of codes."""
    made = {}
    for key, value in convolutions(ch, multiples, channels, attention=True).items():
        if found := re.fullmatch(r"(.+\.attn(?:\.\d|_1))\.[qkv]\.(\w+)", key):
            name = f"{found[1]}.qkv.{found[2]}"
            made[name] = torch.cat([made[name], value]) if name in made else value
        else:
            made[key] = value
    made |= {"quantize.embedding.weight": torch.randn(codes, channels) / 2}
    made |= {"quantize.ema_vocab_hit_SV": torch.zeros(scales, codes)}
    for name in (*(f"quantize.quant_resi.qresi_ls.{number}" for number in range(4)), "quant_conv", "post_quant_conv"):
        made |= {f"{name}.weight": torch.randn(channels, channels, 3, 3) / (9 * channels) ** 0.5}
        made |= {f"{name}.bias": torch.randn(channels) / 50}
    return made


def infinity_tokenizer_state(
    bits: int, ch: int = 128, multiples: tuple[int, ...] = MULTIPLES["infinity"]
) -> dict[str, Tensor]:
    """What is under `vae` in the file of Infinity's tokenizer."""
    wrapped = re.compile(r"(.+\.)(conv\w*|norm\w*|nin_shortcut)\.(weight|bias)")
    made = {}
    for key, value in convolutions(ch, multiples, bits, attention=False).items():
        if ".attn" not in key:
            inner = "norm" if "norm" in key.split(".")[-2] else "conv"
            made[wrapped.sub(rf"\1\2.{inner}.\3", key)] = value
    places = 2 ** torch.arange(bits - 1, -1, -1)
    return made | {"quantizer.lfq.mask": places, "quantize.lfq.mask": places}


def write_texts(folder: Path, sizes: dict) -> None:
    """flan-t5's folders: the encoder alone, in two files, and a tokenizer that knows letters and a few words."""
    encoder = T5EncoderModel(T5Config(feed_forward_proj="gated-gelu", **sizes))
    encoder.save_pretrained(
        folder / "text_encoder", max_shard_size=int(0.7 * encoder.get_memory_footprint())
    )  # two files
    T5TokenizerFast(vocab=[*PIECES, *((f"▁{word}", -2.0) for word in WHOLE_WORDS)], extra_ids=0).save_pretrained(
        folder / "tokenizer"
    )
    marks = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer/special_tokens_map.json").write_text(json.dumps(marks), encoding="utf-8")
