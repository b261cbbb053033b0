"""How far each surrogate is from its target: what explains whether it forgets, and what it costs."""

import numpy as np
import pandas as pd

from palimpsest.instance.judging import load_judges
from palimpsest.judges.batches import in_batches
from palimpsest.metrics.measurements import row, write
from palimpsest.run import Input, Output, step


def compare(
    judges: list[Input],
    target_images: Input,
    manifest: Input,
    surrogates: list[Input],
    measurements: Output,
    *,
    model: str,
    modules: dict,
) -> None:
    """Similarity by the descriptor, and root mean squared pixel distance in units of 0 to 255, per target."""
    embed = load_judges(modules, judges)["descriptor"].embed
    targets, names = np.load(target_images), list(pd.read_parquet(manifest)["target"])
    known, rows = in_batches(embed, targets), []
    for path in surrogates:
        made = np.load(path)
        alike = (in_batches(embed, made) * known).sum(1)
        apart = np.sqrt(((made.astype(np.float64) - targets) ** 2).mean((1, 2, 3)))
        for name, similarity, distance in zip(names, alike, apart, strict=True):
            labels = {"surrogate": path.stem, "targets": name, "n": 1}
            rows += [row("surrogate_similarity", similarity, **labels), row("surrogate_distance", distance, **labels)]
    write(measurements, rows, family="instance", model=model, study="surrogates")


if __name__ == "__main__":
    step(compare)
