"""The solvable mixture: what the audit says of models of which one knows what they remember."""

import pandas as pd

from palimpsest.memory.names import name_of
from palimpsest.report.lookup import Lookup
from palimpsest.report.typeset import Format, Table

MEASUREMENTS = ("solvable",)
PARAMS = {"steps": [50, 100]}

MODELS = ("vanilla", "oracle", "zero", "white", "random")
KNOWING = ("vanilla", "oracle")
SETS = {"erased": "E", "reference": "R"}
OF_SETS = {"PSNR (dB)": "solvable_psnr", "NLL (nats)": "solvable_nll", "W1 to N (nats)": "solvable_w1"}


def build(lookup: Lookup, params: dict) -> Table:
    """Rows: models as released, then the two that know the mixture with more steps and from other starts."""
    first, *others = params["steps"]
    cases = [(model, first, "released") for model in MODELS]
    cases += [(model, count, "released") for count in others for model in KNOWING]
    cases += [(model, first, start) for start in ("matched", "clean") for model in KNOWING]
    rows = []
    for model, steps, start in cases:
        here = lookup.of(model=model, steps=steps, start=start)
        row = {("", "Setting"): f"{steps} steps, {name_of(start)}", ("", "Model"): name_of(model)}
        for head, metric in OF_SETS.items():
            row |= {(head, called): here.get(metric, set=name) for name, called in SETS.items()}
        row |= {("d_N", "W1"): here.get("solvable_w1_ratio"), ("d_N", "code"): here.get("solvable_fitted_ratio")}
        row |= {("", "AUC"): here.get("solvable_auc"), ("", "Residual"): here.get("solvable_residual", set="erased")}
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    mean, spread, least = (lookup.get(f"solvable_{name}").value for name in ("normal_mean", "normal_sd", "floor"))
    plain = Format(1, interval=False)
    formats = {"E": plain, "R": plain, "W1": Format(2), "code": Format(2, interval=False)}
    return Table(
        frame,
        caption="The audit by inversion on a mixture whose diffusion model is known exactly. E: pictures of the "
        "component that the oracle has never seen; R: of others. The last three models have seen no data.",
        label="tab:memory-solvable",
        formats={**formats, "AUC": Format(2, interval=False), "Residual": Format(3, interval=False)},
        notes=f"The NLL of N(0, I) has the mean {mean:.1f} and the standard deviation {spread:.1f}; as many of its own "
        f"draws are at W1 {least:.1f} from it. PSNR and residual are medians over pictures, the residual the largest "
        "of any step (rms) for E: where it is not small the solver has failed, and the PSNR says nothing of memory. "
        "d_N: distance of E to N over that of R, in W1 and as the source’s code computes it; 95 % bootstrap over "
        "pictures.",
        group="Setting",
        wide=True,
    )
