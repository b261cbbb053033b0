"""Where the forget loss of Unpromptable acts, and where it fights the remember loss: both by timestep.

All of it on the pretrained model, before any step. By theory the forget loss at timestep t is SNR_t times the squared
distance of the denoised image to the surrogate, so that unweighted it is nearly all at clean inputs.
"""

import numpy as np
import pandas as pd
import torch

from palimpsest.metrics.intervals import bootstrap
from palimpsest.metrics.measurements import row, write
from palimpsest.models import diffusion
from palimpsest.models.forward_process import add_noise, drawn_noise, surrogate_noise
from palimpsest.models.pixels import to_tensor
from palimpsest.options import Count, Positive
from palimpsest.run import Input, Output, step, torch_device
from palimpsest.unlearning.engine import FlatParameters
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.timestep_weights import share_below, timestep_weights

WEIGHTS = (("const", 1.0), ("power", 0.5), ("power", 1.0), ("power", 2.0), ("power", 4.0), ("capped_snr", 1.0))
BELOW = (10, 50, 100, 250)
PIXELS = 2**18  # that go through the network at a time, with a gradient


def conflicts(
    network: Input,
    data_images: Input,
    target_images: Input,
    manifest: Input,
    remember: Input,
    surrogates: Input,
    cosines: Output,
    shares: Output,
    measurements: Output,
    *,
    model: str,
    timesteps: list[Count],
    batch: Positive = 32,
    seed: Count = 0,
    device: str = "auto",
) -> None:
    """cosines: of both gradients by target and timestep, with the forget loss there; shares: of the weighted forget
    loss below each timestep, by theory (weight times SNR), by weight (form, value, timestep, share).
    """
    place = torch_device(device)
    unet, scheduler = diffusion.load(network, place)
    predictor = diffusion.NoisePredictor(unet.requires_grad_(True), scheduler)
    targets, stand_ins = to_tensor(np.load(target_images)).to(place), to_tensor(np.load(surrogates)).to(place)
    names, kept = list(pd.read_parquet(manifest)["target"]), np.load(remember)
    parameters = FlatParameters(predictor)
    rng = np.random.default_rng(seed)
    remembered = to_tensor(np.load(data_images, mmap_mode="r")[np.sort(rng.choice(kept, 4 * batch))]).to(place)
    noise = drawn_noise(seed, np.arange(4 * batch), tuple(targets.shape[1:])).to(place)

    def gradient(images, noise, times, wanted) -> tuple[torch.Tensor, float]:
        parameters.clear()
        noisy, total = add_noise(images, noise, predictor.alphas_cumprod, times), 0.0
        for rows in torch.arange(len(images)).split(max(1, PIXELS // images[0, 0].numel())):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            loss = squared_errors(wanted)(predictor(noisy[part], times[part]), part).sum() / len(images)
            loss.backward()
            total += loss.item()
        return parameters.gradient(), total

    times = torch.from_numpy(rng.integers(len(scheduler), size=len(remembered))).to(place)
    kept_gradient, _ = gradient(remembered, noise, times, noise)
    lines = []
    for name, target, stand_in in zip(names, targets, stand_ins, strict=True):
        for timestep in timesteps:
            times = torch.full((batch,), timestep, device=place)
            images, drawn = target.expand(batch, -1, -1, -1), noise[:batch]
            wanted = surrogate_noise(drawn, images, stand_in, predictor.alphas_cumprod, times)
            forget, loss = gradient(images, drawn, times, wanted)
            cosine = float(forget @ kept_gradient / (forget.norm() * kept_gradient.norm()).clamp(min=1e-12))
            lines.append({"target": name, "timestep": timestep, "cosine": cosine, "forget_loss": loss})
    found = pd.DataFrame(lines)
    found.to_parquet(cosines, index=False)
    curves = [share_curve(form, value, scheduler.alphas_cumprod) for form, value in WEIGHTS]
    pd.concat(curves).to_parquet(shares, index=False)
    rows = [
        row(
            "forget_loss_share",
            curve.loc[curve["timestep"] == limit, "share"].item(),
            until=limit,
            form=form,
            power=value,
        )
        for (form, value), curve in zip(WEIGHTS, curves, strict=True)
        for limit in BELOW
    ]
    for timestep, values in found.groupby("timestep")["cosine"]:
        rows.append(
            row("gradient_cosine", values.mean(), *bootstrap(values.to_numpy()), n=len(values), timestep=timestep)
        )
    write(measurements, rows, family="instance", model=model, study="conflicts", seed=seed)


def share_curve(form: str, value: float, alphas_cumprod: torch.Tensor) -> pd.DataFrame:
    """The share of weight times SNR that lies below every timestep."""
    weights, _ = timestep_weights(form, alphas_cumprod, value)
    timesteps = list(range(len(weights) + 1))
    share = share_below(weights, alphas_cumprod, timesteps)
    return pd.DataFrame({"form": form, "value": value, "timestep": timesteps, "share": share})


if __name__ == "__main__":
    step(conflicts)
