"""Bring the README's scorecard and headline figures up to date with a run: `make readme`."""

import re
import shutil

import pandas as pd

from palimpsest.run import Input, Output, UserError, step

BEGIN, END = "<!-- scorecard:begin -->", "<!-- scorecard:end -->"


def readme(text: Input, scorecard: Input, figures: list[Input], updated: Output, *, pictures: str) -> None:
    """Write the README with the scorecard as a table between its markers; copy the figures into `pictures`."""
    before, found, rest = text.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise UserError(f"{text} lacks the markers {BEGIN} and {END}")
    updated.write_text(f"{before}{BEGIN}\n{markdown(pd.read_csv(scorecard))}\n{END}{after}", encoding="utf-8")
    for figure in figures:
        shutil.copyfile(figure, f"{pictures}/{figure.name}")


def markdown(verdicts: pd.DataFrame) -> str:
    """The scorecard as a Markdown table of one short line a claim; the report has it in full."""
    lines = ["| claim | published | here | verdict |", "| --- | --- | --- | --- |"]
    for row in verdicts.fillna("").itertuples():
        published = re.split(r"; | \(", row.published)[0]
        cells = (row.statement, published, in_brief(row.ours or row.reason), f"**{row.verdict}**")
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def in_brief(ours: str) -> str:
    """The first two quantities of the first model, without intervals."""
    first = re.sub(r" \[[^\]]*\]| \((?:holds|fails|mixed)\)", "", ours.split("; ")[0])
    return ", ".join(first.split(", ")[:2])


if __name__ == "__main__":
    step(readme)
