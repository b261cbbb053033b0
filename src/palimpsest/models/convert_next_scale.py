"""A published next-scale model, VAR or Infinity, converted once to this package's layout, strictly.

A folder with the two files that are published, of the transformer and of the visual tokenizer; beside them, for a model
of texts, text_encoder/ and tokenizer/ of flan-t5-xl as the Hub has them, of which the encoder is taken. Weights stay as
precise as they are published. No code of a file runs.
"""

import json
from collections import Counter
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from palimpsest.models import var
from palimpsest.models.hub_folder import compared
from palimpsest.models.latent_networks import T5Config, T5EncoderModel, T5Tokenizer
from palimpsest.models.next_scale_layouts import (
    INFINITY_MARK,
    SIDES,
    VAR_MARK,
    VISUAL_MARKS,
    check_published,
    read_weights,
    transformer_of,
    visual_of,
)
from palimpsest.models.next_scale_texts import check_texts, load_texts
from palimpsest.models.visual_tokenizer import VisualTokenizer
from palimpsest.models.weights import check_state
from palimpsest.run import Input, Output, UserError, step

INDEX = "model.safetensors.index.json"


def convert(
    transformer: Input,
    visual: Input,
    network: Output,
    *,
    name: str,
    sha256: dict,
    source: str = "",
    revision: str = "",
) -> dict:
    """Compare the files with their hashes, load them with every key and shape checked, and write them in our layout.

    name: what the model is called; a published name has to fit the weights, and says for which pictures Infinity is
    (infinity_2b_256, infinity_2b_512). sha256: of each file, by its path in the folder; weights need one. source and
    revision: the publisher's, for the record.
    """
    folder = transformer.parent
    texts = sorted(str(path.relative_to(folder)) for path in folder.glob("text_encoder/*.safetensors"))
    hashes = compared(folder, sha256, name, [transformer.name, visual.name, *texts], source)
    model, beside = read_published(transformer, visual, name)
    var.save(network, model, half=False)
    parts = {"transformer": model.network.transformer, "visual_tokenizer": model.visual}
    parts |= {"text_encoder": model.network.text_encoder} if model.tokenizer is not None else {}
    return {
        "sha256": hashes,
        "parameters": {part: sum(each.numel() for each in one.parameters()) for part, one in parts.items()},
        "architecture": model.network.transformer.config,
        "unused_tensors": beside,
    }


def read_published(transformer: Path, visual: Path, name: str, pixels: int = 0) -> tuple[var.Var, dict[str, int]]:
    """The model of the two files, and how many tensors beside its own there are.

    pixels: the side of Infinity's pictures, that of the name unless given. Raises UserError, with nothing loaded, for
    another model than the name stands for, and for parts of different models.
    """
    folder = transformer.parent
    state = read_weights(transformer, (VAR_MARK, INFINITY_MARK), "transformer of VAR or Infinity")
    config, ours = transformer_of(state, transformer, pixels or SIDES.get(name, 1024))
    check_published(name, config, transformer)
    state = read_weights(visual, VISUAL_MARKS, "visual tokenizer")
    looks, theirs, beside = visual_of(state, config["sizes"], visual)
    check_tokens(config, looks["quantiser"], transformer, visual)
    network = placed(var.unfilled(config), ours, transformer)
    with torch.device("meta"):  # the shapes alone: the weights are put in place, not copied
        tokenizer = VisualTokenizer(**looks)
    texts, words = None, None
    if "text_width" in config:
        texts, words, unused = read_texts(folder, config["text_width"], config["length"])
        beside = {**beside, **unused}
    model = var.Var(
        var.NextScale(network, texts).eval().requires_grad_(False),
        placed(tokenizer, theirs, visual).eval().requires_grad_(False),
        words,
        folder,
    )
    return model, beside


def placed(network: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """A network with these weights, every key and shape checked, in float32."""
    check_state(state, network, path)
    network.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return network


def check_tokens(config: dict, quantiser: dict, transformer: Path, visual: Path) -> None:
    """Raise UserError where the transformer predicts other tokens than the visual tokenizer has."""
    bits = quantiser["kind"] == "bits"
    given = f"{quantiser['bits']} bits" if bits else f"one of {quantiser['codes']} codes"
    wanted = f"{config['symbols']} bits" if config["values"] == 2 else f"one of {config['values']} codes"
    channels = quantiser["bits"] if bits else quantiser["channels"]
    if given != wanted or channels != config["channels"]:
        raise UserError(
            f"{transformer} predicts tokens of {wanted}, in {config['channels']} channels; those of {visual} are "
            f"{given}, in {channels}. They are not of one model: give the tokenizer that its page names"
        )


def read_texts(folder: Path, width: int, length: int) -> tuple[T5EncoderModel, T5Tokenizer, dict[str, int]]:
    """flan-t5's encoder and tokenizer from beside a transformer that takes texts of this width and length."""
    place = folder / "text_encoder"
    for needed in (place / "config.json", folder / "tokenizer"):
        if not needed.exists():
            raise UserError(
                f"{needed} is missing: the transformer takes texts. Put config.json and the .safetensors of "
                f"google/flan-t5-xl into {place}, and the files of its tokenizer into {folder / 'tokenizer'}"
            )
    config = T5Config.from_pretrained(place)
    with torch.device("meta"):
        network = T5EncoderModel(config)
    tokenizer = T5Tokenizer.from_pretrained(folder / "tokenizer")
    tokenizer.model_max_length = length
    check_texts(network, tokenizer, width, length, folder)
    state, unused = encoder_of(place)
    load_texts(network, state, place)
    return network, tokenizer, unused


def encoder_of(place: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The encoder's tensors of a folder of T5, of one file or several, and how many others by the first of a name."""
    files = sorted(place.glob("*.safetensors"))
    if (index := place / INDEX).exists():
        listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if absent := sorted(listed - {path.name for path in files}):
            raise UserError(f"{place} lacks {', '.join(absent)}, a part of the text encoder's weights. Fetch it too")
    state, unused = {}, Counter()
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                kept = [key for key in file.keys() if key.startswith(("shared.", "encoder."))]  # noqa: SIM118
                unused.update(key.split(".")[0] for key in set(file.keys()) - set(kept))
                state |= {key: file.get_tensor(key) for key in kept}
        except SafetensorError as error:
            raise UserError(f"{path} is no readable file of weights ({error}). Delete it and fetch it again") from error
    return state, dict(unused)


if __name__ == "__main__":
    step(convert)
