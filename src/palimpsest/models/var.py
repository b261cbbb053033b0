"""Text-to-image, or class-to-image, by next-scale prediction: the parts of a model, its folder, and how it draws.

A model is known by the file of its transformer's weights, <folder>/transformer/model.safetensors; beside it stand
visual_tokenizer/ and, where it takes texts, text_encoder/ and tokenizer/ as transformers has them. Weights are kept in
half precision, those that others published as they are, and computed with in float32.

Conditions are token ids (n, length) of prompts, or labels (n,) of classes, int64. Tokens are symbols (n, L, symbols),
as `residual_quantiser` has them; pictures are (n, H, W, 3) uint8.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.models import visual_tokenizer
from palimpsest.models.batch_sizes import in_parts
from palimpsest.models.diffusion import device_of
from palimpsest.models.edits import VISUAL
from palimpsest.models.next_scale import NextScaleTransformer, Seen
from palimpsest.models.next_scale_texts import TextEncoder, Tokenizer, embedded, open_texts, save_texts
from palimpsest.models.published import read_state
from palimpsest.models.scales import spans
from palimpsest.models.steering import Steering
from palimpsest.models.visual_tokenizer import CONFIG, VisualTokenizer, read_config
from palimpsest.models.weights import check_state, save_part
from palimpsest.run import UserError

WEIGHTS = "model.safetensors"


class NextScale(nn.Module):
    """A transformer and its text encoder as network(conditions, inputs[, dropped]) -> logits.

    steering: what drawing (`roll_out`) leads every picture away from; the logits that a call gives are without it.
    """

    def __init__(self, transformer: NextScaleTransformer, text_encoder: TextEncoder | None = None):
        super().__init__()
        self.transformer, self.text_encoder = transformer, text_encoder
        self.steering: Steering | None = None

    def embed(self, conditions: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """What the transformer takes: of token ids their embeddings, and which are words of the text; of labels those.

        The start and the end of a text count as its words, what pads it after the end does not.
        """
        if self.text_encoder is None:
            return conditions
        known = self.known(conditions)
        return embedded(self.text_encoder, conditions, known), known

    def known(self, conditions: Tensor) -> Tensor:
        """Which tokens (n, length) of token ids are of the text, and not what pads it."""
        ended = conditions == self.text_encoder.config.eos_token_id
        # Where the end was cut off all tokens are of the text.
        ends = torch.where(ended.any(1), ended.int().argmax(1), conditions.shape[1])
        return torch.arange(conditions.shape[1], device=conditions.device) <= ends[:, None]

    def forward(self, conditions: Tensor, inputs: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Logits of all scales, from the inputs (n, L - 1, c) that the tokens before each scale make.

        dropped (n,): the rows that shall have no condition.
        """
        return self.transformer(self.embed(conditions), inputs, dropped)

    def compile(self, **settings) -> None:
        """Let torch compile what the transformer's call computes; texts are embedded as before."""
        self.transformer.compile(**settings)


@dataclass(frozen=True)
class Var:
    """The parts of a model. tokenizer: of its texts; None where it draws classes."""

    network: NextScale
    visual: VisualTokenizer
    tokenizer: Tokenizer | None
    folder: Path

    def with_network(self, network: NextScale) -> "Var":
        """The same model with an edited network."""
        return replace(self, network=network)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of tokens of a picture, and of the symbols of each."""
        return sum(side * side for side in self.visual.quantiser.sizes), self.visual.quantiser.symbols

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """Token ids (n, length) of prompts, padded, on the network's device; of a model of classes labels (n,).

        Raises UserError for an empty prompt, for which this model has a learned one instead, and for one that is longer
        than the text encoder takes; of a model of classes for any but "class <number>".
        """
        if self.tokenizer is None:
            return self.labels([self.number_of(prompt) for prompt in prompts])
        for number, prompt in enumerate(prompts):
            if not prompt.strip():
                raise UserError(
                    f"prompt {number} is empty: no picture was ever shown with an empty text. Say something"
                )
            if (length := len(self.tokenizer(prompt)["input_ids"])) > self.tokenizer.model_max_length:
                raise UserError(
                    f"prompt {number} has {length} tokens, the text encoder of {self.folder} takes "
                    f"{self.tokenizer.model_max_length}: shorten {prompt!r}"
                )
        given = self.tokenizer(list(prompts), padding="max_length", return_tensors="pt")
        return given["input_ids"].to(device_of(self.network))

    def number_of(self, prompt: str) -> int:
        """The number of the class that a prompt asks for. Raises UserError for one that asks for none."""
        if not (found := re.fullmatch(r"class (\d+)", prompt)):
            raise UserError(f"{self.folder} draws classes, not texts: {prompt!r} is none. Ask for 'class 497', say")
        return int(found[1])

    def tell_cut(self, name: str, prompts: Sequence[str]) -> int:
        """How many prompts of a concept are cut off: none, a longer one is refused."""
        self.ids(prompts)
        return 0

    def labels(self, classes: Sequence[int]) -> Tensor:
        """Labels (n,) of numbers of classes, on the network's device. Raises UserError for one that there is not."""
        count = self.network.transformer.config["classes"]
        if not count:
            raise UserError(f"{self.folder} draws texts, not classes: give prompts")
        if wrong := [number for number in classes if not 0 <= number < count]:
            raise UserError(f"class {wrong[0]} is none of {self.folder}, whose {count} classes are 0 to {count - 1}")
        return torch.tensor(list(classes), device=device_of(self.network))


def open_model(path: Path, device: torch.device | str = "cpu") -> Var:
    """The model behind the file of a transformer's weights, in evaluation mode, frozen; every key and shape is checked.

    Raises UserError for a folder of another layout, for weights of another depth, width or kind of tokens than
    config.json says, and for parts that are not of one model.
    """
    folder = path.parent.parent
    for needed in (f"{path.parent.name}/{CONFIG}", f"{VISUAL}/{CONFIG}", f"{VISUAL}/{WEIGHTS}"):
        if not (folder / needed).exists():
            raise UserError(f"{folder / needed} is missing: {folder} is not in the layout of a next-scale model")
    config = read_config(path, NextScaleTransformer)
    visual = visual_tokenizer.load(folder / VISUAL / WEIGHTS)
    check_parts(config, visual, folder)
    text, tokenizer = None, None
    if not config["classes"]:
        text, tokenizer = open_texts(folder, config["text_width"], config["length"])
    network = NextScale(filled(unfilled(config), path), text)
    return Var(network.eval().requires_grad_(False).to(device), visual.to(device), tokenizer, folder)


def unfilled(config: dict) -> NextScaleTransformer:
    """A transformer whose weights have shapes alone (torch's device `meta`): those of a file are put in place."""
    with torch.device("meta"):
        network = NextScaleTransformer(**config)
    network.lay_out()
    return network


def filled(network: NextScaleTransformer, path: Path) -> NextScaleTransformer:
    """A transformer with the weights of a file, every key and shape checked, in float32."""
    state = read_state(path)
    refuse_other_size(state, network.config, path)
    check_state(state, network, path)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return network


def check_parts(config: dict, visual: VisualTokenizer, folder: Path) -> None:
    """Raise UserError for a visual tokenizer of other scales or tokens than the transformer predicts."""
    quantiser = visual.quantiser
    given = {"sizes": list(quantiser.sizes), "channels": quantiser.channels}
    given |= {"symbols": quantiser.symbols, "values": quantiser.values}
    if faults := [f"{name} {given[name]}, not {config[name]}" for name in given if given[name] != config[name]]:
        raise UserError(f"{folder}: its visual tokenizer has {', '.join(faults)} as its transformer: it is another's")


def refuse_other_size(state: dict[str, Tensor], config: dict, path: Path) -> None:
    """Raise UserError, in words, for weights of another depth, width or kind of tokens than the configuration says."""
    numbers = {int(name.split(".")[1]) for name in state if name.startswith("blocks.")}
    head = state.get("head.weight", torch.empty(0, 0))
    given = {"depth": len(numbers), "width": head.shape[1], "logits of a token": head.shape[0]}
    wanted = (config["depth"], config["width"], config["symbols"] * config["values"])
    if faults := [
        f"{name} {one}, not {two}" for (name, one), two in zip(given.items(), wanted, strict=True) if one != two
    ]:
        raise UserError(f"{path} has {', '.join(faults)} as {path.parent / CONFIG} says. Nothing was loaded")


def save(path: Path, model: Var, half: bool = True) -> None:
    """Write the transformer's weights to a path in `transformer/`, and the rest of the layout around it.

    half: whether in half precision, as our own are kept.
    """
    folder, network = path.parent.parent, model.network
    (folder / VISUAL).mkdir(parents=True, exist_ok=True)
    visual_tokenizer.save(folder / VISUAL / WEIGHTS, model.visual, half)
    index = {"transformer": network.transformer.config, VISUAL: model.visual.config}
    if network.text_encoder is not None:
        save_texts(folder, network.text_encoder, model.tokenizer, half)
        index["text_encoder"] = network.text_encoder.config.to_diff_dict()
    (path.parent / CONFIG).write_text(json.dumps(network.transformer.config, indent=1) + "\n", encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    save_part(path, network.transformer, half)


def random_like(model: Var) -> Var:
    """The same model with random weights in its transformer and text encoder; the visual tokenizer stays."""
    text = model.network.text_encoder
    fresh = NextScale(
        NextScaleTransformer(**model.network.transformer.config), None if text is None else type(text)(text.config)
    )
    return model.with_network(fresh.eval().requires_grad_(False))


# Drawing


@dataclass(frozen=True)
class Rollout:
    """What was drawn scale by scale.

    symbols (n, L, symbols); inputs (n, L - 1, c): what the transformer was fed; logits (n, L, symbols, values): guided,
    before temperature and cut; total (n, c, side, side): what the decoder takes.
    """

    symbols: Tensor
    inputs: Tensor
    logits: Tensor
    total: Tensor


def noise_of(model: Var, indices: np.ndarray, seed: int) -> Tensor:
    """Uniform numbers (n, L, symbols) that decide what is drawn, each picture's own function of (seed, index)."""
    drawn = [np.random.default_rng((seed, int(index))).random(model.shape, np.float32) for index in indices]
    return torch.from_numpy(np.stack(drawn))


def likely(logits: Tensor, temperature: float, top_p: float, top_k: int = 0) -> Tensor:
    """Probabilities (..., values) float64 at a temperature, of the likeliest values that together have top_p.

    Of a bit both values stay, unless the likelier one has top_p alone. top_k: of so many likeliest values before that,
    whose probabilities then sum to 1; 0 is all.
    """
    ordered, order = (logits.double() / temperature).sort(-1, descending=True)
    ordered[..., top_k or ordered.shape[-1] :] = -torch.inf
    ordered = ordered.softmax(-1)
    kept = ordered * (ordered.cumsum(-1) - ordered < top_p)
    return torch.zeros_like(kept).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


def chosen(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The value (...) that a uniform number of [0, 1) stands for: where it falls in the sum of the probabilities."""
    sums = probabilities.cumsum(-1)
    return (sums <= uniform[..., None] * sums[..., -1:]).sum(-1)


@torch.inference_mode()
def roll_out(
    model: Var,
    conditions: Tensor,
    uniform: Tensor,
    *,
    guidance: float | Sequence[float],
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    against: Tensor | None = None,
    prefix: Tensor | None = None,
    edit: Callable[[Tensor, slice], Tensor] | None = None,
) -> Rollout:
    """Draw pictures of conditions (n, ...), scale by scale, each seeing the keys and values of those before.

    uniform (n, L, symbols): as `noise_of` gives. guidance: w of z = z_none + w (z - z_none) on the logits, for all
    scales or for each; 1 is none. against (n, ...): conditions in place of none, to be led away from (a negative
    prompt). prefix (n, l, symbols): tokens of the first scales, taken as they are. edit: what takes the place of the
    tokens (n, l, symbols) that are drawn at a scale, a part of all, before later scales see them. Where the network has
    a steering, every picture is led away from its concept after guidance: two more rows each, which see what is drawn.
    Raises ValueError for a prefix that ends within a scale.
    """
    transformer, quantiser, device = model.network.transformer, model.visual.quantiser, device_of(model.network)
    sizes, parts = quantiser.sizes, spans(quantiser.sizes)
    scale_of = [guidance] * len(sizes) if isinstance(guidance, int | float) else list(guidance)
    if len(scale_of) != len(sizes):
        raise ValueError(f"guidance has {len(scale_of)} values for {len(sizes)} scales")
    begun = 0 if prefix is None else prefix.shape[1]
    if begun not in (0, *(part.stop for part in parts)):
        raise ValueError(f"a prefix of {begun} tokens ends within a scale: scales end at {[p.stop for p in parts]}")
    count, guided, steering = len(conditions), any(value != 1 for value in scale_of), model.network.steering
    asked, without = [conditions.to(device)], [False]  # the rows of each kind, and whether they shall have no condition
    if guided:
        asked.append(asked[0] if against is None else against.to(device))
        without.append(against is None)
    if steering is not None:
        asked += [steering.concept.to(device).expand_as(asked[0])] * 2
        without += [False, True]
    dropped = torch.tensor(without, device=device).repeat_interleave(count) if any(without) else None
    told = transformer.conditioned(model.network.embed(torch.cat(asked)), dropped)
    seen = [Seen() for _ in transformer.blocks]
    total, given = quantiser.nothing(count, device), None
    symbols, inputs, logits = [], [], []
    for scale, part in enumerate(parts):
        fed = None if given is None else given.repeat(len(asked), 1, 1)
        found, *others = transformer.next_logits(told, seen, scale, fed).chunk(len(asked))
        if guided:
            found = others[0] + scale_of[scale] * (found - others[0])
        if steering is not None:
            found = steering.steered(found, *others[-2:], scale)
        logits.append(found)
        if part.stop <= begun:
            drawn = prefix[:, part].to(device)
        else:
            drawn = chosen(likely(found, temperature, top_p, top_k), uniform[:, part].to(device))
        if edit is not None:
            drawn = edit(drawn, part)
        symbols.append(drawn)
        total = quantiser.add(total, drawn, scale)
        if scale + 1 < len(sizes):
            given = quantiser.next_input(total, scale)
            inputs.append(given)
    return Rollout(torch.cat(symbols, 1), torch.cat(inputs, 1), torch.cat(logits, 1), total)


def sample(model: Var, conditions: Tensor, uniform: Tensor, *, batch: int = 64, **settings) -> Tensor:
    """Tokens (n, L, symbols) on the CPU that the model draws for conditions (n, ...); settings: of `roll_out`."""

    def drawn(part: slice) -> Tensor:
        own = {name: settings[name][part] for name in ("against", "prefix") if settings.get(name) is not None}
        return roll_out(model, conditions[part], uniform[part], **{**settings, **own}).symbols.cpu()

    return torch.cat(in_parts(drawn, len(uniform), batch, "pictures drawn"))


@torch.inference_mode()
def pictures_of(model: Var, symbols: Tensor, batch: int = 128) -> np.ndarray:
    """Pictures (n, H, W, 3) uint8 of tokens (n, L, symbols)."""
    device = device_of(model.network)

    def decoded(part: slice) -> np.ndarray:
        return visual_tokenizer.decode(model.visual, model.visual.quantiser.read(symbols[part].to(device)).total)

    return np.concatenate(in_parts(decoded, len(symbols), batch, "pictures decoded"))


def draw(model: Var, prompts: Sequence[str], indices: np.ndarray, *, seed: int, **settings) -> np.ndarray:
    """Pictures of prompts, one each: the same index and seed are decided by the same numbers."""
    return pictures_of(model, sample(model, model.ids(prompts), noise_of(model, indices, seed), **settings))
