"""Measure what one unit of the experiment `full` costs on this machine's GPU, for profiles/scale.py:

    python profiles/unit_costs.py [results/rehearsal/benchmarks]

writes profiles/unit_costs.csv, in seconds: the published architectures with random weights, through the functions that
the steps call. NudeNet runs on the processor; its larger network is not in the package, so that the smaller one is
timed at the larger one's resolution, and the time multiplied by the ratio of their operations (YOLOv8 m to n: 78.9 to
8.7 GFLOPs at 640 px, as Ultralytics states). From the benchmarks of a rehearsal on a GPU comes what a job of each rule
takes that has next to nothing to compute, its imports and the loading of its networks.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL, DDPMScheduler, SD3Transformer2DModel, UNet2DModel
from peft import LoraConfig

from palimpsest.imitations import diffusion as imitated
from palimpsest.imitations import pipeline
from palimpsest.instance.methods import flow_matching, unpromptable
from palimpsest.instance.unlearn_sd3 import ADAPTED, VelocityPredictor
from palimpsest.judges import nudenet
from palimpsest.models import diffusion
from palimpsest.models.pixels import to_tensor
from palimpsest.models.vqgan import VQGAN, VQGANConfig, decode
from palimpsest.run import seed_everything
from palimpsest.unlearning import engine
from palimpsest.unlearning.context import Context, Examples

COSTS = Path(__file__).with_name("unit_costs.csv")
OPERATIONS = 78.9 / 8.7
F8 = VQGANConfig("gumbel", 8192, 256, 256, 256, 128, (1, 1, 2, 4), 2, (32,), 1)
TRAINING = {"learning_rate": 5e-6, "settings": {}, "autocast": True}


def seconds(call, units: int) -> float:
    """Of one unit, once everything is warm: call(times) does its work that often, `units` each time."""
    call(1)
    torch.cuda.synchronize()
    started = time.perf_counter()
    call(2)
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / 2 / units


def codes_of_a_picture(place: torch.device) -> dict[str, float]:
    """Encode and decode a picture of 256 px by a VQ-GAN that halves it three times."""
    model = VQGAN(F8).eval().requires_grad_(False).to(place)
    pictures = np.random.default_rng(0).integers(0, 256, (64, 256, 256, 3)).astype(np.uint8)
    codes = np.random.default_rng(0).integers(0, 8192, (64, 32, 32))

    def encode(times: int) -> None:
        with torch.inference_mode():
            for _ in range(times):
                model.encode(to_tensor(pictures))

    return {
        "encode": seconds(encode, 64),
        "decode": seconds(lambda times: [decode(model, codes) for _ in range(times)], 64),
    }


def diffusion_of_pixels(place: torch.device) -> dict[str, float]:
    """A forward pass, and a gradient, of a picture of 256 px by the diffusion model of CelebA-HQ."""
    unet, scheduler = UNet2DModel(**imitated.ARCHITECTURES["ddpm_celebahq"]).to(place), DDPMScheduler()

    def sample(times: int) -> None:
        diffusion.sample(unet, scheduler, np.arange(64), steps=3 * times, seed=0)

    predictor, pictures = diffusion.NoisePredictor(unet), torch.randn(8, 3, 256, 256, device=place)

    def train(times: int) -> None:
        parts = {"alphas_cumprod": scheduler.alphas_cumprod.to(place), "surrogate": pictures[1:2]}
        context = Context("instance", Examples(pictures[:1]), Examples(pictures), 1000, **parts)
        engine.train(unpromptable.direction, predictor, context, steps=4 * times, batch=8, **TRAINING)

    # A step has two gradients, of eight pictures each.
    return {"denoise": seconds(sample, 3 * 64), "gradient": seconds(train, 4 * 2 * 8)}


def diffusion_of_latents(place: torch.device) -> dict[str, float]:
    """A guided step, a gradient and a decoding of a picture of 1024 px by Stable Diffusion 3."""
    torch.set_default_dtype(torch.float16)
    with place:
        transformer = SD3Transformer2DModel(**pipeline.TRANSFORMER)
        vae = AutoencoderKL(**pipeline.VAE)
    torch.set_default_dtype(torch.float32)
    latents, prompt, pooled = (
        torch.randn(shape, device=place, dtype=torch.float16)
        for shape in ((2, 16, 128, 128), (1, 333, 4096), (1, 2048))
    )

    def forward(times: int) -> None:
        with torch.inference_mode():
            for _ in range(4 * times):
                transformer(latents, prompt.expand(2, -1, -1), pooled.expand(2, -1), torch.full((2,), 500.0).to(place))

    def picture(times: int) -> None:
        with torch.inference_mode():
            for _ in range(2 * times):
                vae.decode(latents[:1])

    found = {"guided_step": seconds(forward, 4), "decode_latents": seconds(picture, 2)}
    transformer.float().requires_grad_(False)
    transformer.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=list(ADAPTED)))
    student = VelocityPredictor(transformer, prompt.float(), pooled.float())
    pictures = latents.float()

    def train(times: int) -> None:
        context = Context("instance", Examples(pictures[:1]), Examples(pictures), 1000, surrogate=pictures[1:2])
        more = {**TRAINING, "settings": {"form": "clean", "power": 1.0, "projection": "forget"}}
        engine.train(flow_matching.direction, student, context, steps=times, batch=4, micro_batch=2, **more)

    return found | {"gradient_of_latents": seconds(train, 2 * 4)}


def detection() -> dict[str, float]:
    """Look at a picture of 256 px with NudeNet's larger network, on one processor."""
    pictures = np.random.default_rng(0).integers(0, 256, (8, 256, 256, 3)).astype(np.uint8)
    detect = nudenet.opened(None, resolution=640, channels="rgb")
    return {"detect": seconds(lambda times: [detect(pictures) for _ in range(times)], 8) * OPERATIONS}


def starts(benchmarks: Path) -> dict[str, float]:
    """The median seconds of a rule's jobs."""
    found = defaultdict(list)
    for path in benchmarks.rglob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            job = json.loads(line)
            found[job["rule_name"]].append(job["s"])
    return {f"start {rule}": float(np.median(found[rule])) for rule in sorted(found)}


if __name__ == "__main__":
    seed_everything(0)
    torch.use_deterministic_algorithms(False)
    gpu = torch.device("cuda")
    parts = (codes_of_a_picture, diffusion_of_pixels, diffusion_of_latents)
    costs = starts(Path(sys.argv[1])) if len(sys.argv) > 1 else {}
    costs |= detection()
    for part in parts:
        costs |= part(gpu)
        torch.cuda.empty_cache()
        print(costs, flush=True)
    rows = [{"unit": name, "seconds": cost, "device": torch.cuda.get_device_name()} for name, cost in costs.items()]
    pd.DataFrame(rows).to_csv(COSTS, index=False, float_format="%.4g")
