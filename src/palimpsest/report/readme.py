"""Bring the README's verdicts, the page of results and the headline figures up to date with runs: `make readme`."""

import re
import shutil
from pathlib import Path

import pandas as pd

from palimpsest.report.typeset import MISSING
from palimpsest.run import Input, Output, UserError, step

BEGIN, END = "<!-- scorecard:begin -->", "<!-- scorecard:end -->"
# One of the quantities of report.claims: its text, its value, the interval, and the sign of a percentage.
QUANTITY = re.compile(
    rf"(?P<text>.+?) = (?P<value>[<−]?[\d∞][^ ,]*|{MISSING})(?P<interval> \[[^]]*\])?(?P<sign> %)?(?:, |$)"
)
MOST = 8
SECOND_HAND = "second-hand"  # what a claim says of a published value that was not read in the source itself


def readme(
    text: Input,
    results: Input,
    scorecards: list[Input],
    figures: list[Input],
    updated: Output,
    updated_results: Output,
    *,
    experiments: list[str],
    pictures: str,
) -> None:
    """Write the README with the verdicts counted, and the page of results with a line a claim, between their markers.

    scorecards: one of each of the experiments, in their order; what was measured is shown of the last.
    pictures: the folder that the figures are copied into.
    """
    tables = [pd.read_csv(scorecard, dtype=str, keep_default_na=False) for scorecard in scorecards]
    verdicts = dict(zip(experiments, tables, strict=True))
    pages = {updated: replaced(text, counted(verdicts)), updated_results: replaced(results, markdown(verdicts))}
    for path, page in pages.items():
        path.write_text(page, encoding="utf-8")
    for figure in figures:
        shutil.copyfile(figure, f"{pictures}/{figure.name}")


def replaced(page: Path, table: str) -> str:
    """A page with a table between its markers. Raises UserError for a page that lacks them."""
    before, found, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise UserError(f"{page} lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def counted(verdicts: dict[str, pd.DataFrame]) -> str:
    """How many claims of each family have which verdict in each experiment, in Markdown; ours are claims too."""
    every = pd.concat([table.assign(experiment=name) for name, table in verdicts.items()])
    kinds = ["holds", "mixed", "fails", *sorted({*every["verdict"]} - {"holds", "mixed", "fails"})]
    lines = [f"| claims of | run | {' | '.join(kinds)} |", f"|{' --- |' * (len(kinds) + 2)}"]
    for family, rows in every.groupby("family", sort=False):
        for experiment in verdicts:
            counts = rows.loc[rows["experiment"] == experiment, "verdict"].value_counts()
            cells = (f"`{family}`", f"`{experiment}`", *(str(counts.get(kind, 0)) for kind in kinds))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *(["", compared(verdicts)] if len(verdicts) > 1 else [])])


def compared(verdicts: dict[str, pd.DataFrame]) -> str:
    """How many claims have one verdict in all experiments, and how many contradictory ones, in a sentence."""
    found = [{*each} for each in zip(*(table["verdict"] for table in verdicts.values()), strict=True)]
    same, opposed = sum(len(each) == 1 for each in found), sum({"holds", "fails"} <= each for each in found)
    names = ", ".join(f"`{name}`" for name in verdicts)
    return (
        f"Of {len(found)} claims {same} have the same verdict in {names},"
        f" and {opposed} hold in one and fail in another;"
        " the others are open, or not testable, in one of them."
    )


def markdown(verdicts: dict[str, pd.DataFrame]) -> str:
    """The scorecard of the last experiment as a Markdown table of one short line a claim, with the verdicts of all.

    The report has it in full. Raises UserError for experiments whose claims are not the same.
    """
    *_, (last, shown) = verdicts.items()
    for name, table in verdicts.items():
        if [*table["statement"]] != [*shown["statement"]]:
            raise UserError(f"the scorecards of {name} and {last} are of different claims: run both on this code")
    lines = [f"| claim | published | `{last}` | {' | '.join(f'verdict in `{name}`' for name in verdicts)} |"]
    lines.append(f"|{' --- |' * (len(verdicts) + 3)}")
    for row, *verdict in zip(shown.itertuples(), *(table["verdict"] for table in verdicts.values()), strict=True):
        cells = (row.statement, in_brief(row.published), side_by_side(row.ours) or row.reason, *verdict)
        lines.append(f"| {' | '.join(cell.replace('|', '¦') for cell in cells)} |")
    return "\n".join(lines)


def in_brief(published: str) -> str:
    """What a source published, without what follows a semicolon or stands in brackets, unless that is SECOND_HAND."""
    return re.sub(rf" \((?!{SECOND_HAND}\))[^)]*\)", "", published.split("; ")[0])


def side_by_side(ours: str) -> str:
    """What was measured, without intervals: "recall = 18 / 34 %" for two models; MOST quantities at most.

    ours: "Gumbel: recall = 18 [14, 21] %, null = 9 % (holds); nearest: recall = 34 %, null = 13 % (holds)", or the
    quantities of one model. Where another model was left out, the name of the one that was not is said.
    """
    if not ours:
        return ""
    named = [re.fullmatch(r"(?:(.+?): )?(.+?)(?: \((?:holds|fails|mixed)\))?", part) for part in ours.split("; ")]
    models = [quantities(each[2]) for each in named]
    if len({tuple(each["text"] for each in model) for model in models}) != 1:
        raise UserError(f"the scorecard's quantities differ between models: {ours!r}")
    shown = [
        f"{each[0]['text']} = {' / '.join(dict.fromkeys(one['value'] for one in each))}{each[0]['sign'] or ''}"
        for each in zip(*models, strict=True)
    ]
    alone = f"{named[0][1]}: " if len(named) == 1 and named[0][1] else ""
    return alone + ", ".join([*shown[:MOST], "…"] if len(shown) > MOST else shown)


def quantities(text: str) -> list[re.Match]:
    """The quantities of one model; raises UserError for a text that is made of anything else."""
    found = list(QUANTITY.finditer(text))
    if "".join(each[0] for each in found) != text:
        raise UserError(f"the scorecard has {text!r}, which is no list of quantities")
    return found


if __name__ == "__main__":
    step(readme)
