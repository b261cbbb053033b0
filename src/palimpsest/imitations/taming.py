"""VQ-GANs with random weights in the layout that taming-transformers publishes, out of taming's own modules."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
import yaml
from taming.modules.diffusionmodules.model import Decoder, Encoder
from taming.modules.vqvae.quantize import GumbelQuantize, VectorQuantizer2
from torch import Tensor, nn

TARGETS = {GumbelQuantize: "taming.models.vqgan.GumbelVQ", VectorQuantizer2: "taming.models.vqgan.VQModel"}


def ddconfig(ch_mult: tuple[int, ...], attention: int, **changes) -> dict:
    """The published models' ddconfig: 256 px, 128 channels."""
    return {
        "double_z": False,
        "z_channels": 256,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
        "ch_mult": list(ch_mult),
        "num_res_blocks": 2,
        "attn_resolutions": [attention],
        "dropout": 0.0,
        **changes,
    }


ARCHITECTURES = {
    "vqgan_gumbel_f8": ("gumbel", 8192, ddconfig((1, 1, 2, 4), 32)),
    "vqgan_imagenet_f16_1024": ("nearest", 1024, ddconfig((1, 1, 2, 2, 4), 16)),
    "vqgan_imagenet_f16_16384": ("nearest", 16384, ddconfig((1, 1, 2, 2, 4), 16)),
}


@dataclass
class Taming:
    """taming's model by its own parts and in its own order of calls (its class needs an old Lightning)."""

    encoder: nn.Module
    decoder: nn.Module
    quantize: nn.Module
    quant_conv: nn.Module
    post_quant_conv: nn.Module

    def latents(self, images: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(images))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The quantised latents, and the codes as (n, h, w)."""
        quantised, _, (_, _, codes) = self.quantize(self.latents(images))
        return quantised, codes.view(len(images), *quantised.shape[2:])

    def decode(self, quantised: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(quantised))

    def state(self) -> dict[str, Tensor]:
        return {f"{part}.{key}": value for part, net in vars(self).items() for key, value in net.state_dict().items()}


def build(quantiser: str, codes: int, network: dict, seed: int = 0) -> Taming:
    """taming's modules with random weights; the norms' scales and shifts too, so that no two tensors are alike."""
    torch.manual_seed(seed)
    dim = network["z_channels"]
    with contextlib.redirect_stdout(io.StringIO()):
        codebook = GumbelQuantize(dim, dim, codes) if quantiser == "gumbel" else VectorQuantizer2(codes, dim, 0.25)
        model = Taming(Encoder(**network), Decoder(**network), codebook, nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1))
    for part in vars(model).values():
        part.eval().requires_grad_(False)
        for module in part.modules():
            if isinstance(module, nn.GroupNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return model


def imitate(folder: Path, files: list[str], name: str) -> None:
    """Write the published model of this name; files: model.yaml and last.ckpt."""
    write(folder, *ARCHITECTURES[name])


def write(folder: Path, quantiser: str, codes: int, network: dict, seed: int = 0) -> tuple[Path, Path, Taming]:
    """Write model.yaml and last.ckpt as published, with the loss's weights and Lightning's own entries."""
    model = build(quantiser, codes, network, seed)
    config, checkpoint = folder / "model.yaml", folder / "last.ckpt"
    write_yaml(config, TARGETS[type(model.quantize)], codes, network)
    write_checkpoint(checkpoint, model.state())
    return config, checkpoint, model


def write_yaml(path: Path, target: str, codes: int, network: dict, **params) -> None:
    """The published model.yaml."""
    loss = {"target": "taming.modules.losses.vqperceptual.DummyLoss"}
    params = {"embed_dim": network["z_channels"], "n_embed": codes, "ddconfig": network, "lossconfig": loss, **params}
    path.write_text(
        yaml.safe_dump({"model": {"base_learning_rate": 4.5e-06, "target": target, "params": params}}), encoding="utf-8"
    )


def write_checkpoint(path: Path, state: dict, **torch_options) -> None:
    """The entries of Lightning 1.0, whose callbacks' states are keyed by the callbacks' classes."""
    loss = {"loss.perceptual_loss.lin0.model.1.weight": torch.ones(1, 64, 1, 1), "loss.discriminator.main.0.bias": 1.0}
    with _callback_class() as callback:
        content = {
            "epoch": 7,
            "global_step": 1000001,
            "pytorch-lightning_version": "1.0.8",
            "callbacks": {callback: {"monitor": "val/rec_loss", "best_model_score": torch.tensor(0.3)}},
            "optimizer_states": [
                {"state": {0: {"step": 5, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-5}]}
            ],
            "lr_schedulers": [],
            "state_dict": {**state, **loss},
        }
        torch.save(content, path, **torch_options)


@contextlib.contextmanager
def _callback_class():
    """Lightning's checkpoint callback, as far as a pickle that names it needs it."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    parents = [name.rsplit(".", depth)[0] for depth in (2, 1)]
    modules = {path: ModuleType(path) for path in (*parents, name)}
    callback = type("ModelCheckpoint", (), {"__module__": name})
    modules[name].ModelCheckpoint = callback
    sys.modules.update(modules)
    try:
        yield callback
    finally:
        for path in modules:
            del sys.modules[path]
