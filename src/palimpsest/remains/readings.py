"""Which measurements of a family stand for the numbers that are asked of all.

Every family has instruments of its own, so that numbers of two families are alike in what they mean and not in their
unit: what is asked of a model is whether it still shows what it was to forget (a share of pictures, or for a single
image its similarity), and an attacker who reminds it begins a picture for it.

* asked. Codes: pictures in which the judge finds the concept. Images: the similarity of a target that was noised and
  denoised. Concepts: pictures of prompts that name it and show it.
* reminded. Images: the same from half the timestep. Concepts: pictures that were begun with one of it. Codes: nothing,
  since it is pictures that were edited, and no model that could be reminded.
* near. Codes: what is read of the same scene, of the plain reconstruction's. Images: one less what neighbours lost of
  their similarity. Concepts: what prompts of neighbours ask for.
* rest. Codes: SSIM outside the region. Images: one less what strangers lost. Concepts: what all other prompts ask for.
* change. A perceptual distance: outside the region, of same-seed samples, of same-seed pictures of other prompts.

The pretrained model's edit of codes is the plain reconstruction, the oracle's has the codes of the true twin.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate

PRETRAINED, ORACLE = "pretrained", "oracle"
FACTORS = ("object", "colour", "style", "background")
NOTHING = Estimate(np.nan)


class Read(NamedTuple):
    """What was read of one model. attacks: what each attack of the family gets back, `reminded` among them.

    alike: whether near and rest are of one unit.
    """

    asked: Estimate
    reminded: Estimate
    near: Estimate
    rest: Estimate
    change: Estimate
    attacks: Mapping[str, Estimate]
    alike: bool


def codes(lookup: Lookup, settings: dict) -> Iterator[tuple[str, Read]]:
    """Edits of latent codes inside the region."""
    here = lookup.of(set=settings["sets"]["forget_test"])
    plain = here.of(method="reconstruction", scope="", cells="")
    before = [plain.get(f"{factor}_accuracy") for factor in FACTORS]
    local = here.of(scope="mask", cells="all", top="")
    edits = {rule: local.of(method=rule) for rule in settings["methods"]}
    for method, edited in {PRETRAINED: plain, ORACLE: local.of(method="twin"), **edits}.items():
        kept = [ratio(edited.get(f"{factor}_accuracy"), one) for factor, one in zip(FACTORS, before, strict=True)]
        yield (
            method,
            Read(
                asked=edited.get("detection_rate"),
                reminded=NOTHING,
                near=mean(kept),
                rest=edited.get("ssim_outside"),
                change=edited.get("lpips_mini_outside"),
                attacks={},
                alike=False,
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
                attacks={"reminded": reminded},
                alike=True,
            ),
        )


def concepts(lookup: Lookup, settings: dict) -> Iterator[tuple[str, Read]]:
    """Concepts erased from a model that reads texts: those that there is an oracle of, all where there is none."""
    names = [name for name in settings["concepts"] if name in settings["oracles"]] or settings["concepts"]
    for method in (PRETRAINED, ORACLE, *settings["methods"]):
        here = lookup.of(method=method, study="networks" if method in (PRETRAINED, ORACLE) else settings["study"])
        shown = here.rows("recovered")
        attacks = {attack: together(rows, names) for attack, rows in (shown.groupby("prompts") if len(shown) else ())}
        erased = together(here.rows("erased", prompts="own"), names)
        yield (
            method,
            Read(
                asked=Estimate(1 - erased.value, 1 - erased.high, 1 - erased.low),
                reminded=attacks.get(settings["reminder"], NOTHING),
                near=together(here.rows("kept", prompts="neighbour"), names),
                rest=together(here.rows("kept", prompts="rest"), names),
                change=together(here.rows("perceptual", prompts="rest"), names),
                attacks={attack: each for attack, each in attacks.items() if attack != "own"},
                alike=True,
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
    *("detection_rate", "ssim_outside", "lpips_mini_outside"),
    *(f"{factor}_accuracy" for factor in FACTORS),
    *("similarity_target", "similarity_reminded", "collateral", "perceptual"),
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


def between(given: Estimate, oracle: Estimate, pretrained: Estimate) -> Estimate:
    """Where a value lies between the oracle's (0) and the pretrained model's (1); errors of all three, to first order.

    Not a number where the pretrained model's is not above the oracle's, intervals apart: what is measured does not tell
    a model that saw what is to be forgotten from one that did not.
    """
    if not apart(oracle, pretrained):
        return NOTHING
    if given in (oracle, pretrained):
        return Estimate(*[float(given == pretrained)] * 3)
    way = pretrained.value - oracle.value
    share = (given.value - oracle.value) / way
    errors = half(given), (1 - share) * half(oracle), share * half(pretrained)
    return around(share, np.hypot.reduce(np.array(errors)) / way)


def apart(lower: Estimate, higher: Estimate) -> bool:
    """Whether one interval lies below the other."""
    return lower.value + half(lower) < higher.value - half(higher)
