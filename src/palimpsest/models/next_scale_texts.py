"""Text encoders of next-scale models: CLIP's in ours, T5's in the published ones, as transformers has them."""

import json
from pathlib import Path

from torch import Tensor, nn

from palimpsest.models.latent_networks import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from palimpsest.models.published import read_state
from palimpsest.models.weights import check_state, save_part
from palimpsest.run import UserError

TextEncoder = CLIPTextModel | T5EncoderModel
Tokenizer = CLIPTokenizer | T5Tokenizer
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# One table under two names, of which files have one.
TABLE, AGAIN = "shared.weight", "encoder.embed_tokens.weight"


def is_t5(network: TextEncoder) -> bool:
    """Whether every word of a text sees all others, so that those that pad it have to be hidden from them."""
    return isinstance(network, T5EncoderModel)


def words_begin(network: TextEncoder) -> int:
    """The place of a text's first word: after CLIP's start, where T5 has none."""
    return 0 if is_t5(network) else 1


def token_embedding(network: TextEncoder) -> nn.Embedding:
    """The embedding that is called for token ids: T5's encoder has its own, beside that of `get_input_embeddings`."""
    return network.encoder.embed_tokens if is_t5(network) else network.get_input_embeddings()


def embedded(network: TextEncoder, ids: Tensor, known: Tensor | None) -> Tensor:
    """Embeddings (n, length, width) of token ids (n, length), of which `known` (n, length) are of the text.

    CLIP reads the same whatever is known.
    """
    return network(ids, attention_mask=known.long())[0] if is_t5(network) else network(ids)[0]


def open_texts(folder: Path, width: int, length: int) -> tuple[TextEncoder, Tokenizer]:
    """The encoder and the tokenizer of a model's folder; width and length: of the texts that its transformer takes.

    Raises UserError where they are not of one model.
    """
    place = folder / "text_encoder"
    t5 = json.loads((place / CONFIG).read_text(encoding="utf-8")).get("model_type") == "t5"
    network = T5EncoderModel(T5Config.from_pretrained(place)) if t5 else None
    network = network or CLIPTextModel(CLIPTextConfig.from_pretrained(place))
    tokenizer = (T5Tokenizer if t5 else CLIPTokenizer).from_pretrained(folder / "tokenizer")
    check_texts(network, tokenizer, width, length, folder)
    load_texts(network, read_state(place / WEIGHTS), place / WEIGHTS)
    return network, tokenizer


def load_texts(network: TextEncoder, state: dict[str, Tensor], path: Path) -> None:
    """Put weights into an encoder, every key and shape checked; path: for the message."""
    if TABLE in state:
        state.setdefault(AGAIN, state[TABLE])
    check_state(state, network, path)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)


def check_texts(network: TextEncoder, tokenizer: Tokenizer, width: int, length: int, folder: Path) -> None:
    """Raise UserError for an encoder of another width or length than the transformer, or a tokenizer of other words."""
    config = network.config
    # T5 has no longest text, and more rows than its tokenizer has words, as a multiple of 128.
    known = min(config.vocab_size, len(tokenizer)) if is_t5(network) else config.vocab_size
    longest = length if is_t5(network) else config.max_position_embeddings
    given, wanted = (config.hidden_size, known, longest), (width, len(tokenizer), length)
    if given != wanted or tokenizer.model_max_length != length:
        raise UserError(
            f"{folder}: the text encoder has width, tokens and length {given}, the transformer and the tokenizer "
            f"{wanted}. They are not of one model: take the folder again, all of it from one place"
        )


def save_texts(folder: Path, network: TextEncoder, tokenizer: Tokenizer, half: bool) -> None:
    """Write both into a model's folder."""
    network.config.save_pretrained(folder / "text_encoder")
    save_part(folder / "text_encoder" / WEIGHTS, network, half)
    tokenizer.save_pretrained(folder / "tokenizer")
