"""A prompt of a text-to-image model: what is drawn of it, and of others, before and after forgetting."""

import pandas as pd

from palimpsest.instance.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("prompted",)
PARAMS = {"cases": None, "judges": None}

FORMATS = {
    "Like a target": Format(0, "percent", better="low"),
    "Similarity": Format(2, better="low"),
    **{column: Format(3, interval=False) for column in ("Change, prompt", "Change, others", "SSIM, others")},
}


def build(lookup: Lookup, params: dict) -> Table:
    """Two rows for every case."""
    rows = []
    for case in params["cases"]:
        for method in ("pretrained", "unpromptable"):
            here = lookup.of(method=method, study="prompted", setting=case)
            rows.append(
                {
                    "group": name_of(case),
                    "Method": name_of(method),
                    "Like a target": here.get("samples_like_target"),
                    "Similarity": here.get("similarity_target"),
                    "Change, prompt": here.get("perceptual", kind="own"),
                    "Change, others": here.get("perceptual", kind="kept"),
                    "SSIM, others": here.get("ssim", kind="kept"),
                }
            )
    return Table(
        pd.DataFrame(rows),
        caption="A text-to-image model that forgets wrong pictures of a prompt, by adapters of its transformer. Like a "
        "target: samples of the prompt (%) whose similarity to one is above the limit. Change, SSIM: of samples from "
        "the same noise, of the prompt and of others that should stay.",
        label="tab:instance-prompted",
        wide=True,
        formats=FORMATS,
        group="group",
        compared=[False] * len(rows),
        notes=f"Change: {params['judges']['perceptual']}. The source shows pictures of this case, no number.",
    )
