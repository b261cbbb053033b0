"""Ask the same numbers of every method of every family, and what is true of the methods of a generator together."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from palimpsest.metrics.estimates import Interval, of_mean, of_pairs, spearman
from palimpsest.metrics.halves import HALVES
from palimpsest.metrics.measurements import row, share_of, write
from palimpsest.remains.readings import METRICS, NOTHING, ORACLE, PRETRAINED, READINGS, Read, between, less, mean
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate
from palimpsest.run import Input, Output, step

ALL = "all"  # the method of what is true of all of them together
FEWEST = 5  # methods, from which on a rank correlation over them is said
HALF = 0.5  # of the way between the pretrained model and the oracle


def compare(collections: list[Input], measurements: Output, *, families: dict) -> dict:
    """A row for each generator, method and number (`numbers`), and for each generator what `over_methods` says.

    Where a family has several seeds the same again for each half of them (label `half`).
    collections: what each of the families collected, in their order. families: by name what the reading of each of its
    generators takes, `{"var": {"tiny_var": {"methods": [...], "controls": [...], ...}}}`.
    """
    rows = []
    for (family, generators), path in zip(families.items(), collections, strict=True):
        of_all = Lookup([path], family, METRICS)
        lookups = {"": of_all, **dict(zip(HALVES, of_all.halves(), strict=False))}
        for (half, lookup), (generator, settings) in product(lookups.items(), generators.items()):
            found = dict(READINGS[family](lookup.of(model=generator), settings))
            compared = {method: read for method, read in found.items() if method not in settings["controls"]}
            labels = {"model": generator, "kind": family, **({"half": half} if half else {})}
            rows += [{**one, **labels} for one in [*numbers(found), *over_methods(compared)]]
    write(measurements, rows, family="remains")
    return {"methods": len({(each["model"], each["method"]) for each in rows})}


def numbers(found: dict[str, Read]) -> Iterator[dict]:
    """The eight numbers of each method, and of the two networks that they lie between.

    asked, reminded: what is shown; suppressed, returned: how far asked has come from the pretrained model's (0) to the
    oracle's (1), and where reminded lies between the oracle's (0) and the pretrained model's (1); attacked: what
    attacks get back beyond what they get from the oracle, their mean; near, rest: what is kept; change: of what should
    stay.
    """
    before, oracle = found[PRETRAINED], found[ORACLE]
    for method, read in found.items():
        beyond = [less(each, oracle.attacks[name]) for name, each in read.attacks.items() if name in oracle.attacks]
        beyond = [each for each in beyond if not np.isnan(each.value)]
        estimates = {
            "asked": read.asked,
            "suppressed": suppressed(read, before, oracle),
            "reminded": read.reminded,
            "returned": between(read.reminded, oracle.reminded, before.reminded),
            "attacked": mean(beyond) if beyond and method != ORACLE else NOTHING,
            "near": read.near,
            "rest": read.rest,
            "change": read.change,
        }
        for metric, each in estimates.items():
            if not np.isnan(each.value):
                yield row(metric, *each, method=method)


def suppressed(read: Read, before: Read, oracle: Read) -> Estimate:
    """How far what is shown when asked has come from the pretrained model's (0) to the oracle's (1)."""
    left = between(read.asked, oracle.asked, before.asked)
    return Estimate(1 - left.value, 1 - left.high, 1 - left.low)


def over_methods(found: dict[str, Read]) -> Iterator[dict]:
    """What is true of the edits of a generator together. A method counts by its interval, shares are of methods.

    suppressing, unsuppressing: whose suppressed is above, or below, half of the way. Of those that suppress
    remembering: whose returned is above 0; forgetting: below half. rank_reminded, rank_rest: rank correlation, over
    methods, of asked and of reminded, or rest, with a bootstrap interval. near_pays: what neighbours lost, of what the
    pretrained model keeps of them, less what the rest lost: the mean, with its t interval over methods.
    """
    before, oracle = found[PRETRAINED], found[ORACLE]
    edited = [read for method, read in found.items() if method not in (PRETRAINED, ORACLE)]
    edited = [read for read in edited if not np.isnan(read.asked.value)]
    ways = [suppressed(read, before, oracle) for read in edited]
    yield from share("suppressing", ways, lambda way: way.low > HALF)
    yield from share("unsuppressing", ways, lambda way: way.high < HALF)
    hidden = [read for read, way in zip(edited, ways, strict=True) if way.low > HALF]
    left = [between(read.reminded, oracle.reminded, before.reminded) for read in hidden]
    yield from share("remembering", left, lambda way: way.low > 0)
    yield from share("forgetting", left, lambda way: way.high < HALF)
    for name in ("reminded", "rest"):
        pairs = np.array([(read.asked.value, getattr(read, name).value) for read in edited]).reshape(-1, 2)
        pairs = pairs[~np.isnan(pairs).any(1)]
        if len(pairs) >= FEWEST:
            yield from whole(f"rank_{name}", of_pairs(*pairs.T, spearman), len(pairs))
    lost = [read.rest.value / before.rest.value - read.near.value / before.near.value for read in edited if read.alike]
    lost = np.array([each for each in lost if not np.isnan(each)])
    if len(lost) > 1:
        yield from whole("near_pays", of_mean(lost), len(lost))


def share(metric: str, ways: list[Estimate], counts) -> Iterator[dict]:
    """The share of methods that count, of those that were measured, with Wilson's interval; nothing is said of none."""
    outcomes = np.array([counts(way) for way in ways if not np.isnan(way.value)])
    if len(outcomes):
        yield share_of(metric, outcomes, method=ALL)


def whole(metric: str, found: Interval, count: int) -> Iterator[dict]:
    """A measurement of all methods together, where it is a number."""
    if not np.isnan(found.value):
        yield row(metric, *found, n=count, method=ALL)


if __name__ == "__main__":
    step(compare)
