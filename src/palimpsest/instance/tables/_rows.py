"""What the family's tables share: the columns of a study, ours beside the published ones."""

import math

import pandas as pd

from palimpsest.instance.published import COLUMNS, LIMIT, NONE
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Table

METRICS = {
    "S": ("similarity_target", Format(2)),
    "S pre": ("similarity_pretrained", Format(2, interval=False)),
    "Change": ("perceptual", Format(2, better="low")),
    "SSIM": ("ssim", Format(2, interval=False)),
    "FD pre": ("frechet_pretrained", Format(2, interval=False)),
    "FD data": ("frechet_data", Format(2, interval=False)),
    "KD pre": ("kernel_pretrained", Format(3, interval=False)),
    "Plausible %": ("plausible", Format(0, "percent", interval=False)),
}
PUBLISHED = dict(zip(COLUMNS, (Format(2), Format(2), Format(2, interval=False), Format(1), Format(1)), strict=True))
FORMATS = {**{name: style for name, (_, style) in METRICS.items()}, **PUBLISHED}
FORMATS["Again"] = Format(0, "percent", interval=False)  # how often a setting would be chosen again
OURS, THEIRS = "measured here", "published"
BOLD = (
    f"Bold: the least change among at least two that forget (S at most {LIMIT:g}), where no interval of another "
    "overlaps its."
)
# What the intervals of a row of one target and one seed are over.
WITHIN = "intervals of S are over the draws of the noise, of Change over the pairs, and none is over targets"
ONE = {"targets": "mean", "count": 1}  # the mean over lists of a single target


def counts(lookup: Lookup, **labels) -> list[int]:
    """How many targets in sequence were forgotten, ascending."""
    return sorted(int(each) for each in lookup.rows("similarity_target", targets="mean", **labels)["count"].unique())


def explained(params: dict, study: str) -> str:
    """What the columns are, and over how many targets, seeds, draws and pairs; from the configuration."""
    judges = params["judges"]
    return (
        f"S: {judges['descriptor']} of target and reconstruction; up to {LIMIT:g}, the source’s limit, is forgotten. "
        f"S pre: of both models’ reconstructions. Change: {judges['perceptual']}, and SSIM, of same-seed samples. FD: "
        f"{judges['features']} to the pretrained model’s samples and to data; KD: kernel distance to the former, "
        "unbiased. Plausible: samples no farther from the data than all but 1 % of held-out pictures. "
        f"{basis(params, study)}"
    )


def basis(params: dict, study: str, to_a_row: bool = False, within: str = WITHIN) -> str:
    """How many targets, seeds, draws and pairs a study's rows rest on, and what their intervals are over.

    to_a_row: whether each row is of one target alone. within: what they are over where a row is of one target and seed.
    """
    given, counted = params["studies"][study], params["evaluation"]
    alone = [targets for targets in given["targets"] if len(targets) == 1]
    singles = sorted({targets[0] for targets in alone or given["targets"]})
    seeds = len(given["seeds"])
    over = (
        f"t intervals over the {len(singles)} targets, their seeds averaged"
        if len(singles) > 1 and not to_a_row
        else f"t intervals over the {seeds} seeds"
        if seeds > 1
        else within
    )
    pairs = f"{counted['pairs']} pairs of samples{' of each' if seeds > 1 else ''}"
    targets = "one target to a row" if to_a_row else f"{listed(len(singles), 'target')} ({', '.join(singles)})"
    return f"Here: {targets}, {listed(seeds, 'seed')}; {counted['draws']} draws of the noise, {pairs}; {over}."


def listed(count: int, noun: str) -> str:
    """A count with its noun: one target, 6 targets."""
    return f"one {noun}" if count == 1 else f"{count} {noun}s"


def forgets(row: dict) -> bool:
    """Whether a row's S, measured here, is at most the limit: only such rows are compared with each other."""
    return bool(row[(OURS, "S")].value <= LIMIT)


def line(here: Lookup, name: str, labels: dict, published: tuple | None = None) -> dict:
    """One row: the study's metrics under these labels (means over single targets), and the published ones."""
    labels = {**ONE, **labels}
    found = {(OURS, column): here.get(metric, **labels) for column, (metric, _) in METRICS.items()}
    theirs = {
        (THEIRS, column): Estimate(math.nan if v is None else v)
        for column, v in zip(COLUMNS, published or NONE, strict=True)
    }
    return {("", "Row"): name, **found, **theirs}


def worst_similarity(here: Lookup, **labels) -> float:
    """The highest similarity of a single target that a setting was tried on, seeds averaged: what the rule reads."""
    found = here.rows("similarity_target", **labels)
    single = found[(found["targets"] != "mean") & ~found["targets"].str.contains("+", regex=False)]
    return float(single["value"].max()) if len(single) else math.nan


def own_similarity(lookup: Lookup, model: str, surrogate: str, study: str) -> float:
    """How alike the surrogate itself is to the study's targets, on average."""
    targets = lookup.rows("similarity_target", model=model, study=study, method="unpromptable")["targets"].unique()
    alike = lookup.rows("surrogate_similarity", model=model, surrogate=surrogate)
    return float(alike.loc[alike["targets"].isin(targets), "value"].mean())


def table(
    rows: list[dict],
    first: str,
    caption: str,
    label: str,
    notes: str,
    full: bool = False,
    **settings,
) -> Table:
    """The table of such rows; its first column is named `first`. full: with the kernel distance too.

    Rows that forget are compared with each other, unless `compared` says which.
    """
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples([(top, first if last == "Row" else last) for top, last in frame.columns])
    shown = [
        column
        for column in frame.columns
        if (column[0] != THEIRS or any(not math.isnan(cell.value) for cell in frame[column]))
        and (full or column[1] != "KD pre")
    ]
    settings.setdefault("compared", [forgets(row) for row in rows])
    return Table(
        frame[shown],
        caption=caption,
        label=label,
        formats=FORMATS,
        wide=True,
        size="scriptsize",
        notes=notes,
        bold=BOLD,
        **settings,
    )
