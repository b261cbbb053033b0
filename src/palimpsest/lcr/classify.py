"""Is the concept in the codes? Linear classifiers of code grids, with the controls that the answer needs.

The published classifier (Cabibbo et al. 2025) tells explicit from safe grids almost perfectly, but its two classes come
from different crawls, and few of its safe images resemble the explicit ones. Hence three kinds of classifier (see
`linear_code_model`), fitted on two compositions of the images and tested on images that they have not seen:

* source `balanced`: both classes from both sources; `confounded`: forget images of one source only and safe images of
  the other, as in the original;
* evaluation `same`: test images composed as the fitted ones; `swapped`: the sources of the classes exchanged, where a
  classifier of the source falls below one half; `figures`: all forget images against the safe images of the objects
  that carry the concept, where a classifier of the carrier falls to one half.
"""

from dataclasses import dataclass
from typing import Self, TypedDict

import numpy as np
import pandas as pd

from palimpsest.arrays import read_table
from palimpsest.lcr import linear_code_model
from palimpsest.lcr.arrays import load_codes, load_masks, same_network
from palimpsest.lcr.linear_code_model import KINDS, Kind, LinearCodeModel
from palimpsest.metrics import measurements as tidy
from palimpsest.metrics.intervals import auc, bootstrap, percentiles, wilson
from palimpsest.metrics.measurements import row
from palimpsest.options import Count, Positive, Share, Size, check
from palimpsest.run import Input, Output, UserError, step

BINS = 512  # of a bootstrapped ROC curve


@dataclass(frozen=True)
class Grids:
    """Code grids (n, h, w) and a manifest row for each."""

    codes: np.ndarray
    manifest: pd.DataFrame

    def where(self, column: str, values: list[str]) -> Self:
        """The images whose factor is one of the values."""
        chosen = self.manifest[column].isin(values).to_numpy()
        if not chosen.any():
            raise UserError(
                f"no image has {column} in {values} (its manifest has {sorted(self.manifest[column].unique())}): "
                "correct the classifier's `sources` or `carriers` in the configuration."
            )
        return Grids(self.codes[chosen], self.manifest[chosen])


class Settings(TypedDict):
    """See `classify`; `validation` is the share of the fitted images that stops the descent."""

    rank: Positive
    weight_decay: Size
    iterations: Positive
    patience: Positive
    validation: Share
    levels: Positive
    sources: tuple[str, str]
    carriers: list[str]


def classify(
    forget_fit_codes: Input,
    safe_fit_codes: Input,
    forget_fit_manifest: Input,
    safe_fit_manifest: Input,
    forget_test_codes: Input,
    safe_test_codes: Input,
    forget_test_manifest: Input,
    safe_test_manifest: Input,
    forget_test_masks: Input,
    weights: Output,
    measurements: Output,
    *,
    model: str,
    preset: str,
    codebook_size: Positive,
    params: dict,
    seed: Count = 0,
) -> dict:
    """Fit and test all classifiers; keep the balanced `full` one.

    params: `rank`, `weight_decay`, `iterations`, `patience`, `validation` (share of the fitted images that stops the
    descent), `levels` (of the multiplicities of `position`), `sources` (of the confounded forget and safe images) and
    `carriers` (objects of the `figures` evaluation).
    """
    check(Settings, params, "params of the classifier")
    origin = same_network(forget_fit_codes, safe_fit_codes, forget_test_codes, safe_test_codes, forget_test_masks)
    forget, safe, forget_test, safe_test = (
        read_grids(codes, manifest, codebook_size)
        for codes, manifest in (
            (forget_fit_codes, forget_fit_manifest),
            (safe_fit_codes, safe_fit_manifest),
            (forget_test_codes, forget_test_manifest),
            (safe_test_codes, safe_test_manifest),
        )
    )
    first, second = params["sources"]
    compositions = {
        "balanced": ((forget, safe), {"same": (forget_test, safe_test)}),
        "confounded": (
            (forget.where("source", [first]), safe.where("source", [second])),
            {
                "same": (forget_test.where("source", [first]), safe_test.where("source", [second])),
                "swapped": (forget_test.where("source", [second]), safe_test.where("source", [first])),
            },
        ),
    }
    rows, iterations = [], {}
    for source, (fitted, tests) in compositions.items():
        tests["figures"] = (forget_test, safe_test.where("object", params["carriers"]))
        for kind in KINDS:
            classifier, iterations[f"{source}_{kind}"] = fit(kind, *fitted, codebook_size, params, seed)
            for evaluation, pair in tests.items():
                scores = [classifier.logits(view(kind, grids.codes, codebook_size, params["levels"])) for grids in pair]
                labels = {"classifier": kind, "source": source, "evaluation": evaluation}
                rows += [measured | labels for measured in quality(*scores, seed)]
            if (source, kind) == ("balanced", "full"):
                kept = classifier
    masks = load_masks(forget_test_masks, forget_test.codes.shape, filled=True)
    rows.append(localisation(kept, forget_test.codes, masks, safe_test.codes, seed))
    height, width = forget.codes.shape[1:]
    config = {"model": model, "codes": codebook_size, "height": height, "width": width, "rank": params["rank"]}
    linear_code_model.save(weights, kept, config)
    labels = {"model": model, "preset": preset, "set": forget_test_codes.stem, "method": "classifier", "seed": seed}
    tidy.write(measurements, rows, family="lcr", **labels)
    return {"iterations": iterations, **origin}


def read_grids(codes: Input, manifest: Input, codebook_size: int) -> Grids:
    """Read a set; a UserError says when codes and manifest disagree."""
    grids = load_codes(codes, codebook_size)
    return Grids(grids, read_table(manifest, ("source", "object"), len(grids)))


def view(kind: Kind, codes: np.ndarray, codebook_size: int, levels: int) -> np.ndarray:
    """What a kind of classifier sees of the grids."""
    return linear_code_model.multiplicity(codes, codebook_size, levels) if kind == "position" else codes


def fit(
    kind: Kind, forget: Grids, safe: Grids, codebook_size: int, params: dict, seed: int
) -> tuple[LinearCodeModel, int]:
    """Fit one classifier; a share of either class is held out to stop the descent."""
    rng = np.random.default_rng(seed)
    held_out = np.concatenate(
        [rng.permutation(count) < round(count * params["validation"]) for count in (len(forget.codes), len(safe.codes))]
    )
    codes = view(kind, np.concatenate([forget.codes, safe.codes]), codebook_size, params["levels"])
    labels = np.arange(len(codes)) < len(forget.codes)
    return linear_code_model.fit(
        kind,
        codes[~held_out],
        labels[~held_out],
        (codes[held_out], labels[held_out]),
        params["levels"] if kind == "position" else codebook_size,
        seed=seed,
        **{key: params[key] for key in ("rank", "weight_decay", "iterations", "patience")},
    )


def quality(forget: np.ndarray, safe: np.ndarray, seed: int) -> list[dict]:
    """Accuracy, F1 and AUC from the logits of forget and of safe images."""
    n = len(forget) + len(safe)
    right = (forget > 0).sum() + (safe <= 0).sum()
    # Of each image: does it count twice above, and how often below, the line of F1?
    parts = np.concatenate(
        [np.stack([2.0 * (forget > 0), 1.0 + (forget > 0)], 1), np.stack([0.0 * safe, 1.0 * (safe > 0)], 1)]
    )
    return [
        row("accuracy", right / n, *wilson(right, n), n=n),
        row("f1", f1(parts), *bootstrap(parts, f1, seed=seed), n=n),
        row("auc", auc(forget, safe), *auc_interval(forget[:, None], safe[:, None], seed=seed), n=n),
    ]


def f1(parts: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN) from each image's share (n, 2) of numerator and denominator; 0 without any positive."""
    above, below = parts.sum(0)
    return above / below if below else 0.0


def localisation(
    classifier: LinearCodeModel, codes: np.ndarray, masks: np.ndarray, safe_codes: np.ndarray, seed: int
) -> dict:
    """How well the cells' logits tell the concept's cells from all cells of safe images (AUC over cells)."""
    inside = np.where(masks.reshape(len(codes), -1), classifier.cell_logits(codes), np.nan)
    outside = classifier.cell_logits(safe_codes)
    value = auc(inside[~np.isnan(inside)], outside.ravel())
    interval = auc_interval(inside, outside, seed=seed)
    return row("localisation_auc", value, *interval, n=len(codes), unit="linear", classifier="full", source="balanced")


def auc_interval(positive: np.ndarray, negative: np.ndarray, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the AUC over units pooled from images; images (axis 0) are resampled whole.

    positive (n, k) and negative (m, l) hold the scores of each image's units, NaN where there is none. Scores are
    ranked into at most 512 bins, so that a draw costs a weighted sum of histograms.
    """
    rng = np.random.default_rng(seed)
    pooled = np.concatenate([positive.ravel(), negative.ravel()])
    pooled = np.unique(pooled[~np.isnan(pooled)])
    edges = pooled if len(pooled) <= BINS else np.quantile(pooled, np.linspace(0, 1, BINS + 1)[:-1])
    drawn = []
    for scores in (positive, negative):
        image, unit = np.nonzero(~np.isnan(scores))
        level = np.searchsorted(edges, scores[image, unit], side="right") - 1
        histogram = np.bincount(image * len(edges) + level, minlength=len(scores) * len(edges))
        times = rng.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), draws)
        # In floats: whole numbers have no fast matrix product.
        drawn.append(times.astype(float) @ histogram.reshape(len(scores), len(edges)).astype(float))
    above, below = drawn
    area = (above * (below.cumsum(1) - below / 2)).sum(1) / (above.sum(1) * below.sum(1))
    low, high = np.nanquantile(area, percentiles(min(len(positive), len(negative))))
    return float(low), float(high)


if __name__ == "__main__":
    step(classify)
