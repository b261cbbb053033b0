"""What a study of Unpromptable's settings shares, and how settings are written."""

from palimpsest.instance.tables._rows import basis, line
from palimpsest.report.lookup import Lookup

WRITTEN = {
    "steps": "{} steps",
    "learning_rate": "rate {}",
    "warm_up": "warm-up {}",
    "stop_above": "stop above {}",
    "inner_rate": "inner rate {}",
    "distilled=True": "distilled",
    "distilled=False": "not distilled",
    "weight=one_minus_power": "weights ((t+1)/T) to the exponent, and 1 less it",
    "centred=False": "noise from [0, 1)",
    "average": "weights averaged over steps ({})",
    "clip": "gradients at most {} long",
    "value": "exponent {}",
    "alpha": "ascent weighed {}",
    "share": "forget loss weighed {}",
    "fraction": "forget gradient {} times as long",
    "barrier": "barrier by {}",
    "projection=none": "no projection",
    "projection=forget": "forget gradient projected",
    "projection=remember": "remember gradient projected",
    "projection=both": "both gradients projected",
}


def described(settings: dict) -> str:
    """Settings in words: `60 steps, rate 0.0003, distilled`."""
    parts = []
    for name, value in settings.items():
        pattern = WRITTEN.get(f"{name}={value}") or WRITTEN.get(name) or f"{name} {{}}"
        parts.append(pattern.format(value))
    return ", ".join(parts)


def in_full(params: dict, method: str, setting: str | None = None) -> dict[str, str]:
    """Everything that a run of a method was trained with; setting: a name of its grid, or what all settings share."""
    changed = params["grids"][method][setting] if setting else {}
    given = {"distilled": False} if method == "unpromptable" else {}
    return {name: str(value) for name, value in {**given, **params["fixed"][method], **changed}.items()}


def unless(params: dict, study: str, to_a_row: bool = False) -> str:
    """The note below a study of Unpromptable: what its rows share."""
    shared = described(in_full(params, "unpromptable"))
    return (
        f"Columns as in the table that compares the methods. {basis(params, study, to_a_row)} Every row, unless it "
        f"says otherwise: {shared}; not the setting that the tuning chose."
    )


def study_rows(lookup: Lookup, params: dict, study: str, names: dict[str, str], published: dict | None = None) -> list:
    """A row for every setting of the study, in the order of `names`, then those that have no name there."""
    rows = []
    for model in params["models"]:
        here = lookup.of(model=model, method="unpromptable", study=study)
        known = list(here.rows("similarity_target", targets="mean")["setting"].unique())
        for setting in sorted(known, key=lambda text: (list(names).index(text) if text in names else len(names), text)):
            rows.append(line(here, names.get(setting, setting), {"setting": setting}, (published or {}).get(setting)))
    return rows
