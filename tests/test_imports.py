"""What a step loads: the heavy packages that it does not use stay unloaded, and what stands in for them is the same."""

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy
import torch

from conftest import ROOT
from palimpsest.metrics.intervals import t_interval
from palimpsest.models import diffusion, unet
from palimpsest.models.adamw import AdamW

SCHEDULER = ROOT / "resources/models/tiny_ddpm/scheduler/scheduler_config.json"
# A training step, and a sample, in a process of their own; prints which of the heavy packages are loaded, then what
# diffusers gives to whoever asks afterwards.
STEPS = f"""
import sys
from pathlib import Path
import numpy as np
import palimpsest.instance.evaluate, palimpsest.instance.unlearn, palimpsest.lcr.replace
import torch
from palimpsest.models import diffusion
from palimpsest.models.adamw import AdamW
from palimpsest.run import seed_everything
seed_everything(0)
assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
network, scheduler = diffusion.load(Path("{ROOT}/resources/models/tiny_ddpm/unet") / diffusion.WEIGHTS)
diffusion.sample(network, scheduler, np.arange(1), steps=2, seed=0)
network.requires_grad_(True)(torch.zeros(1, 3, 32, 32), torch.tensor([3])).sample.sum().backward()
AdamW(network.conv_in.weight.data, (0.9, 0.99), 0.0).step(network.conv_in.weight.grad, 1e-4)
print([name for name in ("transformers", "peft", "torch._dynamo", "scipy.stats") if name in sys.modules])
import diffusers
from diffusers.utils import is_peft_available, is_transformers_available
assert diffusers.UNet2DModel is type(network) and diffusers.DDPMScheduler is type(scheduler)
assert is_transformers_available() and is_peft_available()
assert issubclass(diffusers.StableDiffusion3Pipeline, diffusers.DiffusionPipeline)
assert diffusers.models.unets.UNet2DConditionModel is diffusers.UNet2DConditionModel
"""


def test_a_step_of_diffusion_loads_neither_transformers_nor_a_compiler():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


# The text encoder's embeddings, in a process that hides the compiler from it and in one that does not.
EMBEDDINGS = f"""
import sys
from pathlib import Path
import torch
ours = sys.argv[1] == "ours"
if ours:
    from palimpsest.models.latent_networks import CLIPTextModel
    print([name for name in ("torch._dynamo", "torch.distributed.tensor") if name in sys.modules])
    assert torch.distributed.is_available() and torch.compiler.disable.__module__ == "torch.compiler"
else:
    from transformers import CLIPTextModel
    print([])
encoder = CLIPTextModel.from_pretrained("{ROOT}/resources/models/tiny_sd/text_encoder", local_files_only=True)
found = encoder(torch.arange(20)[None] + 30)[0]
found.sum().backward()
print(found.sum(1).tolist()[0][:5], encoder.get_input_embeddings().weight.grad.norm().item())
if ours:
    import torch._dynamo
    assert torch._dynamo.config is not None
"""


def test_a_text_encoder_is_the_same_without_a_compiler():
    ours, theirs = (
        subprocess.run([sys.executable, "-c", EMBEDDINGS, name], capture_output=True, encoding="utf-8", check=False)
        for name in ("ours", "theirs")
    )
    assert ours.returncode == theirs.returncode == 0, ours.stderr + theirs.stderr
    assert ours.stdout == theirs.stdout and ours.stdout.startswith("[]")


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_adamw_is_torchs_to_the_last_bit(weight_decay):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(1000, generator=generator)
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    mine = AdamW(ours, (0.9, 0.99), weight_decay)
    reference = torch.optim.AdamW([theirs], betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
    for index in range(20):
        theirs.grad = torch.randn(1000, generator=generator)
        reference.param_groups[0]["lr"] = 1e-3 * (index + 1)
        reference.step()
        mine.step(theirs.grad, 1e-3 * (index + 1))
    assert torch.equal(ours, theirs.detach())


@pytest.mark.parametrize(
    "more", [{}, {"set_alpha_to_one": False, "skip_prk_steps": True, "_class_name": "PNDMScheduler"}]
)
def test_a_scheduler_is_that_of_from_config(more):
    config = json.loads(SCHEDULER.read_text(encoding="utf-8")) | more
    ours, theirs = diffusion.scheduler_of(unet.DDPMScheduler, config), unet.DDPMScheduler.from_config(config)
    assert ours.to_json_string() == theirs.to_json_string()
    sampler = unet.DDIMScheduler.from_config(theirs.config, timestep_spacing="trailing")
    assert diffusion.ddim(ours, 7).to_json_string() == sampler.to_json_string()


def test_students_t_is_scipys():
    rng = np.random.default_rng(0)
    for count in (2, 3, 10, 50):
        values = rng.normal(0.3, 1, count)
        test = scipy.stats.ttest_1samp(values, 0)
        low, high, p = t_interval(values)
        assert (low, high) == pytest.approx(tuple(test.confidence_interval()), rel=1e-12)
        assert p == pytest.approx(test.pvalue, rel=1e-12)
