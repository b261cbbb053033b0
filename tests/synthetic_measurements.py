"""Made-up measurements of a whole LCR run, for the tests of the report: files, records and benchmarks."""

import json
from pathlib import Path

import numpy as np

from palimpsest.metrics import measurements
from palimpsest.metrics.measurements import row
from palimpsest.run import code_fingerprint, commit, lock_hash, record_path

MODELS = ("tiny_gumbel", "tiny_vq")
RULES = {
    "reconstruction": 0.9,
    "fixed": 0.3,
    "random_safe": 0.12,
    "random_frequency": 0.15,
    "shuffle_in_mask": 0.35,
    "nn_embed": 0.4,
    "nn_proj": 0.45,
    "nn_decoded": 0.5,
    "masked_requant": 0.55,
    "border_fill": 0.04,
    "donor_patch": 0.03,
    "context_icm": 0.08,
    "twin": 0.02,
}
PIXELS = {"black": 0.02, "mean_colour": 0.03, "blur": 0.3, "pixelate": 0.4}
TOPS = (4, 16, 64, 256)


def around(metric: str, value: float, width: float = 0.04, n: int = 300, **labels) -> dict:
    """A row with a symmetric interval."""
    return row(metric, value, value - width, value + width, n, **labels)


def effects(rate: float, cost: float, changed: float, **labels) -> list[dict]:
    """What one edit of the concept's pictures measures."""
    rows = [around("detection_rate", rate, 0.03, **labels)]
    rows += [
        around("detection_rate_at", min(1.0, rate * 1.6 * (1 - t)), 0.03, threshold=t, **labels)
        for t in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    ]
    rows += [around("score_drop", 0.85 - rate, **labels), row("mcnemar_p", 1e-6 if rate < 0.5 else 0.2, n=70, **labels)]
    rows += [around("twin_lpips_mini", 0.02 + rate / 20, 0.002, **labels)]
    return rows + costs(cost, changed, **labels)


def costs(cost: float, changed: float, **labels) -> list[dict]:
    """What one edit costs."""
    return [
        around("new_detections", 0.03, 0.02, **labels),
        *[
            around(f"{name}_accuracy", 0.97 - cost, 0.02, **labels)
            for name in ("object", "colour", "style", "background")
        ],
        around("psnr", 30 - 60 * cost, 0.6, **labels),
        around("psnr_outside", 38 - 80 * cost, 0.6, **labels),
        around("ssim", 0.98 - cost, 0.01, **labels),
        around("ssim_outside", 0.99 - cost / 2, 0.005, **labels),
        around("lpips_mini", cost, cost / 10, **labels),
        around("lpips_mini_outside", cost / 10, cost / 50, **labels),
        around("cells_changed", changed, changed / 20, **labels),
    ]


def replacement(rng: np.random.Generator, rate_of=lambda rule, rate: rate) -> list[dict]:
    """Every rule under every scope and set of cells, and the sweep of the number of codes."""
    rows = []
    for rule, rate in RULES.items():
        if rule == "reconstruction":
            rows += effects(0.9, 0.0, 0.0, method=rule)[:-1]
            rows += (
                effects(0.93, 0.05, 0.0, method="original")[:-1] + effects(0.01, 0.06, 0.0, method="twin_original")[:-1]
            )
            rows.append(row("mask_share", 0.06, n=300, method=rule))
            rows.append(around("images_with_mask", 0.7, method=rule))
            continue
        for seed in (0, 1, 2) if rule.startswith(("random", "shuffle")) else (0,):
            shift = rng.normal(0, 0.01)
            for scope, cells, weaker, cost in (
                ("mask", "all", 0.0, 0.03),
                ("mask", "explicit", 0.35, 0.02),
                ("elsewhere", "all", 0.5, 0.04),
                ("global", "explicit", 0.2, 0.2),
            ):
                measured = min(max(rate_of(rule, rate) + weaker + shift, 0.0), 0.9)
                rows += effects(measured, cost + rate / 100, cost * 2, method=rule, scope=scope, cells=cells, seed=seed)
    for rule, rate in PIXELS.items():
        for scope in ("mask", "elsewhere"):
            labels = {"method": rule, "scope": scope, "cells": "all"}
            rows += [
                r
                for r in effects(rate if scope == "mask" else 0.9, 0.03, 0.0, **labels)
                if r["metric"] != "cells_changed"
            ]
    for rule in ("random_safe", "fixed"):
        for top in TOPS:
            labels = {"method": rule, "scope": "global", "cells": "explicit", "top": top}
            rows += effects(0.9 - 0.8 * np.log2(top) / 8, top / 800, top / 500, **labels)
            rows += [{**each, "set": "safe_test"} for each in costs(top / 1000, top / 600, **labels)]
    return rows


def classifiers() -> list[dict]:
    """The linear classifiers and their counterfactuals."""
    rows = []
    for source, evaluations in (("balanced", ("same", "figures")), ("confounded", ("same", "swapped", "figures"))):
        for kind, value in (("bag", 0.9), ("position", 0.7), ("full", 0.95)):
            for evaluation in evaluations:
                found = value - (0.3 if evaluation == "swapped" else 0.1 if evaluation == "figures" else 0)
                labels = {"classifier": kind, "source": source, "evaluation": evaluation, "method": "classifier"}
                rows += [around(metric, found, 0.02, 600, **labels) for metric in ("accuracy", "f1", "auc")]
    for baseline in ("token", "frequent"):
        for rule, size, change in (("best", 1, -0.3), ("best", 5, -1.1), ("best", 15, -2.2), ("random", 15, -0.9)):
            labels = {"rule": rule, "size": size, "baseline": baseline, "method": "counterfactual"}
            rows.append(around("logit_change", change, 0.1, **labels))
            rows.append(around("probability_change", change / 10, 0.01, **labels))
            rows.append(around("flipped_share", min(0.9, -change / 4), 0.04, **labels))
    for rule, reached in (("best", 1.0), ("legacy", 0.6)):
        labels = {"rule": rule, "budget": 50, "method": "counterfactual"}
        rows.append(around("reached_share", reached, 0.03, **labels))
        rows.append(around("flips_to_cross", 4 if rule == "best" else 9, 1, **labels))
    return rows


def statistics(gumbel: bool) -> list[dict]:
    """Model card, encoder, statistics of codes, curves, locality and injection."""
    card = {"codebook_size": 512, "live_codes": 500, "perplexity": 300}
    rows = [row(metric, value, set="calibration") for metric, value in card.items()]
    near = {"codebook_nn_distance": 3.1, "codebook_nn_distance_null": 3.3, "psnr": 26.0, "ssim": 0.93}
    rows += [around(metric, value, 0.1, set="calibration") for metric, value in near.items()]
    for on, less in (("original", 0.0), ("reconstruction", 0.05)):
        for metric in ("object_accuracy", "colour_accuracy", "style_accuracy", "background_accuracy", "emblem_recall"):
            rows.append(around(metric, 0.97 - less, 0.02, set="calibration", on=on))
        rows.append(around("emblem_false_positive_rate", 0.02, 0.01, set="calibration", on=on))
    noise = {"draw_agreement": 0.7 if gumbel else 1.0, "argmax_agreement": 0.8 if gumbel else 1.0}
    rows += [around(m, v, 0.02 * gumbel, kind="measured", method="encoder_noise") for m, v in noise.items()]
    rows.append(around("psnr_argmax", 26.0, 0.3, method="encoder_noise"))
    if gumbel:
        for statistic, bits in (("mean", 1.2), ("median", 0.9), ("q90", 3.0)):
            rows.append(around("cell_entropy_bits", bits, 0.1, statistic=statistic, method="encoder_noise"))
        for metric, value in (
            ("decided_share", 0.2),
            ("psnr_draw", 25.2),
            ("psnr_draw_loss", 0.8),
            ("psnr_draw_spread", 0.2),
        ):
            rows.append(around(metric, value, 0.05, method="encoder_noise"))
    for metric, value, null in (
        ("unique_codes", 400, 420),
        ("coverage_codebook", 0.78, 0.82),
        ("coverage_live", 0.8, 0.84),
        ("entropy_bits", 7.9, 8.1),
        ("entropy_bits_miller_madow", 8.0, 8.2),
        ("entropy_share_of_live", 0.88, 0.9),
        ("perplexity", 240, 270),
        ("top10_share", 0.12, 0.1),
        ("top50_share", 0.4, 0.35),
        ("histogram_cosine", 0.21, 0.15),
        ("jensen_shannon_bits", 3.1, 3.3),
        ("pair_pmi_max", 6.1, 5.9),
    ):
        rows.append(around(metric, value, value / 50, set="forget_fit"))
        rows.append(around(f"{metric}_null", null, null / 50, set="forget_fit"))
    for metric, value in (("significant_pairs", 140), ("pair_mutual_information_bits", 2.1)):
        rows.append(row(metric, value, neighbourhood=4))
        rows.append(around(f"{metric}_null", value / 3, value / 20, neighbourhood=4))
    for patch in ("2x2", "3x3"):
        for metric in ("explicit_patches", "explicit_patches_null"):
            rows.append(row(metric, 40, patch=patch, neighbourhood=4))
        for metric, value in (("patch_coverage", 0.2), ("patch_coverage_null", 0.02), ("patch_coverage_safe", 0.01)):
            rows.append(row(metric, value, patch=patch, neighbourhood=4))
    for unit, area in (("1x1", 0.78), ("pair", 0.82), ("2x2", 0.8), ("3x3", 0.66)):
        rows.append(around("localisation_auc", area, 0.02, unit=unit, set=""))
        rows.append(around("localisation_auc_null", 0.55, 0.02, unit=unit, set=""))
        rows.append(around("localisation_auc_null_apart", 0.51, 0.02, unit=unit, set=""))
        rows.append(around("recall_at_5_percent_false_hits", area / 2, 0.03, unit=unit, set=""))
        rows.append(around("recall_at_5_percent_false_hits_null", 0.07, 0.03, unit=unit, set=""))
        rows.append(around("unseen_share", 0.4, 0.03, unit=unit, set=""))
    rows.append(row("null_overlap", 0.3, set=""))
    rows += [row("codes_for_half_recall", 45, unit="1x1", set=""), around("localisation_auc", 0.9, 0.01, unit="linear")]
    for block in (1, 3):
        for decoder, beyond in (("real", 0.02), ("no_attention", 0.015), ("frozen_norm", 0.004), ("local", 0.0)):
            labels = {"decoder": decoder, "block": block, "method": "locality"}
            rows.append(around("half_energy_radius", 0.6, 0.05, unit="cells", **labels))
            for metric, value in (("energy_within_block", 0.4), ("energy_within_one_cell", 0.8)):
                rows.append(around(metric, value, 0.02, **labels))
            rows.append(around("energy_beyond_receptive_field", beyond, beyond / 5, **labels))
            rows.append(row("pixels_beyond_receptive_field", 0.09, **labels))
    for label, value in ({"against": "codes"}, 1.9), ({"against": "cycle"}, 4.0), ({"baseline": "cycle"}, 1.3):
        rows.append(around("injection_ratio", value, 0.1, method="injection", set="safe_test", **label))
    for edit in ("none", "injected"):
        for where in ("inside", "outside", "all"):
            rows.append(
                around("cycle_agreement", 0.8, 0.01, method="injection", set="safe_test", edit=edit, where=where)
            )
    for place, value in (("outside", 0.05), ("near", 0.1), ("far", 0.03)):
        rows.append(around(f"codes_changed_{place}", value, 0.01, method="injection", set="safe_test", against="cycle"))
    for where, value in (("inside", 30.0), ("outside", 0.8)):
        rows.append(around("pixel_change", value, 0.1, method="injection", set="safe_test", where=where))
    rows.append(around("leak_outside_psnr", 38, 1, method="injection", set="safe_test"))
    for image, value in (("reconstruction", 0.02), ("injected", 0.8), ("forget_reconstruction", 0.9)):
        rows.append(around("injected_detection_rate", value, 0.03, method="injection", set="safe_test", image=image))
    return rows


def judges() -> list[dict]:
    """The calibration of two networks."""
    rows = [
        around("recall", 0.97, 0.01, model="detector_judge"),
        around("false_positive_rate", 0.01, model="detector_judge"),
        around("box_iou", 0.8, 0.01, model="detector_judge"),
    ]
    factors = ("object", "colour", "style", "background")
    return [*rows, *(around(f"{name}_accuracy", 0.98, 0.01, model="classifier_judge") for name in factors)]


def write_run(folder: Path, changes=lambda rows: rows) -> list[Path]:
    """Write the files of a run, with their records; `changes` may doctor the rows of the corrected preset."""
    rng = np.random.default_rng(0)
    files = {folder / "judges.parquet": (judges(), {"family": "judges", "set": "calibration"})}
    for model in MODELS:
        for preset in ("corrected", "reproduce_2025"):
            common = {"family": "lcr", "model": model, "concept": "emblem", "set": "forget_test", "preset": preset}
            rows = [*replacement(rng), *classifiers(), *statistics(model == "tiny_gumbel")]
            files[folder / preset / model / "measurements.parquet"] = (rows, common)
    for path, (rows, common) in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        measurements.write(path, changes(rows) if "corrected" in path.parts else rows, **common)
        write_record(path)
    return list(files)


def write_record(path: Path, **changes) -> None:
    """The record that a step would have left beside a measurement file."""
    record = {
        "step": "palimpsest.lcr.replace",
        "outputs": {"measurements": str(path)},
        "device": "cpu",
        "machine": "machine",
        "versions": {"python": "3.11.0", "numpy": "2"},
        "commit": commit(),
        "lock": lock_hash(),
        "code": code_fingerprint(),
        **changes,
    }
    record_path(path).write_text(json.dumps(record), encoding="utf-8")
