"""CLIP as a judge of whether a picture shows what a text says (Radford et al. 2021): both towers, by their folder."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTokenizer

from palimpsest.judges.batches import in_batches
from palimpsest.judges.clip_image import prepared
from palimpsest.judges.image_classes import opened
from palimpsest.run import torch_device


class CLIPTexts:
    """Both towers on a device."""

    def __init__(self, network: CLIPModel, tokenizer: CLIPTokenizer, device: torch.device):
        self.network, self.tokenizer, self.device = network.to(device), tokenizer, device
        self.side = network.config.vision_config.image_size

    def similarity(self, pictures: np.ndarray, texts: list[str]) -> np.ndarray:
        """The cosine of each picture (n, H, W, 3) uint8 to each text, (n, m); a long text is cut off."""
        return in_batches(self._embedded, pictures) @ self._texts(texts).T

    @torch.inference_mode()
    def _embedded(self, images: Tensor) -> Tensor:
        pixels = prepared(images.to(self.device), self.side)
        seen = self.network.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.network.visual_projection(seen), dim=1)

    @torch.inference_mode()
    def _texts(self, texts: list[str]) -> np.ndarray:
        found = []
        for start in range(0, len(texts), 64):
            given = self.tokenizer(
                texts[start : start + 64], padding="max_length", truncation=True, return_tensors="pt"
            ).to(self.device)
            read = self.network.text_model(**given).pooler_output
            found.append(F.normalize(self.network.text_projection(read), dim=1).cpu().numpy())
        return np.concatenate(found)


def load(network: Path) -> CLIPTexts:
    """The judge, on a GPU where there is one. network: what `check_folder` wrote."""
    folder = Path(json.loads(network.read_text(encoding="utf-8"))["folder"])
    return CLIPTexts(opened(CLIPModel, folder), CLIPTokenizer.from_pretrained(folder), torch_device())
