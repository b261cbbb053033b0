"""Made-up inputs of every figure of the LCR family, and what its plan would give to every table and figure."""

from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.plan import report
from palimpsest.run import PACKAGE
from palimpsest.worlds import scenes
from synthetic_measurements import MODELS, PIXELS, RULES

EDITS = [name for name in (*RULES, *PIXELS) if name != "reconstruction"]
SHOWN = ["random_safe", "nn_embed", "twin", "mean_colour"]
ROLES = ("forget_fit", "safe_fit", "forget_test", "safe_test", "twin_of_forget_test", "calibration")
LISTS = {
    "models": list(MODELS),
    "presets": ["reproduce_2025", "corrected"],
    "main_preset": "corrected",
    "rules": EDITS,
    "sets": {role: role for role in ROLES},
    "test_sets": {"reproduce_2025": "forget_test", "corrected": "forget_test"},
    "explicit_sets": [],
}
TABLES, FIGURES = (
    sorted(path.stem for path in (PACKAGE / "lcr" / kind).glob("*.py") if not path.stem.startswith("_"))
    for kind in ("tables", "figures")
)
# What the made-up inputs of a figure hold, where it is not what the figure shows of a run.
GIVEN = {
    "global_replacement": {"rules": ["random_safe", "fixed"]},
    "threshold_sweep": {"rules": SHOWN},
    "panels": {"rules": SHOWN, "pictures": [0, 1, 2]},
    "injection": {"pictures": 2},
    "contact_sheet": {"pictures": 8},
}


def params(kind: str, name: str, **lists) -> dict:
    """What a table or figure is given: all that its module declares, and nothing else."""
    source = (PACKAGE / "lcr" / kind / f"{name}.py").read_text(encoding="utf-8")
    wanted = report.request(source, name)
    given = GIVEN.get(name, {}) if kind == "figures" else {}
    return report.chosen_params(wanted.params, name, {**LISTS, **lists}, given, frozenset())


def figures(folder: Path) -> dict[str, list[Path]]:
    """Write the inputs of every figure; they are given by its name."""
    folder.mkdir(exist_ok=True)
    made = {model: write_model(folder / model) for model in MODELS}
    pictures = write_pictures(folder)

    def each(*names: str) -> list[Path]:
        return [made[model][name] for model in MODELS for name in names]

    return {name: [] for name in FIGURES} | {
        "localisation": each("curves"),
        "scores": each("scores"),
        "locality": each("locality"),
        "counterfactual": each("importance", "flips"),
        "panels": [pictures["forget"], pictures["twin"], *[pictures["panel"]] * len(SHOWN)],
        "injection": [pictures["injection"]] * len(MODELS),
        "contact_sheet": [pictures["forget"], pictures["twin"]],
    }


def write_model(folder: Path) -> dict[str, Path]:
    """The tables of one model."""
    rng = np.random.default_rng(0)
    false_hit = np.linspace(0, 1, 21) ** 2
    units = [(unit, kind) for unit in ("1x1", "pair", "2x2", "3x3") for kind in ("measured", "null")]
    curves = [
        pd.DataFrame(
            {"unit": u, "false_hit": false_hit, "recall": false_hit ** (0.3 if k == "measured" else 0.9), "kind": k}
        )
        for u, k in units
    ]
    odds = rng.normal(size=64)
    frame = {"contrast": "masked", "code": range(64), "live": True, "value": odds, "z": 5 * odds, "low": odds - 0.3}
    scored = pd.DataFrame({**frame, "high": odds + 0.3, "q": np.where(odds > 1, 0.01, 0.5), "score": "log_odds"})
    scored["rank"] = scored["z"].rank(ascending=False).astype(int)
    reach = np.arange(30)
    change = 20 * np.exp(-reach / 3)
    tables = {
        "curves": pd.concat(curves),
        "scores": pd.concat([scored, scored.assign(score="ratio_legacy", rank=rng.permutation(64) + 1)]),
        "locality": pd.concat(
            pd.DataFrame(
                {"decoder": name, "block": 1, "r_pixels": reach, "change": change, "low": change, "high": change}
            )
            for name in ("real", "no_attention", "frozen_norm", "local")
        ),
        "importance": pd.DataFrame({"baseline": "frequent", "code": range(64), "logit_change": rng.normal(size=64)}),
        "flips": pd.concat(
            pd.DataFrame({"rule": rule, "flips": rng.integers(1, 9, 40), "reached": True})
            for rule in ("best", "legacy")
        ),
    }
    folder.mkdir(exist_ok=True)
    paths = {name: folder / f"{name}.parquet" for name in tables}
    for name, table in tables.items():
        table.to_parquet(paths[name], index=False)
    return paths


def write_pictures(folder: Path) -> dict[str, Path]:
    """Pictures of the world and what stands for edits of them."""
    shown = {"forget": scenes.make(8, 13, "test", "all"), "twin": scenes.make(8, 13, "test", "twin")}
    paths = {name: folder / f"{name}_test" / "images.npy" for name in shown}
    for name, world in shown.items():
        paths[name].parent.mkdir(exist_ok=True)
        np.save(paths[name], world.images)
    paths |= {"panel": folder / "panel.npz", "injection": folder / "injection.npz"}
    np.savez(paths["panel"], **{"mask-all-0": shown["twin"].images})
    mask = np.zeros((2, 16, 16), bool)
    mask[:, 6:9, 5:9] = True
    change = np.random.default_rng(0).random((2, 64, 64))
    np.savez(
        paths["injection"],
        donor=shown["forget"].images[2:4],
        reconstruction=shown["twin"].images[:2],
        injected=shown["forget"].images[:2],
        pixel_change=change,
        latent_change=change[:, ::4, ::4],
        mask=mask,
    )
    return paths
