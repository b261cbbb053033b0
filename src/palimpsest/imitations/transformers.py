"""Published networks of transformers with random weights, in the Hub's folder: classifiers of pictures, and CLIP."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from palimpsest.imitations.text_diffusion import TEXT, write_tokenizer

VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
}
RESNET = {"size": 224, "crop_pct": 0.875, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
VIT = {"size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def resnet_50(folder: Path) -> None:
    """microsoft/resnet-50: the default of its configuration, with ImageNet's 1000 classes."""
    ResNetForImageClassification(ResNetConfig(num_labels=1000)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(RESNET), encoding="utf-8")


def artists(folder: Path) -> None:
    """The 129-way classifier of artists: a ViT-B/16."""
    labels = dict(enumerate(["vincent-van-gogh", "claude-monet", "paul-cezanne", "pablo-picasso"]))
    labels |= {number: f"artist-{number}" for number in range(len(labels), 129)}
    network = ViTForImageClassification(ViTConfig(id2label=labels, label2id={v: k for k, v in labels.items()}))
    network.config.save_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "preprocessor_config.json").write_text(json.dumps(VIT), encoding="utf-8")


def clip(folder: Path) -> None:
    """CLIP ViT-L/14, both towers and the tokenizer."""
    size = TEXT["vocab_size"]
    marks = {"bos_token_id": size - 2, "eos_token_id": size - 1}
    config = CLIPConfig(text_config={**TEXT, **marks}, vision_config=VISION, projection_dim=768)
    CLIPModel(config).save_pretrained(folder)
    with tempfile.TemporaryDirectory() as place:
        write_tokenizer(Path(place, "tokenizer"), size, 77)
        shutil.copytree(Path(place, "tokenizer"), folder, dirs_exist_ok=True)


ARCHITECTURES = {"resnet_50": resnet_50, "artists": artists, "clip_texts": clip}


def imitate(folder: Path, files: list[str], name: str) -> None:
    """Write the folder of the published network of this name."""
    ARCHITECTURES[name](folder)
