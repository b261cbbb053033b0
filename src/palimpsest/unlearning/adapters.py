"""Adapters of rank one in a text-to-image UNet, which semi-permeable membranes train (Lyu et al. 2024), and their gate.

Every projection W of the UNet's transformer blocks becomes W + gamma u v^T. Merged, gamma is 1 for whatever prompt.
Gated, it is how much a prompt has to do with the concept ("facilitated transport"), so that other prompts are drawn as
before.
"""

import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.models.text_diffusion import Conditioned
from palimpsest.unlearning.prompts import words

ADAPTER = "default"  # as peft names it


def inject(unet: nn.Module, state: dict[str, Tensor] | None = None) -> nn.Module:
    """The UNet with an adapter in each projection, in place, and nothing else to be trained.

    state: the adapters' weights (`weights_of`); without, v is random and u zero, so that nothing has changed yet.
    Raises ValueError where the weights are of other adapters.
    """
    config = LoraConfig(r=1, lora_alpha=1, target_modules=projections(unet))
    changed = inject_adapter_in_model(config, unet, ADAPTER)
    if state is not None:
        if wrong := state.keys() ^ weights_of(changed).keys():
            raise ValueError(f"weights of other adapters: {sorted(wrong)[0]} is in one of both only")
        set_peft_model_state_dict(changed, state, ADAPTER)
    return changed


def projections(unet: nn.Module) -> list[str]:
    """Names of all linear layers and convolutions in transformer blocks."""
    return [
        f"{block}.{name}"
        for block, transformer in unet.named_modules()
        if isinstance(transformer, Transformer2DModel)
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]


def weights_of(unet: nn.Module) -> dict[str, Tensor]:
    """The adapters' weights by name."""
    found = get_peft_model_state_dict(unet, adapter_name=ADAPTER)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


@torch.no_grad()
def merged(unet: nn.Module) -> dict[str, Tensor]:
    """The state of a plain UNet that has W + u v^T for each W."""
    state = {
        name.replace(".base_layer.", "."): tensor.detach().clone()
        for name, tensor in unet.state_dict().items()
        if ".lora_" not in name
    }
    for name, module in unet.named_modules():
        if isinstance(module, LoraLayer):
            state[f"{name}.weight"] += module.get_delta_weight(ADAPTER)
    return state


class Gated(Conditioned):
    """A network whose adapters act on each prompt as much as the prompt has to do with the concept, as in the release.

    adapted: a network with adapters; concept (k, length): token ids of prompts that name the concept alone, as the
    release's do: the more else they name, the more other prompts resemble them. The empty prompt of guidance has a
    strength of its own; the release gives it the prompt's.
    """

    def __init__(self, adapted: Conditioned, concept: Tensor):
        super().__init__(adapted.unet, adapted.text_encoder)
        self.register_buffer("concept", concept, persistent=False)
        self._gates: dict[bytes, float] = {}
        self._strength: Tensor | None = None
        for module in adapted.unet.modules():
            if isinstance(module, LoraLayer):
                module.lora_B[ADAPTER].register_forward_hook(self._scale)

    def _scale(self, module: nn.Module, given: tuple, found: Tensor) -> Tensor:
        """The adapter's output (n, ...), each row of its prompt's strength; as it is where no gate is asked."""
        if self._strength is None:
            return found
        return found * self._strength.to(found).view(-1, *[1] * (found.ndim - 1))

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (n, length, width) of token ids (n, length), whose strength is remembered."""
        embeddings = super().embed(ids)
        for row, gate in zip(embeddings, self.gates(ids).tolist(), strict=True):
            self._gates[key(row)] = gate
        return embeddings

    @torch.no_grad()
    def gates(self, ids: Tensor) -> Tensor:
        """gamma of each prompt (n,): the greater of the two resemblances, of its most like prompt of the concept.

        They are the cosine of the text embeddings, all tokens end to end, and the share of the concept's words that the
        prompt has.
        """
        own, theirs = (_vocabulary(each) for each in (self.concept, ids))
        shares = torch.tensor([[len(one & other) / len(one) for one in own] for other in theirs])
        return torch.maximum(self._cosines(super().embed(ids)), shares.amax(1).to(ids.device))

    def _cosines(self, embeddings: Tensor) -> Tensor:
        """The highest cosine of each row's embeddings to the concept's (n,), at least 0."""
        concept = F.normalize(super().embed(self.concept).flatten(1), dim=1)
        return (F.normalize(embeddings.flatten(1), dim=1) @ concept.T).amax(1).clamp(0, 1)

    def forward(self, noisy: Tensor, timesteps: Tensor, conditions: Tensor) -> Tensor:
        """Predicted noise (n, c, h, w). Embeddings that `embed` did not make are gated by their cosine alone."""
        if not conditions.is_floating_point():
            conditions = self.embed(conditions)
        known = [self._gates.get(key(row)) for row in conditions]
        cosines = self._cosines(conditions) if None in known else [0.0] * len(known)
        gates = [float(cosine) if gate is None else gate for gate, cosine in zip(known, cosines, strict=True)]
        self._strength = torch.tensor(gates, device=noisy.device)
        try:
            return super().forward(noisy, timesteps, conditions)
        finally:
            self._strength = None


def key(embedding: Tensor) -> bytes:
    """What an embedding is known by."""
    return embedding.detach().float().cpu().numpy().tobytes()


def _vocabulary(ids: Tensor) -> list[set[int]]:
    """The words of each prompt, as numbers."""
    return [set(row[chosen].tolist()) for row, chosen in zip(ids, words(ids), strict=True)]
