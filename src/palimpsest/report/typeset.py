"""Typesetting: numbers with their intervals, and tables as LaTeX, CSV and HTML twins.

Text is plain Unicode everywhere; `tex` is the one place where it becomes LaTeX.
"""

import html
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

MISSING = "–"
LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "Δ": r"$\Delta$",
    "δ": r"$\delta$",
    "σ": r"$\sigma$",
    "²": "$^2$",
    "\u2009": r"\,",
    "“": "``",
    "”": "''",
    "∞": r"$\infty$",
    "…": r"\ldots{}",
    "’": "'",
    "†": r"$\dagger$",
}


class Estimate(NamedTuple):
    """A value and its 95 % interval (not a number where there is none)."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Format:
    """How a column's numbers are shown: decimals, as a percentage, as a p value; which direction is better."""

    digits: int = 2
    kind: Literal["number", "percent", "p"] = "number"
    better: Literal["", "low", "high"] = ""
    interval: bool = True


def tex(text: str) -> str:
    """Plain text as LaTeX."""
    return "".join(LATEX.get(sign, sign) for sign in text)


def number(value: float, style: Format = Format()) -> str:
    """One number as text, already rounded: `0.62`, `−1.4`, `12.3 %`, `<0.001`."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if style.kind == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    shown = f"{value * 100 if style.kind == 'percent' else value:,.{style.digits}f}".replace(",", "\u2009")
    if re.fullmatch(r"-0(\.0*)?", shown):
        shown = shown[1:]
    return shown.replace("-", "−")


def estimate(given: Estimate, style: Format) -> tuple[str, str]:
    """The value and its interval as text; the interval is empty where there is none."""
    if not style.interval or math.isnan(given.low) or math.isnan(given.high):
        return number(given.value, style), ""
    return number(given.value, style), f"[{number(given.low, style)}, {number(given.high, style)}]"


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    frame: its cells: text, numbers or Estimates; two-level columns give a spanning header. A column named by `group`
    becomes a spanning row above its rows. formats: by column (its last level), or, as a list, by row. widths: columns
    of running text, as a share of the line. wide: over both columns of the page. compared: the rows among which the
    best value of a column is bold (all, unless given). size: of the type, as LaTeX names it.

    Percentages are shown without a sign: their column, or row, says so.
    """

    frame: pd.DataFrame
    caption: str
    label: str
    formats: dict[str, Format] | list[Format] = field(default_factory=dict)
    notes: str = ""
    group: str = ""
    widths: dict[str, float] = field(default_factory=dict)
    wide: bool = False
    size: str = "footnotesize"
    compared: list[bool] | None = None

    def write(self, tex_path: Path, csv_path: Path, html_path: Path) -> None:
        """Write the three twins."""
        tex_path.write_text(self.latex(), encoding="utf-8")
        self.numbers().to_csv(csv_path, index=False, lineterminator="\n", float_format="%.6g")
        html_path.write_text(self.html(), encoding="utf-8")

    def latex(self) -> str:
        """The whole float: caption, booktabs rules, cells, notes."""
        float_name = "table*" if self.wide else "table"
        body = self._body()
        groups = self._groups()
        lines = [
            rf"\begin{{{float_name}}}[{'tp' if self.wide else 'tbp'}]",
            r"\centering",
            rf"\caption{{{tex(self.caption)}}}",
        ]
        lines += [rf"\label{{{self.label}}}", rf"\{self.size}", r"\setlength{\tabcolsep}{2.5pt}"]
        lines += [rf"\begin{{tabular}}{{@{{}}{''.join(self._alignment(c) for c in body.columns)}@{{}}}}", r"\toprule"]
        lines += self._header(body.columns)
        for position in range(len(body)):
            if groups and (position == 0 or groups[position] != groups[position - 1]):
                lines += [r"\addlinespace"] if position else []
                if groups[position]:
                    lines.append(
                        rf"\multicolumn{{{len(body.columns)}}}{{@{{}}l}}{{\textit{{{tex(groups[position])}}}}} \\"
                    )
            elif self.wide and self.widths and position:
                lines.append(r"\addlinespace[2pt]")  # rows of several lines need a gap between them
            lines.append(" & ".join(self._latex_cell(column, position) for column in body.columns) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        if self.notes:
            lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {tex(self.notes)}}}")
        return "\n".join([*lines, rf"\end{{{float_name}}}", ""])

    def html(self) -> str:
        """The same cells as an HTML page for the interactive report."""
        body, groups = self._body(), self._groups()
        heads = "".join(f"<th>{html.escape(_joined(column) + self._unit(column))}</th>" for column in body.columns)
        rows = []
        for position in range(len(body)):
            if groups and groups[position] and (position == 0 or groups[position] != groups[position - 1]):
                rows.append(f'<tr><th colspan="{len(body.columns)}">{html.escape(groups[position])}</th></tr>')
            cells = "".join(f"<td>{html.escape(self._text(column, position))}</td>" for column in body.columns)
            rows.append(f"<tr>{cells}</tr>")
        style = "body{font:14px sans-serif}td,th{padding:2px 8px;text-align:left;vertical-align:top}"
        parts = [f"<!doctype html><meta charset='utf-8'><style>{style}</style>", f"<p>{html.escape(self.caption)}</p>"]
        parts += [f"<table><tr>{heads}</tr>", *rows, f"</table><p>{html.escape(self.notes)}</p>"]
        return "\n".join([*parts, ""])

    def numbers(self) -> pd.DataFrame:
        """The unrounded numbers: an Estimate as three columns."""
        columns = {}
        for column in self.frame.columns:
            cells, name = list(self.frame[column]), _joined(column)
            if any(isinstance(cell, Estimate) for cell in cells):
                full = [cell if isinstance(cell, Estimate) else Estimate(math.nan) for cell in cells]
                columns[name] = [cell.value for cell in full]
                columns[f"{name} low"] = [cell.low for cell in full]
                columns[f"{name} high"] = [cell.high for cell in full]
            else:
                columns[name] = cells
        return pd.DataFrame(columns)

    def _body(self) -> pd.DataFrame:
        return self.frame[[column for column in self.frame.columns if _last(column) != self.group]]

    def _groups(self) -> list[str]:
        named = [column for column in self.frame.columns if self.group and _last(column) == self.group]
        return [str(value) for value in self.frame[named[0]]] if named else []

    def _alignment(self, column) -> str:
        width = self.widths.get(_last(column))
        if width:
            return rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}"
        return "l" if all(isinstance(cell, str) for cell in self.frame[column]) else "r"

    def _header(self, columns: pd.Index) -> list[str]:
        last = " & ".join(tex(self._head(column)) for column in columns) + r" \\"
        if columns.nlevels == 1:
            return [last, r"\midrule"]
        spans, rules, start = [], [], 0
        tops = [column[0] for column in columns]
        while start < len(tops):
            stop = start
            while stop < len(tops) and tops[stop] == tops[start]:
                stop += 1
            spans.append(rf"\multicolumn{{{stop - start}}}{{c}}{{{tex(tops[start])}}}")
            if tops[start]:
                rules.append(rf"\cmidrule(lr){{{start + 1}-{stop}}}")
            start = stop
        return [" & ".join(spans) + r" \\", "".join(rules), last, r"\midrule"]

    def _text(self, column, position: int) -> str:
        cell, style = self.frame[column].iloc[position], self._format(column, position)
        if isinstance(cell, str):
            return cell + self._row_unit(column, position)
        return " ".join(estimate(cell if isinstance(cell, Estimate) else Estimate(float(cell)), style)).strip()

    def _latex_cell(self, column, position: int) -> str:
        cell, style = self.frame[column].iloc[position], self._format(column, position)
        if isinstance(cell, str):
            return tex(cell + self._row_unit(column, position))
        shown, interval = estimate(cell if isinstance(cell, Estimate) else Estimate(float(cell)), style)
        shown = tex(shown)
        if style.better and position == self._best(column, style, position):
            shown = rf"\textbf{{{shown}}}"
        return rf"{shown} {{\scriptsize {tex(interval)}}}" if interval else shown

    def _unit(self, column) -> str:
        percent = isinstance(self.formats, dict) and self._format(column, 0).kind == "percent"
        return " (%)" if percent and "%" not in _joined(column) else ""

    def _head(self, column) -> str:
        return _last(column) + self._unit(column)

    def _row_unit(self, column, position: int) -> str:
        first = column == self._body().columns[0]
        return " (%)" if first and isinstance(self.formats, list) and self.formats[position].kind == "percent" else ""

    def _format(self, column, position: int) -> Format:
        if isinstance(self.formats, list):
            return self.formats[position]
        return self.formats.get(_last(column), Format())

    def _best(self, column, style: Format, position: int) -> int | None:
        """The row of the best value of a column within the group of a row, where no other's interval overlaps its."""
        groups = self._groups() or [""] * len(self.frame)
        compared = self.compared or [True] * len(self.frame)
        cells = list(self.frame[column])
        rows = [
            index
            for index, cell in enumerate(cells)
            if compared[index] and groups[index] == groups[position] and not math.isnan(cell.value)
        ]
        sign = 1 if style.better == "high" else -1
        rows.sort(key=lambda index: -sign * cells[index].value)
        if len(rows) < 2:
            return None
        near, far = ("low", "high") if style.better == "high" else ("high", "low")
        edge = sign * _bound(cells[rows[0]], near)
        return rows[0] if all(edge > sign * _bound(cells[index], far) for index in rows[1:]) else None


def _bound(given: Estimate, end: str) -> float:
    """An end of the interval; the value where there is none."""
    found = getattr(given, end)
    return given.value if math.isnan(found) else found


def _last(column) -> str:
    return column[-1] if isinstance(column, tuple) else column


def _joined(column) -> str:
    return " ".join(part for part in column if part) if isinstance(column, tuple) else column
