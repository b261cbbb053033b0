"""Leading the pictures of a next-scale model away from a concept while they are drawn; no weight changes.

The idea of ScaleErasure (Wang et al. 2026), whose exact form we could not read: beside what is drawn, the network says
at every scale what it would for the concept alone, and for no text; logits move against the difference of the two, at
some scales, at tokens for which the two say different things, and of these at the symbols (bits) that differ.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from palimpsest.run import UserError


@dataclass(frozen=True)
class Steering:
    """Which concept pictures are led away from, and how.

    concept (...): its condition, token ids or a label. strength: in units of the distance of the concept's logits to
    those of no text; 0 leaves all as it is. scales: numbers of those that are steered, from 0 on; none given are all.
    token_divergence: the least of a token, as the mean of its symbols; symbol_divergence: the least of a symbol itself:
    KL from what is said for the concept to what for no text, in nats. 0 is all of them; an index has the two alike.
    """

    concept: Tensor
    strength: float
    scales: tuple[int, ...] = ()
    token_divergence: float = 0.0
    symbol_divergence: float = 0.0

    def steered(self, logits: Tensor, concept: Tensor, none: Tensor, scale: int) -> Tensor:
        """The logits (n, l, symbols, values) of a scale, led away: z - strength mask (z_concept - z_none)."""
        if self.scales and scale not in self.scales:
            return logits
        return logits - self.strength * self.mask(concept, none)[..., None] * (concept - none)

    def mask(self, concept: Tensor, none: Tensor) -> Tensor:
        """Which symbols of which tokens are led away, (n, l, symbols) bool."""
        wanted = concept.float().log_softmax(-1)
        # No divergence is below zero, which rounding might say.
        apart = (wanted.exp() * (wanted - none.float().log_softmax(-1))).sum(-1).clamp(min=0)
        return (apart.mean(-1, keepdim=True) >= self.token_divergence) & (apart >= self.symbol_divergence)


def save_steering(path: Path, steering: Steering, base: str) -> None:
    """Write the concept's condition, and how pictures are led away; base: the sha256 of the model it is made for."""
    settings = {name: value for name, value in asdict(steering).items() if name != "concept"}
    concept = steering.concept.detach().cpu().contiguous()
    save_file({"concept": concept}, path, metadata={"base": base, "settings": json.dumps(settings)})


def load_steering(path: Path, base: str, like: Tensor) -> Steering:
    """What was written for a base of that sha256; like (...): a condition that the base takes.

    Raises UserError for a file of another base or kind, and for a concept that the base cannot take.
    """
    with safe_open(path, "pt") as file:
        told, names = file.metadata() or {}, list(file.keys())
        if told.get("base") != base:
            raise UserError(f"{path} was made of another base (sha256 {told.get('base')}): give that one")
        if names != ["concept"] or "settings" not in told:
            raise UserError(f"{path} is no steering: it holds {', '.join(names)} and says {', '.join(told)}")
        concept = file.get_tensor("concept")
    if concept.shape != like.shape or concept.dtype != like.dtype:
        raise UserError(f"{path}: its concept is {tuple(concept.shape)} of {concept.dtype}, the base takes others")
    settings = json.loads(told["settings"])
    return Steering(concept, **{**settings, "scales": tuple(settings["scales"])})
