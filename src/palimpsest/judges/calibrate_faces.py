"""Measure the judges of faces on people they were not trained on: their error rates are results of the run."""

import pandas as pd

from palimpsest.arrays import read_pictures, read_table
from palimpsest.judges.face_networks import load
from palimpsest.judges.face_quality import (
    ATTRIBUTES,
    attribute_quality,
    damage_curve,
    descriptor_quality,
    similarities,
)
from palimpsest.metrics.intervals import bootstrap
from palimpsest.metrics.measurements import row, write
from palimpsest.run import Input, Output, step

DAMAGED = 256  # pictures


def calibrate(
    networks: list[Input], images: Input, manifest: Input, measurements: Output, histogram: Output, *, set: str
) -> None:
    """Write quantiles and error rates of descriptors, R² per attribute of regressors. histogram: the cosines.

    And of a descriptor how alike a picture stays to itself under damage: `damaged_similarity`, by kind and amount.
    """
    pictures = read_pictures(images)
    people = read_table(manifest, ATTRIBUTES, len(pictures))
    rows, cosines = [], []
    for path in networks:
        network = load(path)
        if network.config["kind"] == "descriptor":
            quality = descriptor_quality(network, people)
            for kind, values in zip(("same person", "different people"), similarities(network, people), strict=True):
                cosines.append(pd.DataFrame({"descriptor": path.stem, "pair": kind, "cosine": values}))
            some = slice(DAMAGED)
            for kind, amount, values in damage_curve(network, people[some], pictures[some]):
                labels = {"damage": kind, "amount": f"{amount:g}", "model": path.stem, "n": len(values)}
                rows.append(row("damaged_similarity", values.mean(), *bootstrap(values), **labels))
        else:
            quality = attribute_quality(network, pictures, people)
        rows += [row(key, value, n=len(people), model=path.stem) for key, value in quality.items()]
    write(measurements, rows, family="judges", set=set, concept="identity")
    pd.concat(cosines).to_parquet(histogram, index=False)


if __name__ == "__main__":
    step(calibrate)
