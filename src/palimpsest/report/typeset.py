"""Typesetting: numbers with their intervals, and tables as LaTeX, CSV and HTML twins.

Text is plain Unicode everywhere; `tex` is the one place where it becomes LaTeX.
"""

import html
import math
import re
from dataclasses import dataclass, field
from itertools import groupby, pairwise
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
    mark = ""  # what stands behind the value


class Marked(Estimate):
    """One that a table's caption speaks of."""

    mark = "†"


@dataclass(frozen=True)
class Format:
    """How a column's numbers are shown: decimals, as a percentage, as a p value; which direction is better."""

    digits: int = 2
    kind: Literal["number", "percent", "p"] = "number"
    better: Literal["", "low", "high"] = ""
    interval: bool = True


def tex(text: str) -> str:
    """Plain text as LaTeX; no line breaks before a sign of percentage."""
    return "".join(LATEX.get(sign, sign) for sign in text.replace(" %", "\u2009%"))


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
    shown = number(given.value, style) + given.mark
    if not style.interval or math.isnan(given.low) or math.isnan(given.high):
        return shown, ""
    return shown, f"[{number(given.low, style)}, {number(given.high, style)}]"


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    frame: its cells: text, numbers or Estimates; two-level columns give a spanning header. A column named by `group`
    becomes a spanning row above its rows. formats: by column (its last level), or, as a list, by row. widths: columns
    of running text, as a share of the line. wide: over both columns of the page. long: no float, but lines that may go
    on overleaf, where the page has one column. compared: the rows among which the best value of a column is bold (all,
    unless given). bold: what that means, said in the notes where a cell is bold. size: of the type, as LaTeX names it.

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
    long: bool = False
    size: str = "footnotesize"
    compared: list[bool] | None = None
    bold: str = ""

    def write(self, tex_path: Path, csv_path: Path, html_path: Path) -> None:
        """Write the three twins."""
        tex_path.write_text(self.latex(), encoding="utf-8")
        self.numbers().to_csv(csv_path, index=False, lineterminator="\n", float_format="%.6g")
        html_path.write_text(self.html(), encoding="utf-8")

    def latex(self) -> str:
        """The whole float, or the long table: caption, booktabs rules, cells, notes."""
        body = self._body()
        columns = rf"{{@{{}}{self._alignments(body.columns)}@{{}}}}"
        setting = [
            rf"\{self.size}",
            rf"\setlength{{\tabcolsep}}{{{'5pt' if self.widths else '2pt' if self.size == 'scriptsize' else '2.5pt'}}}",
        ]
        named = rf"\caption{{{tex(self.caption)}}}\label{{{self.label}}}"
        head, lines = [r"\toprule", *self._header(body.columns)], self._lines(body)
        notes = rf"\scriptsize {tex(self._said())}" if self._said() else ""
        if self.long:
            started = [rf"\begin{{longtable}}{columns}", named + r"\\", *head, r"\endfirsthead", *head, r"\endhead"]
            lines = ["{", *setting, *started, r"\bottomrule", r"\endfoot", *lines, r"\end{longtable}"]
            return "\n".join([*lines, *([rf"\raggedright\noindent{notes}\par"] if notes else []), "}", ""])
        name = "table*" if self.wide else "table"
        started = [rf"\begin{{{name}}}[{'tp' if self.wide else 'tbp'}]", r"\centering", named, *setting]
        cells = [rf"\begin{{tabular}}{columns}", *head, *lines, r"\bottomrule", r"\end{tabular}"]
        lines = [*started, r"\fitted{%", *cells, "}"]
        below = [rf"\par\smallskip\parbox{{\linewidth}}{{{notes}}}"] if notes else []
        return "\n".join([*lines, *below, rf"\end{{{name}}}", ""])

    def html(self) -> str:
        """The same cells as an HTML page for the interactive report."""
        body, groups = self._body(), self._groups()
        rows = [_html_row(_spans(body.columns), "th")] if body.columns.nlevels > 1 else []
        rows.append(_html_row([(self._head(column), 1) for column in body.columns], "th"))
        for position in range(len(body)):
            if groups and groups[position] and (position == 0 or groups[position] != groups[position - 1]):
                rows.append(_html_row([(groups[position], len(body.columns))], "th"))
            rows.append(f"<tr>{''.join(self._html_cell(column, position) for column in body.columns)}</tr>")
        style = "body{font:14px sans-serif}td,th{padding:2px 8px;text-align:left;vertical-align:top}"
        parts = [f"<!doctype html><meta charset='utf-8'><style>{style}</style>", f"<p>{html.escape(self.caption)}</p>"]
        parts += ["<table>", *rows, f"</table><p>{html.escape(self._said())}</p>"]
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

    def _said(self) -> str:
        """The notes, and what bold means where a cell is bold."""
        columns = self._body().columns
        bold = self.bold and any(self._is_best(column, place) for column in columns for place in range(len(self.frame)))
        return f"{self.notes} {self.bold if bold else ''}".strip()

    def _lines(self, body: pd.DataFrame) -> list[str]:
        groups, lines = self._groups(), []
        for position in range(len(body)):
            if groups and (position == 0 or groups[position] != groups[position - 1]):
                lines += [r"\addlinespace"] if position else []
                if groups[position]:
                    lines.append(
                        rf"\multicolumn{{{len(body.columns)}}}{{@{{}}l}}{{\textit{{{tex(groups[position])}}}}} \\"
                    )
            elif (self.wide or self.long) and self.widths and position:
                lines.append(r"\addlinespace[2pt]")  # rows of several lines need a gap between them
            lines.append(" & ".join(self._latex_cell(column, position) for column in body.columns) + r" \\")
        return lines

    def _alignments(self, columns: pd.Index) -> str:
        """How every column is set, with a gutter between those of two spanning heads."""
        parts = [self._alignment(column) for column in columns]
        if columns.nlevels == 1:
            return "".join(parts)
        apart = (after[0] != before[0] for before, after in pairwise(columns))
        return parts[0] + "".join("!{\\hspace{6pt}}" * gap + part for gap, part in zip(apart, parts[1:], strict=True))

    def _alignment(self, column) -> str:
        width = self.widths.get(_last(column))
        if width:
            return rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}"
        return "l" if all(isinstance(cell, str) for cell in self.frame[column]) else "r"

    def _header(self, columns: pd.Index) -> list[str]:
        last = " & ".join(tex(self._head(column)) for column in columns) + r" \\"
        if columns.nlevels == 1:
            return [last, r"\midrule"]
        spans, rules, start = [], [], 1
        for top, count in _spans(columns):
            spans.append(rf"\multicolumn{{{count}}}{{c}}{{{tex(top)}}}")
            rules += [rf"\cmidrule(lr){{{start}-{start + count - 1}}}"] if top else []
            start += count
        return [" & ".join(spans) + r" \\", "".join(rules), last, r"\midrule"]

    def _text(self, column, position: int) -> str:
        cell, style = self.frame[column].iloc[position], self._format(column, position)
        if isinstance(cell, str):
            return cell + self._row_unit(column, position)
        return " ".join(estimate(cell if isinstance(cell, Estimate) else Estimate(float(cell)), style)).strip()

    def _html_cell(self, column, position: int) -> str:
        text = html.escape(self._text(column, position))
        return f"<td><b>{text}</b></td>" if self._is_best(column, position) else f"<td>{text}</td>"

    def _latex_cell(self, column, position: int) -> str:
        cell, style = self.frame[column].iloc[position], self._format(column, position)
        if isinstance(cell, str):
            return tex(cell + self._row_unit(column, position))
        shown, interval = estimate(cell if isinstance(cell, Estimate) else Estimate(float(cell)), style)
        shown = tex(shown)
        if self._is_best(column, position):
            shown = rf"\textbf{{{shown}}}"
        smaller = r"\fontsize{6}{7}\selectfont" if self.size == "scriptsize" else r"\scriptsize"
        return rf"{shown} {{{smaller} {tex(interval)}}}" if interval else shown

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

    def _is_best(self, column, position: int) -> bool:
        """Whether a cell is the best of its column and group, where no other's interval overlaps its."""
        style = self._format(column, position)
        return bool(style.better) and position == self._best(column, style, position)

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


def _spans(columns: pd.Index) -> list[tuple[str, int]]:
    """The spanning heads of two-level columns, each with how many columns it spans."""
    return [(top, len(list(members))) for top, members in groupby(column[0] for column in columns)]


def _html_row(cells: list[tuple[str, int]], tag: str) -> str:
    """A row of cells, each over so many columns."""
    shown = (f'<{tag} colspan="{count}">{html.escape(text)}</{tag}>' for text, count in cells)
    return f"<tr>{''.join(shown)}</tr>"


def _last(column) -> str:
    return column[-1] if isinstance(column, tuple) else column


def _joined(column) -> str:
    return " ".join(part for part in column if part) if isinstance(column, tuple) else column
