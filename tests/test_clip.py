"""CLIP's tower of pictures: read from files in the published layout, as transformers itself reads them."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from palimpsest.judges import clip_image
from palimpsest.models import clip, convert_clip
from palimpsest.models.pixels import to_tensor
from palimpsest.run import UserError, read_record, sha256, step

# The published ViT-L/14's vision_config, as far as it describes the network.
PUBLISHED = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-05,
}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}


def write(folder, seed=0, **vision):
    """A CLIP with random weights as the Hub has it, with what old versions of transformers kept besides."""
    torch.manual_seed(seed)
    text = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config={**PUBLISHED, **SMALL, **vision}, projection_dim=24)
    model = CLIPModel(config).eval()
    with torch.no_grad():  # so that no two tensors are alike
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vision_config"] |= {"dropout": 0.0, "id2label": {"0": "LABEL_0"}, "torch_dtype": None}
    config["vision_config"].pop("num_channels")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    places = model.vision_model.embeddings.num_positions
    state = load_file(folder / "model.safetensors")
    state["vision_model.embeddings.position_ids"] = torch.arange(places)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return model


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    return folder, write(folder)


def convert(folder, network, file="model.safetensors", **changes):
    given = {"config": folder / "config.json", "checkpoint": folder / file, "network": network, "name": "clip"}
    given |= {"sha256": sha256(folder / file), **changes}
    step(convert_clip.convert, [part for key, value in given.items() for part in (f"--{key}", str(value))])
    return network


def pictures(height, width, n=3):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), np.uint8)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_features_are_those_of_transformers(published, tmp_path, file):
    folder, model = published
    if file.endswith("bin"):
        torch.save(load_file(folder / "model.safetensors"), folder / file, _use_new_zipfile_serialization=False)
    judge = clip_image.load(convert(folder, tmp_path / "clip.safetensors", file))
    images = pictures(56, 56)
    found = judge.embed(to_tensor(images)).cpu()
    pixels = CLIPImageProcessorPil(do_resize=False, do_center_crop=False)(list(images), return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_image_features(**pixels).pooler_output
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)
    assert found.shape == (3, 24) and not torch.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("size", [(224, 224), (300, 230), (64, 100), (500, 333)])
def test_pictures_are_prepared_as_the_authors_do(size):
    images = pictures(*size, n=1)
    images[0, : size[0] // 2] //= 8  # an edge, at which interpolation overshoots
    expected = CLIPImageProcessorPil()(list(images), return_tensors="pt")["pixel_values"]
    found = clip_image.prepared(to_tensor(images), 224)
    off = (found - expected).abs() * torch.tensor(clip_image.SPREAD).view(1, 3, 1, 1) * 255
    assert off.max() < 2.01 and (off > 0.5).float().mean() < 0.02  # levels of 8 bits


def test_the_published_architecture_has_its_size():
    network = clip.build({**PUBLISHED, "projection_dim": 768, "num_channels": 3})
    assert sum(parameter.numel() for parameter in network.parameters()) == 303_966_208
    assert network.visual_projection.weight.shape == (768, 1024)


def test_the_record_says_what_was_converted(published, tmp_path):
    folder, _ = published
    network = convert(folder, tmp_path / "clip.safetensors", source="hub:owner/name", revision="ab" * 20)
    result = read_record(network)["result"]
    assert result["sha256"] == sha256(folder / "model.safetensors")
    assert result["architecture"]["projection_dim"] == 24 and result["architecture"]["num_channels"] == 3
    assert not any("text" in key for key in load_file(network))
    assert convert(folder, tmp_path / "again.safetensors").read_bytes() == network.read_bytes()


def test_half_precision_becomes_single(published, tmp_path):
    folder, _ = published
    state = {key: value.half() for key, value in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    network = clip.load(convert(folder, tmp_path / "clip.safetensors"))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


def test_every_misfit_is_listed(published, tmp_path):
    folder, _ = published
    state = load_file(folder / "model.safetensors")
    state["vision_model.surplus"] = state.pop("visual_projection.weight")
    state["vision_model.post_layernorm.bias"] = torch.zeros(5)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(UserError) as caught:
        clip.read_published(folder / "config.json", folder / "model.safetensors")
    message = str(caught.value)
    assert "missing visual_projection.weight (24, 32)" in message and "unexpected vision_model.surplus" in message
    assert "shape of vision_model.post_layernorm.bias is (5,), expected (32,)" in message
    assert "text" not in message and "logit_scale" not in message and "position_ids" not in message


def test_a_file_with_another_hash_or_none_is_refused(published, tmp_path):
    folder, _ = published
    with pytest.raises(SystemExit, match="expected 0000"):
        convert(folder, tmp_path / "clip.safetensors", sha256="0" * 64)
    with pytest.raises(UserError, match=r"checkpoints\.clip has no sha256"):
        convert_clip.convert(
            folder / "config.json", folder / "model.safetensors", tmp_path / "clip.safetensors", name="clip"
        )
    assert not (tmp_path / "clip.safetensors").exists()


def test_damaged_weights_are_named(published, tmp_path):
    folder, _ = published
    file = folder / "model.safetensors"
    state = load_file(file)
    state["visual_projection.weight"][0, 0] = torch.nan
    save_file(state, file)
    with pytest.raises(UserError, match=r"damaged: visual_projection\.weight"):
        clip.read_published(folder / "config.json", file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match="no readable file of weights"):
        clip.read_published(folder / "config.json", file)


class Shell:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return __import__("os").mkdir, (self.path,)


def test_no_code_of_a_file_runs(published, tmp_path):
    folder, _ = published
    ran = tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"visual_projection.weight": Shell(str(ran))}, 2))
    with pytest.raises(SystemExit, match="no readable file of weights"):
        convert(folder, tmp_path / "clip.safetensors", "pytorch_model.bin")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": None}, "hidden_size is None"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
        ({"patch_size": True}, "patch_size is True"),
        ({"num_attention_heads": 3}, "no multiple"),
        ({"hidden_act": "__import__"}, "hidden_act is '__import__'"),
    ],
)
def test_an_architecture_that_is_none_is_named(published, changes, said):
    config = published[0] / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["vision_config"] |= changes
    config.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=said):
        clip.read_architecture(config)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"vision_config": {}, "projection_dim": 1}', '{"model_type": "t5"}']
)
def test_a_config_of_something_else_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.json describes no CLIP"):
        clip.read_architecture(tmp_path / "config.json")


def test_pictures_of_another_range_are_refused(published, tmp_path):
    judge = clip_image.load(convert(published[0], tmp_path / "clip.safetensors"))
    with pytest.raises(ValueError, match=r"give them in \[-1, 1\]"):
        judge.embed(torch.full((1, 3, 56, 56), 2.0))
