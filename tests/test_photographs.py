"""Photographs with NudeNet: the experiment `full` from folders to its tables, on a small model and few pictures."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from conftest import configuration, copy_of_the_project, snakemake
from palimpsest.imitations.pictures import KINDS
from palimpsest.metrics.measurements import read, select

pytestmark = pytest.mark.workflow
FULL = ("--configfile", "config/full.yaml", "photographs.yaml")
RULES = ("random_safe", "nn_embed", "mean_colour")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A copy of the project in which `full` has run on folders of photographs; the faces are marked explicit."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("photographs"))
    for kind in ("portraits", "things"):
        place = folder / "resources/photographs" / kind
        place.mkdir(parents=True)
        for index, picture in enumerate(KINDS[kind](24, 256, np.random.default_rng(0))):
            Image.fromarray(picture).save(place / f"{index:02}.{'png' if index % 2 else 'jpg'}")
        (place / "notes.txt").write_text("no picture", encoding="utf-8")
    shared = {"size": 128, "near_duplicates": "keep"}
    halves = {"fit": [0, 0.5], "test": [0.5, 1]}
    datasets = {
        f"{kind}_{half}": {"params": {**shared, "part": part}}
        for kind in ("forget", "safe")
        for half, part in halves.items()
    }
    datasets |= dict.fromkeys([f"{name}_squashed" for name in datasets])  # of the preset that is left out
    # Enough for what is asked of it here: faces are looked for in photographs, and painted over.
    params = {**configuration()["networks"]["tiny_vq"]["params"], "steps": 200}
    overlay = {
        "experiment": "photographs",
        "families": ["lcr"],
        "collections": {"portraits": {"explicit": True, "consent": True}},
        "datasets": datasets,
        "networks": {
            "vqgan_gumbel_f8": None,
            "vqgan_imagenet_f16_16384": None,
            "nudenet_640m": None,
            "tiny_vq": {
                "trainer": "vqgan",
                "train": "safe_fit",
                "test": "safe_test",
                "start": None,
                "seed": 0,
                "params": params,
            },
        },
        # The network that comes with the package is the second opinion too: the larger one would have to be fetched.
        "detectors": {"nudenet_judge": {"network": None}},
        "lcr": {
            "models": ["tiny_vq"],
            "released_preset": "corrected",
            "presets": {
                "corrected": {"masks": {"min_score": 0.3}, "selection": {"q": None, "top": 60}, "seeds": [0]},
                "reproduce_2025": None,
            },
            "rules": {name: None for name in configuration()["lcr"]["rules"] if name not in RULES},
            "sweep": {"tops": [20, 60], "rules": ["random_safe"]},
            "locality": {"images": 4, "sites": 2},
            "encoder_noise": {"images": 8, "draws": 2},
            **{step: {"draws": 10} for step in ("scores", "localise", "code_stats", "cooccurrence")},
        },
        "report": {
            "lcr": {
                "tables": {"presets": None},
                "figures": {"panels": {"pictures": [0, 1, 2]}},
            }
        },
    }
    (folder / "photographs.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    snakemake(folder, *FULL)
    return folder / "results/photographs"


def test_the_faces_are_found_and_masked(photographs):
    found = pd.read_parquet(photographs / "judges/nudenet/forget_test.parquet")
    assert found["image"].nunique() >= 8
    masks = np.load(photographs / "lcr/corrected/tiny_vq/masks/forget_test.npy")
    assert masks.shape == (12, 32, 32) and masks.any((1, 2)).sum() >= 8 and masks.mean() < 0.6
    # A cat's face may pass for one.
    assert np.load(photographs / "lcr/corrected/tiny_vq/masks/safe_test.npy").any((1, 2)).sum() <= 2


def test_every_edit_is_measured_and_painting_the_region_hides_the_face(photographs):
    table = read([photographs / "paper/measurements.parquet"])
    rates = select(table, metric="detection_rate", set="forget_test", preset="corrected", top="")
    assert set(rates["method"]) >= {"original", "reconstruction", *RULES}
    shown = select(rates, method="original")["value"].item()
    painted = select(rates, method="mean_colour", scope="mask", cells="all")["value"].item()
    assert shown >= 0.75 and painted <= shown / 2
    # Photographs have no factors and no twins: nothing is measured that would need them.
    assert not table["metric"].isin(["twin_lpips_mini", "lpips_mini", "object_accuracy"]).any()


def test_unreadable_files_are_listed(photographs):
    record = json.loads((photographs / "data/forget_test/images.record.json").read_text(encoding="utf-8"))
    assert [row["path"] for row in record["result"]["unreadable"]] == ["notes.txt"]


@pytest.mark.parametrize("name", ["lcr_contact_sheet", "lcr_panels"])
def test_figures_know_which_sets_are_explicit(photographs, name):
    record = json.loads((photographs / f"paper/figures/{name}.record.json").read_text(encoding="utf-8"))
    assert record["arguments"]["params"]["explicit_sets"] == ["forget_fit", "forget_test"]


def test_the_paper_is_made(photographs):
    made = {path.stem for path in (photographs / "paper/tables").glob("*.tex")}
    assert {"lcr_replacement", "lcr_code_statistics", "lcr_locality"} <= made


def test_a_change_in_the_folder_draws_the_set_anew_and_braces_are_no_wildcard(tmp_path):
    folder, place = copy_of_the_project(tmp_path / "project"), tmp_path / "{a} b"
    place.mkdir()
    for index, picture in enumerate(KINDS["things"](3, 64, np.random.default_rng(0))):
        Image.fromarray(picture).save(place / f"{index}.png")
    overlay = {"families": ["lcr"], "collections": {name: {"path": str(place)} for name in ("portraits", "things")}}
    (folder / "photographs.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    target = ("--", "results/full/data/safe_fit/manifest.parquet")
    snakemake(folder, *FULL, *target)
    assert "Nothing to be done" in snakemake(folder, "--dry-run", *FULL, *target).stdout
    (place / "1.png").write_bytes((place / "0.png").read_bytes())
    changed = snakemake(folder, "--dry-run", *FULL, *target).stdout
    assert "make_data" in changed and "Params have changed" in changed
