"""Which setting is taken, of the rates of what is gone and of what is kept; and how often chance would take it again.

A setting is as good as the worse of the two. Of the settings within one standard error of the best the first is taken,
for a grid lists the gentlest first (the rule of one standard error, Breiman et al. 1984, section 3.4.3): what no
outcomes told apart, chance does not decide.
"""

import numpy as np

DRAWS = 1000


def taken(shares: np.ndarray, counts: np.ndarray, shown: float) -> tuple[int, float]:
    """The place of the setting to take, and how often it would be taken, were the outcomes drawn anew.

    shares (settings, 1 + roles): what is gone, and what is kept of each role, of so many (settings, 1 + roles); shown:
    what is kept where nothing was edited. A rate of none is not drawn again.
    """
    place = int(choice(shares, counts, shown))
    redrawn = np.random.default_rng(0).binomial(counts.astype(int), shares, (DRAWS, *shares.shape))
    redrawn = np.where(counts > 0, redrawn / counts.clip(1), shares)
    return place, float((choice(redrawn, counts, shown) == place).mean())


def worse_of(shares: np.ndarray, shown: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How good a setting is, what is erased and what is kept (...), from these rates (..., 1 + roles)."""
    erased = shares[..., 0]
    kept = shares[..., 1:].mean(-1) / shown if shown else np.ones_like(erased)
    return np.minimum(erased, kept), erased, kept


def choice(shares: np.ndarray, counts: np.ndarray, shown: float) -> np.ndarray:
    """The place (...) of the setting to take, from rates (..., settings, 1 + roles) over so many prompts each.

    A rate counts as a share of its prompts, with two of either kind added, so that one of all prompts is not certain.
    """
    good, erased, kept = worse_of(shares, shown)
    added = (shares * counts + 2) / (counts + 4)
    variance = added * (1 - added) / (counts + 4)
    of_kept = np.sqrt(variance[..., 1:].sum(-1)) / (shares.shape[-1] - 1) / shown if shown else 0.0
    errors = np.where(erased <= kept, np.sqrt(variance[..., 0]), of_kept)
    best = good.argmax(-1)[..., None]
    limit = np.take_along_axis(good, best, -1) - np.take_along_axis(errors, best, -1)
    return (good >= limit).argmax(-1)
