"""Looking measurements up: one estimate for one set of labels, seeds averaged.

The expression language of claims and quoted numbers reads measurements through here and through nothing else.
It is arithmetic over `value("metric", label="...")`, `low(...)`, `high(...)`, `largest(...)`, `smallest(...)` and
`n(...)`, the named constants it is given (such as `margin`), `abs`, `min` and `max`. Along a sweep,
`crossing("metric", "key", limit, label="...")` is the smallest `key` at which the metric is at most the limit, and
`before(...)` the last key of the sweep below that one: the limit is reached somewhere between the two. A label may take
either as its value. Anything else is refused.
"""

import ast
import difflib
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.metrics import measurements
from palimpsest.metrics.halves import HALVES
from palimpsest.metrics.intervals import student
from palimpsest.report.parts import defaults_of
from palimpsest.report.typeset import Estimate
from palimpsest.run import UserError

NUMBERS = ("value", "low", "high", "n", "largest", "smallest", "seeds")
SHARED = ("judges",)  # measured once for all families
MEANS_OF_SHARES = ("kept",)  # metrics that are no count of so many, but end at one all the same


class Missing(Exception):
    """No measurement has the labels asked for: its message says which; method: whose it would be, if that is asked."""

    def __init__(self, message: str, method: str = ""):
        super().__init__(message)
        self.method = method


def load(paths: Iterable[Path], family: str) -> pd.DataFrame:
    """The measurements of one family and of the judges in some files, the keys of `variant` as columns."""
    frame = measurements.joined(paths)
    own = frame[frame["family"].isin([family, *SHARED])].reset_index(drop=True)
    if own.empty and len(frame):
        raise UserError(f"{paths[0]} holds no measurement of the family {family!r}: run its measuring rules first")
    return measurements.explode(own)


def of_half(frame: pd.DataFrame, half: str) -> pd.DataFrame:
    """What half of the seeds measured, one of HALVES, and what was measured once.

    A step that reads several seeds itself says by the label `half` which ones it read; what it says of no half is that
    of both.
    """
    if "half" in frame:
        others = [name for name in labels_of(frame) if name != "half"]
        told = (frame["half"] != "").groupby([frame[name] for name in others], dropna=False).transform("any")
        frame = frame[(frame["half"] == half) | ~told].assign(half="")
    ordered = frame.sort_values("seed", kind="stable")
    groups = ordered.groupby(labels_of(frame), dropna=False, sort=False)
    place, size = groups.cumcount(), groups["value"].transform("size")
    early = place < (size + 1) // 2
    return ordered[(size == 1) | (early if half == HALVES[0] else ~early)].sort_index()


def is_halved(frame: pd.DataFrame) -> bool:
    """Whether several seeds stand for any of these measurements."""
    return bool(frame["half"].any()) if "half" in frame else bool(frame.duplicated(labels_of(frame)).any())


def labels_of(frame: pd.DataFrame) -> list[str]:
    """The columns that say what was measured: those of one measurement differ by seeds alone."""
    return [name for name in frame.columns if name not in ("seed", "variant", "value", "low", "high", "n")]


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per set of labels: the mean over seeds, its interval, and the extremes over seeds.

    The interval joins two independent errors in quadrature: that of the images (the mean half-width of the seeds'
    own 95 % intervals; the images are the same for every seed, so it does not shrink) and that of the seeds
    (the half of a t interval of their mean). With one seed it is that seed's interval. It ends where the quantity does.
    """
    keys = labels_of(frame)
    counts = (frame["value"] * frame["n"]).astype(float)
    counted = ((frame["n"] > 0) & np.isclose(counts, counts.round())) | frame["metric"].isin(MEANS_OF_SHARES)
    share = counted & (frame["low"] >= 0) & (frame["high"] <= 1)
    spread = frame.assign(below=frame["value"] - frame["low"], above=frame["high"] - frame["value"], share=share)
    groups = spread.groupby(keys, dropna=False, sort=False)
    mean = groups.agg(
        value=("value", "mean"),
        below=("below", "mean"),
        above=("above", "mean"),
        error=("value", "sem"),
        floor=("low", "min"),
        share=("share", "all"),
        largest=("value", "max"),
        smallest=("value", "min"),
        n=("n", "sum"),
        seeds=("value", "size"),
    ).reset_index()
    between = (student(mean["seeds"]) * mean.pop("error")).fillna(0.0)
    low = mean["value"] - np.hypot(mean.pop("below"), between)
    high = mean["value"] + np.hypot(mean.pop("above"), between)
    # A quantity whose every interval stays at or above zero (a share, a distance) keeps doing so.
    low = low.where(~((mean.pop("floor") >= 0) & (low < 0)), 0.0)
    # A whole count of so many things, between none and all, is a share for every seed; or it is known to be one.
    high = high.where(~(mean.pop("share") & (high > 1)), 1.0)
    return mean.assign(low=low, high=high)


class Lookup:
    """Estimates by metric and labels. A label that is not given must not matter: it may take one value only.

    A metric that no measurement is of is an error, unless it is one of `optional`: those that may not be measured.
    """

    def __init__(self, paths: Sequence[Path], family: str, optional: Iterable[str] = (), **labels) -> None:
        """Look up in measurement files of a family; `labels` (a model, say) hold for every question."""
        self.measured = load(paths, family)
        self.table = over_seeds(self.measured)
        self.metrics = {*self.table["metric"], *optional}
        self.defaults = {"half": "", **defaults_of(family)}  # of all seeds, unless a half is asked for
        self.labels = labels

    def of(self, **labels) -> "Lookup":
        """The same measurements with further fixed labels."""
        narrowed = copy(self)
        narrowed.labels = {**self.labels, **labels}
        return narrowed

    def halves(self) -> list["Lookup"]:
        """The same over each half of the seeds; none where no measurement is of several."""
        if not is_halved(self.measured):
            return []
        found = [copy(self) for _ in HALVES]
        for each, half in zip(found, HALVES, strict=True):
            each.table = over_seeds(of_half(self.measured, half))
        return found

    def row(self, metric: str, **labels) -> pd.Series:
        """The one row that the labels select; raises Missing for none, UserError when they leave several."""
        wanted = {**self.labels, **labels}
        rows = self.rows(metric, **labels)
        described = ", ".join([metric, *(f"{name}={value}" for name, value in wanted.items())])
        if rows.empty or rows["value"].isna().all():
            raise Missing(f"not measured: {described}", str(wanted.get("method", "")))
        if len(rows) > 1:
            varying = [name for name in rows.columns if name not in NUMBERS and len(set(rows[name])) > 1]
            choices = "; ".join(f"{name}: {', '.join(sorted(map(str, rows[name].unique())))}" for name in varying)
            raise UserError(f"{described} selects {len(rows)} measurements. Give a label more ({choices})")
        return rows.iloc[0]

    def get(self, metric: str, **labels) -> Estimate:
        """The estimate for a table or figure: not a number where there is no measurement."""
        try:
            row = self.row(metric, **labels)
        except Missing:
            return Estimate(math.nan)
        return Estimate(row["value"], row["low"], row["high"])

    def rows(self, metric: str, **labels) -> pd.DataFrame:
        """Every row (seeds averaged) with these labels, for curves; a default holds for a label that is not given."""
        if metric not in self.metrics:
            alike = ", ".join(difflib.get_close_matches(metric, self.metrics)) or "none of a like name"
            raise UserError(
                f"no measurement is of the metric {metric!r} (there is {alike}). Correct it, or list it as one that an "
                "experiment may lack"
            )
        wanted = {**self.labels, **labels}
        # An empty label asks for rows without it: all of them where no measurement has it.
        asked = {name: value for name, value in wanted.items() if value != "" or name in self.table}
        rows = measurements.select(self.table, metric=metric, **asked)
        for name, usual in self.defaults.items():
            if name in rows and name not in wanted:
                rows = rows[rows[name].isin(["", usual])]
        return rows


ARITHMETIC: Mapping[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
PLAIN_CALLS = {"abs": abs, "min": min, "max": max}
READS = ("value", "low", "high", "n", "largest", "smallest")


def evaluate(expression: str, lookup: Lookup, constants: Mapping[str, float] | None = None) -> float | bool:
    """The value of an expression of the language above; raises Missing for an absent measurement, or a divisor of 0."""
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise UserError(f"not an expression: {expression!r} ({error.msg})") from error
    return _Walk(lookup, constants or {}, expression).value_of(tree.body)


class _Walk:
    """The evaluator: it knows the node types listed here, and refuses every other one."""

    def __init__(self, lookup: Lookup, constants: Mapping[str, float], expression: str) -> None:
        self.lookup, self.constants, self.expression = lookup, constants, expression

    def value_of(self, node: ast.AST) -> float | bool:
        match node:
            case ast.Constant(value=int() | float()):
                return node.value
            case ast.Name() if node.id in self.constants:
                return self.constants[node.id]
            case ast.UnaryOp(op=ast.USub() | ast.Not()):
                return ARITHMETIC[type(node.op)](self.value_of(node.operand))
            case ast.BinOp() if type(node.op) in ARITHMETIC:
                left, right = self.value_of(node.left), self.value_of(node.right)
                if isinstance(node.op, ast.Div) and right == 0:
                    raise Missing(f"nothing is a share of {ast.unparse(node.right)}, which is 0 here")
                return ARITHMETIC[type(node.op)](left, right)
            case ast.Compare() if all(type(op) in ARITHMETIC for op in node.ops):
                terms = [self.value_of(term) for term in (node.left, *node.comparators)]
                pairs = zip(node.ops, terms, terms[1:], strict=False)
                return all(ARITHMETIC[type(op)](left, right) for op, left, right in pairs)
            case ast.BoolOp():
                # Every term is read, also when the first decides: an absent measurement must show.
                terms = [bool(self.value_of(term)) for term in node.values]
                return all(terms) if isinstance(node.op, ast.And) else any(terms)
            case ast.Call(func=ast.Name(id=name)) if name in PLAIN_CALLS and not node.keywords and node.args:
                return PLAIN_CALLS[name](*[self.value_of(term) for term in node.args])
            case ast.Call(func=ast.Name(id=name)) if name in READS:
                (metric,), labels = self.arguments(node, 1)
                found = float(self.lookup.row(metric, **labels)[name])
                if math.isnan(found):
                    raise Missing(f"{ast.unparse(node)} is not a number (no interval?)")
                return found
            case ast.Call(func=ast.Name(id=name)) if name in SWEEPS:
                (metric, key, limit), labels = self.arguments(node, 3)
                return SWEEPS[name](self.lookup.rows(metric, **labels), metric, key, limit)
        raise UserError(f"not allowed in an expression: {ast.unparse(node)!r} (in {self.expression!r})")

    def arguments(self, node: ast.Call, count: int) -> tuple[list, dict]:
        """The plain texts and numbers of a call, and its labels."""
        if len(node.args) != count or any(keyword.arg is None for keyword in node.keywords):
            raise UserError(f"{ast.unparse(node)!r}: give {count} plain arguments, then labels")
        return [self.word(term) for term in node.args], {each.arg: self.word(each.value) for each in node.keywords}

    def word(self, node: ast.AST) -> str | float:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        found = self.value_of(node)
        if math.isinf(found):
            raise Missing(f"{ast.unparse(node)} is not reached")
        return int(found) if found == int(found) else found


def crossing(rows: pd.DataFrame, metric: str, key: str, limit: float) -> float:
    """The smallest `key` of a sweep at which the metric is at most the limit; infinite where it never is."""
    keys, values = sweep(rows, metric, key)
    return float(keys[values <= limit].min()) if (values <= limit).any() else math.inf


def before(rows: pd.DataFrame, metric: str, key: str, limit: float) -> float:
    """The last `key` of a sweep below its crossing; 0 where the first key crosses already."""
    keys, _ = sweep(rows, metric, key)
    below = keys[keys < crossing(rows, metric, key, limit)]
    return float(below.max()) if len(below) else 0.0


def sweep(rows: pd.DataFrame, metric: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The keys (n,) of a sweep, as numbers, and the metric's values; raises Missing for none."""
    swept = rows[rows[key] != ""] if key in rows else rows.iloc[:0]
    if swept.empty:
        raise Missing(f"not measured: {metric} along {key}")
    return pd.to_numeric(swept[key]).to_numpy(float), swept["value"].to_numpy(float)


SWEEPS: Mapping[str, Callable] = {"crossing": crossing, "before": before}
