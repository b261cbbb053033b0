"""AdvUnlearn (Zhang et al. 2024): the text encoder learns ESD's loss under prompts that are made to resist it.

At each step an attack looks for k free words before the concept's prompt with which the network still predicts what
the pretrained one did, by descent on |eps(x_t, tau(words + c)) - eps_0(x_t, c)|^2. Under that prompt ESD's loss is
descended, and `weight` times |eps(x_t, tau(p)) - eps_0(x_t, p)|^2 for prompts p that are to stay. The UNet stays as it
is. This is a cheap variant: the release samples a new x_t for every step of the attack, here one, of trajectories that
were sampled before, serves the whole attack and the loss.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.models.adamw import AdamW
from palimpsest.models.next_scale_texts import token_embedding
from palimpsest.options import Amount, Count, Positive, Size
from palimpsest.unlearning.context import Conditioning
from palimpsest.unlearning.engine import FlatParameters, Step
from palimpsest.unlearning.losses import squared_errors
from palimpsest.unlearning.methods.esd import Policy, away_from_concept, guided_paths
from palimpsest.unlearning.prefix import embed_words
from palimpsest.unlearning.streams import Stream


def direction(
    step: Step,
    *,
    words: Positive = 1,
    attack_steps: Positive = 30,
    attack_rate: Amount = 1e-3,
    signed: bool = False,
    attack_after: Count = 200,
    weight: Size = 1.0,
    eta: float = 1.0,
    guidance: Size = 3.0,
    sampling_steps: Positive = 20,
    paths: Positive = 32,
    policy: Policy = "frozen",
    every: Positive = 25,
) -> Tensor:
    """The gradient of ESD's loss under attack plus `weight` times that of the change for others, to descend along.

    Needs conditioning with others, and a network of which only the text encoder is trained. words: k; attack_steps,
    attack_rate: of Adam, from the words that the last attack found; signed: it takes the gradient's signs (the paper's
    fast variant). attack_after: steps before the first attack. weight: without unit. The rest are ESD's. Defaults: the
    release's, whose published command has a weight of 0.3; but sampling_steps, paths, policy and every are ours, as
    ESD's are (the release samples with the student), and so is it that as many other prompts are held at a step as
    there are points of the concept (there 5 and 1).
    """
    if any(parameter.requires_grad for parameter in step.network.unet.parameters()):
        raise ValueError("AdvUnlearn leaves the UNet as it is: let the text encoder alone be trained")
    noisy, times, wanted, ids = away_from_concept(
        step, eta, guidance, sampling_steps, paths, policy=policy, every=every
    )
    if step.index < attack_after:
        forget = step.gradient("forget", noisy, times, squared_errors(wanted), ids)
    else:
        resisting = Prefixed(step.network, ids, first_words(step, words), step.places)
        attack(step, resisting, noisy, times, attack_steps, attack_rate, signed)
        step.memory["words"] = resisting.words.detach().clone()
        rows = torch.arange(len(ids), device=ids.device)
        forget = replace(step, network=resisting).gradient("forget", noisy, times, squared_errors(wanted), rows)
    remember = change_of_others(step, guidance, sampling_steps, paths)
    step.watch(forget, remember)
    return forget + weight * remember


class Prefixed(nn.Module):
    """A network under prompts (n, length) with free words before them; its conditions say which prompt, (n,).

    words (size, k, width): of the whole batch; places (n,): which of its places the prompts have.
    """

    def __init__(self, network: nn.Module, ids: Tensor, words: Tensor, places: np.ndarray):
        super().__init__()
        self.network, self.ids, self.words = network, ids, nn.Parameter(words.clone())
        self.places = torch.as_tensor(places, device=ids.device)

    def forward(self, noisy: Tensor, timesteps: Tensor, rows: Tensor) -> Tensor:
        """Predicted noise (n, c, h, w)."""
        words = self.words[self.places[rows]]
        return self.network(noisy, timesteps, embed_words(self.network.text_encoder, self.ids[rows], words))


@torch.no_grad()
def first_words(step: Step, count: int) -> Tensor:
    """The words that the last attack found, (size, k, width); before the first, those of random tokens."""
    if "words" in step.memory:
        return step.memory["words"]
    table = token_embedding(step.network.text_encoder)
    tokens = step.random(Stream.ATTACK).integers(table.num_embeddings, size=(step.size, count))
    return table(torch.from_numpy(tokens).to(table.weight.device))


def attack(
    step: Step, resisting: Prefixed, noisy: Tensor, times: Tensor, steps: int, rate: float, signed: bool
) -> None:
    """Change the words in place so that the network predicts what the pretrained one does without them.

    Each row's words are its own, and descend its own error: Adam takes no notice of how many rows a mean is over.
    """
    wanted = step.predict(step.frozen, noisy, times, resisting.ids)
    rows = torch.arange(len(noisy), device=noisy.device)
    with only(resisting.words, step.network):
        inner = replace(step, network=resisting, parameters=FlatParameters(nn.ParameterList([resisting.words])))
        optimiser = AdamW(inner.parameters.values, (0.9, 0.999), 0.0)
        for _ in range(steps):
            found = inner.gradient("attack", noisy, times, squared_errors(wanted), rows)
            optimiser.step(found.sign() if signed else found, rate)


@contextmanager
def only(words: nn.Parameter, network: nn.Module) -> Iterator[None]:
    """While it is open, the words are trained and nothing of the network; then the reverse."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        words.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)


def change_of_others(step: Step, guidance: float, sampling_steps: int, paths: int) -> Tensor:
    """The gradient of the squared change of the prediction for other prompts, where their own guided samples pass."""
    others = step.conditioning.others
    if "kept" not in step.memory:
        step.memory["kept"] = guided_paths(of_others(step), guidance, sampling_steps, paths)
    points, path_times = step.memory["kept"]
    rng = step.random(Stream.KEPT)
    which, when = (rng.integers(len(each), size=step.size)[step.places] for each in (points, path_times))
    noisy, times, conditions = points[which, when], path_times[when], others[torch.from_numpy(which % len(others))]
    kept = step.predict(step.frozen, noisy, times, conditions)
    return step.gradient("remember", noisy, times, squared_errors(kept), conditions)


def of_others(step: Step) -> Step:
    """The step as one whose concept is what stays, with a seed of its own."""
    others = Conditioning(step.conditioning.others, step.conditioning.none, step.conditioning.others)
    seed = step.context.number(Stream.KEPT)
    return replace(step, context=replace(step.context, conditioning=others, seed=seed))
