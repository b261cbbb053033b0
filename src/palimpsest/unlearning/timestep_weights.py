"""How much each timestep counts in the forget loss and in the remember loss.

The forget loss of a surrogate is SNR_t times the squared distance of the denoised image to the surrogate, so unweighted
it is almost all at nearly clean inputs (79 % below t = 10 under the linear schedule). Weights change that.
"""

from typing import Literal

import torch
from torch import Tensor

from palimpsest.models.forward_process import signal_to_noise

Form = Literal["const", "power", "one_minus_power", "min_snr", "capped_snr"]


def timestep_weights(form: Form, alphas_cumprod: Tensor, value: float) -> tuple[Tensor, Tensor]:
    """Weights of the forget and of the remember loss at every timestep, each (T,).

    const: value and 1 - value. power: ((t + 1) / T)^value and 1. one_minus_power: that power and its complement
    (Lee et al. 2026; the published form and exponent are lost). min_snr: min(SNR, value) / SNR for both (Hang et al.
    2023). capped_snr: the same for the forget loss, 1 for the other.
    """
    steps, ones = len(alphas_cumprod), torch.ones_like(alphas_cumprod)
    if form == "const":
        return value * ones, (1 - value) * ones
    if form in ("power", "one_minus_power"):
        power = ((torch.arange(steps) + 1) / steps).to(ones) ** value
        return power, ones if form == "power" else 1 - power
    if form in ("min_snr", "capped_snr"):
        ratio = signal_to_noise(alphas_cumprod)
        capped = ratio.clamp(max=value) / ratio
        return capped, capped if form == "min_snr" else ones
    raise ValueError(f"weight is {form!r}: give const, power, one_minus_power, min_snr or capped_snr")


def share_below(weights: Tensor, alphas_cumprod: Tensor, timesteps: list[int]) -> list[float]:
    """Share of the sum of weight times SNR that lies below each timestep: where the forget loss acts."""
    parts = (weights * signal_to_noise(alphas_cumprod)).double()
    return [float(parts[:step].sum() / parts.sum()) for step in timesteps]
