"""Named streams of random draws: each belongs to one use, so that no two uses ever share a number."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What is drawn. Never give a number to another use: it is part of every seed."""

    REMEMBER = 0  # noise of the remember batch
    FORGET = 1  # noise of the forget batch
    TIMES = 2  # timesteps, and which pictures a batch takes
    POINTS = 3  # places on ESD's trajectories
    CONDITIONS = 4  # the other conditions that SPM holds
    UNIFORM = 5  # EraseDiff's uniform noise
    PATHS = 6  # where ESD's trajectories start
    MIXTURE = 7  # which of SISS's points start from a target
    ANCHORS = 8  # which anchor pictures AC's batch takes, their timesteps and their noise
    SALIENCY = 9  # pictures, timesteps and noise that SalUn and Scissorhands judge weights by
    RESTART = 10  # weights that Scissorhands starts anew
    ATTACK = 11  # words that AdvUnlearn's attack starts from
    KEPT = 12  # where AdvUnlearn's trajectories of what stays start, and places on them
    DROPPED = 13  # which rows S-VARE trains without their text


def generator(*seed: int) -> np.random.Generator:
    """A generator of a seed: the run's, a stream, and where it matters the step's number."""
    return np.random.default_rng(seed)


def number(*seed: int) -> int:
    """One number of 32 bits of a seed, for what is seeded itself."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])
