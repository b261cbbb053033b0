"""The scorecard: every claim of the source papers as an executable check over what this run measured.

A claim holds where its `holds` expression is true, fails where its `fails` expression is true, and is mixed in
between. It is judged once per model, of its own family or of that whose models it speaks of (`models_of`); the models
agree on the overall verdict, or it is mixed. A model without the measurements, or for which what the claim `needs` is
not so, is left out; where none is left the claim is not testable here, and the reason is given.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from palimpsest.plan.reading import read_yaml
from palimpsest.report.lookup import Lookup, Missing, evaluate
from palimpsest.report.parts import name_of
from palimpsest.report.typeset import Estimate, Format, Table, estimate, tex
from palimpsest.run import Input, Output, UserError, step

HOLDS, FAILS, MIXED, UNTESTABLE = "holds", "fails", "mixed", "not testable here"
REQUIRED = {"id", "family", "source", "statement", "published", "test", "ours", "holds", "fails"}
OPTIONAL = {"margin", "where", "needs", "models_of"}
# What the source of a claim says where its paper does not make it: a control or audit of ours, a reading of its code.
ADDITIONS = ("audit", "control added", "code of the release")
MARK = "†"
UNSTABLE = "‡"
NOTES = {
    MARK: f"{MARK} Not a claim of the source: a control, an audit or a reading of its code that we added.",
    UNSTABLE: f"{UNSTABLE} Half of the seeds alone would give another verdict.",
}


def claims(
    measurements: list[Input],
    definitions: list[Input],
    verdicts: Output,
    csv: Output,
    tex: Output,
    html: Output,
    macros: Output,
    *,
    families: dict,
) -> dict:
    """Judge the claims of the given families, each with its models: `{"lcr": ["tiny_gumbel", "tiny_vq"]}`.

    measurements: what each of these families collected, in their order.
    """
    rows, tables = [], []
    known, optional = read(definitions), may_lack(definitions)
    for (family, models), path in zip(families.items(), measurements, strict=True):
        lookup = Lookup([path], family, optional.get(family, ()))
        halves = lookup.halves()
        judged = []
        for claim in known:
            if claim["family"] == family:
                # Where the other family is not there, nor is what was measured of its models.
                asked = families.get(claim.get("models_of"), models)
                judged.append(judged_by_half(judge(claim, lookup, asked), claim, halves, asked))
        rows += judged
        tables += [scorecard(family, judged)] if judged else []
    frame = pd.DataFrame([{key: row[key] for key in row if key != "lines"} for row in rows])
    frame.to_parquet(verdicts, index=False)
    frame.to_csv(csv, index=False, lineterminator="\n")
    tex.write_text("\n".join(table.latex() for table in tables), encoding="utf-8")
    html.write_text("\n".join(table.html() for table in tables), encoding="utf-8")
    # LaTeX reads what it leaves out of a family that this run has not.
    absent = [
        {**claim, "verdict": UNTESTABLE, "verdict_by_model": "", "verdict_by_half": ""}
        for claim in known
        if claim["family"] not in families
    ]
    macros.write_text("".join([*macro_lines([*rows, *absent]), *count_lines(rows)]), encoding="utf-8")
    return {"verdicts": {row["id"]: row["verdict"] for row in rows}}


def read(paths: Iterable[Path]) -> list[dict]:
    """The claims of files named like their families; raises UserError for an identifier that two families use."""
    known = [claim for path in paths for claim in of_family(path)]
    if twice := {claim["id"] for claim in known if sum(other["id"] == claim["id"] for other in known) > 1}:
        raise UserError(f"config/claims: two families have a claim {sorted(twice)[0]!r}; give one another id")
    return known


def of_family(path: Path) -> list[dict]:
    """The claims of one file, each with its family; UserError for a missing or unknown key, or an id used twice."""
    known = [{**claim, "family": path.stem} for claim in read_yaml(path)["claims"]]
    seen = set()
    for claim in known:
        missing, unknown = REQUIRED - claim.keys(), claim.keys() - REQUIRED - OPTIONAL
        if missing or unknown:
            raise UserError(
                f"{path}, claim {claim.get('id', '?')}: missing {sorted(missing)}, not known {sorted(unknown)}"
            )
        if not claim["id"].replace("_", "").isalpha() or claim["id"] in seen:
            raise UserError(f"{path}: the id {claim['id']!r} must be letters and underscores, and used once")
        seen.add(claim["id"])
    return known


def may_lack(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Of each family the metrics that its claims read and that an experiment may lack: `optional` of its file."""
    return {path.stem: read_yaml(path).get("optional", []) for path in paths}


def judge(claim: dict, lookup: Lookup, models: Iterable[str]) -> dict:
    """The verdict on one claim for every model, and overall; of a single model its name is not said each time."""
    constants = {"margin": claim.get("margin", 0.0)}
    by_model, lines, reasons, models = {}, [], [], list(models)
    for model in models:
        here = lookup.of(**{"model": model, **claim.get("where", {})})
        needs = claim.get("needs")
        try:
            if needs and not evaluate(needs["that"], here, constants):
                reasons.append(f"{name_of(claim['family'], model)}: {needs['else']}")
                continue
            holds, fails = (evaluate(claim[key], here, constants) for key in ("holds", "fails"))
            shown = quantities(claim["ours"], here, constants)
        except Missing as missing:
            of_method = missing.method and f"not measured here: {name_of(claim['family'], missing.method)}"
            reasons.append(of_method or str(missing))
            continue
        except UserError as error:
            raise UserError(f"claim {claim['id']!r}: {error}") from error
        if holds and fails:
            raise UserError(f"claim {claim['id']!r} both holds and fails for {model}: its expressions overlap")
        by_model[model] = HOLDS if holds else FAILS if fails else MIXED
        several = f"{name_of(claim['family'], model)}: {shown} ({by_model[model]})"
        lines.append(several if len(models) > 1 else shown)
    return {
        "id": claim["id"],
        "family": claim["family"],
        "statement": f"{claim['statement']} {MARK}" if is_addition(claim) else claim["statement"],
        "source": claim["source"],
        "published": str(claim["published"]),
        "test": stated(claim),
        "ours": "; ".join(lines),
        "lines": lines,
        "verdict": overall(by_model.values()),
        "verdict_by_model": "; ".join(f"{model}: {verdict}" for model, verdict in by_model.items()),
        "verdict_by_half": "",
        "reason": "; ".join(dict.fromkeys(reasons)),
    }


def judged_by_half(row: dict, claim: dict, halves: list[Lookup], models: Iterable[str]) -> dict:
    """The same with the verdicts of each half of the seeds.

    None where one seed alone decides, or every seed alike, or where half of them cannot test it.
    """
    found = [judge(claim, half, models) for half in halves]
    tested = all(each["verdict"] != UNTESTABLE for each in found)
    told = tested and any(each["lines"] != row["lines"] for each in found)
    return {**row, "verdict_by_half": "; ".join(each["verdict"] for each in found) if told else ""}


def is_stable(row: dict) -> bool:
    """Whether both halves of the seeds, where there are any, give the verdict of all."""
    return not row["verdict_by_half"] or set(row["verdict_by_half"].split("; ")) == {row["verdict"]}


def is_addition(claim: dict) -> bool:
    """Whether the claim is ours and not the paper's."""
    return any(words in claim["source"] for words in ADDITIONS)


def stated(claim: dict) -> str:
    """The test in words, with the value of the margin where it is first spoken of."""
    if "margin" not in claim:
        return claim["test"].strip()
    value = f"{claim['margin']:g}"
    text, found = re.subn(r"\b([Tt]he margin)\b", rf"\1 ({value})", claim["test"].strip(), count=1)
    return text if found else f"{text} Margin: {value}."


def overall(verdicts: Iterable[str]) -> str:
    """One verdict from those of the models."""
    different = set(verdicts)
    if not different:
        return UNTESTABLE
    return different.pop() if len(different) == 1 else MIXED


def quantities(given: list[dict], lookup: Lookup, constants: Mapping[str, float]) -> str:
    """What this run measured for a claim: "AUC = 0.62 [0.60, 0.64], null = 0.55"."""
    shown = []
    for entry in given:
        style = Format(entry.get("digits", 2), entry.get("kind", "number"))
        text = " ".join(estimate(estimate_of(entry["value"], lookup, constants), style)).strip()
        shown.append(f"{entry['text']} = {text}{' %' if style.kind == 'percent' else ''}")
    return ", ".join(shown)


def estimate_of(expression: str, lookup: Lookup, constants: Mapping[str, float]) -> Estimate:
    """An expression's value; its interval too where it is one plain `value(...)`."""
    value = evaluate(expression, lookup, constants)
    bounds = [math.nan, math.nan]
    inner = expression.strip().removeprefix("value(")
    if expression.strip().startswith("value(") and inner.count("(") == 0 and inner.endswith(")"):
        for index, name in enumerate(("low", "high")):
            try:
                bounds[index] = evaluate(f"{name}({inner}", lookup)
            except Missing:
                return Estimate(value)
    return Estimate(value, *bounds)


def scorecard(family: str, judged: list[dict]) -> Table:
    """The scorecard of one family."""
    rows = []
    for row in judged:
        ours = row["ours"] or row["reason"]
        verdict = row["verdict"] if is_stable(row) else f"{row['verdict']} {UNSTABLE}"
        rows.append((row["statement"], row["published"], row["test"], ours, verdict))
    frame = pd.DataFrame(rows, columns=["Claim", "Published", "Test here", "Measured here", "Verdict"])
    return Table(
        frame,
        caption=f"Scorecard, {name_of(family, family)}: the claims of the source, and our own additions "
        f"({MARK}), as executable checks over this run. Published values are the source’s own, on its data and model; "
        "a verdict speaks of this run only.",
        label=f"tab:scorecard-{family}",
        notes=" ".join(note for mark, note in NOTES.items() if mark in frame.to_string()),
        widths={"Claim": 0.16, "Published": 0.13, "Test here": 0.25, "Measured here": 0.29, "Verdict": 0.07},
        long=True,
    )


def macro_lines(rows: list[dict]) -> list[str]:
    """LaTeX macros of the verdicts: `\\verdict<Id>`, and `\\verdict<Id>Each` with the models named.

    `\\verdictholds` and `\\verdictfails` are what a verdict is compared with where it chooses the words of a finding.
    """
    lines = [f"\\newcommand{{\\verdict{verdict}}}{{\\emph{{{verdict}}}}}\n" for verdict in (HOLDS, FAILS)]
    for row in rows:
        name = "verdict" + "".join(part.capitalize() for part in row["id"].split("_"))
        pairs = [pair.split(": ") for pair in row["verdict_by_model"].split("; ") if pair]
        each = ", ".join(f"{verdict} ({name_of(row['family'], model)})" for model, verdict in pairs)
        lines.append(f"\\newcommand{{\\{name}}}{{\\emph{{{tex(row['verdict'])}}}}}\n")
        lines.append(f"\\newcommand{{\\{name}Each}}{{\\emph{{{tex(each or row['verdict'])}}}}}\n")
    return lines


def count_lines(rows: list[dict]) -> list[str]:
    """LaTeX macros of how many claims were judged (`\\claimsJudged`), and with each verdict (`\\claimsHolds`, ...).

    `\\claimsHalved` are those that several seeds decide, `\\claimsStable` those of them whose halves agree.
    """
    judged = [row["verdict"] for row in rows if row["verdict"] != UNTESTABLE]
    counts = {"judged": len(judged), **{verdict: judged.count(verdict) for verdict in (HOLDS, MIXED, FAILS)}}
    halved = [row for row in rows if row["verdict_by_half"]]
    counts |= {"halved": len(halved), "stable": sum(map(is_stable, halved))}
    return [f"\\newcommand{{\\claims{name.capitalize()}}}{{{count}}}\n" for name, count in counts.items()]


if __name__ == "__main__":
    step(claims)
