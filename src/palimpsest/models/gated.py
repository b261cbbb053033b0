"""The gate of semi-permeable membranes (Lyu et al. 2024, "facilitated transport"): adapters that act by the prompt."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.models.adapters import pairs
from palimpsest.models.prompts import words
from palimpsest.models.text_diffusion import Conditioned


class Gated(Conditioned):
    """A network whose adapters act on each prompt as much as the prompt has to do with the concept.

    As in the release a layer gives W x + gamma B A x. network: of its own, which is changed; adapters: their tensors by
    name (`models.adapters`), of linear layers and convolutions. concept (k, length): token ids of prompts that name the
    concept alone, as the release's do: the more else they name, the more other prompts resemble them. The empty prompt
    of guidance has a strength of its own; the release gives it the prompt's.
    """

    def __init__(self, network: Conditioned, adapters: dict[str, Tensor], concept: Tensor):
        super().__init__(network.unet, network.text_encoder)
        self.adapters = adapters
        self.register_buffer("concept", concept, persistent=False)
        self._gates: dict[bytes, float] = {}
        self._strength: Tensor | None = None
        for name, halves in pairs(self, adapters).items():
            layer = self.get_submodule(name)
            for half, tensor in zip(("down", "up"), halves, strict=True):
                layer.register_buffer(half, tensor.to(layer.weight), persistent=False)
            layer.register_forward_hook(self._add)

    def _add(self, layer: nn.Linear | nn.Conv2d, given: tuple[Tensor], found: Tensor) -> Tensor:
        """A layer's output (n, ...) with the adapter's, each row at its prompt's strength."""
        if isinstance(layer, nn.Conv2d):
            narrow = F.conv2d(given[0], layer.down, stride=layer.stride, padding=layer.padding)
            added = F.conv2d(narrow, layer.up)
        else:
            added = F.linear(F.linear(given[0], layer.down), layer.up)
        return found + added * self._strength.to(found).view(-1, *[1] * (found.ndim - 1))

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
        return super().forward(noisy, timesteps, conditions)


def key(embedding: Tensor) -> bytes:
    """What an embedding is known by."""
    return embedding.detach().float().cpu().numpy().tobytes()


def _vocabulary(ids: Tensor) -> list[set[int]]:
    """The words of each prompt, as numbers."""
    return [set(row[chosen].tolist()) for row, chosen in zip(ids, words(ids), strict=True)]
