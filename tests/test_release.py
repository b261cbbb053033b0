"""The released base models: each with its record, made by the present recipe."""

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from conftest import ROOT, configuration
from palimpsest.models import release
from palimpsest.plan import base
from palimpsest.plan.erasure import Erasure
from palimpsest.plan.instance import Instance
from palimpsest.plan.var import Var
from palimpsest.report import collect, records
from palimpsest.run import PACKAGE, UserError, sha256, write_json
from palimpsest.unlearning import release as release_tuning

RELEASED = ROOT / "resources/models"
CONFIG = configuration()
# An experiment of released models that has all of them; it trains as the default one does.
ALL = configuration("small")
PARTS = ("start", "autoencoder", "visual")  # other networks whose record is in a network's own
RECORDS = sorted(path.stem for path in RELEASED.glob("*.json"))


def recorded(name):
    return json.loads((RELEASED / f"{name}.json").read_text(encoding="utf-8"))


def weights_of(name):
    """The released weights: a file, or in the folder of a diffusion or a next-scale model."""
    parts = ("unet/diffusion_pytorch_model", "transformer/model", "visual_tokenizer/model")
    places = [f"{name}/{part}.safetensors" for part in parts]
    return next(filter(Path.exists, (RELEASED / place for place in places)), RELEASED / f"{name}.safetensors")


def train_again(name):
    return (
        f"{name} was not trained by the present recipe. Train it and release it again: snakemake --cores 1 "
        f"--config base_models=train -- results/mini/models/{name}.safetensors, then palimpsest.models.release"
    )


def test_every_trained_network_is_released_with_a_record():
    rows = ALL["networks"].values()
    # What another training starts from need not be, an autoencoder lies in the model's folder. A visual tokenizer does
    # too, and is released alone: every oracle is to have the very same.
    trained = {name for name, row in ALL["networks"].items() if "trainer" in row}
    wanted = trained - {row.get(part) for row in rows for part in PARTS} | {
        row["visual"] for row in rows if "visual" in row
    }
    folders = {path.name for path in RELEASED.iterdir() if path.is_dir()}
    assert wanted == set(RECORDS) == {path.stem for path in RELEASED.glob("*.safetensors")} | folders


def stages(name):
    """The released stages of a training, last first: (name, record)."""
    found = [(name, recorded(name))]
    while found:
        name, record = found.pop()
        yield name, record
        found += [(ALL["networks"][name].get(part), record[part]) for part in PARTS if part in record]


@pytest.mark.parametrize("name", RECORDS)
def test_a_release_is_that_of_the_present_recipe(name):
    for stage, record in stages(name):
        recipe = ALL["networks"][stage]
        assert record["params"] == recipe["params"], train_again(name)
        assert record["seed"] == recipe["seed"], train_again(name)
        data = ALL["datasets"][recipe["train"]]
        assert {key: record["data"][key] for key in ("world", "params")} == data, train_again(name)
        # A conditional model is measured by every run: how often it draws its faulty class wrong.
        assert record["quality"] or "labels" in record["params"]
    assert recorded(name)["sha256"] == sha256(weights_of(name)), f"{name}.json is of another file"


def changed_since(record):
    """The files of a record's code that are others now, or gone."""
    files = {path: PACKAGE.parent / path for path in record["code"]}
    return [path for path, file in files.items() if not file.exists() or sha256(file)[:16] != record["code"][path]]


@pytest.mark.parametrize("name", RECORDS)
def test_changed_code_only_warns(name):
    record = recorded(name)
    trainer = f"{record['step'].replace('.', '/')}.py"
    assert trainer in record["code"] and (PACKAGE.parent / trainer).exists(), train_again(name)
    if changed := changed_since(record):
        warnings.warn(f"since {name} was trained these have changed: {', '.join(changed)}", stacklevel=1)


def test_changed_code_is_noticed():
    now = {"palimpsest/run.py": sha256(PACKAGE / "run.py")[:16]}
    assert changed_since({"code": now}) == []
    assert changed_since({"code": now | {"palimpsest/gone.py": "0"}}) == ["palimpsest/gone.py"]
    assert changed_since({"code": {"palimpsest/run.py": "0" * 16}}) == ["palimpsest/run.py"]


def test_releasing_copies_the_weights_and_what_made_them(tmp_path):
    network, data = tmp_path / "made.safetensors", tmp_path / "images.npy"
    network.write_bytes(b"weights")
    data.write_bytes(b"pictures")
    record = dict.fromkeys(release.KEPT, "kept") | {"arguments": {"params": {"steps": 3}}, "result": {"quality": {}}}
    write_json(tmp_path / "made.record.json", record)
    write_json(tmp_path / "images.record.json", {"arguments": {"world": "scenes", "params": {"n": 1}}})
    released = tmp_path / "out.safetensors", tmp_path / "out.json"
    release.release(network, data, *released)
    found = json.loads(released[1].read_text(encoding="utf-8"))
    assert released[0].read_bytes() == b"weights" and found["sha256"] == sha256(network)
    assert found["params"] == {"steps": 3} and found["quality"] == {}
    assert found["data"] == {"world": "scenes", "params": {"n": 1}, "sha256": sha256(data)}
    assert {found[key] for key in release.KEPT} == {"kept"}
    assert "start" not in found
    release.release(network, data, *released, start=released[1])
    assert json.loads(released[1].read_text(encoding="utf-8"))["start"] == found
    (tmp_path / "made.record.json").unlink()
    with pytest.raises(UserError, match=r"made\.safetensors has no record"):
        release.release(network, data, *released)


def test_releasing_a_diffusion_model_copies_its_folder(tmp_path):
    network, released = (tmp_path / name / "unet/weights.safetensors" for name in ("made", "out"))
    network.parent.mkdir(parents=True)
    released.parent.mkdir(parents=True)
    network.write_bytes(b"weights")
    for name in ("unet/config.json", "model_index.json", "scheduler.json"):
        (tmp_path / "made" / name).write_text("{}", encoding="utf-8")
    record = dict.fromkeys(release.KEPT, "kept") | {"arguments": {"params": {}}, "result": {}}
    write_json(network.with_name("weights.record.json"), record)
    data = tmp_path / "images.npy"
    data.write_bytes(b"pictures")
    write_json(tmp_path / "images.record.json", {"arguments": {}})
    release.release(network, data, released, tmp_path / "out.json")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"unet/config.json", "unet/weights.safetensors", "model_index.json", "scheduler.json"}


TUNINGS = sorted((ROOT / "resources/tunings").glob("*/*/record.json"))
FAMILIES = {"erasure": Erasure, "instance": Instance, "var": Var}


@pytest.mark.parametrize("path", TUNINGS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_the_default_experiment_takes_every_released_tuning(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    family, model = path.parts[-3:-1]
    plan, record = FAMILIES[family](CONFIG), json.loads(path.read_text(encoding="utf-8"))
    assert record["network"] == sha256(weights_of(model)), f"the tuning of {model} is that of other weights"
    study = plan.own("tuning_study")
    repaired = family == "instance" and model == plan.faulty("model")
    assert set(record["methods"]) == set(plan.repairs() if repaired else plan.methods_of(study))
    assert repaired or set(record["methods"]) == set(plan.released_tunings())
    for method, made in record["methods"].items():
        file = str(path.relative_to(ROOT).with_name(f"{method}.parquet"))
        taken = plan.repair_tuned_on(SimpleNamespace(repair=method)) if repaired else None
        assert (taken or plan.measurements_of(model, study, method)) == file
        assert made["sha256"] == sha256(path.with_name(f"{method}.parquet"))
        assert not any(f"/{study}/" in made for made in plan.edits())


@pytest.mark.parametrize("path", TUNINGS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_released_tuning_is_collected_with_what_a_run_measures_and_a_changed_one_is_not(path, tmp_path):
    files = sorted(path.parent.glob("*.parquet"))
    found = collect.collect(files, tmp_path / "measurements.parquet")
    assert found["files"] == len(files) and found["locks"] == [] and found["rows"] > len(files)
    assert records.made_here([*files, tmp_path / "measurements.parquet"]) == [tmp_path / "measurements.parquet"]
    copied = Path(shutil.copytree(path.parent, tmp_path / "copied"))
    pd.read_parquet(files[0]).iloc[1:].to_parquet(copied / files[0].name)
    with pytest.raises(UserError, match=rf"{files[0].name} is not the file that .*record\.json tells of"):
        collect.collect([copied / each.name for each in files], tmp_path / "other.parquet")


def test_a_tuning_of_other_runs_other_sizes_or_another_network_is_made(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    taken = Erasure(configuration())
    assert "ac" in taken.released_tunings() and taken.is_made("tiny_sd", "comparison", "ac")
    for keys, value in [
        (("studies", "tuning", "seeds"), [0, 1]),
        (("studies", "tuning", "concepts"), ["tree"]),
        (("methods", "ac", "training"), {"batch": 4}),
        (("methods", "ac", "grid"), [{"name": "slow", "training": {"learning_rate": 0.001}}]),
        (("training", "steps"), 41),
    ]:
        config = configuration()
        row = config["erasure"]
        for key in keys[:-1]:
            row = row[key]
        row[keys[-1]] = value
        assert Erasure(config).is_made("tiny_sd", "tuning", "ac"), keys
    assert Erasure({**configuration(), "base_models": "train"}).released_tunings() == []
    # Its pictures would be others with another decoder.
    record = recorded("tiny_sd")
    record["autoencoder"]["sha256"] = "another"
    (tmp_path / "tiny_sd.json").write_text(json.dumps(record), encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr(base, "RELEASED", tmp_path)
        patched.setattr(Erasure, "network", lambda self, name: f"{tmp_path}/{name}.safetensors")
        for name in ("classifier_judge", "detector_judge"):
            shutil.copyfile(RELEASED / f"{name}.json", tmp_path / f"{name}.json")
        assert Erasure(configuration()).is_made("tiny_sd", "tuning", "ac")
        shutil.copyfile(RELEASED / "tiny_sd.json", tmp_path / "tiny_sd.json")
        assert not Erasure(configuration()).is_made("tiny_sd", "tuning", "ac")
        # A judge that reads pictures otherwise would choose otherwise.
        write_json(tmp_path / "detector_judge.json", recorded("detector_judge") | {"sha256": "another"})
        assert Erasure(configuration()).is_made("tiny_sd", "tuning", "ac")
    config = configuration()
    config["instance"]["reference"]["pairs"] = 97
    assert Instance(config).released_tunings() == []


def test_releasing_a_tuning_keeps_what_was_measured_and_the_runs(tmp_path):
    network, decoder = tmp_path / "network/unet/file", tmp_path / "network/vae/diffusion_pytorch_model.safetensors"
    for path in (network, decoder):
        path.parent.mkdir(parents=True)
        path.write_bytes(path.parent.name.encode())
    for name, edited in {"esd": "weights", "siss": "models"}.items():
        folder = tmp_path / "tuning" / name
        (folder / edited).mkdir(parents=True)
        (folder / "measurements.parquet").write_text(name, encoding="utf-8")
        record = dict.fromkeys(release_tuning.KEPT, "kept") | {"arguments": {"plan": {"runs": [{"seed": 3}]}}}
        record["inputs"] = {"classifier": str(network), "judges": [], "network": "edited"}
        write_json(folder / f"{edited}.record.json", record)
    inputs = {"judges": [str(decoder), str(network), str(decoder)]}
    record = {"arguments": {"params": {"pairs": 5}}, "inputs": inputs}
    write_json(tmp_path / "tuning/siss/measurements.record.json", record)
    assert release_tuning.release(tmp_path / "tuning", network, tmp_path / "out") == {"methods": 2}
    found = json.loads((tmp_path / "out/record.json").read_text(encoding="utf-8"))
    assert found["network"] == sha256(network) and found["autoencoder"] == sha256(decoder)
    assert "visual" not in found
    assert (tmp_path / "out/esd.parquet").read_text(encoding="utf-8") == "esd"
    assert [found["methods"][name]["sizes"] for name in ("esd", "siss")] == [{}, {"pairs": 5}]
    assert found["methods"]["esd"]["judges"] == [sha256(network)]
    assert found["methods"]["siss"]["judges"] == sorted([sha256(network), sha256(decoder)])
    assert found["methods"]["esd"]["runs"] == [{"seed": 3}] and found["methods"]["esd"]["commit"] == "kept"
    with pytest.raises(UserError, match="has no measurements of any method"):
        release_tuning.release(tmp_path / "out", network, tmp_path / "again")
