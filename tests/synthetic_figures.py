"""Made-up inputs of every figure of the LCR family, and the parameters of every table and figure."""

from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.worlds import scenes
from synthetic_measurements import MODELS, PIXELS, RULES

EDITS = [name for name in (*RULES, *PIXELS) if name != "reconstruction"]
SHOWN = ["random_safe", "nn_embed", "twin", "mean_colour"]
TABLES = {
    "models": {"set": "calibration"},
    "encoder_noise": {},
    "code_statistics": {"set": "forget_fit"},
    "cooccurrence": {},
    "classifiers": {},
    "counterfactual": {},
    "replacement": {"set": "forget_test", "rules": EDITS},
    "replacement_scopes": {"set": "forget_test", "rules": EDITS},
    "presets": {
        "set": "forget_test",
        "presets": ["reproduce_2025", "corrected"],
        "rules": ["fixed", "random_safe", "nn_embed"],
    },
    "locality": {"blocks": [1, 3]},
    "injection": {},
    "judges": {},
}


def figures(measurements: Path, folder: Path) -> dict[str, tuple[list[Path], dict]]:
    """Write the inputs of every figure; its inputs and parameters by its name."""
    folder.mkdir(exist_ok=True)
    made = {model: write_model(folder / model) for model in MODELS}
    pictures = write_pictures(folder)
    sets = {"forget": "forget_test", "safe": "safe_test"}

    def each(*names: str) -> list[Path]:
        return [made[model][name] for model in MODELS for name in names]

    return {
        "localisation": ([measurements, *each("curves")], {}),
        "scores": (each("scores"), {}),
        "global_replacement": ([measurements], {"rules": ["random_safe", "fixed"], "sets": sets}),
        "pareto": ([measurements], {"set": "forget_test", "rules": EDITS}),
        "threshold_sweep": ([measurements], {"set": "forget_test", "rules": SHOWN}),
        "locality": (each("locality"), {"block": 1}),
        "counterfactual": (each("importance", "flips"), {}),
        "panels": (
            [pictures["forget"], pictures["twin"], *[pictures["panel"]] * len(SHOWN)],
            {"rules": SHOWN, "variant": "mask-all-0", "pictures": [0, 1, 2], "explicit_sets": []},
        ),
        "injection": ([pictures["injection"]] * len(MODELS), {"pictures": 2, "explicit_sets": []}),
        "contact_sheet": (
            [pictures["forget"], pictures["twin"]],
            {"explicit_sets": [], "pictures": 8},
        ),
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
