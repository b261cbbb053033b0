"""The steps of the family of next-scale models, from pairs to measurements, on an untrained model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from palimpsest.judges import judge_networks, reference
from palimpsest.metrics import measurements
from palimpsest.models import edits, training, var
from palimpsest.models.list_networks import list_networks
from palimpsest.models.next_scale import symbol_losses
from palimpsest.models.next_scale_texts import token_embedding
from palimpsest.models.scales import spans
from palimpsest.report import erased, erased_figures
from palimpsest.report.lookup import Lookup
from palimpsest.report.parts import part_of
from palimpsest.run import UserError
from palimpsest.unlearning.prefix import before, embed_words
from palimpsest.unlearning.rollouts import Rollouts, packed, unpacked
from palimpsest.unlearning.runs import PASSES, edited
from palimpsest.var import attacks, erase, exchange, feeding, likelihoods, pairs, token_maps
from palimpsest.var.code_replacement import at_random, by_rule, rule_of
from palimpsest.var.contexts import Learned, by_pair, first_of, kept_rollouts
from palimpsest.var.parts import select
from palimpsest.worlds.concepts import ALL, ROLES, SHOWING, WITH_ORACLE, Concept
from synthetic_measurements import around
from test_erasure import judges  # noqa: F401 (a fixture)
from test_var import BITS, CODES, LENGTH, SIZES, model_of

CONCEPTS = {
    "church": {"factor": "object", "value": "church", "anchor": "tree"},
    "red": {"factor": "colour", "value": "red", "anchor": "blue"},
}
OF_RUNS = ("unfinished", *PASSES)  # metrics of a run, which no pictures of several concepts have together
SAMPLING = {"guidance": 2.0, "temperature": 0.5, "top_p": 0.97}
COUNTS = {"concept": 6, "rollouts": 2, "others": 4}
ATTACKS = {"pictures": 2, "words": 1, "points": 1, "scales": [2, 1], "inversion": {"steps": 1, "rate": 0.1, "batch": 1}}


class Stub:
    """A judge that keeps some of the pairs: it sees the concept in these of the pictures that it is shown in turn."""

    def __init__(self, *seen: list[bool]):
        self.seen = list(seen)

    def shows(self, concept, pictures: np.ndarray) -> np.ndarray:
        return np.resize(self.seen.pop(0), len(pictures))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("base") / "transformer/model.safetensors"
    path.parent.mkdir()
    model = model_of(BITS)
    model.network.transformer.head.weight.data.mul_(4)  # predictions that are far from even
    var.save(path, model)
    return path


def drawn(base: Path, folder: Path, judge: Stub, concepts: dict = CONCEPTS) -> dict[str, Path]:
    """What `pairs` writes, by a stub of a judge."""
    files = {name: folder / name for name in ("rollouts.npz", "prompts.parquet", "measurements.parquet")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "readers_of", lambda *given: judge)
        pairs.pairs(
            base, Path(), Path(), *files.values(), model="tiny", concepts=concepts, counts=COUNTS, sampling=SAMPLING
        )
    return files


@pytest.fixture(scope="module")
def files(base, tmp_path_factory) -> dict[str, Path]:
    # Of each concept the first pair is missing, the second remains, the others are kept; each in two rollouts.
    missing, remains = [False, True, True, True, True, True], [False, True, False, False, False, False]
    return drawn(base, tmp_path_factory.mktemp("pairs"), Stub(missing, remains, missing, remains))


@pytest.fixture(scope="module")
def ran(base, judges, files, tmp_path_factory) -> dict:  # noqa: F811
    folder = tmp_path_factory.mktemp("ran")
    asked, pictures = folder / "prompts.parquet", folder / "pictures.npz"
    counts = dict.fromkeys(ROLES, 2)
    reference.reference(base, asked, pictures, concepts=CONCEPTS, counts=counts, sampling=SAMPLING)
    given = {"concepts": CONCEPTS, "sampling": SAMPLING, "attacks": ATTACKS}
    known = {"oracles": [base], "targets": ["church"]}
    list_networks(base, folder / "random", folder / "networks.parquet", family="var", model="tiny", **known)
    outputs = [folder / f"networks.{name}" for name in ("measurements", "panel.npz")]
    judge_networks.judge(
        base, folder / "networks.parquet", asked, pictures, *judges, files["rollouts.npz"], files["prompts.parquet"],
        *outputs, family="var", model="tiny", study="networks", pooled=list(CONCEPTS), **given,
    )  # fmt: skip
    runs = [
        {"concept": name, "setting": "one", "seed": 0, "selection": "cross_attention", "settings": {}}
        | {"training": {"steps": 2, "learning_rate": 0.01, "batch": 2}}
        for name in CONCEPTS
    ]
    made = {name: folder / name for name in ("weights", "log", "edits.parquet", "measured", "panel.npz")}
    np.save(folder / "real.npy", np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8))
    erase.erase(
        base, files["rollouts.npz"], files["prompts.parquet"], asked, pictures, *judges, *made.values(),
        model="tiny", study="comparison", method="vare", module="vare", plan={"runs": runs}, oracles=["church"],
        data=folder / "real.npy", **given,
    )  # fmt: skip
    known = {"networks": folder / "networks.parquet", "networks_measured": outputs[0]}
    return {**made, **known, "prompts": asked, "pictures": pictures}


@pytest.mark.parametrize("quantiser", [BITS, CODES], ids=["bits", "codes"])
def test_packed_rollouts_say_the_same(quantiser):
    parts = model_of(quantiser).visual.quantiser
    rng, shape = np.random.default_rng(0), (3, LENGTH, parts.symbols)
    tokens = [torch.from_numpy(rng.integers(parts.values, size=shape)) for _ in range(2)]
    logits = [torch.from_numpy(rng.normal(0, 3, (*shape, parts.values)).astype(np.float32)) for _ in range(2)]
    ids = torch.arange(3)[:, None]
    kept = packed(Rollouts(parts, ids, ids, *tokens, *logits))
    found = unpacked(kept, parts, ids, ids)
    assert torch.equal(found.tokens, tokens[0]) and torch.equal(found.own, tokens[1])
    for one, two in zip((found.guided, found.plain), logits, strict=True):
        torch.testing.assert_close(one.float().softmax(-1), two.softmax(-1), atol=2e-3, rtol=0)
    if parts.values == 2:  # as the release keeps both branches: two logits twice in float32, and bits in 64
        released = 2 * tokens[0].numel() * (2 * 2 * 4 + 8)
        assert released >= 10 * sum(each.nbytes for each in kept.values())
    with pytest.raises(ValueError, match="rollouts of the shape"):
        unpacked(kept, parts, ids[:2], ids[:2])


def test_rejected_pairs_are_counted_and_left_out(files, base):
    table = pd.read_parquet(files["prompts.parquet"])
    for name in CONCEPTS:
        rows = table[(table["concept"] == name) & (table["role"] == "pair")]
        counts = rows["verdict"].value_counts()
        assert counts.to_dict() == {"kept": 8, "missing": 2, "remains": 2}
        found = measurements.read([files["measurements.parquet"]])
        found = found[found["concept"] == name].set_index("metric")
        assert found.loc["pairs", "value"] == len(rows) == COUNTS["concept"] * COUNTS["rollouts"]
        shares = found.loc[[f"pairs_{verdict}" for verdict in counts.index], "value"]
        assert list(shares) == pytest.approx(list(counts / len(rows))) and shares.sum() == pytest.approx(1)
    with np.load(files["rollouts.npz"]) as arrays:
        kept, others = kept_rollouts(var.open_model(base), "red", files["prompts.parquet"], arrays, table)
    assert len(kept) == 8 and len(others) == COUNTS["others"]
    # A pair's two rollouts are of other numbers, the pair's two pictures of the same.
    model = var.open_model(base)
    again = var.roll_out(model, kept.safe, var.noise_of(model, np.array([2, 3, 4, 5, 8, 9, 10, 11]), 0), **SAMPLING)
    assert torch.equal(again.symbols, kept.tokens) and not torch.equal(kept.tokens[0], kept.tokens[4])


def test_a_concept_without_pairs_is_refused_with_what_was_rejected(base, tmp_path):
    one = {"church": CONCEPTS["church"]}
    judge = Stub([False, True, True], [True, True, True])
    with pytest.raises(UserError, match=r"concept church: no pair of 12 is left. Of 4 .* of 8 it still does"):
        drawn(base, tmp_path, judge, one)
    assert not (tmp_path / "rollouts.npz").exists()


def test_a_pair_of_equal_prompts_is_refused_by_concept_and_prompt(base, tmp_path, monkeypatch):
    judge, read = Stub([True], [False]), var.Var.ids

    def alike(model: var.Var, prompts: list[str]) -> torch.Tensor:
        return read(model, [prompt.replace("church", "tree") for prompt in prompts])

    monkeypatch.setattr(var.Var, "ids", alike)
    concepts = {"red": CONCEPTS["red"], "church": CONCEPTS["church"]}
    with pytest.raises(UserError, match=r"concept church: .*church.*tree.* alike.*`anchor` \(`var\.concepts\.church"):
        drawn(base, tmp_path, judge, concepts)
    assert len(judge.seen) == 2 and not any(tmp_path.iterdir())  # before anything was drawn


def test_rollouts_of_another_model_are_refused(base, files, tmp_path):
    other = tmp_path / "transformer/model.safetensors"
    other.parent.mkdir()
    table = pd.read_parquet(files["prompts.parquet"])
    for model, said in (
        (model_of({**BITS, "bits": 4}), "red: rollouts of the shape"),
        (model_of(BITS, seed=1), "red: the rollouts beside .* are those of another model"),
    ):
        var.save(other, model)
        with np.load(files["rollouts.npz"]) as arrays, pytest.raises(UserError, match=said):
            kept_rollouts(var.open_model(other), "red", files["prompts.parquet"], arrays, table)


def test_an_edit_is_a_row_that_holds_what_was_selected_and_nothing_else(base, ran):
    rows = edits.read(ran["edits.parquet"])
    assert [(row.target, row.format, row.method) for row in rows] == [(name, "delta", "vare") for name in CONCEPTS]
    first = var.open_model(base).network.state_dict()
    for row in rows:
        after = edits.open_edit(row).state_dict()
        different = {name for name, tensor in after.items() if not torch.equal(tensor, first[name])}
        assert different and all(".text_attention." in name for name in different)


def test_measurements_have_each_role_and_attack_by_concept_and_together(ran):
    table = measurements.read([ran["measured"]])
    assert set(table["concept"]) == {*CONCEPTS, ALL, WITH_ORACLE}
    assert set(table[table["metric"] == "erased"]["prompts"]) == set(SHOWING)
    assert set(table[table["metric"] == "kept"]["prompts"]) == set(ROLES)
    for metric in ("frechet_data", "kernel_data"):
        to_data = table[table["metric"] == metric]
        assert set(to_data["concept"]) == set(table["concept"]) and set(to_data["prompts"]) == {"rest"}
    assert set(table[table["metric"] == "recovered"]["prompts"]) == {
        *SHOWING,
        "searched",
        "inverted",
        "prefix",
        "prefix_1",
    }
    known = measurements.read([ran["networks_measured"]])
    assert set(known["method"]) == {"pretrained", "oracle", "random"}
    # What is set beside the oracle is of the concept that it lacks.
    for rows in (table, *(known[known["method"] == name] for name in ("pretrained", "oracle", "random"))):
        like, own = (
            rows[(rows["concept"] == name) & ~rows["metric"].isin(OF_RUNS)].set_index(["metric", "prompts"])
            for name in (WITH_ORACLE, "church")
        )
        assert len(like) and like.index.equals(own.index)
        np.testing.assert_array_equal(like[["value", "n"]], own[["value", "n"]])


def test_what_is_set_beside_an_oracle_is_of_the_concepts_that_it_lacks(tmp_path):
    """The pretrained model shows the church always and red never, the oracle and the method neither in any picture."""
    shown = {"pretrained": {"church": 1.0, "red": 0.0}, "oracle": {"church": 0.0}, "vare": {"church": 0.0, "red": 0.5}}
    rows = []
    for method, values in {**shown, "random": {"church": 0.0, "red": 0.0}}.items():
        groups = {ALL: list(values.values()), WITH_ORACLE: [values["church"]]}
        rows += [
            around("recovered", np.mean(each), 0.01, n=7 * len(each), method=method, concept=concept, prompts="prefix")
            | {"study": "comparison" if method == "vare" else "networks"}
            for concept, each in groups.items()
        ]
    measurements.write(tmp_path / "rows", rows, family="var", model="tiny")
    lookup = Lookup([tmp_path / "rows"], "var")
    params = {"models": ["tiny"], "methods": ["vare"], "oracles": {"tiny": ["church"]}, "attacks": {"words": 1}}
    params |= {"studies": {"comparison": {"concepts": list(CONCEPTS), "seeds": [0]}}}
    made = erased.attacks(lookup, params, str, "tab:attacks", {"Prefix": ("prefix", "begun")})
    table = made.frame.set_index("Row")["Prefix"].map(lambda each: each.value)
    assert table.to_dict() == {
        "pretrained": 0.5, "pretrained: church": 1.0, "oracle: church": 0.0, "random": 0.0, "vare": 0.25,
    }  # fmt: skip
    assert "prefix 14." in made.notes
    points, *lines = erased_figures.attack_panels(lookup, params, str, {"prefix": "", "own": ""}).axes[0].lines
    assert points.get_xdata() == [0.0] and [line.get_xdata()[0] for line in lines] == [100.0, 0.0]


def test_prefixes_are_of_the_scales_that_are_asked_for_and_stand_in_their_order(base, ran):
    model = var.open_model(base)
    attacker = attacks.Attacker({}, pd.DataFrame(), ATTACKS)
    assert attacker.begun(model) == {"prefix": SIZES[0] ** 2 + SIZES[1] ** 2, "prefix_1": SIZES[0] ** 2}
    for wrong in (0, len(SIZES)):
        with pytest.raises(
            UserError, match=rf"attacks\.scales: a prefix of {wrong} of the model's {len(SIZES)} scales"
        ):
            replace(attacker, params={**ATTACKS, "scales": [1, wrong]}).begun(model)
    params = {"models": ["tiny"], "methods": ["vare"], "oracles": {"tiny": []}, "attacks": ATTACKS}
    params["studies"] = {"comparison": {"concepts": list(CONCEPTS), "seeds": [0]}}
    lookup = Lookup([ran["measured"], ran["networks_measured"]], "var")
    table = part_of("var", "tables", "attacks").build(lookup, params).frame
    assert list(table.columns[-2:]) == ["Prefix 1", "Prefix 2"] and table["Row"].iloc[-1] == "VARE"
    for title, attack in (("Prefix 1", "prefix_1"), ("Prefix 2", "prefix")):
        wanted = lookup.get("recovered", method="vare", concept=ALL, prompts=attack)
        assert table[title].iloc[-1].value == wanted.value


def test_a_given_prefix_reaches_the_model_and_a_learned_word_is_its_embedding(base, files):
    model, table = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    with np.load(files["rollouts.npz"]) as arrays:
        own = kept_rollouts(model, "church", files["prompts.parquet"], arrays, table)[0].at(np.arange(3))
    begun = spans(SIZES)[1].stop
    found = var.sample(model, own.asked, var.noise_of(model, np.arange(3), 5), prefix=own.own[:, :begun], **SAMPLING)
    assert torch.equal(found[:, :begun], own.own[:, :begun]) and not torch.equal(found, own.own)
    word = torch.randn(1, 16)
    grown, number = attacks.with_new_word(model, word)
    told, known = grown.network.embed(before(model.network.text_encoder, own.safe, number))
    wanted = embed_words(model.network.text_encoder, own.safe, word.expand(3, 1, -1))
    torch.testing.assert_close(told, wanted)
    assert torch.equal(known, model.network.known(before(model.network.text_encoder, own.safe, own.safe[0, 1:2])))


def searched(model: var.Var, some: Rollouts, candidates: torch.Tensor, count: int, shortlist: int) -> torch.Tensor:
    """The words of a greedy search, of which each is the best of those that lower the loss most to first order.

    The slope is the difference of two losses.
    """
    encoder, chosen = model.network.text_encoder, candidates[:0]
    table = token_embedding(encoder).weight[candidates]

    @torch.no_grad()
    def loss(logits: torch.Tensor) -> float:
        return float(symbol_losses(logits, some.own).double().mean())

    def at(vector: torch.Tensor) -> float:
        ids = before(encoder, some.asked, chosen)
        given = attacks.embed_with_words(model.network, ids, vector.expand(len(some), 1, -1), len(chosen))
        return loss(model.network.transformer(given, some.own_inputs))

    for _ in range(count):
        slopes = [at(table.mean(0) + 0.05 * each) - at(table.mean(0) - 0.05 * each) for each in table]
        worth = candidates[np.argsort(slopes)[:shortlist]]
        tried = [torch.cat([chosen, word[None]]) for word in worth]
        chosen = min(tried, key=lambda words: loss(model.network(before(encoder, some.asked, words), some.own_inputs)))
    return chosen


def test_a_learned_word_and_a_searched_one_make_the_tokens_likelier(base, files):
    model, table = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    with np.load(files["rollouts.npz"]) as arrays:
        own = kept_rollouts(model, "church", files["prompts.parquet"], arrays, table)[0]

    def loss(network: var.Var, ids: torch.Tensor) -> float:
        with torch.no_grad():
            return float(symbol_losses(network.network(ids, own.own_inputs), own.own).mean())

    settings = {"rate": 0.1, "batch": 8, "seed": 0}
    trained = [
        attacks.inverted_word(model, own.own, own.own_inputs, own.safe, steps=steps, **settings) for steps in (0, 30)
    ]
    start, end = (
        loss(grown, before(model.network.text_encoder, own.safe, number))
        for grown, number in (attacks.with_new_word(model, each) for each in trained)
    )
    assert end < start
    some, candidates = own.at(np.random.default_rng((0, 12)).integers(len(own), size=4)), torch.arange(60, 70)
    for shortlist in (None, 1, 3):
        found = attacks.searched_words(model, own, candidates, 2, 4, 0, shortlist=shortlist)
        assert torch.equal(found, searched(model, some, candidates, 2, shortlist or len(candidates)))


def test_what_is_fed_is_measured_by_scale(base, files, tmp_path):
    out = tmp_path / "measured", tmp_path / "panel.npz"
    feeding.feeding(base, files["rollouts.npz"], files["prompts.parquet"], *out, model="tiny", concepts=CONCEPTS)
    table = measurements.read([out[0]])
    model, rows = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    with np.load(files["rollouts.npz"]) as arrays:
        own = kept_rollouts(model, "red", files["prompts.parquet"], arrays, rows)[0]
    with torch.no_grad():
        losses = symbol_losses(model.network(own.asked, own.own_inputs), own.tokens)
    named = table[(table["concept"] == "red") & (table["fed"] == "concept_own")].set_index(["metric", "scale"])["value"]
    assert named["token_loss", "all"] == pytest.approx(float(losses.mean()), rel=1e-5)
    for side, part in zip(SIZES, spans(SIZES), strict=True):
        assert named["token_loss", str(side)] == pytest.approx(float(losses[:, part].mean()), rel=1e-5)
        wrong = (losses[:, part] > np.log(2)).float()
        assert named["token_wrong", str(side)] == pytest.approx(float(wrong.mean()), abs=1e-6)
        assert named["token_kept", str(side)] == pytest.approx(float((wrong.mean(2) >= 0.25).float().mean()), abs=1e-6)
    of_all = table[table["concept"] == ALL]
    by_input = of_all[of_all["metric"] == "token_loss"].set_index(["scale", "fed"])["value"]
    saved = of_all[of_all["metric"] == "token_loss_saved"].set_index("scale")["value"]
    assert {*saved.index} == {"all", *map(str, SIZES)}
    for scale, value in saved.items():
        assert value == pytest.approx(by_input[scale, "concept_own"] - by_input[scale, "concept_safe"], abs=1e-9)
    with np.load(out[1]) as file:
        assert {name.split(".")[1] for name in file} == {
            "safe_rollout", "own_rollout", "safe_safe", "concept_safe", "concept_own", "concept_blank",
        }  # fmt: skip
    shown = {"models": ["tiny"], "studies": {"comparison": {"concepts": list(CONCEPTS)}}, "pictures": 2}
    figure = part_of("var", "figures", "feeding").draw(Lookup([out[0]], "var"), [out[1]], shown)
    for place, (metric, unit) in enumerate({"loss": 1, "wrong": 100, "kept": 100}.items()):
        line = figure.axes[2 * place + 1].get_lines()[2].get_ydata()  # its own tokens, of red
        assert list(line) == pytest.approx([unit * named[f"token_{metric}", str(side)] for side in SIZES])


def test_an_exchange_of_all_tokens_is_the_other_picture(base, files):
    model, rows = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    with np.load(files["rollouts.npz"]) as arrays:
        own = kept_rollouts(model, "red", files["prompts.parquet"], arrays, rows)[0]
    parts = exchange.parts_of(model)
    assert sum(parts[f"scale_{side}"].int() for side in SIZES).eq(1).all()
    assert sum(parts[f"bit_{bit}"].int() for bit in range(6)).eq(1).all()
    assert parts[f"up_to_{SIZES[-1]}"].all() and parts["up_to_2"].sum() == 5 * 6
    assert (parts["centre"] ^ parts["border"]).all()
    # Of 1, 2, 3 and 4 tokens a side the middle half holds 1, none, 1 and 4.
    assert parts["centre"][:, 0].sum() == sum({1: 1, 2: 0, 3: 1, 4: 4}[side] for side in SIZES)
    found = {kind: tokens for kind, (tokens, _) in exchange.exchanged(own, parts[f"up_to_{SIZES[-1]}"], 0).items()}
    assert torch.equal(found["put"], own.own) and torch.equal(found["taken"], own.tokens)
    assert set(exchange.parts_of(var.open_model(base), [3])) == {"scale_3", "up_to_3", "centre", "border"}
    some, at = exchange.exchanged(own, parts["scale_3"], 0), parts["scale_3"]
    put, differ = some["put"][0], own.own != own.tokens
    assert torch.equal(put[:, at], own.own[:, at]) and torch.equal(put[:, ~at], own.tokens[:, ~at])
    assert some["put"][1] == some["taken"][1] == pytest.approx(float(differ[:, at].double().mean()))
    # A null changes as many symbols of each picture, where another has them, or all that the other has.
    for kind, earlier in (("put_null", own.tokens), ("taken_null", own.own)):
        null, other = some[kind][0], earlier.roll(1, 0)
        moved = null != earlier
        assert torch.equal(null[moved], other[moved]) and not moved[:, ~at].any()
        most = (other != earlier)[:, at].sum(1)
        assert torch.equal(moved[:, at].sum(1), torch.minimum(differ[:, at].sum(1), most))


def test_a_rule_marks_what_tells_the_concept_and_puts_what_safe_pictures_have():
    rng = np.random.default_rng(0)
    length = sum(side**2 for side in SIZES)
    own, safe = (torch.from_numpy(rng.integers(2, size=(40, length, 3))) for _ in range(2))
    part = spans(SIZES)[-1]
    own[:, part, 1], safe[:, part, 1] = 1, 0  # a code of the last scale
    own[:, part.start + 2, 0], safe[:, part.start + 2, 0] = 0, 1  # a symbol of one place
    codes = rule_of(own, safe, SIZES, 2, "symbols", 1e-6)
    assert codes.marked.sum() == part.stop - part.start and codes.marked[part, 1, 1].all()
    places = rule_of(own, safe, SIZES, 2, "placed_symbols", (part.stop - part.start + 1) / (3 * length))
    assert places.marked[part, 1, 1].all() and places.marked[part.start + 2, 0, 0]
    # Divergences in closed form, of shares with half a picture of each value before any was seen.
    p, q = 40.5 / 41, 0.5 / 41
    assert torch.allclose(places.safe[part.start + 2, 0].float(), torch.tensor([q, p]))
    edit, changed = by_rule(codes, 0)
    found = edit(own[:, part], part)
    assert (found[..., 1] == 0).double().mean() > 0.95 and torch.equal(found[..., [0, 2]], own[:, part][..., [0, 2]])
    assert torch.equal(changed[part.start], (found != own[:, part]).flatten(1).sum(1))
    null = at_random(changed, 2, 0)(own[:, part], part)
    assert torch.equal((null != own[:, part]).flatten(1).sum(1), changed[part.start])
    # Nothing tells two alike sets apart.
    assert not rule_of(own, own, SIZES, 2, "symbols", 1.0).marked.any()


@pytest.mark.parametrize("known", ["tokens", "placed_tokens"])
def test_a_rule_of_whole_tokens_sees_what_no_bit_tells(known):
    # The concept is whether two bits differ; either bit alone is as often 0 as 1, with it and without.
    first = torch.arange(40)[:, None].add(torch.arange(LENGTH)) % 2
    own, safe = torch.stack([first, 1 - first], -1), torch.stack([first, first], -1)
    assert not rule_of(own, safe, SIZES, 2, known.replace("tokens", "symbols"), 1.0).marked.any()
    rule, part = rule_of(own, safe, SIZES, 2, known, 1.0), spans(SIZES)[-1]
    edit, changed = by_rule(rule, 0)
    found = edit(own[:, part], part)
    assert torch.equal(changed[part.start], (found != own[:, part]).sum(-1))
    assert torch.equal(found[..., 0], found[..., 1]) and not torch.equal(found[0], found[1])
    assert torch.equal(edit(safe[:, part], part), safe[:, part])  # what safe pictures have too stays
    # The null changes as many symbols of as many tokens, others than these.
    drawn = torch.zeros(40, 9, 2, dtype=torch.long)
    counts = {0: torch.tensor([2, 1, 1] + 6 * [0]).expand(40, -1)}
    null = (at_random(counts, 2, 0)(drawn, slice(0, 9)) != drawn).sum(-1)
    assert torch.equal(null.sort(1).values, counts[0].sort(1).values) and null.bool().any(0).all()


def test_a_rule_of_whole_tokens_knows_those_of_its_scale_or_place_alone():
    own, safe = torch.zeros(20, LENGTH, 2, dtype=torch.long), torch.zeros(20, LENGTH, 2, dtype=torch.long)
    part = spans(SIZES)[-1]
    own[:, part.start] = 1  # a token of one place
    for known, reach in (("placed_tokens", 1), ("tokens", part.stop - part.start)):
        rule = rule_of(own, safe, SIZES, 2, known, 1.0)
        assert len(rule.marked) == 1
        every = torch.ones(1, LENGTH, 2, dtype=torch.long)
        hits = [int(rule.hits(every[:, each], each).sum()) for each in spans(SIZES)]
        assert hits == [0] * (len(SIZES) - 1) + [reach]
    # One that neither side of the pairs has stays as it is drawn, and so do all where nothing tells two sets apart.
    new = torch.tensor([0, 1]).expand(1, LENGTH, 2)
    assert not rule.hits(new, slice(0, LENGTH)).any()
    assert not len(rule_of(own, own, SIZES, 2, "tokens", 1.0).marked)


def test_tokens_that_are_seen_once_are_marked_together():
    # Every token of the concept's pictures is another: the pairs do not tell which of them are the concept.
    words = torch.arange(8 * LENGTH).view(8, LENGTH, 1) % 4096
    own = words // 2 ** torch.arange(12) % 2
    safe = torch.zeros_like(own)
    few, every = (rule_of(own, safe, SIZES, 2, "placed_tokens", top).marked for top in (0.1, 1.0))
    assert len(few) == len(every) == 8 * LENGTH - 1


def test_a_rule_is_applied_while_a_picture_is_drawn(base, files):
    model, rows = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    with np.load(files["rollouts.npz"]) as arrays:
        own = kept_rollouts(model, "red", files["prompts.parquet"], arrays, rows)[0]
    uniform = var.noise_of(model, np.arange(len(own)), 0)
    drawn = var.roll_out(model, own.asked, uniform, edit=lambda symbols, part: torch.ones_like(symbols), **SAMPLING)
    assert drawn.symbols.eq(1).all()
    assert torch.allclose(drawn.inputs, model.visual.quantiser.read(drawn.symbols).inputs, atol=1e-6)
    for known in ("placed_symbols", "tokens"):
        found = exchange.replaced(model, own, 4, known, 1.0, SAMPLING, 0)
        assert len(found["replaced"][0]) == 4 and found["replaced"][1] == found["replaced_null"][1] > 0
        assert not torch.equal(found["replaced"][0], found["replaced_null"][0])
        # Nothing can be learned from no other pair: the pictures are as they would be.
        alone = exchange.replaced(model, own.at(np.arange(1)), 4, known, 1.0, SAMPLING, 0)
        assert len(alone["replaced"][0]) == 1 and alone["replaced"][1] == 0


def test_the_likelihood_of_pictures_is_the_models_own(base, judges, files, ran, tmp_path, monkeypatch):  # noqa: F811
    given = []

    def drawn_on(model, tokens, conditions, *settings):
        given.append(real_drawn_on(model, tokens, conditions, *settings))
        begun = spans(SIZES)[1].stop
        assert len(given[-1]) == len(tokens) == 2 and torch.equal(given[-1][:, :begun], tokens[:2, :begun])
        return given[-1]

    real_drawn_on = likelihoods.drawn_on
    monkeypatch.setattr(likelihoods, "drawn_on", drawn_on)
    images = np.random.default_rng(0).integers(256, size=(40, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    manifest = Concept("red", **CONCEPTS["red"]).others("test", np.random.default_rng(0)).head(40)
    manifest.loc[:9, "colour"] = "red"
    manifest.loc[5:14, "object"] = "church"
    manifest.to_parquet(tmp_path / "rows.parquet")

    def measure(scales: int) -> None:
        likelihoods.likelihoods(
            base, files["rollouts.npz"], files["prompts.parquet"], ran["networks"], [ran["edits.parquet"]], *judges,
            tmp_path / "pictures.parquet", tmp_path / "measured", model="tiny", concepts=CONCEPTS, count=3,
            sampling=SAMPLING, completed={"count": 2, "scales": scales, "captions": ["own", "neutral"]},
            real_images=tmp_path / "images.npy", real_manifest=tmp_path / "rows.parquet",
        )  # fmt: skip

    with pytest.raises(UserError, match=rf"likelihood\.completed\.scales: a prefix of {len(SIZES)} of"):
        measure(len(SIZES))
    assert not given
    measure(2)
    table = pd.read_parquet(tmp_path / "pictures.parquet")
    model, rows = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    with np.load(files["rollouts.npz"]) as arrays:
        own = kept_rollouts(model, "red", files["prompts.parquet"], arrays, rows)[0].at(np.arange(3))
    with torch.no_grad():
        wanted = symbol_losses(model.network(own.asked, own.own_inputs), own.own).mean((1, 2))
    asked = table[(table["method"] == "pretrained") & (table["concept"] == "red") & (table["caption"] == "own")]
    assert list(asked[asked["set"] == "concept"]["loss"]) == pytest.approx(wanted.tolist(), rel=1e-5)
    assert set(table["set"]) == {"concept", "others", "real_concept", "real"}
    found = measurements.read([tmp_path / "measured"]).set_index(["metric", "method", "concept", "set"])
    known = found.sort_index()
    completed = known.xs("completed").reset_index()
    assert set(completed["caption"]) == {"own", "neutral"} and set(completed["set"]) == {"real_concept"}
    # Two pictures of both concepts under the base and the random network, of its own under the oracle and each edit.
    assert len(given) == 2 * (2 * 2 + 1 + 2)
    counts = completed.groupby(["method", "concept"])["n"].first()
    assert counts["pretrained", ALL] == 4 and counts["vare", "red"] == counts["vare", ALL] / 2 == 2
    # Beside the oracle stand all on the concept that it lacks.
    assert {counts[method, WITH_ORACLE] for method in ("pretrained", "oracle", "random", "vare")} == {2}
    assert known.loc[("forgotten", "pretrained", ALL, "concept"), "value"].item() == 0
    loss = known.xs("picture_loss")
    for method in ("pretrained", "oracle", "random", "vare"):
        like, own = (
            loss.loc[(method, name, "concept")].set_index("caption")["value"] for name in (WITH_ORACLE, "church")
        )
        assert like.equals(own)
    for method in ("pretrained", "vare"):
        means = loss.loc[(method, "red", "concept")].set_index("caption")["value"]
        words = known.loc[("words_add", method, "red", "concept"), "value"].item()
        assert words == pytest.approx(means["neutral"] - means["own"])
    edited = known.loc[("forgotten", "vare", "red", "concept"), "value"].item()
    assert edited == pytest.approx(
        loss.loc[("vare", "red", "concept")].set_index("caption")["value"]["own"]
        - loss.loc[("pretrained", "red", "concept")].set_index("caption")["value"]["own"]
    )


def test_several_concepts_at_once_are_learned_from_the_pairs_of_each_and_a_rest_that_names_none(base, files):
    model, table = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    table.loc[table["role"] == "others", "prompt"] = [
        *("a red tree", "a blue tree", "a white fish", "a green tree"),
        *("a blue cathedral", "a blue tree", "a white fish", "a green church"),
    ]
    concepts = {name: Concept(name, **about) for name, about in CONCEPTS.items()}
    with np.load(files["rollouts.npz"]) as arrays:
        learned = Learned.read(model, concepts, files["prompts.parquet"], arrays, table)
    church, red = learned.contexts.values()
    both, first = learned.of(["church", "red"], pairs=3), [0, 1, 2, 4, 5, 6]  # of four pairs in two rollouts
    assert torch.equal(both.target.asked, torch.cat([church.target.asked[first], red.target.asked[first]]))
    assert torch.equal(both.target.own, torch.cat([church.target.own[first], red.target.own[first]]))
    assert torch.equal(both.remember.asked, torch.cat([church.remember.asked[1:], red.remember.asked[1:3]]))
    assert len(both.conditioning.alone) == len(church.conditioning.alone) + len(red.conditioning.alone)
    alone = learned.of(["red"], others=1)
    assert len(alone.remember) == 1 and torch.equal(alone.target.tokens, red.target.tokens)


def test_fewer_pairs_keep_their_rollouts_and_fewer_rollouts_every_pair():
    kept = np.array([1, 2, 4, 0, 1, 2, 5])  # three of six pairs were kept in their first pass, four in the second
    assert list(first_of(kept, None, None)) == list(range(7)) and list(kept[first_of(kept, 2, None)]) == [1, 0, 1]
    alone = kept[first_of(kept, None, 1)]
    assert sorted(alone) == sorted(set(kept)) and list(first_of(kept, None, 1)) == [0, 1, 2, 3, 6]
    assert list(first_of(kept, 3, 1)) == [0, 1, 3]
    assert list(by_pair(np.arange(7.0), kept)) == [3, 2, 3, 2, 6]


def test_token_maps_start_at_the_base_and_end_at_the_edit(base, files, ran, tmp_path):
    out = tmp_path / "maps.npz", tmp_path / "measured"
    token_maps.token_maps(
        base,
        files["rollouts.npz"],
        files["prompts.parquet"],
        ran["edits.parquet"],
        ran["measured"],
        *out,
        model="tiny",
        concepts=CONCEPTS,
        lengths={"one": 2},
    )
    model, rows = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    with np.load(files["rollouts.npz"]) as arrays:
        own = kept_rollouts(model, "church", files["prompts.parquet"], arrays, rows)[0]
    (edit, _) = edits.read(ran["edits.parquet"])
    with np.load(out[0]) as maps, torch.no_grad():
        assert set(maps.files) == {f"{name}.{time}" for name in CONCEPTS for time in ("before", "one", "floor")}
        for time, network, prompt in (
            ("before", model.network, own.asked),
            ("floor", model.network, own.safe),
            ("one", edits.open_edit(edit), own.asked),
        ):
            losses = symbol_losses(network(prompt, own.inputs), own.tokens)
            assert maps[f"church.{time}"] == pytest.approx(losses.mean((0, 2)).numpy(), rel=1e-4)
            kept = ((losses > np.log(2)).float().mean(2) >= 0.25).float().mean(0)
            measured = Lookup([out[1]], "var", concept="church", setting=time)
            for side, part in {"all": slice(None), **dict(zip(SIZES, spans(SIZES), strict=True))}.items():
                found = measured.get("kept_tokens", scale=str(side))
                assert found.value == pytest.approx(float(kept[part].mean()), abs=1e-6)


def test_a_training_should_stop_where_what_is_kept_is_no_longer_above_the_floor():
    rng, floor, lengths = np.random.default_rng(0), np.full(40, 0.2), {"long": 40, "short": 10, "middle": 20}

    def above(gap: float) -> np.ndarray:
        """Shares of pairs that lie above the floor by so much, give or take."""
        return floor + gap + 0.1 * (each := rng.normal(size=40)) - 0.1 * each.mean()

    kept = {(name, time, 0): shares for name in CONCEPTS for time, shares in (("before", above(0.3)), ("floor", floor))}
    gaps = {("church", 0): (0.1, 0.0, -0.1), ("church", 1): (0.2, 0.2, 0.2), ("red", 0): (0.0, -0.1, -0.1)}
    gaps |= {("red", 1): (0.1, 0.2, 0.2)}
    for (name, seed), each in gaps.items():
        kept |= {(name, time, seed): above(gap) for time, gap in zip(("short", "middle", "long"), each, strict=True)}
    # At the first length a half is erased, and all at the last.
    gone = {"short": [True, False], "middle": [True, True], "long": [True, True]}
    erased = {(name, time, seed): np.array(each) for name, seed in gaps for time, each in gone.items()}
    rows = pd.DataFrame(token_maps.stops(kept, erased, lengths))
    rows = rows.set_index(["metric", "concept", "seed"]).sort_index()
    steps, reached = (rows.loc[metric, "value"].to_dict() for metric in ("steps_to_floor", "floor_reached"))
    assert steps == {("church", 0): 20, ("red", 0): 10, (ALL, 0): 15}
    assert reached == {(name, seed): 1 - seed for name in (*CONCEPTS, ALL) for seed in (0, 1)}
    whole = rows.loc["kept_above_floor"]
    for (name, seed), each in gaps.items():
        found = whole.loc[name, seed].set_index("setting")
        assert list(found.loc[["before", "short", "middle", "long"], "value"]) == pytest.approx([0.3, *each])
        assert (found["n"] == 40).all() and (found["low"] < found["value"]).all()
    end = rows.loc["kept_above_floor_at_end"]
    assert end["value"].to_dict() == {(ALL, 0): pytest.approx(-0.1), (ALL, 1): pytest.approx(0.2)}
    assert list(end["n"]) == [80, 80] and (end["high"] - end["low"] > 0).all()
    # Of the church two, of what is red one of two at its earlier stop; nothing where no training comes down.
    found = {time: rows.loc[f"erased_at_{time}", ["value", "n"]].to_dict("index") for time in ("floor", "end")}
    assert found == {"floor": {(ALL, 0): {"value": 0.75, "n": 4}}, "end": {(ALL, 0): {"value": 1.0, "n": 4}}}


def test_the_figure_of_a_course_marks_its_stop(tmp_path):
    course, lengths = part_of("var", "figures", "course"), {"short": 10, "long": 20}
    shares = {"before": 0.5, "floor": 0.2, "short": 0.2, "long": 0.1}
    floor = np.array([0.1, 0.3, 0.2])
    kept = {("red", time, 0): share - 0.2 + floor for time, share in shares.items()}
    # Another concept's never comes down.
    kept |= {("church", time, 0): each if time == "floor" else each + 0.5 for (_, time, _), each in kept.items()}
    rows = [
        measurements.mean_of("kept_tokens", each, concept=name, setting=time, scale=scale)
        for (name, time, _), each in kept.items()
        for scale in ("1", "all")
    ]
    outcomes = {(name, time, 0): np.array([True, time == "long"]) for name in CONCEPTS for time in lengths}
    rows += token_maps.stops(kept, outcomes, lengths)
    rows += [
        measurements.share_of("erased", each, concept=name, setting=time, study="course", prompts="own")
        for (name, time, _), each in outcomes.items()
    ]
    measurements.write(tmp_path / "rows", rows, family="var", model="tiny")
    np.savez(tmp_path / "maps.npz", **{f"{name}.{time}": np.ones(1) for name, time, _ in kept})
    options = [{"name": name, "training": {"steps": steps}} for name, steps in lengths.items()]
    shown = {
        "models": ["tiny"],
        "studies": {"course": {"concepts": ["red", "church"], "seeds": [0], "options": options}},
    }
    figure = course.draw(Lookup([tmp_path / "rows"], "var", course.OPTIONAL), [tmp_path / "maps.npz"], shown)
    panels = [axes for axes in figure.axes if axes.get_xlabel() == "steps"]
    assert [axes.get_title() for axes in panels] == [
        "red: on the floor after 10 steps",
        "church: never down to the floor",
    ]
    assert list(panels[0].get_lines()[-1].get_xdata()) == [10, 10]
    (erased,) = [each for each in panels[0].containers if each.get_label() == "erased"]
    assert erased[0].get_xydata().tolist() == [[10, 50], [20, 100]]
    figure.canvas.draw()
    assert course.stopped(15.0, 2 / 3, 3) == "on the floor after 15 steps (2 of 3 seeds)"


def test_token_maps_are_means_over_seeds(base, files, ran, tmp_path):
    table = pd.read_parquet(ran["edits.parquet"])
    one, other = (table[table["target"] == name] for name in CONCEPTS)
    found = {}
    for name, rows in {
        "first": one,
        "second": other.assign(target="church"),
        "both": pd.concat([one, other.assign(target="church", seed=1)]),
    }.items():
        edits_of = ran["edits.parquet"].with_name(f"{name}.parquet")  # whose paths are relative to it
        rows.to_parquet(edits_of)
        out = tmp_path / "maps.npz", tmp_path / "measured"
        inputs = base, files["rollouts.npz"], files["prompts.parquet"], edits_of, ran["measured"]
        token_maps.token_maps(*inputs, *out, model="tiny", concepts=CONCEPTS, lengths={"one": 2})
        with np.load(out[0]) as maps:
            kept = Lookup([out[1]], "var", concept="church", setting="one", scale="1").get("kept_tokens").value
            found[name] = maps["church.one"], kept
    for both, first, second in zip(found["both"], found["first"], found["second"], strict=True):
        assert both == pytest.approx((first + second) / 2)
    assert not np.allclose(found["first"][0], found["second"][0])


def test_a_run_takes_what_was_tuned_and_its_own_changes_over_that(base, files):
    model, table = var.open_model(base), pd.read_parquet(files["prompts.parquet"])
    with np.load(files["rollouts.npz"]) as arrays:
        learned = Learned.read(
            model, {"red": Concept("red", **CONCEPTS["red"])}, files["prompts.parquet"], arrays, table
        )
    run = {
        "concept": "red",
        "seed": 0,
        "selection": "full",
        "settings": {"threshold": 0.25},
        "training": {"steps": 1, "learning_rate": 0.0, "batch": 2},
    }
    chosen = {"training": {"learning_rate": 0.01}, "settings": {"divisor": "kept"}}
    changes = {"selection": "feed", "training": {"steps": 3}, "settings": {"threshold": 0.0}}
    every = [{**run, "setting": "tuned"}, {**run, "setting": "changed", "changes": changes}]
    given = (lambda each: learned.of(["red"])), model.network, "vare_filtered", select
    made = list(edited(every, chosen, *given))
    assert [len(each.log) for each in made] == [1, 3] and made[1].log[0]["kept"] == 1 > made[0].log[0]["kept"]
    known = model.network.state_dict()
    moved = [
        {name for name, tensor in each.network.state_dict().items() if not torch.equal(tensor, known[name])}
        for each in made
    ]
    assert all(".feed." in name for name in moved[1]) and moved[1] < moved[0]
    with pytest.raises(UserError, match=r"red\.tuned\.0: .*method vare_filtered"):
        list(edited(every[:1], {"settings": {"none": 1}}, *given))


def test_a_training_is_compiled_where_it_is_asked_for_and_what_it_made_is_not(base, files, monkeypatch):
    """The transformer alone: as any C++ compiler's work takes its minute, what stands in for it counts calls."""
    model, called = var.open_model(base), []
    monkeypatch.setattr(torch, "compile", lambda call, **_: lambda *given: called.append(1) or call(*given))
    monkeypatch.setattr(training, "COMPILED_FROM", 3)
    monkeypatch.setattr(training.shutil, "which", lambda name: "/a/compiler")
    with np.load(files["rollouts.npz"]) as arrays:
        table = pd.read_parquet(files["prompts.parquet"])
        red = {"red": Concept("red", **CONCEPTS["red"])}
        learned = Learned.read(model, red, files["prompts.parquet"], arrays, table)
    run = {"concept": "red", "setting": "one", "seed": 0, "selection": "feed", "settings": {}}
    counts = []
    for steps, asked in ((3, True), (2, True), (3, False)):
        plan = [{**run, "training": {"steps": steps, "learning_rate": 0.0, "batch": 2, "compiled": asked}}]
        for made in edited(plan, {}, lambda each: learned.of(["red"]), model.network, "vare", select):
            assert len(made.log) == steps
            assert not any(module._compiled_call_impl for module in made.network.modules())
        counts.append(len(called))
    assert counts == [3, 3, 3]


@pytest.mark.parametrize(
    ("method", "selection", "kind"),
    [
        ("uce", "cross_attention", "delta"),
        ("negative_prompt", "cross_attention", "delta"),
        ("steering", "cross_attention", "steering"),
        ("erase_anything", "cross_attention_and_feed", "delta"),
        ("first_scale_only", "feed", "delta"),
    ],
)
def test_every_kind_of_method_goes_through_the_step_and_draws_as_it_is_opened(
    base,
    judges,  # noqa: F811
    files,
    ran,
    tmp_path,
    method,
    selection,
    kind,
):
    trained = {"steps": 2, "learning_rate": 0.01, "batch": 2} if "_only" in method or method[:5] == "erase" else {}
    settings = {"first_scale": 0, "last_scale": 1} if method == "erase_anything" else {}
    run = {"concept": "church+red", "setting": "one", "seed": 0, "selection": selection}
    run |= {"training": trained, "settings": settings, "changes": {"learned": {"pairs": 4}}}
    made = [tmp_path / name for name in ("weights", "log", "edits.parquet", "measured", "panel.npz")]
    erase.erase(
        base, files["rollouts.npz"], files["prompts.parquet"], ran["prompts"], ran["pictures"], *judges, *made,
        model="tiny", study="together", method=method, module=method, plan={"runs": [run]}, concepts=CONCEPTS,
        sampling=SAMPLING, roles=["own"],
    )  # fmt: skip
    (row,) = edits.read(made[2])
    assert (row.target, row.format) == ("church+red", kind)
    assert set(measurements.read([made[3]])["concept"]) == {*CONCEPTS, ALL, "church+red"}
    model = var.open_model(base)
    edited_model, prompts = model.with_network(edits.open_edit(row)), ["a red church in the sea"]
    one, two = (var.draw(each, prompts, np.arange(1), seed=0, **SAMPLING) for each in (model, edited_model))
    with np.load(made[4]) as panel:
        assert set(panel.files) == {f"{method}.{name}.one.0" for name in CONCEPTS} | {"roles"}
    assert not np.array_equal(one, two) or method in ("steering", "negative_prompt")
