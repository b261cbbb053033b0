"""VAR and Infinity: read from files in the published layouts, and equal to their public form, written out plainly."""

import argparse
import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from taming.modules.diffusionmodules.model import Decoder, Encoder

from palimpsest.imitations import next_scale as imitation
from palimpsest.imitations.taming import ddconfig
from palimpsest.models import convert_next_scale, edits, scales, var
from palimpsest.models.convert_next_scale import read_published
from palimpsest.models.next_scale import symbol_losses
from palimpsest.models.next_scale_layouts import PUBLISHED, SIDES, check_published, plain, sizes_of
from palimpsest.models.next_scale_texts import token_embedding
from palimpsest.models.residual_quantiser import nearest_tick
from palimpsest.models.words import unreadable_words
from palimpsest.run import UserError, sha256
from palimpsest.unlearning.draw_rollouts import rolled_out
from palimpsest.unlearning.prefix import candidates_of
from palimpsest.var import attacks
from test_var_steps import searched

SIZES, MULTIPLES = (1, 2, 3, 4), (1, 2)
INFINITY_SIZES, PIXELS = (1, 2, 4, 6), 96
TEXT = {"d_model": 256, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 40}
INFINITY = {"depth": 4, "width": 24, "heads": 3, "chunks": 2, "bits": 6, "text_width": 256, "length": 16}
VAR = {"depth": 3, "width": 24, "heads": 3, "channels": 8, "codes": 20, "classes": 7, "sizes": SIZES}
KINDS = ("var", "infinity")


def var_tokenizer() -> dict:
    return imitation.var_tokenizer_state(32, 8, 20, len(SIZES), MULTIPLES)


def infinity_tokenizer(bits: int = 6) -> dict:
    return imitation.infinity_tokenizer_state(bits, 32, MULTIPLES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Both models as they are published, small: a transformer, a tokenizer, and the folders of a text encoder."""
    torch.manual_seed(0)
    found = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    torch.save(imitation.var_state(**VAR), found["var"] / "var_d3.pth")
    torch.save(var_tokenizer(), found["var"] / "vae.pth")
    torch.save(imitation.infinity_state(**INFINITY), found["infinity"] / "infinity_1m.pth")
    torch.save({"vae": infinity_tokenizer(), "ema": {}}, found["infinity"] / "vae.pth")
    imitation.write_texts(found["infinity"], TEXT)
    return found


def read(folder: Path, name: str = "mine") -> var.Var:
    transformer = next(path for path in folder.glob("*.pth") if path.name != "vae.pth")
    return read_published(transformer, folder / "vae.pth", name, pixels=PIXELS)[0]


@pytest.fixture(scope="module")
def models(folders) -> dict[str, var.Var]:
    return {kind: read(folders[kind]) for kind in KINDS}


def asked(model: var.Var) -> torch.Tensor:
    return model.labels([3, 0]) if model.tokenizer is None else model.ids(["a red church", "a tree"])


# The public form, in plain loops


def normed(rows: np.ndarray) -> np.ndarray:
    return (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-6)


def gelu(rows: np.ndarray) -> np.ndarray:
    return 0.5 * rows * (1 + np.tanh((2 / np.pi) ** 0.5 * (rows + 0.044715 * rows**3)))


def silu(rows: np.ndarray) -> np.ndarray:
    return rows / (1 + np.exp(-rows))


def attended(query: np.ndarray, key: np.ndarray, value: np.ndarray, seen: list, factor: float) -> np.ndarray:
    """What each query (l, H, d) takes of the values (w, H, d) that it sees: numbers of them."""
    found = np.zeros(query.shape)
    for place in range(len(query)):
        for head in range(query.shape[1]):
            scores = np.array([query[place, head] @ key[other, head] * factor for other in seen[place]])
            shares = np.exp(scores - scores.max())
            for share, other in zip(shares / shares.sum(), seen[place], strict=True):
                found[place, head] += share * value[other, head]
    return found.reshape(len(query), -1)


def rotated(vector: np.ndarray, row: int, column: int) -> np.ndarray:
    """A head's vector: pair m of its channels turned by its place times a frequency, rows first, then columns."""
    found, quarter = vector.copy(), len(vector) // 4
    for pair in range(len(vector) // 2):
        place = row if pair < quarter else column
        angle = place * 10000.0 ** (-2 * (pair % quarter) / (len(vector) // 2))
        first, second = vector[2 * pair], vector[2 * pair + 1]
        found[2 * pair] = np.cos(angle) * first - np.sin(angle) * second
        found[2 * pair + 1] = np.sin(angle) * first + np.cos(angle) * second
    return found


class Public:
    """A published transformer by its own state dict, in float64."""

    def __init__(self, state: dict):
        self.state = {key: value.double().numpy() for key, value in state.items()}

    def linear(self, name: str, rows: np.ndarray) -> np.ndarray:
        return rows @ self.state[f"{name}.weight"].T + self.state.get(f"{name}.bias", 0.0)

    def self_attention(self, name: str, rows: np.ndarray, sizes: tuple, rotary: bool) -> np.ndarray:
        heads = self.state[f"{name}.scale_mul_1H11"].size
        biases = [self.state[f"{name}.{part}"] for part in ("q_bias", "zero_k_bias", "v_bias")]
        every = rows @ self.state[f"{name}.mat_qkv.weight"].T + np.concatenate(biases)
        query, key, value = (part.reshape(len(rows), heads, -1) for part in np.split(every, 3, axis=1))
        scale = np.exp(np.minimum(self.state[f"{name}.scale_mul_1H11"].reshape(1, heads, 1), np.log(100)))
        query = query / np.linalg.norm(query, axis=-1, keepdims=True) * scale
        key = key / np.linalg.norm(key, axis=-1, keepdims=True)
        place, seen, ends = 0, [], np.cumsum([side * side for side in sizes])
        for side, end in zip(sizes, ends, strict=True):
            for row in range(side):
                for column in range(side):
                    seen.append(range(end))
                    if rotary:  # spread over the grid of the largest pictures, 64 places wide
                        where = round(row * 64 / side), round(column * 64 / side)
                        query[place] = [rotated(each, *where) for each in query[place]]
                        key[place] = [rotated(each, *where) for each in key[place]]
                    place += 1
        return self.linear(f"{name}.proj", attended(query, key, value, seen, 1.0))

    def cross_attention(self, name: str, query: np.ndarray, words: np.ndarray) -> np.ndarray:
        """query (l, H, d)."""
        both = words @ self.state[f"{name}.mat_kv.weight"].T
        both = both + np.concatenate([self.state[f"{name}.zero_k_bias"], self.state[f"{name}.v_bias"]])
        key, value = (part.reshape(len(words), *query.shape[1:]) for part in np.split(both, 2, axis=1))
        seen = [range(len(words))] * len(query)
        return self.linear(f"{name}.proj", attended(query, key, value, seen, query.shape[-1] ** -0.5))

    def feed(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.linear(f"{name}.fc2", gelu(self.linear(f"{name}.fc1", rows)))

    def tokens(self, start: np.ndarray, inputs: np.ndarray, sizes: tuple) -> np.ndarray:
        rows = np.concatenate([start + self.state["pos_start"][0], self.linear("word_embed", inputs)])
        number = np.repeat(np.arange(len(sizes)), [side * side for side in sizes])
        return rows + self.state["lvl_embed.weight"][number] + self.state.get("pos_1LC", [0.0])[0]

    def head(self, rows: np.ndarray, start: np.ndarray) -> np.ndarray:
        scale, shift = np.split(self.linear("head_nm.ada_lin.1", silu(start)), 2)
        return self.linear("head", normed(rows) * (1 + scale) + shift)

    def var(self, label: int, inputs: np.ndarray) -> np.ndarray:
        """Logits (L, V)."""
        start = self.state["class_emb.weight"][label]
        rows = self.tokens(start, inputs, SIZES)
        for number in range(VAR["depth"]):
            block = f"blocks.{number}"
            parts = self.linear(f"{block}.ada_lin.1", silu(start)).reshape(6, -1)
            gate, feed_gate, scale, feed_scale, shift, feed_shift = parts
            rows = rows + gate * self.self_attention(f"{block}.attn", normed(rows) * (1 + scale) + shift, SIZES, False)
            rows = rows + feed_gate * self.feed(f"{block}.ffn", normed(rows) * (1 + feed_scale) + feed_shift)
        return self.head(rows, start)

    def infinity(self, text: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Logits (L, 2 d) under a text's embeddings (w, T), of its words alone."""
        text = text / np.sqrt((text**2).mean(-1, keepdims=True) + 1e-6) * self.state["text_norm.weight"]
        start = self.cross_attention("text_proj_for_sos.ca", self.state["text_proj_for_sos.ca.mat_q"], text)[0]
        words = self.linear("text_proj_for_ca.2", gelu(self.linear("text_proj_for_ca.0", text)))
        shared = self.linear("shared_ada_lin.1", silu(start)).reshape(6, -1)
        rows = self.tokens(start, inputs, INFINITY_SIZES)
        for number in range(INFINITY["depth"]):
            block = "block_chunks.{}.module.{}".format(*divmod(number, INFINITY["depth"] // INFINITY["chunks"]))
            parts = self.state[f"{block}.ada_gss"][0, 0] + shared
            gate, feed_gate, scale, feed_scale, shift, feed_shift = parts
            given = normed(rows) * (1 + scale) + shift
            rows = rows + gate * self.self_attention(f"{block}.sa", given, INFINITY_SIZES, True)
            given = normed(rows) * self.state[f"{block}.ca_norm.weight"] + self.state[f"{block}.ca_norm.bias"]
            query = self.linear(f"{block}.ca.mat_q", given).reshape(len(rows), INFINITY["heads"], -1)
            rows = rows + self.cross_attention(f"{block}.ca", query, words)
            rows = rows + feed_gate * self.feed(f"{block}.ffn", normed(rows) * (1 + feed_scale) + feed_shift)
        return self.head(rows, start)


def test_a_published_var_gives_the_logits_of_its_public_form(folders, models):
    model, public = models["var"], Public(torch.load(folders["var"] / "var_d3.pth"))
    inputs = torch.randn(2, sum(side**2 for side in SIZES) - 1, 8, generator=torch.Generator().manual_seed(0))
    found = model.network(model.labels([3, 3]), inputs, torch.tensor([False, True]))
    for row, label in enumerate((3, VAR["classes"])):  # the class after the last one is none
        wanted = public.var(label, inputs[row].double().numpy())
        assert np.abs(found[row, :, 0].numpy() - wanted).max() < 1e-4 < np.abs(wanted).max() / 100


def test_a_published_infinity_gives_the_logits_of_its_public_form(folders, models):
    model, state = models["infinity"], torch.load(folders["infinity"] / "infinity_1m.pth")
    public, ids = Public(state), asked(model)
    inputs = torch.randn(2, sum(side**2 for side in INFINITY_SIZES) - 1, 6, generator=torch.Generator().manual_seed(0))
    found = model.network(ids, inputs, torch.tensor([False, True])).flatten(2).numpy()
    for row, prompt in enumerate(("a red church", "a tree")):
        alone = torch.tensor([model.tokenizer(prompt)["input_ids"]])  # nothing pads it
        text = model.network.text_encoder(alone)[0][0] if row == 0 else state["cfg_uncond"][: alone.shape[1]]
        wanted = public.infinity(text.double().numpy(), inputs[row].double().numpy())
        assert np.abs(found[row] - wanted).max() < 1e-4 < np.abs(wanted).max() / 100


@pytest.mark.parametrize("length", [13, 24])
def test_the_text_of_none_is_as_long_as_the_file_has_it(folders, tmp_path, length):
    """Files have it in several lengths: the shape tells how long texts may be, a picture of none takes its first."""
    folder = Path(shutil.copytree(folders["infinity"], tmp_path / "copy"))
    state = imitation.infinity_state(**{**INFINITY, "length": length})
    torch.save(state, folder / "infinity_1m.pth")
    model, public = read(folder), Public(state)
    ids = model.ids(["a tree"])
    assert model.network.transformer.config["length"] == length == ids.shape[1]
    inputs = torch.randn(1, sum(side**2 for side in INFINITY_SIZES) - 1, 6, generator=torch.Generator().manual_seed(0))
    count = len(model.tokenizer("a tree")["input_ids"])
    wanted = public.infinity(state["cfg_uncond"][:count].double().numpy(), inputs[0].double().numpy())
    found = model.network(ids, inputs, torch.tensor([True])).flatten(2).numpy()[0]
    assert np.abs(found - wanted).max() < 1e-4 < np.abs(wanted).max() / 100
    with pytest.raises(UserError, match=rf"the text encoder of .* takes {length}"):
        model.ids(["a tree " * length])


def test_the_imitated_texts_can_be_read(models):
    assert unreadable_words(models["infinity"].tokenizer, ["church", "a"]) == []
    assert unreadable_words(models["infinity"].tokenizer, ["Käse"]) == ["Käse"]


def test_words_before_a_prompt_of_infinity_are_those_of_the_written_prompt(models):
    """Its T5 has no token where a text begins, and has to be told where it ends."""
    model = models["infinity"]
    network, tokenizer = model.network, model.tokenizer
    prompts, (church,) = ["red tree", "tree a red"], tokenizer("church", add_special_tokens=False)["input_ids"]
    written = model.ids([f"church {prompt}" for prompt in prompts])
    assert torch.equal(attacks.with_words(model, prompts, torch.tensor([church])), written)
    table = token_embedding(network.text_encoder).weight
    for after, said in ((0, written), (1, model.ids(["red church tree", "tree church a red"]))):
        found, known = attacks.embed_with_words(network, model.ids(prompts), table[[church]].expand(2, 1, -1), after)
        wanted, wanted_known = network.embed(said)
        torch.testing.assert_close(found, wanted)
        assert torch.equal(known, wanted_known)
    grown, number = attacks.with_new_word(model, table[[church]])
    found, _ = grown.network.embed(attacks.with_words(grown, prompts, number))
    torch.testing.assert_close(found, network.embed(written)[0])


def test_a_text_of_infinity_whose_end_was_cut_off_is_read_whole(models):
    model = models["infinity"]
    ids = model.ids(["a tree"])
    full = ids[:, :1].expand(1, ids.shape[1])
    assert model.network.known(full).all() and model.network.known(ids).sum() == len(
        model.tokenizer("a tree")["input_ids"]
    )


def words_of(model: var.Var, candidates: torch.Tensor) -> set[str]:
    assert all(token.startswith("▁") for token in model.tokenizer.convert_ids_to_tokens(candidates.tolist()))
    return {model.tokenizer.decode([token]).strip() for token in candidates.tolist()}


def test_a_search_in_infinitys_vocabulary_tries_whole_words_that_do_not_name_the_concept(models):
    model = models["infinity"]
    assert {"red", "tree", "house"} == words_of(model, candidates_of(model.tokenizer, {"a church"}))
    assert {"tree", "house"} == words_of(model, candidates_of(model.tokenizer, {"a church", "Red"}))
    candidates = candidates_of(model.tokenizer, {"tree"})
    ids = model.ids(["a red church", "a tree"])
    own = rolled_out(
        model, ids[:1].expand(4, -1), ids[1:].expand(4, -1), var.noise_of(model, np.arange(4), 0), guidance=2
    )

    some = own.at(np.random.default_rng((0, 12)).integers(len(own), size=2))
    for shortlist in (None, 1, 2):
        found = attacks.searched_words(model, own, candidates, 2, 2, 0, shortlist=shortlist)
        assert torch.equal(found, searched(model, some, candidates, 2, shortlist or len(candidates)))
    settings = {"rate": 0.05, "batch": 4, "seed": 0}
    start, end = (
        attacks.inverted_word(model, own.own, own.own_inputs, own.safe, steps=steps, **settings) for steps in (0, 20)
    )

    def loss(word: torch.Tensor) -> float:
        with torch.no_grad():
            given = attacks.embed_with_words(model.network, own.safe, word.expand(len(own), 1, -1))
            return float(symbol_losses(model.network.transformer(given, own.own_inputs), own.own).mean())

    assert torch.equal(start[0], token_embedding(model.network.text_encoder).weight[own.safe[0, 0]])
    assert loss(end) < loss(start)


def test_places_of_small_grids_are_spread_over_the_largest_one():
    assert scales.positions((1, 2, 4), 64).tolist()[1:5] == [[0, 0], [0, 32], [32, 0], [32, 32]]
    assert scales.positions((12,), 64)[:, 1][:12].tolist() == [0, 5, 11, 16, 21, 27, 32, 37, 43, 48, 53, 59]
    assert scales.positions((64,), 64).tolist() == [[row, column] for row in range(64) for column in range(64)]


# Quantisation, in plain loops


def area(old: int, new: int) -> np.ndarray:
    found = np.zeros((new, old))
    for place in range(new):
        start, end = place * old // new, -(-(place + 1) * old // new)
        found[place, start:end] = 1 / (end - start)
    return found


def linear(old: int, new: int) -> np.ndarray:
    found = np.zeros((new, old))
    for place in range(new):
        at = max((place + 0.5) * old / new - 0.5, 0)
        low = int(at)
        found[place, low] += 1 - (at - low)
        found[place, min(low + 1, old - 1)] += at - low
    return found


def cubic(old: int, new: int, a: float = -0.75) -> np.ndarray:
    found = np.zeros((new, old))
    for place in range(new):
        at = (place + 0.5) * old / new - 0.5
        low = int(np.floor(at))
        for step in range(-1, 3):
            far = abs(at - low - step)
            weight = (a + 2) * far**3 - (a + 3) * far**2 + 1
            if far > 1:
                weight = a * far**3 - 5 * a * far**2 + 8 * a * far - 4 * a
            found[place, min(max(low + step, 0), old - 1)] += weight
    return found


def resized(grid: np.ndarray, side: int, how) -> np.ndarray:
    matrix = how(grid.shape[-1], side)
    return grid if side == grid.shape[-1] else matrix @ grid @ matrix.T


def convolved(grid: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    side, padded = grid.shape[-1], np.pad(grid, ((0, 0), (1, 1), (1, 1)))
    found = np.repeat(bias, side * side).reshape(-1, side, side)
    for row in range(3):
        for column in range(3):
            patch = padded[:, row : row + side, column : column + side]
            found = found + np.einsum("oc,cyx->oyx", weight[:, :, row, column], patch)
    return found


def pyramid(features: np.ndarray, sizes: tuple, token, up, shown) -> tuple[list, list, np.ndarray]:
    """Tokens by scale, what is fed at the next ones, and the sum; token(cell) gives a token and its vector."""
    total, tokens, fed, full = np.zeros_like(features), [], [], sizes[-1]
    for number, side in enumerate(sizes):
        small = resized(features - total, side, area)
        made = np.zeros_like(small)
        for row in range(side):
            for column in range(side):
                found, made[:, row, column] = token(small[:, row, column])
                tokens.append(found)
        total = total + up(resized(made, full, cubic if shown is area else linear), number)
        if number + 1 < len(sizes):
            fed.append(resized(total, sizes[number + 1], shown).reshape(len(features), -1).T)
    return tokens, np.concatenate(fed), total


def test_codes_and_what_var_is_fed_are_those_of_the_public_form(folders, models):
    state = {key: value.double().numpy() for key, value in torch.load(folders["var"] / "vae.pth").items()}
    codebook, shared = state["quantize.embedding.weight"], "quantize.quant_resi.qresi_ls"

    def nearest(cell):
        row = int(((codebook - cell) ** 2).sum(1).argmin())
        return row, codebook[row]

    def phi(grid, number):  # four for all scales, at 1/12, 13/36, 23/36 and 11/12 of the way
        ticks = np.linspace(1 / 12, 11 / 12, 4)
        own = int(np.abs(ticks - number / (len(SIZES) - 1)).argmin())
        assert own == nearest_tick(number, len(SIZES), 4)
        mixed = convolved(grid, state[f"{shared}.{own}.weight"], state[f"{shared}.{own}.bias"])
        return 0.5 * grid + 0.5 * mixed

    features = torch.randn(8, 4, 4, generator=torch.Generator().manual_seed(1))
    tokens, fed, total = pyramid(features.double().numpy(), SIZES, nearest, phi, area)
    found = models["var"].visual.quantiser.quantise(features[None])
    assert found.symbols.flatten().tolist() == tokens
    assert np.abs(found.inputs[0].numpy() - fed).max() < 1e-5 and np.abs(found.total[0].numpy() - total).max() < 1e-5


def test_bits_and_what_infinity_is_fed_are_those_of_the_public_form(models):
    def sign(cell):
        bits = [int(value > 0) for value in cell / np.linalg.norm(cell)]
        return bits, np.array([(2 * bit - 1) / len(cell) ** 0.5 for bit in bits])

    features = torch.randn(6, 6, 6, generator=torch.Generator().manual_seed(1))
    tokens, fed, total = pyramid(features.double().numpy(), INFINITY_SIZES, sign, lambda grid, _: grid, linear)
    found = models["infinity"].visual.quantiser.quantise(features[None])
    assert found.symbols[0].tolist() == tokens
    assert np.abs(found.inputs[0].numpy() - fed).max() < 1e-5 and np.abs(found.total[0].numpy() - total).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_tokenizer_is_that_of_tamings_modules(folders, models, kind):
    visual, attention = models[kind].visual, kind == "var"
    state = torch.load(folders[kind] / "vae.pth")
    state = {plain(key): value for key, value in state.get("vae", state).items()}
    network = {
        **ddconfig(MULTIPLES, 16 if attention else 0),
        "ch": 32,
        "z_channels": len(state["encoder.conv_out.bias"]),
    }
    network["resolution"] = 32
    with contextlib.redirect_stdout(io.StringIO()):
        parts = {"encoder": Encoder(**network).eval(), "decoder": Decoder(**network).eval()}
    for part, net in parts.items():
        if not attention:
            net.mid.attn_1 = torch.nn.Identity()
        own = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(part)}
        for key in [key for key in own if ".qkv." in key]:
            own |= {key.replace("qkv", name): each for name, each in zip("qkv", own.pop(key).chunk(3), strict=True)}
        net.load_state_dict(own)
    pictures = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted = parts["encoder"](pictures)
        if attention:
            wanted = torch.conv2d(wanted, state["quant_conv.weight"], state["quant_conv.bias"], padding=1)
        assert torch.allclose(visual.encode(pictures), wanted, atol=1e-4)
        grid = torch.randn(1, wanted.shape[1], 16, 16, generator=torch.Generator().manual_seed(0))
        given = grid
        if attention:
            given = torch.conv2d(grid, state["post_quant_conv.weight"], state["post_quant_conv.bias"], padding=1)
        assert torch.allclose(visual.decode(grid), parts["decoder"](given), atol=1e-4)


# Drawing and loading


@pytest.mark.parametrize("kind", KINDS)
def test_cached_logits_of_a_published_model_are_the_masked_ones(models, kind):
    model = models[kind]
    conditions, uniform = asked(model), var.noise_of(model, np.arange(2), 0)
    guidance = [1 + 1.5 * number / 3 for number in range(4)]  # VAR's ramp
    found = var.roll_out(model, conditions, uniform, guidance=guidance, top_p=0.97)
    wanted = model.network(conditions, found.inputs)
    none = model.network(conditions, found.inputs, torch.ones(2, dtype=torch.bool))
    weight = torch.tensor(guidance)[scales.levels(model.visual.quantiser.sizes)][:, None, None]
    assert torch.allclose(weight * wanted + (1 - weight) * none, found.logits, atol=1e-4)
    assert not torch.allclose(wanted, none, atol=1e-2)
    assert torch.allclose(model.visual.quantiser.read(found.symbols).inputs, found.inputs, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_that_was_loaded_takes_part(models, kind):
    model = models[kind]
    transformer, length = model.network.transformer, sum(side**2 for side in model.visual.quantiser.sizes)
    inputs = torch.randn(2, length - 1, model.visual.quantiser.channels, generator=torch.Generator().manual_seed(0))
    parameters = dict(transformer.named_parameters())
    try:
        transformer.requires_grad_(True)
        loss = model.network(asked(model), inputs, torch.tensor([False, True])).square().mean()
        found = dict(zip(parameters, torch.autograd.grad(loss, parameters.values(), allow_unused=True), strict=True))
    finally:
        transformer.requires_grad_(False)
    assert not [name for name, each in found.items() if each is None or not each.abs().sum() > 0]


def hashes_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.suffix in (".pth", ".safetensors")]
    return {str(path.relative_to(folder)): sha256(path) for path in files}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_converted_is_opened_as_it_was_published(tmp_path, monkeypatch, folders, models, kind):
    monkeypatch.setitem(SIDES, "mine", PIXELS)
    out = tmp_path / "transformer/model.safetensors"
    out.parent.mkdir()
    transformer = next(path for path in folders[kind].glob("*.pth") if path.name != "vae.pth")
    given = {"transformer": transformer, "visual": folders[kind] / "vae.pth", "network": out, "name": "mine"}
    with pytest.raises(UserError, match="sha256"):
        convert_next_scale.convert(**given, sha256={})
    record = convert_next_scale.convert(**given, sha256=hashes_of(folders[kind]))
    assert record["unused_tensors"] == {} and record["sha256"] == hashes_of(folders[kind])
    wanted, found = models[kind], var.open_model(out)
    for part in ("network", "visual"):
        ours, theirs = getattr(found, part).state_dict(), getattr(wanted, part).state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    uniform = var.noise_of(found, np.arange(2), 0)
    drawn = var.sample(found, asked(found), uniform, guidance=2.0)
    assert torch.equal(drawn, var.sample(wanted, asked(wanted), uniform, guidance=2.0))
    side = found.visual.image_size
    assert var.pictures_of(found, drawn).shape == (2, side, side, 3)
    # An edit of it is kept as what changed.
    assert edits.is_var(out) and edits.open_network(out).transformer.config == wanted.network.transformer.config


def changed(folder: Path, out: Path, file: str, change) -> Path:
    """A copy of a published folder, one file of which was changed."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folder, out)
    state = torch.load(out / file)
    torch.save(change(state) or state, out / file)
    return out


def test_training_checkpoints_and_those_of_s_vare_hold_the_same_model(tmp_path, folders, models):
    wanted = {kind: models[kind].network.state_dict() for kind in KINDS}
    nested = {
        "var": [lambda state: {"trainer": {"var_wo_ddp": state, "vae_local": {}}, "epoch": 3}],
        "infinity": [
            lambda state: {"trainer": {"gpt_fsdp": state}},
            lambda state: {"model": state, "args": argparse.Namespace(cfg=4), "epoch": 21},
            lambda state: {key: value for key, value in state.items() if "zero_k_bias" not in key},
            lambda state: {
                key: value.transpose(1, 2) if "scale_mul" in key else value for key, value in state.items()
            },  # of flash attention
        ],
    }
    for kind, file in (("var", "var_d3.pth"), ("infinity", "infinity_1m.pth")):
        for nest in nested[kind]:
            found = read(changed(folders[kind], tmp_path / "nested", file, nest)).network.state_dict()
            assert found.keys() == wanted[kind].keys()
            assert all(torch.equal(found[key], wanted[kind][key]) for key in found)


def without(*parts: str):
    return lambda state: {key: value for key, value in state.items() if not any(part in key for part in parts)}


def with_value(key: str, value):
    def change(state):
        state[key] = value(state[key]) if key in state else value(None)

    return change


WRONG_VAR = {
    "half a file": ("var_d3.pth", without("head."), r"lacks head\.weight \(by our names\): it is a part of a model"),
    "some blocks": ("var_d3.pth", without("blocks.1."), r"lacks blocks \[1\]: it is a part of a model"),
    "one tensor": (
        "var_d3.pth",
        without("blocks.1.ffn.fc1.w"),
        r"nothing was loaded:\n  missing blocks\.1\.feed\.0\.w",
    ),
    "one too many": ("var_d3.pth", with_value("lora.a", lambda _: torch.ones(2)), r"unexpected lora\.a \(2,\)"),
    "another shape": ("var_d3.pth", with_value("pos_1LC", lambda each: each[:, 1:]), r"shape of places is \(29, 24\)"),
    "before scales": ("var_d3.pth", without("scale_mul"), "no scale_mul_1H11 in blocks .* not normalised"),
    "a bias of keys": (
        "var_d3.pth",
        with_value("blocks.0.attn.zero_k_bias", lambda each: each + 1),
        "zero_k_bias is not",
    ),
    "another mask": (
        "var_d3.pth",
        with_value("attn_bias_for_masking", torch.zeros_like),
        "attn_bias_for_masking is not",
    ),
    "no numbers": ("var_d3.pth", with_value("pos_start", lambda each: each * torch.nan), "pos_start is not finite"),
    "a tokenizer": (
        "var_d3.pth",
        lambda _: var_tokenizer(),
        "holds no transformer of VAR or Infinity .*encoder.conv_in",
    ),
    "other scales": ("vae.pth", with_value("quantize.ema_vocab_hit_SV", lambda each: each[1:]), "is for 3 scales"),
    "other codes": (
        "vae.pth",
        with_value("quantize.embedding.weight", lambda each: each[1:]),
        "of one of 20 codes.*19",
    ),
    "no encoder": ("vae.pth", without("encoder.down.1"), "encoder has 1 resolutions, its decoder 2"),
}
WRONG_INFINITY = {
    "other bits": ("vae.pth", lambda _: {"vae": infinity_tokenizer(8)}, "tokens of 6 bits, in 6 .* are 8 bits"),
    "codes": ("vae.pth", lambda _: var_tokenizer(), "of 6 bits, in 6 .* one of 20 codes, in 8"),
    "folded": ("infinity_1m.pth", with_value("head.weight", lambda each: each[:6]), "6 logits for tokens of 6 bits"),
    "no texts": ("infinity_1m.pth", without("text_proj_for_sos"), r"lacks condition\.query"),
    "a chunk": ("infinity_1m.pth", without("block_chunks.0."), r"lacks blocks \[0, 1\]"),
}


@pytest.mark.parametrize("case", WRONG_VAR)
def test_what_is_no_such_var_is_named(tmp_path, folders, case):
    file, change, message = WRONG_VAR[case]
    with pytest.raises(UserError, match=f"(?s){tmp_path}.*{message}"):
        read(changed(folders["var"], tmp_path / "wrong", file, change))


@pytest.mark.parametrize("case", WRONG_INFINITY)
def test_what_is_no_such_infinity_is_named(tmp_path, folders, case):
    file, change, message = WRONG_INFINITY[case]
    with pytest.raises(UserError, match=f"(?s){tmp_path}.*{message}"):
        read(changed(folders["infinity"], tmp_path / "wrong", file, change))


def test_half_a_file_another_name_and_other_pictures_are_named(tmp_path, folders, models):
    folder = changed(folders["var"], tmp_path / "cut", "vae.pth", lambda _: None)
    content = (folder / "var_d3.pth").read_bytes()
    (folder / "var_d3.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"var_d3\.pth is no readable checkpoint.*cut short"):
        read(folder)
    with pytest.raises(
        UserError, match=r"depth 3, not 16, width 24, not 1024.*another size. Give the file that the row"
    ):
        read(folders["var"], "var_d16")
    for pixels in (100, 2048, 80):
        with pytest.raises(UserError, match=f"no scales for pictures of {pixels} pixels, but of 32, 64"):
            sizes_of(pixels, Path("infinity.pth"))


def test_texts_that_are_not_the_models_are_named(tmp_path, folders):
    def refused(message: str, change) -> None:
        folder = changed(folders["infinity"], tmp_path / "wrong", "vae.pth", lambda _: None)
        change(folder)
        with pytest.raises(UserError, match=message):
            read(folder)

    def other_width(folder: Path) -> None:
        shutil.rmtree(folder / "text_encoder")
        imitation.write_texts(folder, {**TEXT, "d_model": 128})

    def a_file_less(folder: Path) -> None:
        (folder / "text_encoder/model-00002-of-00002.safetensors").unlink()

    refused(
        "config.json is missing: the transformer takes texts", lambda folder: shutil.rmtree(folder / "text_encoder")
    )
    refused("tokenizer is missing.*flan-t5-xl", lambda folder: shutil.rmtree(folder / "tokenizer"))
    refused("width, tokens and length .128.*not of one model", other_width)
    refused("lacks model-00002-of-00002.safetensors", a_file_less)


def test_what_the_published_names_stand_for_is_what_the_imitations_are():
    for name, (kind, shape) in imitation.ARCHITECTURES.items():
        given = {"depth": shape["depth"], "width": shape["width"], "symbols": shape.get("bits", 1)}
        check_published(name, {**given, "values": 2 if kind == "infinity" else 4096}, Path("any.pth"))
        assert name in PUBLISHED
