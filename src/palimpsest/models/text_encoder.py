"""A small text encoder of CLIP's kind, whose tokenizer knows the words of the scenes' captions."""

from palimpsest.models.latent_networks import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from palimpsest.models.training import built
from palimpsest.models.words import END, START, tokenizer_of
from palimpsest.worlds.captions import WORDS


def untrained_text(text: dict, length: int) -> tuple[CLIPTextModel, CLIPTokenizer]:
    """An encoder with random weights, as transformers names its sizes, and its tokenizer of `length` tokens."""
    tokenizer = tokenizer_of([*WORDS, ","], length)
    vocabulary = tokenizer.get_vocab()
    special = {"bos_token_id": vocabulary[START], "eos_token_id": vocabulary[END], "pad_token_id": vocabulary[END]}
    sizes = {"vocab_size": len(vocabulary), "max_position_embeddings": length}
    return built(CLIPTextModel, {"config": CLIPTextConfig(**text, **sizes, **special)}), tokenizer
