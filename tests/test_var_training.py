"""Training of the next-scale model: killed and gone on with, what weighs more, what is measured; its configuration."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import ROOT
from palimpsest.models import train_ddpm, train_var, train_visual_tokenizer, training, var, visual_tokenizer
from palimpsest.models.residual_quantiser import Codes
from palimpsest.models.visual_tokenizer import VisualTokenizer
from palimpsest.plan.base import Plan
from palimpsest.plan.configuration import merged, parts, without_nulls
from palimpsest.plan.var import Var
from palimpsest.run import UserError
from palimpsest.worlds import scenes

SIZES = [1, 2, 3, 4]
BITS = {"kind": "bits", "bits": 6, "sizes": SIZES}
VISUAL = {
    "architecture": {"quantiser": BITS, "blocks": [8, 8], "layers": 1, "groups": 4, "patch": 2},
    "batch": 4, "steps": 5, "learning_rate": 0.01, "average": 0.5,
    "perceptual_weight": 0.1, "mask_weight": 1, "commitment_weight": 0.25, "flips": 0.2,
}  # fmt: skip
TRANSFORMER = {
    "architecture": {"width": 24, "depth": 2, "heads": 3},
    "text": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    "length": 20, "batch": 4, "steps": 5, "learning_rate": 0.01, "average": 0.5,
    "flips": 0.3, "mask_weight": 2, "samples": 6,
}  # fmt: skip
JUDGES = {name: ROOT / f"resources/models/{name}_judge.safetensors" for name in ("classifier", "detector")}
GIVEN = {"judge": JUDGES["classifier"], "detector": JUDGES["detector"], "device": "cpu"}
GUIDE = ROOT / "resources/models/guide.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    folder, world = tmp_path_factory.mktemp("data"), scenes.make(24, 0, "train", emblem="half", size=16)
    world.manifest.to_parquet(folder / "manifest.parquet")
    np.save(folder / "images.npy", world.images)
    np.save(folder / "masks.npy", world.masks)
    return {name: next(folder.glob(f"{name}.*")) for name in ("images", "masks", "manifest")}


def visual(data: dict[str, Path], path: Path, **params) -> dict:
    path.parent.mkdir(parents=True, exist_ok=True)
    given = (data["images"], data["masks"], data["images"], data["manifest"], GUIDE)
    torch.manual_seed(0)  # as a step does
    return train_visual_tokenizer.train(
        *given, network=path, params=copy.deepcopy({**VISUAL, **params}), seed=3, **GIVEN
    )


def transformer(data: dict[str, Path], tokens: Path, path: Path, **params) -> dict:
    path.parent.mkdir(parents=True, exist_ok=True)
    given = (data["images"], data["masks"], data["manifest"], data["images"], data["manifest"], tokens)
    torch.manual_seed(0)
    return train_var.train(*given, network=path, params=copy.deepcopy({**TRANSFORMER, **params}), seed=3, **GIVEN)


@pytest.fixture(scope="module")
def tokens(data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "visual_tokenizer" / var.WEIGHTS
    visual(data, path)
    return path


def killed_and_gone_on_with(monkeypatch, path: Path, train, module, name: str) -> None:
    """Train with a state after each second step, killed when a function is called the fourth time; and go on."""
    monkeypatch.setattr(training, "SAVED_EVERY", 2)
    calls, function = [], getattr(module, name)

    def counted(*given, **more):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return function(*given, **more)

    monkeypatch.setattr(module, name, counted)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert not path.exists() and list(path.parent.glob(".unfinished-*.pt"))
    train()
    assert len(calls) > 6 and not list(path.parent.glob(".unfinished-*.pt"))


def test_a_tokenizer_whose_training_was_killed_has_the_same_bytes(tmp_path, monkeypatch, data, tokens):
    path = tmp_path / "visual_tokenizer" / tokens.name
    train = lambda: visual(data, path)  # noqa: E731
    killed_and_gone_on_with(monkeypatch, path, train, train_visual_tokenizer, "commitment")
    assert path.read_bytes() == tokens.read_bytes()


def test_a_transformer_whose_training_was_killed_has_the_same_bytes(tmp_path, monkeypatch, data, tokens):
    whole, path = (tmp_path / name / "transformer" / var.WEIGHTS for name in ("whole", "killed"))
    record = transformer(data, tokens, whole)
    train = lambda: transformer(data, tokens, path)  # noqa: E731
    killed_and_gone_on_with(monkeypatch, path, train, train_var, "drawn_offsets")
    for file in ("transformer", "text_encoder", "visual_tokenizer"):
        one, two = (place.parent.parent / file / var.WEIGHTS for place in (whole, path))
        assert one.read_bytes() == two.read_bytes()
    assert (whole.parent.parent / "visual_tokenizer" / var.WEIGHTS).read_bytes() == tokens.read_bytes()
    # What the record measures is what the folder draws, also where it is opened again.
    model, rows = var.open_model(whole), pd.read_parquet(data["manifest"])
    again = train_var.teacher_forced(model, np.load(data["images"]), rows, rows)
    assert again == record["teacher_forced"] and len(again["loss"]) == len(SIZES)
    assert set(record["quality"]) == {"seen", "held_out"} and record["quality"]["seen"]["prompts"] == 6
    assert 0 < train_var.cached_error(model, rows.head(6), 3) == record["cached_error"] < 1e-4
    asked = rows.head(6)["emblem"].astype(bool)
    assert record["emblems"]["seen"]["pictures"] == train_var.EMBLEM_DRAWS * asked.sum()
    assert set(record["parameters"]) == {"transformer", "text_encoder", "visual_tokenizer"}
    assert (whole.parent.parent / "model_index.json").exists()


def test_the_record_of_a_tokenizer_compares_what_comes_back_with_the_pictures(tmp_path, data):
    quality = visual(data, tmp_path / "visual_tokenizer" / var.WEIGHTS, steps=2)["quality"]
    assert quality["pictures"].keys() == quality["reconstructions"].keys() >= {"object", "colour", "emblem_recall"}
    assert quality["psnr"] > 5
    assert len(quality["symbol_entropy"]) == len(SIZES)
    assert all(0 <= each <= 1 for each in quality["symbol_entropy"])


def test_tokens_of_a_codebook_are_trained_too(tmp_path, data):
    codes = {"kind": "codes", "codes": 12, "channels": 5, "sizes": SIZES, "mixing": 1, "up": "bicubic", "shown": "area"}
    path = tmp_path / "tokens/visual_tokenizer" / var.WEIGHTS
    visual(data, path, architecture={**VISUAL["architecture"], "quantiser": codes})
    network = visual_tokenizer.load(path)
    torch.manual_seed(0)
    before = VisualTokenizer(**network.config).quantiser.tokens
    assert isinstance(before, Codes)
    assert not torch.equal(before.embedding.weight.half(), network.quantiser.tokens.embedding.weight.half())
    result = transformer(data, path, tmp_path / "model/transformer" / var.WEIGHTS)
    # At first every one of twelve codes is as likely.
    assert result["losses"][0] == pytest.approx(np.log(12), rel=0.25)


def test_a_mask_weighs_the_tokens_that_it_covers():
    masks = np.zeros((1, 8, 8), bool)
    masks[0, :4, :4] = True
    plain, found = (train_var.token_weights(masks, (1, 2, 4), more)[0] for more in (0.0, 3.0))
    assert plain.sum() == pytest.approx(1)
    ratio = (found / plain).tolist()
    assert ratio[:5] == pytest.approx([1.75, 4, 1, 1, 1])
    assert ratio[5:] == pytest.approx([4, 4, 1, 1, 4, 4, *[1] * 10])


def test_wrong_symbols_are_in_the_second_half_of_a_batch_alone():
    model = VisualTokenizer(**VISUAL["architecture"])
    found = train_visual_tokenizer.wrong_symbols(model, 6, np.random.default_rng(0), 0.9)
    assert not found[:3].any() and found[3:].any()


def test_an_architecture_that_is_none_is_named(tmp_path, data):
    wrong = {**VISUAL["architecture"], "quantiser": {"kind": "bits", "sizes": SIZES}}
    with pytest.raises(UserError, match=r"architecture of VisualTokenizer .* a quantiser of bits needs bits"):
        visual(data, tmp_path / "x" / var.WEIGHTS, architecture=wrong)
    with pytest.raises(UserError, match="no option depth"):
        visual(data, tmp_path / "x" / var.WEIGHTS, depth=3)


def test_scenes_without_a_colour_and_its_captions():
    found = scenes.make(300, 0, "train", colours=["yellow", "blue"]).manifest
    assert set(found["colour"]) == {"yellow", "blue"} and not found["caption"].str.contains("red").any()
    assert set(found["object"]) == set(scenes.OBJECTS)
    same = [scenes.make(8, 0, "train", **given).images for given in ({}, {"colours": list(scenes.COLOURS)})]
    assert np.array_equal(*same)
    with pytest.raises(ValueError, match="colours: no 'pink'"):
        scenes.make(4, 0, "train", colours=["pink"])


@pytest.mark.parametrize(
    ("steps", "found", "is_compiled"), [(5000, True, True), (5, True, False), (5000, False, False)]
)
def test_a_long_training_is_compiled_where_there_is_a_compiler(steps, found, is_compiled, monkeypatch):
    monkeypatch.setattr(training.shutil, "which", lambda name: "/a/compiler" if found else None)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "shared")
    network = torch.nn.Linear(2, 2)
    names = list(network.state_dict())
    training.compile_for(network, steps)
    assert (network._compiled_call_impl is not None) == is_compiled
    assert (os.environ["TORCHINDUCTOR_CACHE_DIR"] != "shared") == is_compiled
    # What is kept of it, and its average, are those of the plain network.
    assert list(network.state_dict()) == names and copy.deepcopy(network)._compiled_call_impl is None
    training.uncompile(network)
    assert network._compiled_call_impl is None


# The configuration


def composed() -> dict:
    """The networks of an experiment that has the next-scale model."""
    files = [ROOT / f"config/{name}.yaml" for name in ("mini", "networks/scales_oracles")]
    found = merged(parts(ROOT, files, {}))
    without_nulls(found)
    return found


def test_the_trainings_are_planned_and_read_what_is_there():
    plan = Plan(composed())
    plan.check()
    for name in ("tiny_var", "tiny_var_without_church", "tiny_var_without_red"):
        weights = plan.weights_of(name)
        given = plan.training_inputs(type("Wildcards", (), {"weights": weights}))
        assert weights == f"{name}/transformer/model.safetensors"
        assert given["visual"] == "resources/models/tiny_var_tokenizer/visual_tokenizer/model.safetensors"
        assert {"train_masks", "test_images", "judge", "detector"} <= given.keys()


def test_an_oracle_is_trained_as_its_base_is_but_for_the_data():
    networks = composed()["networks"]
    base = networks["tiny_var"]
    for name, row in networks.items():
        if name.startswith("tiny_var_without_"):
            assert {**row, "train": base["train"]} == base
            data = json.dumps(composed()["datasets"][row["train"]])
            assert name.removeprefix("tiny_var_without_") not in data


def test_a_model_of_fewer_scales_is_trained_as_its_base_is_and_not_edited():
    found = composed()
    networks, plan = found["networks"], Var(found)
    plan.check()
    (other,) = found["var"]["fed"]
    assert {**networks[other], "visual": "tiny_var_tokenizer"} == networks["tiny_var"]
    tokenizer = copy.deepcopy(networks[networks[other]["visual"]])
    quantiser = tokenizer["params"]["architecture"]["quantiser"]
    assert len(quantiser["sizes"]) == 4 and quantiser["sizes"][-1] == 8
    quantiser["sizes"] = [1, 2, 3, 4, 6, 8]
    assert tokenizer == networks["tiny_var_tokenizer"]
    assert [path.split("/")[2] for path in plan.groups()["feeding"]] == ["tiny_var", other]
    assert not [path for path in plan.edits() if other in path]


def test_a_model_to_be_fed_that_no_network_is_named_like_is_refused():
    with pytest.raises(UserError, match="of_no_scales"):
        Var(composed() | {"var": {**composed()["var"], "fed": ["of_no_scales"]}}).check()


@pytest.mark.parametrize("labels", [{}, {"labels": "emblem"}], ids=["plain", "of classes"])
def test_a_diffusion_model_whose_training_was_killed_has_the_same_bytes(tmp_path, monkeypatch, data, labels):
    blocks = {
        "block_out_channels": [4, 4],
        "down_block_types": ["DownBlock2D"] * 2,
        "up_block_types": ["UpBlock2D"] * 2,
    }
    architecture = {"sample_size": 16, "layers_per_block": 1, "norm_num_groups": 2, "add_attention": False, **blocks}
    architecture |= {"num_class_embeds": 3} if labels else {}
    params = {"architecture": architecture, "schedule": {"num_train_timesteps": 1000}, "batch": 4, "steps": 5}
    params |= {"learning_rate": 0.01, "average": 0.5, **labels}
    made = []
    for name in ("whole", "killed"):
        path = tmp_path / name / "unet/diffusion_pytorch_model.safetensors"
        path.parent.mkdir(parents=True)
        inputs = data["images"], data["manifest"], data["images"], path

        def train(inputs=inputs) -> None:
            torch.manual_seed(0)
            train_ddpm.train(*inputs, params=params, device="cpu")

        if name == "whole":
            train()
        else:
            killed_and_gone_on_with(monkeypatch, path, train, train_ddpm, "add_noise")
        made.append(path.read_bytes())
    assert made[0] == made[1]
