"""What the tests of released text-to-image models share: their gates, and what is read of an edit of one."""

from pathlib import Path

import pandas as pd

from palimpsest.metrics import measurements

# Least rates of right factors, on seen and on held-out combinations each.
GATES = {"object": 0.95, "colour": 0.95, "background": 0.95, "style": 0.90}
CLOSE = 0.05  # half the width of an interval of a rate of so few prompts
# The prompts that an edit is judged by.
JUDGED = {"own": 24, "synonym": 0, "template": 0, "unnamed": 0, "neighbour": 12, "rest": 24}


def outcomes(path: Path, concept: str) -> pd.Series:
    """What was measured of an edit's concept, by metric and kind of prompts."""
    table = measurements.read([path])
    return table[table["concept"] == concept].set_index(["metric", "prompts"])["value"]
