"""Scores of the judge from which on a concept counts as found."""

THRESHOLD = 0.5
SWEEP = (0.2, 0.3, 0.4, THRESHOLD, 0.6, 0.7, 0.8)
