"""What the tuning tried of every method on concepts that are not reported, and what its rule chose."""

import pandas as pd

from palimpsest.erasure.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("tuning", "tuning_choice")
PARAMS = {"models": None, "methods": None, "grids": None, "studies": ["tuning"]}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: methods by setting, the chosen one marked."""
    rows = []
    for model in params["models"]:
        for method in params["methods"]:
            here = lookup.of(model=model, method=method)
            chosen = set(here.rows("selected")["setting"])
            for position, option in enumerate(params["grids"][method]):
                tried = here.of(study="tuning", concept="all", setting=option["name"])
                rows.append(
                    {
                        "Method": "" if position else name_of(method),
                        "Setting": described(option) + (" *" if option["name"] in chosen else ""),
                        "Erased": tried.get("erased", prompts="own"),
                        "Words": tried.get("kept", prompts="own"),
                        "Neighbours": tried.get("kept", prompts="neighbour"),
                        "Rest": tried.get("kept", prompts="rest"),
                    }
                )
    concepts = ", ".join(map(name_of, params["studies"]["tuning"]["concepts"]))
    return Table(
        pd.DataFrame(rows),
        caption=f"The tuning of the erasers, on concepts of its own ({concepts}): erased (%), kept (%) of the same "
        "prompts’ other words, of neighbours and of the rest. Chosen (*): the setting whose worse one of "
        "erased and of kept (the mean of all three) is best.",
        label="tab:erasure-tuning",
        formats={name: Format(0, "percent", interval=False) for name in ("Erased", "Words", "Neighbours", "Rest")},
        compared=[False] * len(rows),
    )


def described(option: dict) -> str:
    """What a setting changes, in words; its name where it changes nothing."""
    changes = {**option.get("training", {}), **option.get("settings", {})}
    parts = [f"{name.replace('_', ' ')} {value}" for name, value in changes.items()]
    if "selection" in option:
        parts.append(option["selection"].replace("_", " "))
    return ", ".join(parts) or option["name"].replace("_", " ")
