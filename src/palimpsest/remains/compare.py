"""Ask the same numbers of every method of every family, and what is true of the methods of a generator together."""

from collections.abc import Iterator

import numpy as np

from palimpsest.metrics.estimates import Interval, of_mean, of_pairs, spearman
from palimpsest.metrics.intervals import wilson
from palimpsest.metrics.measurements import row, write
from palimpsest.remains.readings import METRICS, ORACLE, PRETRAINED, READINGS, Read, less, share_of_way
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate
from palimpsest.run import Input, Output, step

ALL = "all"  # the method of what is true of all of them together
FEWEST = 5  # methods, from which on a rank correlation over them is said


def compare(collections: list[Input], measurements: Output, *, families: dict) -> dict:
    """collections: what each of the families collected, in their order.

    families: by name what its reading takes, with the labels of each generator: {"var": {"tiny_var": {...}}}.

    A row for each generator, method and number (`numbers`), and for each generator what `over_methods` says.
    """
    rows = []
    for (family, generators), path in zip(families.items(), collections, strict=True):
        lookup = Lookup([path], family, METRICS)
        for generator, settings in generators.items():
            found = dict(READINGS[family](lookup.of(model=generator), settings))
            labels = {"model": generator, "kind": family}
            rows += [{**one, **labels} for one in [*numbers(found), *over_methods(found)]]
    write(measurements, rows, family="remains")
    return {"methods": len({(each["model"], each["method"]) for each in rows})}


def numbers(found: dict[str, Read]) -> Iterator[dict]:
    """The eight numbers of each method, and of the two networks that they lie between.

    asked, reminded: what is shown; suppressed: how far asked has come from the pretrained model's (0) to the oracle's
    (1); returned: where reminded lies between the oracle's (0) and the pretrained model's (1); attacked: the most that
    any attack gets back beyond what it gets from the oracle; near, rest: what is kept; change: of what should stay.
    """
    before, oracle = found[PRETRAINED], found[ORACLE]
    for method, read in found.items():
        beyond = [less(each, oracle.attacks[name]) for name, each in read.attacks.items() if name in oracle.attacks]
        known = [each for each in beyond if not np.isnan(each.value)]
        estimates = {
            "asked": read.asked,
            "suppressed": share_of_way(read.asked, before.asked, oracle.asked),
            "reminded": read.reminded,
            "returned": share_of_way(read.reminded, oracle.reminded, before.reminded),
            "attacked": max(known, key=lambda each: each.value, default=Estimate(np.nan)),
            "near": read.near,
            "rest": read.rest,
            "change": read.change,
        }
        for metric, each in estimates.items():
            if not np.isnan(each.value):
                yield row(metric, *each, method=method)


def over_methods(found: dict[str, Read]) -> Iterator[dict]:
    """What is true of the edits of a generator together; intervals are over its methods.

    suppressing: the share of methods whose asked is below the pretrained model's, intervals apart; remembering: the
    share of those that, reminded, show more than the oracle does, intervals apart. rank_reminded: rank correlation of
    asked and reminded, rank_rest of asked and rest. near_pays: rest less near, mean.
    """
    before, oracle = found[PRETRAINED], found[ORACLE]
    edited = [read for method, read in found.items() if method not in (PRETRAINED, ORACLE)]
    edited = [read for read in edited if not np.isnan(read.asked.value)]
    suppresses = [read.asked.high < before.asked.low for read in edited]
    yield from share("suppressing", suppresses)
    if not np.isnan(oracle.reminded.value):
        reminded = [read.reminded for read, each in zip(edited, suppresses, strict=True) if each]
        yield from share("remembering", [each.low > oracle.reminded.high for each in reminded])
    for name in ("reminded", "rest"):
        pairs = np.array([(read.asked.value, getattr(read, name).value) for read in edited]).reshape(-1, 2)
        pairs = pairs[~np.isnan(pairs).any(1)]
        if len(pairs) >= FEWEST:
            yield from whole(f"rank_{name}", of_pairs(*pairs.T, spearman), len(pairs))
    gaps = np.array([read.rest.value - read.near.value for read in edited])
    gaps = gaps[~np.isnan(gaps)]
    if len(gaps) > 1:
        yield from whole("near_pays", of_mean(gaps), len(gaps))


def share(metric: str, outcomes: list[bool]) -> Iterator[dict]:
    """The share of methods for which something is true, with its Wilson interval; nothing is said of none."""
    if outcomes:
        yield row(
            metric,
            np.mean(outcomes),
            *wilson(int(np.sum(outcomes)), len(outcomes)),
            n=len(outcomes),
            method=ALL,
        )


def whole(metric: str, found: Interval, count: int) -> Iterator[dict]:
    """A measurement of all methods together, where it is a number."""
    if not np.isnan(found.value):
        yield row(metric, *found, n=count, method=ALL)


if __name__ == "__main__":
    step(compare)
