"""A pipeline of Stable Diffusion 3 with random weights as the Hub has it: a folder a part, weights as safetensors.

The widths are those of the published medium model; `layers` says how many layers its networks keep of them, `width`
how wide they are, for machines that do not hold it. The tokenizers know letters only: a vocabulary is no random weight.
"""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
MARKS = ["<|startoftext|>", "<|endoftext|>"]
WORDS = {word: number for number, word in enumerate([*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *MARKS])}
# As T5 has them: a word begins with a mark of its own.
PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -2.0) for letter in LETTERS)]
VAE = {
    "latent_channels": 16,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "sample_size": 1024,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
TRANSFORMER = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
FIRST = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SECOND = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
THIRD = {
    "d_model": 4096,
    "d_ff": 10240,
    "d_kv": 64,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
ARCHITECTURES = {"stable_diffusion_3": (TRANSFORMER, VAE, FIRST, SECOND, THIRD)}


def imitate(folder: Path, files: list[str], name: str, layers: int | None = None) -> None:
    """Write the published pipeline of this name in half precision; layers: of each network, all unless given."""
    transformer, vae, first, second, third = (dict(part) for part in ARCHITECTURES[name])
    if layers is not None:
        transformer["num_layers"] = third["num_layers"] = layers
        first["num_hidden_layers"] = second["num_hidden_layers"] = max(layers, 2)  # the last but one is read
    write(folder, transformer, vae, first, second, third)


def write(folder: Path, transformer: dict, vae: dict, first: dict, second: dict, third: dict) -> None:
    """A pipeline of these architectures; the vocabularies are those of the letters."""
    ends = {"vocab_size": len(WORDS), "bos_token_id": WORDS[MARKS[0]], "eos_token_id": WORDS[MARKS[1]]}
    kept, kind = torch.get_default_dtype(), torch.float16
    torch.set_default_dtype(kind)  # made in the precision of the published files: no network stands here twice
    try:
        one, two = (
            CLIPTextModelWithProjection(CLIPTextConfig(**given, **ends, projection_dim=given["hidden_size"]))
            for given in (first, second)
        )
        three = T5EncoderModel(T5Config(vocab_size=len(PIECES), **third))
        pipeline = StableDiffusion3Pipeline(
            SD3Transformer2DModel(**transformer),
            FlowMatchEulerDiscreteScheduler(shift=3.0),
            AutoencoderKL(**vae),
            one,
            CLIPTokenizer(vocab=WORDS, merges=[]),
            two,
            CLIPTokenizer(vocab=WORDS, merges=[]),
            three,
            T5TokenizerFast(vocab=PIECES, extra_ids=0),
        )
    finally:
        torch.set_default_dtype(kept)
    pipeline.save_config(folder)
    for name, part in pipeline.components.items():
        if name in ("tokenizer", "tokenizer_2"):
            write_vocabulary(folder / name)
        elif name == "text_encoder_3":
            part.save_pretrained(folder / name, max_shard_size=int(0.7 * part.get_memory_footprint()))  # two files
        elif part is not None:
            part.save_pretrained(folder / name)
    (folder / "tokenizer_3/special_tokens_map.json").write_text(
        json.dumps({"eos_token": "</s>", "pad_token": "<pad>"}), encoding="utf-8"
    )


def write_vocabulary(folder: Path) -> None:
    """CLIP's tokenizer, of letters, in the files that the published ones have."""
    folder.mkdir()
    start, end = MARKS
    marks = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **marks}
    named = {"vocab.json": WORDS, "special_tokens_map.json": marks, "tokenizer_config.json": settings}
    for name, content in named.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
