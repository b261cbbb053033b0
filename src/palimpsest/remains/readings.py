"""Which measurements of a family stand for the numbers that are asked of all.

Every family has instruments of its own, so that numbers of two families are alike in what they mean and not in their
unit: what is asked of a model is whether it still shows what it was to forget (a share of pictures, or for a single
image its similarity), and an attacker who reminds it begins a picture for it. Per family:

* asked. Codes: pictures in which the judge finds the concept. Images: the similarity of a target that was noised and
  denoised. Concepts: pictures of prompts that name it and show it.
* reminded. Codes: the same at the judge's lowest threshold. Images: the same from half the noise. Concepts: pictures
  that were begun with one of it.
* near. Codes: what is read of the same scene, of the plain reconstruction's. Images: one less what neighbours lost of
  their similarity. Concepts: what prompts of neighbours ask for.
* rest. Codes: SSIM outside the region. Images: one less what strangers lost. Concepts: what all other prompts ask for.
* change. A perceptual distance: outside the region, of same-seed samples, of same-seed pictures of other prompts.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate

PRETRAINED, ORACLE = "pretrained", "oracle"
NOTHING = Estimate(np.nan)
THRESHOLD = 0.5  # of the judge that finds the concept in codes: lower ones see what is left of it
FACTORS = ("object", "colour", "style", "background")


class Read(NamedTuple):
    """What was read of one model. attacks: what each attack of the family gets back, `reminded` among them."""

    asked: Estimate
    reminded: Estimate
    near: Estimate
    rest: Estimate
    change: Estimate
    attacks: Mapping[str, Estimate]


def codes(lookup: Lookup, settings: dict) -> Iterator[tuple[str, Read]]:
    """Edits of latent codes inside the region; the oracle takes the codes of the true twin."""
    here = lookup.of(set=settings["sets"]["forget_test"])
    plain = here.of(method="reconstruction", scope="", cells="")
    before = [plain.get(f"{factor}_accuracy") for factor in FACTORS]
    tried = here.rows("detection_rate_at")
    limits = sorted({limit for limit in tried.get("threshold", ()) if float(limit) < THRESHOLD}, key=float)
    local = here.of(scope="mask", cells="all", top="")
    edits = {rule: local.of(method=rule) for rule in settings["methods"]}
    for method, edited in {PRETRAINED: plain, ORACLE: local.of(method="twin"), **edits}.items():
        lower = {limit: edited.get("detection_rate_at", threshold=limit) for limit in limits}
        kept = [ratio(edited.get(f"{factor}_accuracy"), one) for factor, one in zip(FACTORS, before, strict=True)]
        yield (
            method,
            Read(
                asked=edited.get("detection_rate"),
                reminded=lower[limits[0]] if limits else NOTHING,
                near=mean(kept),
                rest=edited.get("ssim_outside") if method != PRETRAINED else Estimate(1.0, 1.0, 1.0),
                change=edited.get("lpips_mini_outside") if method != PRETRAINED else Estimate(0.0, 0.0, 0.0),
                attacks=lower,
            ),
        )


def images(lookup: Lookup, settings: dict) -> Iterator[tuple[str, Read]]:
    """Single images forgotten by a diffusion model: means over targets that were forgotten one at a time."""
    here = lookup.of(study=settings["study"], targets="mean", count=1)
    for method in (PRETRAINED, ORACLE, *settings["methods"]):
        edited = here.of(method=method)
        reminded = edited.get("similarity_reminded")
        yield (
            method,
            Read(
                asked=edited.get("similarity_target"),
                reminded=reminded,
                near=shifted(edited.get("collateral", kind="neighbour"), 1.0),
                rest=shifted(edited.get("collateral", kind="stranger"), 1.0),
                change=edited.get("perceptual"),
                attacks={"reminded": reminded, "samples": edited.get("samples_like_target")},
            ),
        )


def concepts(lookup: Lookup, settings: dict) -> Iterator[tuple[str, Read]]:
    """Concepts erased from a model that reads texts: those that there is an oracle of, all where there is none."""
    for method in (PRETRAINED, ORACLE, *settings["methods"]):
        study = "networks" if method in (PRETRAINED, ORACLE) else settings["study"]
        here = lookup.of(method=method, study=study)
        names = settings["oracles"] or settings["concepts"]
        shown = here.rows("recovered")
        attacks = {
            attack: together(here.rows("recovered", prompts=attack), names)
            for attack in sorted(set(shown["prompts"]) - {"own"} if "prompts" in shown else ())
        }
        erased = together(here.rows("erased", prompts="own"), names)
        yield (
            method,
            Read(
                asked=Estimate(1 - erased.value, 1 - erased.high, 1 - erased.low),
                reminded=attacks.get(settings["reminder"], NOTHING),
                near=together(here.rows("kept", prompts="neighbour"), names),
                rest=together(here.rows("kept", prompts="rest"), names),
                change=together(here.rows("perceptual", prompts="rest"), names),
                attacks=attacks,
            ),
        )


READINGS: Mapping[str, Callable[[Lookup, dict], Iterator[tuple[str, Read]]]] = {
    "lcr": codes,
    "instance": images,
    "erasure": concepts,
    "var": concepts,
}
# All metrics that are read: an experiment may lack any of them.
METRICS = (
    *("detection_rate", "detection_rate_at", "ssim_outside", "lpips_mini_outside"),
    *(f"{factor}_accuracy" for factor in FACTORS),
    *("similarity_target", "similarity_reminded", "collateral", "perceptual", "samples_like_target"),
    *("erased", "kept", "recovered"),
)


# Estimates of estimates ----------------------------------------------------------------------------------------------


def half(given: Estimate) -> float:
    """Half the length of an interval; zero where there is none."""
    return 0.0 if np.isnan(given.low) else (given.high - given.low) / 2


def around(value: float, error: float) -> Estimate:
    """A value with an interval of this half length."""
    return Estimate(float(value), float(value - error), float(value + error))


def shifted(given: Estimate, by: float) -> Estimate:
    """An estimate with a constant added."""
    return Estimate(given.value + by, given.low + by, given.high + by)


def mean(several: list[Estimate]) -> Estimate:
    """The mean of independent estimates: their errors added in quadrature."""
    errors = np.array([half(each) for each in several])
    return around(np.mean([each.value for each in several]), np.hypot.reduce(errors) / len(several))


def ratio(given: Estimate, whole: Estimate) -> Estimate:
    """A part of a whole that is taken as known."""
    return Estimate(*(each / whole.value for each in given)) if whole.value > 0 else NOTHING


def less(one: Estimate, other: Estimate) -> Estimate:
    """The difference of independent estimates."""
    return around(one.value - other.value, np.hypot(half(one), half(other)))


def together(rows: pd.DataFrame, names: list[str]) -> Estimate:
    """The mean over all units of some concepts: shares weighted by how many each is over, errors in quadrature."""
    rows = rows[rows["concept"].isin(names)]
    if rows.empty or rows["n"].sum() == 0:
        return NOTHING
    weights = (rows["n"] / rows["n"].sum()).to_numpy()
    value = float((weights * rows["value"]).sum())
    below, above = (
        np.hypot.reduce(weights * np.nan_to_num((rows[end] - rows["value"]).to_numpy())) for end in ("low", "high")
    )
    return Estimate(value, value - float(below), value + float(above))


def share_of_way(given: Estimate, start: Estimate, end: Estimate) -> Estimate:
    """How far a value is from start to end: 0 at the start, 1 at the end; errors of all three, to first order.

    Not a number where start and end cannot be told apart: their intervals overlap.
    """
    way = end.value - start.value
    if not abs(way) > half(start) + half(end):
        return NOTHING
    share = (given.value - start.value) / way
    errors = half(given), (1 - share) * half(start), share * half(end)
    return around(share, np.hypot.reduce(np.array(errors)) / abs(way))
