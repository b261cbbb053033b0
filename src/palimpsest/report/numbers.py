"""One LaTeX macro per number that the prose quotes, so that no measured number is typed by hand."""

from pathlib import Path

from palimpsest.plan.reading import read_yaml
from palimpsest.report.lookup import Lookup, Missing, evaluate
from palimpsest.report.parts import name_of
from palimpsest.report.typeset import Estimate, Format, estimate, number, tex
from palimpsest.run import Input, Output, UserError, step

UNMEASURED = r"\emph{not measured}"


def numbers(
    measurements: list[Input],
    definitions: Input,
    macros: Output,
    sections: Output,
    *,
    families: dict,
    experiment: str,
    procedural: bool,
    rehearsal: bool,
) -> dict:
    """Write the macros of every number that definitions name, and the list of the families' sections.

    Families come with their models: `{"lcr": ["tiny_gumbel", "tiny_vq"]}`; measurements are what each collected,
    in their order. A number `per: model` becomes one text that names every model; a number that was not measured says
    so. procedural: whether the data are drawn, as the prose asks. rehearsal: whether the published networks were
    imitated, which every page then says.
    """
    given, optional = read(definitions), read_yaml(definitions).get("optional", [])
    lookups = {family: Lookup([path], family, optional) for family, path in zip(families, measurements, strict=True)}
    lines = [macro("experiment", tex(experiment)), "\\newif\\ifprocedural\n"]
    lines.append(f"\\procedural{str(procedural).lower()}\n")
    lines.append(macro("stamp", stamp_of(rehearsal)))
    for family, models in families.items():
        lines.append(macro(f"{family}Models", tex(joined([name_of(family, model) for model in models]))))
    for entry in given:
        if "published" in entry:
            text = tex(number(entry["published"], style_of(entry)) + unit_of(entry))
        elif entry["family"] in families:
            text = measured(entry, lookups[entry["family"]], families[entry["family"]])
        else:  # the abstract speaks of every family
            text = UNMEASURED
        lines.append(macro(entry["name"], text))
    macros.write_text("".join(lines), encoding="utf-8")
    sections.write_text("".join(f"\\input{{sections/{family}}}\n" for family in families), encoding="utf-8")
    return {"macros": len(lines), "unmeasured": sum(UNMEASURED in line for line in lines)}


def stamp_of(rehearsal: bool) -> str:
    """What is printed across every page: of a rehearsal, that its networks are imitations; else nothing."""
    return "REHEARSAL: random weights" if rehearsal else ""


def read(path: Path) -> list[dict]:
    """The numbers of a file; raises UserError for a name that LaTeX cannot take, or one used twice."""
    given = read_yaml(path)["numbers"]
    names = [entry["name"] for entry in given]
    for name in names:
        if not (name.isascii() and name.isalpha()):
            raise UserError(f"{path}: the name {name!r} must consist of letters: it becomes a LaTeX macro")
        if names.count(name) > 1:
            raise UserError(f"{path}: the name {name!r} is used twice")
    return given


def measured(entry: dict, lookup: Lookup, models: list[str]) -> str:
    """The text of a measured number: one, or one for each model; of kind `models`, those for which it is true."""
    if entry.get("kind") == "models":
        return those_of(entry, lookup, models)
    if entry.get("per") != "model":
        return shown(entry, lookup) or UNMEASURED
    texts = {model: shown(entry, lookup.of(model=model)) for model in models}
    found = [f"{text} ({tex(name_of(entry['family'], model))})" for model, text in texts.items() if text]
    if len(models) == 1 and found:
        return next(iter(texts.values()))
    return joined(found) or UNMEASURED


def those_of(entry: dict, lookup: Lookup, models: list[str]) -> str:
    """The names of the models for which the entry's condition is true, so that prose need not foresee the outcome."""
    try:
        true = [model for model in models if evaluate(entry["value"], lookup.of(model=model))]
    except Missing:
        return UNMEASURED
    return tex(joined([name_of(entry["family"], model) for model in true])) or "no model"


def shown(entry: dict, lookup: Lookup) -> str:
    """One number as LaTeX, with its interval where the entry asks for it; empty where it was not measured."""
    try:
        value = float(evaluate(entry["value"], lookup))
        bounds = ()
        if entry.get("interval"):
            bounds = tuple(
                float(evaluate(entry["value"].replace("value(", f"{end}("), lookup)) for end in ("low", "high")
            )
    except Missing:
        return ""
    except UserError as error:
        raise UserError(f"the number {entry['name']!r}: {error}") from error
    text, interval = estimate(Estimate(value, *bounds), style_of(entry))
    return tex(text + unit_of(entry)) + (f" {tex(interval)}" if interval else "")


def style_of(entry: dict) -> Format:
    """How the entry's number is rounded."""
    return Format(entry.get("digits", 2), entry.get("kind", "number"))


def unit_of(entry: dict) -> str:
    """The unit that follows the number, after a thin space."""
    unit = "%" if entry.get("kind") == "percent" else entry.get("unit", "")
    return f"\u2009{unit}" if unit else ""


def joined(parts: list[str]) -> str:
    """A list in words: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def macro(name: str, text: str) -> str:
    """One LaTeX definition."""
    return f"\\newcommand{{\\{name}}}{{{text}}}\n"


if __name__ == "__main__":
    step(numbers)
