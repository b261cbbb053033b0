"""What the tuning tried of every method, and what the rule of selection chose."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.instance.tables._rows import OURS, basis, line, table, worst_similarity
from palimpsest.instance.tables._settings import described, in_full
from palimpsest.report.erased import measured_before
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Table

MEASUREMENTS = ("tuning", "tuning_choice")
PARAMS = {
    "models": None,
    "methods": None,
    "studies": ["tuning"],
    "evaluation": None,
    "fixed": None,
    "grids": None,
    "released_tunings": None,
}

WITHIN = "the interval of Change is over the pairs, not over targets; S, a largest value, has none"


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: methods by setting, the chosen one marked."""
    rows, fixed = [], {}
    for model in params["models"]:
        for method in params["methods"]:
            here = lookup.of(model=model, method=method)
            settings = list(here.rows("similarity_target", study="tuning")["setting"].unique())
            chosen = set(here.rows("selected")["setting"])
            tried = [in_full(params, method, setting) for setting in settings]
            names = dict.fromkeys(name for each in tried for name in each)
            varied = [name for name in names if len({each.get(name) for each in tried}) > 1]
            fixed[method] = {name: tried[0][name] for name in names if name not in varied}
            for position, (setting, full) in enumerate(zip(settings, tried, strict=True)):
                own = described({name: full[name] for name in varied if name in full}) or "the only one"
                mark = " *" if setting in chosen else ""
                row = line(here, name_of(method) if not position else "", {"setting": setting, "study": "tuning"})
                worst = Estimate(worst_similarity(here, setting=setting, study="tuning"))
                again = here.get("selected_again", setting=setting)
                rows.append({**row, (OURS, "S"): worst, ("", "Setting"): own + mark, (OURS, "Again"): again})
    first = [("", "Row"), ("", "Setting")]
    frame = pd.DataFrame(rows)
    ordered = frame[first + [column for column in frame.columns if column not in first]]
    return table(
        ordered.to_dict("records"),
        "Method",
        "The tuning: as many settings of every method on targets of its own. Of those that forget all with samples "
        "not less often plausible than the pretrained model’s (Fisher’s exact test at 5 %), the first within one "
        "standard error of the smallest FD pre is taken (*), pair by pair over targets and seeds; where there is none, "
        "the same of all that forget; where none does, the one that forgets most. Again: how often (%) it would be "
        "chosen, were similarities drawn by their intervals and plausible samples by their share.",
        "tab:instance-tuning",
        f"Columns as in the table that compares the methods, but S is the highest of the targets’ similarities, which "
        f"the rule reads; the others are means over them. {basis(params, 'tuning', within=WITHIN)} {same_twice(params)}"
        f"{in_common(fixed)} {measured_before(params, name_of)}",
        compared=[False] * len(rows),
    )


def same_twice(params: dict) -> str:
    """That the bilevel form with the barrier of the gradient is the port, where the grid has it."""
    barriers = [setting.get("barrier") for setting in params["grids"].get("erasediff_bome", {}).values()]
    if not {None, "gradient"} & set(barriers):
        return ""
    return (
        f"{name_of('erasediff_bome')}, without a barrier of value is {name_of('erasediff_port')} by construction: with "
        "the barrier of the gradient the inner problem does not enter the update, and equal settings give equal rows. "
    )


def in_common(fixed: dict[str, dict[str, str]]) -> str:
    """What every setting of every method shares, and then what the settings of each do."""
    given = [settings for settings in fixed.values() if settings]
    everywhere = dict(set.intersection(*(set(settings.items()) for settings in given))) if given else {}
    everywhere = {name: everywhere[name] for name in given[0] if name in everywhere} if given else {}
    own = [
        f"{name_of(method)}: {described({name: value for name, value in settings.items() if name not in everywhere})}"
        for method, settings in fixed.items()
        if settings
    ]
    return f"All settings: {described(everywhere)}. {'; '.join(own)}."
