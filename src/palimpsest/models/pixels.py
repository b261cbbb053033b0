"""Images as the networks take them, and back."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Pictures:
    """Rows of pictures (n, H, W, 3) uint8, memory-mapped perhaps, of which only those asked for become images."""

    def __init__(self, pictures: np.ndarray, rows: np.ndarray, device: torch.device | str = "cpu"):
        self.pictures, self.rows, self.device = pictures, rows, device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, picks: np.ndarray) -> Tensor:
        """Images (k, 3, H, W) in [-1, 1] on the device."""
        return to_tensor(self.pictures[self.rows[picks]]).to(self.device)


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 (n, H, W, 3) to float32 (n, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_unit(images: Tensor) -> Tensor:
    """Images in [-1, 1], as networks have them, to [0, 1], as metrics of pixels take them."""
    return images.add(1).div(2)


def to_uint8(images: Tensor) -> np.ndarray:
    """float (n, 3, H, W) in [-1, 1] to uint8 (n, H, W, 3)."""
    scaled = images.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def mean_psnr(first: np.ndarray, second: np.ndarray) -> float:
    """PSNR (dB, mean over pairs) of uint8 pictures (n, H, W, 3); equal ones count as 100 dB."""
    error = np.square((second.astype(np.float32) - first) / 255).mean((1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(error, 1e-10))))


def shares(masks: np.ndarray, size: tuple[int, int]) -> Tensor:
    """The share of each cell of a grid (h, w) that masks (n, H, W) cover, (n, 1, h, w)."""
    parts = [
        F.adaptive_avg_pool2d(torch.from_numpy(masks[start : start + 1024].copy())[:, None].float(), size)
        for start in range(0, len(masks), 1024)
    ]
    return torch.cat(parts)
