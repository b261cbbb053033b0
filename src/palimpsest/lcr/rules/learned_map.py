"""A table from code to safe code that is really learned.

The map minimises, over pictures of the fit set with their mask cells mapped, the score that the mask-making detector
gives to the decoded picture, plus the change of the pixels around the region. Each code's replacement is chosen by a
straight-through Gumbel-softmax over the safe codes; the argmax is used in the end, and
for a code that no drawn picture had in its mask the nearest safe one. The held-out judge plays no part.
"""

import numpy as np
import torch
from torch.nn import functional as F

from palimpsest.lcr.cells import dilate, to_pixels
from palimpsest.lcr.context import Context, nearest_safe

RANDOM = True


def replace(
    codes: np.ndarray,
    cells: np.ndarray,
    context: Context,
    rng: np.random.Generator,
    steps: int = 40,
    batch: int = 12,
    learning_rate: float = 0.3,
    outside_weight: float = 10.0,
):
    state = str(rng.bit_generator.state)
    table = context.once(state, lambda: learn(context, rng, steps, batch, learning_rate, outside_weight))
    return np.where(cells, table[codes], codes)


def learn(context: Context, rng, steps: int, batch: int, learning_rate: float, outside_weight: float) -> np.ndarray:
    """The learned table (K,) of safe codes."""
    model, guide = context.model, context.guide.to(context.model.device)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    choice = torch.zeros(len(context.codebook), len(context.safe), requires_grad=True)
    embeddings = torch.from_numpy(context.codebook[context.safe]).to(model.device)
    optimiser = torch.optim.Adam([choice], learning_rate)
    cell = model.config.downsampling
    shown = np.flatnonzero(context.fit_cells.any((1, 2)))
    for _ in range(steps):
        picks = rng.choice(shown, min(batch, len(shown)), replace=False)
        grid = torch.from_numpy(context.fit_codes[picks].astype(np.int64))
        inside = torch.from_numpy(context.fit_cells[picks])
        with torch.no_grad():
            plain = model.decode_codes(grid)
        logits = choice[grid[inside]]
        noise = -torch.empty_like(logits).exponential_(generator=generator).log()
        soft = (logits + noise).softmax(1)
        hard = F.one_hot(soft.argmax(1), soft.shape[1]) - soft.detach() + soft
        quantised = model.codebook[grid.to(model.device)].clone()
        quantised[inside.to(model.device)] = hard.to(model.device) @ embeddings
        made = model.decode_latents(quantised.permute(0, 3, 1, 2))
        score, _ = guide(made)
        far = ~dilate(context.fit_cells[picks], 1)
        around = torch.from_numpy(to_pixels(far, (far.shape[1] * cell, far.shape[2] * cell)))[:, None].to(model.device)
        # softplus of the strongest score logits: what is left of the concept to the guide.
        remaining = F.softplus(score.flatten(1).topk(4).values).mean()
        loss = remaining + outside_weight * ((made - plain) * around).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = choice.detach().numpy()
    nearest = nearest_safe(np.arange(len(found)), context.safe, lambda some: context.codebook[some])
    return np.where((found == 0).all(1), nearest, context.safe[found.argmax(1)])
