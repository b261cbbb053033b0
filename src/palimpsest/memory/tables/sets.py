"""What is inverted under which caption: real and drawn pictures, scrambled, blurred, noise, by networks not edited."""

import math

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.memory.tables._rows import OK, SHARE, counted, described
from palimpsest.report.erased import comparable
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Estimate, Format, Table

MEASUREMENTS = ("audit",)
PARAMS = {"models": None, "oracles": None, "inversion": None, "cases": None}

CAPTIONS = ("own", "neutral", "empty", "guided")
PLAIN = Format(1, interval=False)


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: sets by caption; for each network its PSNR, what judges find, z, and the correlation of neighbours."""
    rows, cases = [], params["cases"]["networks"]
    for model in params["models"]:
        networks = ["pretrained", *(["oracle"] if params["oracles"][model] else [])]
        together = comparable(params, model)
        for caption in CAPTIONS:
            for name in cases.get(caption, []):
                given = lookup.of(model=model, set=name, caption=caption)
                cells = {("", "group"): name_of(f"caption_{caption}"), ("", "Set"): name_of(f"set_{name}")}
                cells[("", "n")] = counted(given.rows("converged", method="pretrained"))
                cells[("", "ceiling")] = given.get("ceiling", method="pretrained", concept=together)
                for network in networks:
                    here = given.of(method=network, concept=together)
                    cells |= {
                        (name_of(network), "ok"): here.get("converged"),
                        (name_of(network), "PSNR"): here.get("psnr"),
                        (name_of(network), "found"): here.get("detected"),
                        (name_of(network), "z"): here.get("z"),
                        (name_of(network), "mean"): farthest(here, "channel_mean", 0),
                        (name_of(network), "var."): farthest(here, "channel_variance", 1),
                        (name_of(network), "corr."): here.get("autocorrelation"),
                    }
                rows.append(cells)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    return Table(
        frame,
        caption="What can be inverted: sets of pictures under captions, by networks that were not edited.",
        label="tab:memory-sets",
        formats={
            "ceiling": PLAIN,
            "ok": SHARE,
            "PSNR": PLAIN,
            "found": SHARE,
            "z": Format(1),
            **dict.fromkeys(("mean", "var.", "corr."), Format(2, interval=False)),
        },
        group="group",
        wide=True,
        notes="n: pictures of each concept; ceiling: PSNR (dB) of the autoencoder alone, of the same pictures as the "
        "pretrained model’s; found: reconstructions in which the judges find the concept (%); z: the NLL of seeds "
        "about the mean of N(0, I), in its standard deviations; mean, var.: of that channel of the seeds which is "
        "farthest from the 0, or the 1, of white noise; corr.: of neighbouring coordinates of a seed, there 0. "
        f"{OK} {alone(params)}95 % bootstrap over pictures. {described(params['inversion'])}",
    )


def farthest(here: Lookup, metric: str, usual: float) -> Estimate:
    """The mean over pictures of the channel in which it is farthest from what is usual."""
    rows = here.rows(metric).dropna(subset="value")
    if rows.empty:
        return Estimate(math.nan)
    found = rows.loc[(rows["value"] - usual).abs().idxmax()]
    return Estimate(found["value"], found["low"], found["high"])


def alone(params: dict) -> str:
    """Which concepts the table is of, where these are not all."""
    oracles = sorted({name for each in params["oracles"].values() for name in each})
    return f"Of the concepts that there is an oracle of: {', '.join(map(name_of, oracles))}. " if oracles else ""
