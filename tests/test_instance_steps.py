"""The steps of instance unlearning, run by hand on small faces and an untrained network: what they write and refuse."""

import json
import shutil
from functools import partial
from importlib import import_module
from math import comb
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file

from palimpsest.instance import faulty_reference
from palimpsest.instance.conflicts import conflicts, share_curve
from palimpsest.instance.evaluate import evaluate, over_targets
from palimpsest.instance.faulty_class import Fault, Looks, Samples, data_rates, rates, wrong_first
from palimpsest.instance.make_surrogates import make_surrogates
from palimpsest.instance.membership import gap, held, membership
from palimpsest.instance.paired import METRICS, paired
from palimpsest.instance.reference import reference
from palimpsest.instance.repair_class import ADAPTED, repair
from palimpsest.instance.select import fewer, select
from palimpsest.instance.select_repair import RATES
from palimpsest.instance.select_repair import select as select_repair
from palimpsest.instance.surrogates.context import check
from palimpsest.instance.targets import NEAREST, targets
from palimpsest.instance.unlearn import unlearn_all
from palimpsest.judges import face_networks, networks
from palimpsest.metrics import measurements
from palimpsest.metrics.intervals import detectable, t_interval
from palimpsest.metrics.measurements import row
from palimpsest.models import diffusion, edits, weights
from palimpsest.models.forward_process import signal_to_noise
from palimpsest.models.pixels import to_tensor
from palimpsest.run import UserError
from palimpsest.unlearning.context import Context, Examples
from palimpsest.unlearning.engine import train
from palimpsest.unlearning.find import method_module
from palimpsest.unlearning.timestep_weights import timestep_weights
from palimpsest.worlds import faces, flags

SIZE = 16
PLANTED = {"single-0": 1, "single-1": 1, "duplicated-0": 4}
CHOSEN = {
    "first": {"set": "planted", "id": "single-0-000"},
    "copied": {"set": "planted", "id": "duplicated-0-000"},
    "odd": {"set": "odd", "id": "fit-5-00001"},
}
TRAINING = {"steps": 3, "learning_rate": 1e-3, "batch": 4}
MODULES = {"descriptor": "face_networks", "features": "face_networks", "perceptual": "face_networks"}
PARAMS = {
    "pairs": 8,
    "seeds": 2,
    "sampling_steps": 4,
    "draws": 3,
    "injection_steps": 10,
    "timesteps": [100, 300],
    "sheet": 4,
    "wanted_similarity": 0.9,
    "bystanders": 3,
    "bystander_draws": 2,
    "data": 30,
}


def tiny(classes: int | None = None, size: int = SIZE) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=size,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        add_attention=False,
        num_class_embeds=classes,
    )


def saved_world(folder: Path, world) -> tuple[Path, Path]:
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", world.images)
    world.manifest.to_parquet(folder / "manifest.parquet")
    return folder / "images.npy", folder / "manifest.parquet"


def weights_of(models: Path, folder: str) -> dict[str, torch.Tensor]:
    return load_file(models / folder / "unet" / diffusion.WEIGHTS)


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> SimpleNamespace:
    """Data, targets, a network, judges and surrogates on the disk, and the paths that the steps take."""
    folder = tmp_path_factory.mktemp("instance")
    data = saved_world(folder / "data", faces.make(60, 1, "train", PLANTED, size=SIZE))
    planted = saved_world(folder / "planted", faces.make(0, 1, "train", dict.fromkeys(PLANTED, 1), size=SIZE))
    odd = saved_world(folder / "odd", faces.make(4, 5, "fit", ood="inverted", size=SIZE))
    held_out, _ = saved_world(folder / "held_out", faces.make(40, 9, "test", size=SIZE))
    paths = {"images": "images.npy", "manifest": "targets.parquet", "remember": "remember.npy"}
    paths = {name: folder / file for name, file in (paths | {"neighbours": "neighbours.npy"}).items()}
    collect = partial(targets, *data, [planted[0], odd[0]], [planted[1], odd[1]], sets=["planted", "odd"])
    result = collect(*paths.values(), chosen=CHOSEN)
    network = folder / "model/unet" / diffusion.WEIGHTS
    diffusion.save(network, tiny(), DDPMScheduler())
    judges = []
    for number, role in enumerate(sorted(MODULES)):
        torch.manual_seed(number)
        kind = "descriptor" if role == "descriptor" else "attributes"
        judge = face_networks.FaceNetwork(kind, 8, 4, SIZE)
        # An untrained judge sees much the same in every picture: let it see differences.
        for layer in (judge.hidden, judge.head):
            layer.weight.data *= 10
            layer.bias.data *= 0
        judges.append(folder / f"{role}.safetensors")
        weights.save(judges[-1], judge, judge.config)
    made = {"edit": ("exact_edit", {}), "flip": ("flip", {})}
    shared = (paths["images"], paths["manifest"], data[0], paths["neighbours"], network)
    for name, (kind, params) in made.items():
        make_surrogates(*shared, folder / f"{name}.npy", kind=kind, params=params)
    return SimpleNamespace(
        folder=folder,
        data=data,
        held_out=held_out,
        collect=collect,
        result=result,
        network=network,
        judges=judges,
        surrogates=[folder / f"{name}.npy" for name in made],
        surrogate=partial(make_surrogates, *shared),
        **paths,
    )


# Targets


def test_targets_are_the_chosen_pictures_with_what_their_sets_say_of_them(base):
    images, rows = np.load(base.images), pd.read_parquet(base.manifest)
    assert list(rows["target"]) == list(CHOSEN) and list(rows["id"]) == [place["id"] for place in CHOSEN.values()]
    assert list(rows["ood"]) == ["", "", "inverted"]
    for image, row_ in zip(images, rows.to_dict("records"), strict=True):
        identity, nuisance = (np.array([[row_[name] for name in names]]) for names in (faces.IDENTITY, faces.NUISANCE))
        assert np.array_equal(faces.render(identity, nuisance, SIZE, row_["ood"] or None)[0], image)


def test_nothing_that_equals_a_target_is_remembered(base):
    data, images, kept = np.load(base.data[0]), np.load(base.images), np.load(base.remember)
    copies = [(data == image).all((1, 2, 3)) for image in images]
    assert [each.sum() for each in copies] == [1, 4, 0]
    assert np.array_equal(kept, np.flatnonzero(~np.any(copies, axis=0)))
    assert base.result == {
        "remembered": len(kept),
        "of": len(data),
        "copies_in_data": {"first": 1, "copied": 4, "odd": 0},
    }


def test_neighbours_are_the_nearest_remembered_pictures_nearest_first(base):
    data, images = np.load(base.data[0]).astype(int), np.load(base.images)
    kept, found = np.load(base.remember), np.load(base.neighbours)
    assert found.shape == (len(images), NEAREST) and np.isin(found, kept).all()
    for image, nearest in zip(images, found, strict=True):
        distances = ((data - image) ** 2).sum((1, 2, 3))
        assert (np.diff(distances[nearest]) >= 0).all() and len(set(nearest)) == NEAREST
        assert distances[nearest[-1]] <= distances[np.setdiff1d(kept, nearest)].min()


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"who": {"set": "planted", "id": "single-9-000"}}, r"target who: the set planted has 0 rows.*'single-9-000'"),
        (
            {"one": CHOSEN["first"], "other": {"set": "planted", "id": "single-0-000"}},
            r"targets one and other are the same picture",
        ),
    ],
)
def test_unknown_and_equal_targets_are_refused(base, tmp_path, chosen, named):
    outputs = [tmp_path / name for name in ("images.npy", "rows.parquet", "remember.npy", "neighbours.npy")]
    with pytest.raises(UserError, match=named):
        base.collect(*outputs, chosen=chosen)
    assert not any(path.exists() for path in outputs)


def test_targets_of_another_size_and_too_little_data_are_refused(base, tmp_path):
    outputs = [tmp_path / name for name in ("images.npy", "rows.parquet", "remember.npy", "neighbours.npy")]
    large, few = (
        saved_world(tmp_path / name, world)
        for name, world in (
            ("large", faces.make(2, 5, "fit", size=24)),
            ("few", faces.make(NEAREST - 1, 1, "train", {"single-0": 1}, size=SIZE)),
        )
    )
    place = {"set": "set", "id": "fit-5-00001"}
    with pytest.raises(UserError, match=r"target large: its picture is \(24, 24, 3\), those of the data \(16, 16, 3\)"):
        targets(*base.data, [large[0]], [large[1]], *outputs, sets=["set"], chosen={"large": place})
    place = {"set": "set", "id": "single-0-000"}
    with pytest.raises(UserError, match=f"{NEAREST - 1} pictures are left to remember; give at least {NEAREST}"):
        targets(*few, [few[0]], [few[1]], *outputs, sets=["set"], chosen={"one": place})


# Surrogates


def made(base, tmp_path, kind: str, seed: int = 0, **params) -> np.ndarray:
    base.surrogate(tmp_path / "made.npy", kind=kind, params=params, seed=seed)
    return np.load(tmp_path / "made.npy")


@pytest.mark.parametrize("strength", [0.25, 1.0, 2.0])
def test_exact_edits_are_the_targets_with_an_edited_identity(base, tmp_path, strength):
    rows, found = pd.read_parquet(base.manifest), made(base, tmp_path, "exact_edit", strength=strength)
    edited = faces.edit(rows[list(faces.IDENTITY)].to_numpy(), strength)
    for kind in ("", "inverted"):
        chosen = (rows["ood"] == kind).to_numpy()
        nuisance = rows.loc[chosen, list(faces.NUISANCE)].to_numpy()
        assert np.array_equal(found[chosen], faces.render(edited[chosen], nuisance, SIZE, kind or None))
    distance = np.abs(found - np.load(base.images).astype(int)).mean()
    weaker = made(base, tmp_path, "exact_edit", strength=strength / 2)
    assert distance > np.abs(weaker - np.load(base.images).astype(int)).mean()


def test_an_exact_edit_needs_known_attributes(base, tmp_path):
    plain = tmp_path / "plain.parquet"
    pd.read_parquet(base.manifest)[["target", "set", "id"]].to_parquet(plain)
    with pytest.raises(UserError, match=r"exact_edit needs procedural faces.*file"):
        make_surrogates(
            base.images,
            plain,
            base.data[0],
            base.neighbours,
            base.network,
            tmp_path / "x.npy",
            kind="exact_edit",
            params={},
        )


def test_a_flip_is_the_mirror_image_and_the_nearest_is_remembered(base, tmp_path):
    images, data = np.load(base.images), np.load(base.data[0])
    assert np.array_equal(made(base, tmp_path, "flip"), images[:, :, ::-1])
    for rank in (0, 7):
        found = made(base, tmp_path, "nearest", rank=rank)
        assert np.array_equal(found, data[np.load(base.neighbours)[:, rank]])
        assert all((data[np.load(base.remember)] == one).all((1, 2, 3)).any() for one in found)


def test_noise_is_of_its_size_and_belongs_to_its_seed(base, tmp_path):
    images = np.load(base.images)
    first, again, other = (made(base, tmp_path, "noise", seed=seed, sigma=20) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    inside = (images > 80) & (images < 175)
    gap = (first.astype(int) - images)[inside]
    assert gap.std() == pytest.approx(20, rel=0.1) and abs(gap.mean()) < 2
    loud = made(base, tmp_path, "noise", sigma=150)
    assert (loud == 0).any() and (loud == 255).any()


def test_a_painted_rectangle_has_the_mean_colour_and_nothing_else_changes(base, tmp_path):
    images, found = np.load(base.images), made(base, tmp_path, "mask_paint", box=[0.25, 0.5, 0.75, 1.0])
    inside = np.zeros((SIZE, SIZE), bool)
    inside[4:12, 8:16] = True
    assert np.array_equal(found[:, ~inside], images[:, ~inside])
    assert np.abs(found[:, inside] - images[:, inside].mean(1, keepdims=True)).max() <= 0.5


@pytest.mark.parametrize("box", [[0.5, 0.2, 0.5, 0.8], [0.9, 0.2, 0.3, 0.8], [0.1, -0.1, 0.5, 0.8], [0, 0, 1, 1.2]])
def test_a_rectangle_outside_the_picture_is_refused(base, tmp_path, box):
    with pytest.raises(UserError, match=r"mask_paint: box is.*growing shares"):
        made(base, tmp_path, "mask_paint", box=box)


def test_the_models_own_edit_keeps_more_of_the_target_the_less_noise_it_gets(base, tmp_path):
    images = np.load(base.images).astype(int)
    found = [made(base, tmp_path, "ddim_edit", timestep=timestep, steps=100) for timestep in (0, 100, 600)]
    errors = [np.abs(one - images).mean() for one in found]
    assert errors[0] < errors[1] < errors[2] and errors[0] < 5
    assert np.array_equal(found[1], made(base, tmp_path, "ddim_edit", timestep=100, steps=100))
    assert not np.array_equal(found[1], made(base, tmp_path, "ddim_edit", seed=1, timestep=100, steps=100))


@pytest.fixture
def drawn(base, tmp_path) -> Path:
    """A folder with a picture of the user's own for every target."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    for number, name in enumerate(CHOSEN):
        Image.new("RGB", (SIZE, SIZE), (10 * number, 20, 30)).save(folder / f"{name}.png")
    return folder


def test_pictures_of_ones_own_are_taken_by_name(base, tmp_path, drawn):
    found = made(base, tmp_path, "file", folder=str(drawn))
    assert [tuple(one[0, 0]) for one in found] == [(0, 20, 30), (10, 20, 30), (20, 20, 30)]
    assert (found == found[:, :1, :1]).all()


def test_pictures_of_ones_own_that_do_not_fit_are_refused(base, tmp_path, drawn):
    picture = drawn / "copied.png"
    shutil.copy(picture, drawn / "copied.webp")
    with pytest.raises(UserError, match=r"drawn has 2 pictures named copied.*exactly one"):
        made(base, tmp_path, "file", folder=str(drawn))
    (drawn / "copied.webp").unlink()
    Image.new("RGB", (20, SIZE)).save(picture)
    with pytest.raises(UserError, match=r"copied\.png is 20 x 16 pixels; give 16 x 16"):
        made(base, tmp_path, "file", folder=str(drawn))
    for content in (b"no picture", b"", b"\x89PNG\r\n\x1a\n\0\0"):
        picture.write_bytes(content)
        with pytest.raises(UserError, match=r"copied\.png is no readable picture"):
            made(base, tmp_path, "file", folder=str(drawn))
    picture.unlink()
    with pytest.raises(UserError, match=r"drawn has 0 pictures named copied"):
        made(base, tmp_path, "file", folder=str(drawn))


def test_a_surrogate_that_is_its_target_is_refused(base, tmp_path, drawn):
    Image.fromarray(np.load(base.images)[1]).save(drawn / "copied.png")
    with pytest.raises(UserError, match=r"surrogate file: it equals the target for copied, "):
        made(base, tmp_path, "file", folder=str(drawn))
    with pytest.raises(UserError, match=r"it equals the target for first, copied, odd"):
        made(base, tmp_path, "noise", sigma=0)
    assert not (tmp_path / "made.npy").exists()


@pytest.mark.parametrize(
    "change", [lambda one: one.astype(np.float32), lambda one: one[:2], lambda one: one[:, :8], lambda one: one[..., 0]]
)
def test_surrogates_of_another_kind_number_or_size_are_refused(base, change):
    images = np.load(base.images)
    wrong = change(255 - images)
    with pytest.raises(UserError) as caught:
        check(wrong, images, list(CHOSEN), "mine")
    assert f"surrogate mine: {wrong.dtype} {wrong.shape} for targets (3, 16, 16, 3)" in str(caught.value)
    check(255 - images, images, list(CHOSEN), "mine")


def test_unknown_settings_of_a_surrogate_are_refused_by_name(base, tmp_path):
    with pytest.raises(UserError, match=r"surrogate flip with \{'sideways': True\}.*sideways"):
        made(base, tmp_path, "flip", sideways=True)
    with pytest.raises(UserError, match=r"strength is 3"):
        made(base, tmp_path, "exact_edit", strength=3)


# Unlearning


def one_run(name: str, *names: str, seed: int = 0, training: dict | None = None, **settings) -> dict:
    return {
        "name": name,
        "setting": "default",
        "targets": list(names),
        "surrogate": "edit",
        "remember": "data",
        "seed": seed,
        "training": {**TRAINING, **(training or {})},
        "settings": settings,
    }


def forget(base, folder: Path, *runs: dict, method: str = "unpromptable", **more: Path) -> dict:
    folder.mkdir(exist_ok=True)
    return unlearn_all(
        base.network,
        base.data[0],
        base.images,
        base.manifest,
        base.remember,
        base.neighbours,
        base.surrogates,
        folder / "models",
        folder / "runs.parquet",
        folder / "log.parquet",
        folder / "edits.parquet",
        model="tiny",
        method=method,
        module=method,
        plan={"runs": list(runs)},
        device="cpu",
        **more,
    )


@pytest.fixture(scope="module")
def unlearned(base, tmp_path_factory) -> Path:
    """A chain of two targets, each of them alone, and a run with another seed."""
    folder = tmp_path_factory.mktemp("unlearned")
    chain, alone, second = (
        one_run("chain", "first", "copied"),
        one_run("alone", "first"),
        one_run("second", "copied"),
    )
    result = forget(base, folder, chain, alone, second, one_run("other", "first", seed=1))
    assert result == {"runs": 4, "models": 5, "smallest_batch": 4}
    return folder


def test_runs_are_described_and_their_models_load_with_diffusers(base, unlearned):
    runs, log = pd.read_parquet(unlearned / "runs.parquet"), pd.read_parquet(unlearned / "log.parquet")
    assert list(runs["folder"]) == ["chain-1", "chain-2", "alone-1", "second-1", "other-1"]
    assert list(runs["targets"]) == ["first", "first+copied", "first", "copied", "first"]
    assert (runs["steps"] == 3).all() and (runs["forwards"] == 3 * 8).all() and (runs["backwards"] == 3 * 8).all()
    assert json.loads(runs["used"][0]) == {"steps": 3, "learning_rate": 0.001, "batch": 4}
    assert list(log["model"].unique()) == list(runs["folder"]) and list(log["step"][:3]) == [0, 1, 2]
    assert np.isfinite(log[["norm", "forget_loss", "remember_loss", "cosine"]].to_numpy()).all()
    pretrained = load_file(base.network)
    for folder in runs["folder"]:
        pipeline = DDPMPipeline.from_pretrained(unlearned / "models" / folder)
        changed = [not torch.equal(tensor, pretrained[name]) for name, tensor in pipeline.unet.state_dict().items()]
        assert np.mean(changed) > 0.9


def test_the_table_of_edits_opens_every_model(unlearned):
    found = edits.read(unlearned / "edits.parquet")
    assert [edit.target for edit in found] == ["first", "first+copied", "first", "copied", "first"]
    assert {edit.method for edit in found} == {"unpromptable"} and [edit.seed for edit in found] == [0, 0, 0, 0, 1]
    for edit, folder in zip(found, pd.read_parquet(unlearned / "runs.parquet")["folder"], strict=True):
        assert equal(edits.open_edit(edit).state_dict(), weights_of(unlearned / "models", folder))


def test_the_same_runs_give_the_same_networks(base, unlearned, tmp_path):
    forget(base, tmp_path / "again", one_run("chain", "first", "copied"), one_run("other", "first", seed=1))
    models, again = unlearned / "models", tmp_path / "again/models"
    for folder in ("chain-1", "chain-2", "other-1"):
        assert equal(weights_of(models, folder), weights_of(again, folder)), folder
    logs = (pd.read_parquet(folder / "log.parquet") for folder in (unlearned, tmp_path / "again"))
    log, same = (each[each["model"] == "chain-2"].reset_index(drop=True) for each in logs)
    assert len(log) == 3 and log.equals(same)
    assert not equal(weights_of(models, "alone-1"), weights_of(models, "other-1"))


def by_hand(base, start: Path, method: str, index: int, seed: int) -> dict[str, torch.Tensor]:
    """The weights after the engine's training on one target, from the network of a file."""
    unet, scheduler = diffusion.load(start)
    student = diffusion.NoisePredictor(unet.requires_grad_(True), scheduler)
    data, images = to_tensor(np.load(base.data[0])), to_tensor(np.load(base.images))
    context = Context(
        "instance",
        target=Examples(images[[index]]),
        remember=Examples(data[np.load(base.remember)]),
        timesteps=len(scheduler.alphas_cumprod),
        seed=seed,
        frozen=diffusion.NoisePredictor(*diffusion.load(base.network)),
        alphas_cumprod=scheduler.alphas_cumprod,
        surrogate=to_tensor(np.load(base.surrogates[0]))[[index]],
        neighbours=data[np.load(base.neighbours)[index]],
    )
    train(import_module(method_module("instance", method)).direction, student, context, settings={}, **TRAINING)
    return student.unet.state_dict()


def test_what_is_remembered_may_be_the_models_own_samples(base, known, unlearned, tmp_path):
    with np.load(known / "reference.npz") as file:
        samples, drawn = file["samples"], np.load(known / "generated.npy")
    # None of them is a sample that models are compared by.
    assert len(drawn) == PARAMS["pairs"] and not any((drawn == one).all((1, 2, 3)).any() for one in samples)
    run = {**one_run("alone", "first"), "remember": "generated"}
    forget(base, tmp_path / "own", run, generated=known / "generated.npy")
    found = weights_of(tmp_path / "own/models", "alone-1")
    assert not equal(found, weights_of(unlearned / "models", "alone-1"))
    # Nothing but the pool differs: with the data in the samples' place the weights are those of the data.
    np.save(tmp_path / "as_data.npy", np.load(base.data[0])[np.load(base.remember)])
    forget(base, tmp_path / "data", run, generated=tmp_path / "as_data.npy")
    assert equal(weights_of(tmp_path / "data/models", "alone-1"), weights_of(unlearned / "models", "alone-1"))


def test_a_chain_forgets_one_target_after_the_other(base, unlearned):
    models = unlearned / "models"
    assert equal(weights_of(models, "chain-1"), weights_of(models, "alone-1"))
    assert not equal(weights_of(models, "chain-2"), weights_of(models, "second-1"))
    # The second stage is a run of its own that starts from the first stage's network.
    start = models / "chain-1/unet" / diffusion.WEIGHTS
    assert equal(weights_of(models, "chain-2"), by_hand(base, start, "unpromptable", index=1, seed=2))


def test_a_target_is_led_to_its_own_neighbours(base, tmp_path):
    forget(base, tmp_path / "near", one_run("near", "odd", seed=3), method="retrack")
    found = weights_of(tmp_path / "near/models", "near-1")
    assert equal(found, by_hand(base, base.network, "retrack", index=2, seed=3001))


def test_a_learning_rate_of_zero_leaves_the_network_alone(base, tmp_path):
    runs = [one_run(f"still-{seed}", "odd", seed=seed, training={"learning_rate": 0.0}) for seed in (0, 1)]
    forget(base, tmp_path / "still", *runs)
    for seed in (0, 1):
        assert equal(weights_of(tmp_path / "still/models", f"still-{seed}-1"), load_file(base.network))


def test_a_tuned_run_takes_the_selected_settings(base, tmp_path):
    selected = tmp_path / "selected.json"
    selected.write_text(
        '{"name": "slow", "training": {"steps": 2}, "settings": {"projection": "both"}}\n', encoding="utf-8"
    )
    runs = [one_run("tuned", "first", projection="none") | {"tuned": True}, one_run("plain", "first")]
    forget(base, tmp_path / "tuned", *runs, selected=selected)
    rows = pd.read_parquet(tmp_path / "tuned/runs.parquet")
    assert list(rows["steps"]) == [2, 3]
    assert json.loads(rows["used"][0]) == {"steps": 2, "learning_rate": 0.001, "batch": 4, "projection": "both"}


def test_a_run_that_diverges_is_an_error_that_keeps_what_there_was(base, tmp_path):
    run = one_run("far", "first", training={"learning_rate": 1e25, "steps": 30})
    with pytest.raises(UserError, match=r"run far, target first: the gradient is not finite at step \d+") as caught:
        forget(base, tmp_path / "far", run, method="neggrad")
    folder = tmp_path / "far"
    assert str(folder / "failed") in str(caught.value) and str(folder / "failed.parquet") in str(caught.value)
    log = pd.read_parquet(folder / "failed.parquet")
    assert len(log) >= 1 and np.isfinite(log["norm"]).all()
    kept, _ = diffusion.load(folder / "failed/unet" / diffusion.WEIGHTS)
    assert all(torch.isfinite(part).all() for part in kept.parameters())
    assert not (folder / "log.parquet").exists() and not (folder / "runs.parquet").exists()


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (one_run("x", "first", projektion="none"), "settings of the method unpromptable: no option projektion"),
        (one_run("x", "first", training={"stepz": 3}), "training of the method unpromptable: no option stepz"),
        (one_run("x", "nobody"), r"targets\.parquet has no target 'nobody'.*first, copied, odd"),
    ],
)
def test_unknown_settings_and_targets_are_refused_by_name(base, tmp_path, run, named):
    with pytest.raises(UserError, match=named):
        forget(base, tmp_path / "wrong", run)


# Evaluation


@pytest.fixture(scope="module")
def known(base, tmp_path_factory) -> Path:
    """The reference of the pretrained network."""
    folder = tmp_path_factory.mktemp("reference")
    reference(
        base.network,
        base.judges,
        base.data[0],
        base.held_out,
        base.images,
        base.manifest,
        base.remember,
        base.neighbours,
        folder / "reference.npz",
        folder / "curve.parquet",
        folder / "measurements.parquet",
        folder / "generated.npy",
        model="tiny",
        modules=MODULES,
        params=PARAMS,
        device="cpu",
    )
    return folder


def judged(base, known: Path, folder: Path, **more) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    evaluate(
        known / "reference.npz",
        base.judges,
        base.images,
        base.manifest,
        folder / "measurements.parquet",
        folder / "panel.npz",
        model="tiny",
        method="unpromptable",
        modules=MODULES,
        params=PARAMS,
        device="cpu",
        **more,
    )
    return measurements.read([folder / "measurements.parquet"])


def value(table: pd.DataFrame, metric: str, **labels) -> float:
    return measurements.select(table, metric=metric, **labels)["value"].item()


def test_the_reference_chooses_the_timestep_with_the_wanted_similarity(base, known):
    curve = pd.read_parquet(known / "curve.parquet")
    assert set(curve["target"]) == set(CHOSEN) and sorted(set(curve["timestep"])) == PARAMS["timesteps"]
    means = curve.groupby("timestep")["value"].mean()
    table = measurements.read([known / "measurements.parquet"])
    chosen = (means - PARAMS["wanted_similarity"]).abs().idxmin()
    assert value(table, "injection_timestep") == chosen
    assert value(table, "injection_similarity") == pytest.approx(means[chosen])
    with np.load(known / "reference.npz") as file:
        assert file["injected"].shape == (3 + 3 + 9, 3, SIZE, SIZE, 3) and len(file["samples"]) == 16
        assert list(file["kinds"]) == ["target"] * 3 + ["stranger"] * 3 + ["neighbour"] * 9
        assert list(file["owners"]) == [0, 1, 2, -1, -1, -1, 0, 0, 0, 1, 1, 1, 2, 2, 2]
        neighbours = np.load(base.data[0])[np.load(base.neighbours)[:, :3].ravel()]
        assert np.array_equal(file["injected_images"][6:], neighbours)


def test_the_pretrained_network_has_changed_nothing(base, known, tmp_path):
    lists = [["first"], ["first", "odd"]]
    plan = {"studies": {"one": lists[:1], "both": lists[1:]}}
    table = judged(base, known, tmp_path / "pretrained", network=base.network, plan=plan)
    assert set(table["study"]) == {"one", "both"}
    assert set(table.loc[table["study"] == "one", "targets"]) == {"first", "mean"}
    assert set(table.loc[table["study"] == "both", "targets"]) == {"first", "first+odd", "mean"}
    values = table.set_index("metric")["value"]
    assert values["ssim"].min() > 0.99 and values["perceptual"].max() < 1e-3
    assert values["frechet_pretrained"].abs().max() < 1e-3
    assert values["kernel_pretrained"].abs().max() < 0.1 * values["kernel_data"].abs().min()
    assert values["collateral"].abs().max() < 0.01 and values["similarity_pretrained"].min() > 0.99
    assert set(table.loc[table["metric"] == "collateral", "kind"]) == {"neighbour", "stranger"}
    # What it reads of the target is what the reference measured of it.
    curve = pd.read_parquet(known / "curve.parquet")
    timestep = value(measurements.read([known / "measurements.parquet"]), "injection_timestep")
    measured = curve.loc[(curve["timestep"] == timestep) & (curve["target"] == "first"), "value"].item()
    found = value(table, "similarity_target", targets="first", study="one")
    assert found == pytest.approx(measured, abs=0.05)
    with np.load(tmp_path / "pretrained/panel.npz") as panel:
        assert panel["first+odd.rebuilt"].shape == (2, 3, SIZE, SIZE, 3)
        assert panel["first.samples"].shape == (8, SIZE, SIZE, 3)


def test_membership_is_the_paired_gap_between_the_model_and_its_oracle(base, known, tmp_path):
    torch.manual_seed(3)
    other = tmp_path / "other/unet" / diffusion.WEIGHTS
    network = tiny()
    for weight in network.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    diffusion.save(other, network, DDPMScheduler())
    tables, curves = {}, {}
    for name, oracle in (("same", base.network), ("other", other)):
        outputs = tmp_path / f"{name}.curves.parquet", tmp_path / f"{name}.measurements.parquet"
        shared = (base.judges, base.data[0], base.images, base.manifest)
        settings = {"model": "tiny", "modules": MODULES, "params": PARAMS, "device": "cpu"}
        result = membership(known / "reference.npz", base.network, oracle, *shared, *outputs, **settings)
        curves[name], tables[name] = pd.read_parquet(outputs[0]), measurements.read(outputs[1:])
    assert result["targets"] == {"first": "once", "copied": "often", "odd": "none"}
    assert (tables["same"]["value"] == 0).all() and tables["other"]["value"].abs().min() > 0
    assert set(tables["same"]["copies"]) == {"none", "once", "often"}
    measured_at = value(measurements.read([known / "measurements.parquet"]), "injection_timestep")
    assert measured_at in PARAMS["timesteps"]
    for timestep in PARAMS["timesteps"]:
        for target, copies in result["targets"].items():
            curve = curves["other"]
            at = curve[(curve["timestep"] == timestep) & (curve["target"] == target)].set_index("network")["value"]
            found = value(tables["other"], "membership_curve", timestep=timestep, copies=copies)
            assert found == pytest.approx(at["pretrained"] - at["oracle"])
            if timestep == measured_at:
                assert value(tables["other"], "membership_gap", copies=copies) == found
    # With as many draws it is what the choice of the timestep read of the same network.
    chosen = pd.read_parquet(known / "curve.parquet").set_index(["target", "timestep"])["value"]
    few = {**settings, "params": {**PARAMS, "draws": PARAMS["bystander_draws"]}}
    membership(known / "reference.npz", base.network, base.network, *shared, *outputs, **few)
    again = pd.read_parquet(outputs[0]).query("network == 'oracle'").set_index(["target", "timestep"])["value"]
    assert again.to_dict() == pytest.approx(chosen.to_dict())


def test_a_gap_has_its_interval_over_targets_or_over_the_draws_of_one():
    several = np.array([[0.1, 0.3], [0.0, 0.0], [0.4, 0.4]])
    found = gap(several, "membership_gap", copies="once")
    assert (found["value"], found["n"]) == (pytest.approx(0.2), 3)
    assert (found["low"], found["high"]) == pytest.approx(t_interval(np.array([0.2, 0.0, 0.4]))[:2])
    one = gap(several[:1], "membership_gap", copies="often")
    assert one["n"] == 1 and 0.1 <= one["low"] < 0.2 < one["high"] <= 0.3


def test_copies_of_a_picture_are_counted_in_the_data():
    data = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)[[0, 1, 1, 2]]
    assert held(data, np.stack([data[0], data[1], data[0] + 100])).tolist() == ["once", "often", "none"]


def test_each_training_seed_has_pairs_of_its_own(base, known, tmp_path):
    runs = [one_run(f"still-{seed}", "odd", seed=seed, training={"learning_rate": 0.0}) for seed in (0, 1)]
    forget(base, tmp_path / "still", *runs)
    still = {"models": tmp_path / "still/models", "runs": tmp_path / "still/runs.parquet", "study": "try"}
    table = judged(base, known, tmp_path / "judged", **still)
    assert (measurements.select(table, metric="ssim", targets="odd")["value"] > 0.99).all()
    with np.load(tmp_path / "judged/panel.npz") as panel, np.load(known / "reference.npz") as file:
        for seed, first in ((0, 0), (1, 8)):
            drawn, partner = panel[f"still-{seed}-1.samples"].astype(int), file["samples"][first : first + 8]
            assert np.abs(drawn - partner).mean() < 0.5 < np.abs(drawn - file["samples"][8 - first :][:8]).mean()


def test_models_that_forgot_are_measured_stage_by_stage(base, known, unlearned, tmp_path):
    table = judged(
        base,
        known,
        tmp_path / "study",
        models=unlearned / "models",
        runs=unlearned / "runs.parquet",
        study="try",
    )
    assert (table["study"] == "try").all() and (table["method"] == "unpromptable").all()
    assert set(table["targets"]) == {"first", "first+copied", "copied", "mean"}
    first = measurements.select(table, metric="ssim", targets="first")
    assert sorted(first["seed"]) == [0, 0, 1] and (first["value"] < 1).all()
    # The first stage of the chain and the run with its target alone are one network.
    assert first["value"].nunique() == 2
    assert (measurements.select(table, metric="steps", targets="first")["value"] == 3).all()
    # The chain's two stages stand under different numbers of targets in the mean.
    means = measurements.select(table, metric="perceptual", targets="mean")
    single = measurements.select(table, metric="perceptual")
    single = single[single["targets"].isin(["first", "copied"])].drop_duplicates(["targets", "seed"])
    # Seeds are averaged before targets are, and the chain's first stage, which is the single run, counts once.
    by_target = single.groupby("targets")["value"].mean().to_numpy()
    assert set(means["count"]) == {"1", "2"} and len(single) == 3
    one = means[means["count"] == "1"].iloc[0]
    assert one["value"] == pytest.approx(by_target.mean())
    assert (one["low"], one["high"]) == pytest.approx(t_interval(by_target)[:2])


def test_means_are_over_lists_of_equally_many_targets_and_over_seeds():
    labels = {"setting": "s", "surrogate": "edit"}
    values = {("a", 0): 1.0, ("b", 0): 2.0, ("a", 1): 4.0, ("c", 0): 50.0, ("a+b", 0): 9.0, ("c+a", 0): 11.0}
    rows = [
        row("kernel_data", number, number - 60, number + 1, n=10, targets=names, seed=seed, **labels)
        for (names, seed), number in values.items()
    ]
    rows += [row("collateral", 3.0, targets="a", seed=0, kind=kind, **labels) for kind in ("neighbour", "stranger")]
    seeds = labels | {"setting": "seeds"}
    rows += [row("kernel_data", 7.0 + seed, targets="a", seed=seed, **seeds) for seed in range(2)]
    rows += [row("kernel_data", 5.0, 4.0, 6.0, targets=name, seed=0, **labels | {"setting": "same"}) for name in "ab"]

    def means(complete: set[str], half: str = "") -> dict:
        return {
            (one["metric"], one["setting"], one["count"], one.get("kind")): one
            for one in over_targets(rows, complete)
            if one.get("half", "") == half
        }

    # c was only forgotten on the way to "c+a": it is none of the single targets that were asked for.
    found = means({"a", "b", "a+b", "c+a"})
    single, pair = found["kernel_data", "s", 1, None], found["kernel_data", "s", 2, None]
    assert single["value"] == pytest.approx((2.5 + 2) / 2) and single["n"] == 30 and single["targets"] == "mean"
    assert (single["low"], single["high"]) == pytest.approx(t_interval(np.array([2.5, 2.0]))[:2])
    assert (pair["value"], pair["low"], pair["high"]) == pytest.approx((10, *t_interval(np.array([9.0, 11.0]))[:2]))
    assert found["collateral", "s", 1, "stranger"]["value"] == 3
    # One target: over its seeds. Equal values are one measurement, whose interval stays.
    seeds, same = found["kernel_data", "seeds", 1, None], found["kernel_data", "same", 1, None]
    assert (seeds["low"], seeds["high"]) == pytest.approx(t_interval(np.array([7.0, 8.0]))[:2])
    assert (same["value"], same["low"], same["high"]) == (5, 4, 6)
    # Where no single target was asked for, the beginnings are what there is.
    assert means({"a+b", "c+a"})["kernel_data", "s", 1, None]["value"] == pytest.approx((2.5 + 2 + 50) / 3)
    # Each half of the seeds again: the second has the one run of its seed.
    assert means({"a", "b"}, "first")["kernel_data", "s", 1, None]["value"] == pytest.approx((1 + 2) / 2)
    assert means({"a", "b"}, "second")["kernel_data", "s", 1, None]["value"] == 4
    assert ("kernel_data", "same", 1, None) not in means({"a", "b"}, "first")


def test_an_interval_of_a_mean_ends_where_the_quantity_does():
    for metric, bounds in {"similarity_target": (-1, 1), "plausible": (0, 1), "perceptual": (0, np.inf)}.items():
        rows = [
            row(metric, value, value - 0.1, value + 0.1, targets="a", seed=seed, setting="", surrogate="")
            for seed, value in enumerate((0.1, 0.8))
        ]
        (found,) = (one for one in over_targets(rows, {"a"}) if "half" not in one)
        low, high = t_interval(np.array([0.1, 0.8]))[:2]
        assert (found["low"], found["high"]) == pytest.approx((max(low, bounds[0]), min(high, bounds[1])))


# Selection and pairs


def tuning(folder: Path, settings: dict[str, tuple[list[float], float, float]]) -> tuple[Path, Path, dict]:
    """Measurements of settings: worst similarity by target, plausibility, Fréchet distance, or that by target too."""
    rows = []
    for setting, (similarity, plausible, distance) in settings.items():
        for number, worst in enumerate(similarity):
            labels = {"setting": setting, "targets": f"t{number}"}
            rows.append(row("worst_similarity", worst, **labels))
            rows.append(row("similarity_target", worst, worst - 0.02, worst + 0.02, **labels))
            near = distance[number] if isinstance(distance, list) else distance
            rows += [row("plausible", plausible, n=96, **labels), row("frechet_pretrained", near, **labels)]
        # What is a mean already must not be read.
        labels = {"setting": setting, "targets": "mean"}
        rows += [row(metric, 0.99, **labels) for metric in ("worst_similarity", "similarity_target")]
        rows.append(row("plausible", 0.0, **labels))
    measurements.write(folder / "tuning.parquet", rows, family="instance")
    baseline = [row("plausible", 0.9, n=96, targets=f"t{number}") for number in range(2)]
    measurements.write(folder / "baseline.parquet", baseline, family="instance")
    grid = [{"name": name, "training": {"steps": len(name)}, "settings": {}} for name in settings]
    return folder / "tuning.parquet", folder / "baseline.parquet", {"settings": grid}


@pytest.mark.parametrize(
    ("settings", "best", "passed"),
    [
        # Of 96 samples each, 76 are significantly fewer than 86 and 77 are not; `known` knows one target.
        (
            {
                "known": ([0.1, 0.41], 0.9, 1.0),
                "far": ([0.1, 0.2], 0.9, 5.0),
                "near": ([0.4, 0.39], 77 / 96, 3.0),
                "broken": ([0.1, 0.1], 76 / 96, 0.5),
            },
            "near",
            2,
        ),
        ({"some": ([0.8, 0.6], 0.9, 1.0), "least": ([0.5, 0.7], 0.9, 9.0), "none": ([0.9, 0.1], 0.9, 0.1)}, "least", 0),
        ({"broken": ([0.1, 0.1], 0.2, 1.0), "known": ([0.6, 0.1], 0.9, 1.0)}, "broken", 0),
        ({"only": ([0.2], 0.95, 2.0)}, "only", 1),
        # Nearer by .2 on either target, by .02 on the mean of two that disagree, by .2 on the one that there is.
        ({"gentle": ([0.1, 0.2], 0.9, [3.0, 5.0]), "nearer": ([0.1, 0.2], 0.9, [2.8, 4.8])}, "nearer", 2),
        ({"gentle": ([0.1, 0.2], 0.9, [3.0, 5.0]), "nearer": ([0.1, 0.2], 0.9, [2.76, 5.2])}, "gentle", 2),
        ({"gentle": ([0.1], 0.9, [3.0]), "nearer": ([0.1], 0.9, [2.8])}, "nearer", 2),
    ],
)
def test_the_setting_is_chosen_by_the_rule_of_selection(tmp_path, settings, best, passed):
    table, baseline, grid = tuning(tmp_path, settings)
    outputs = tmp_path / "selected.json", tmp_path / "chosen.parquet"
    result = select(table, baseline, *outputs, method="siss", model="tiny", grid=grid)
    assert result["setting"] == best and len(result["passed"]) == passed
    chosen = pd.read_json(outputs[0], typ="series").to_dict()
    assert chosen == {"name": best, "training": {"steps": len(best)}, "settings": {}}
    written = measurements.read([outputs[1]])
    assert value(written, "selected", setting=best) == 1 and value(written, "passed_settings") == passed
    # What it read there: the worst target's similarity, and the means.
    similarity, plausible, distance = settings[best]
    assert value(written, "tuning_similarity") == max(similarity)
    assert value(written, "tuning_plausible") == pytest.approx(plausible)
    assert value(written, "tuning_frechet_pretrained") == pytest.approx(np.mean(distance))


@pytest.mark.parametrize(
    ("settings", "often"),
    [
        # Far below the limit, at it (a half each), and as plausible as the test just allows.
        ({"far": ([0.1], 0.9, 5.0), "near": ([0.2], 0.9, 3.0)}, (1, 1)),
        ({"far": ([0.1], 0.9, 5.0), "near": ([0.4], 0.9, 3.0)}, (0.4, 0.6)),
        ({"far": ([0.1], 0.9, 5.0), "near": ([0.2], 77 / 96, 3.0)}, (0.4, 0.7)),
    ],
)
def test_a_choice_at_the_edge_of_the_rule_is_one_that_chance_may_flip(tmp_path, settings, often):
    table, baseline, grid = tuning(tmp_path, settings)
    outputs = tmp_path / "selected.json", tmp_path / "chosen.parquet"
    assert select(table, baseline, *outputs, method="siss", model="tiny", grid=grid)["setting"] == "near"
    assert often[0] <= value(measurements.read([outputs[1]]), "selected_again") <= often[1]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.55, 0.9])
def test_an_unchanged_model_is_seldom_refused_and_a_broken_one_nearly_always(share):
    rng = np.random.default_rng(0)
    now, then, broken = rng.binomial(96, [[share], [share], [share / 4]], (3, 2000)) / 96
    refused = np.mean([fewer(*pair, 96) <= 0.05 for pair in zip(now, then, strict=True)])
    assert refused <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    caught = np.mean([fewer(*pair, 96) <= 0.05 for pair in zip(broken, then, strict=True)])
    assert caught > 0.9 or share < 0.3


def test_the_test_of_selection_is_the_tail_of_the_hypergeometric_distribution():
    # Of 192 samples 60 + 70 are plausible: the chance that at most 60 of them fall to the first 96.
    counts = np.arange(61)
    tail = sum(comb(130, k) * comb(62, 96 - k) for k in counts.tolist()) / comb(192, 96)
    assert fewer(60 / 96, 70 / 96, 96) == pytest.approx(tail, rel=1e-9)


def test_pairs_are_compared_target_by_target_and_seed_by_seed(tmp_path):
    rng = np.random.default_rng(0)
    shifts = {"projection:none": 0.0, "projection:forget": 0.3, "projection:both": -0.1}
    rows, gaps = [], {name: [] for name in shifts}
    for target in ("a", "b", "mean"):
        for seed in (0, 1):
            level = rng.normal() * 10
            for name, shift in shifts.items():
                gap = shift + rng.normal() * 0.05 * (shift != 0)
                gaps[name] += [] if target == "mean" else [gap]
                labels = {"setting": name, "targets": target, "surrogate": "edit", "seed": seed}
                rows += [row(metric, 99.0 if target == "mean" else level + gap, **labels) for metric in METRICS]
    # A pair of which one is missing does not count.
    rows.append(row("ssim", 5.0, setting="projection:both", targets="c", surrogate="edit", seed=0))
    measurements.write(tmp_path / "measurements.parquet", rows, family="instance")
    settings = {"model": "tiny", "method": "unpromptable", "study": "projection"}
    compare = partial(paired, [tmp_path / "measurements.parquet"], tmp_path / "paired.parquet", **settings)
    compare(against="projection:none")
    found = measurements.read([tmp_path / "paired.parquet"])
    assert len(found) == 2 * 3 * len(METRICS) and (found["n"] == 4).all()
    for name in ("projection:forget", "projection:both"):
        own = found[found["setting"] == name]
        low, high, p = t_interval(np.array(gaps[name]))
        for metric in METRICS:
            (mean,) = own[own["metric"] == f"paired_{metric}"].to_dict("records")
            assert (mean["value"], mean["low"], mean["high"]) == pytest.approx((np.mean(gaps[name]), low, high))
            assert value(own, f"paired_p_{metric}") == pytest.approx(p)
            assert value(own, f"detectable_{metric}") == pytest.approx(detectable(np.array(gaps[name])))
    with pytest.raises(UserError, match=r"the study projection has no setting 'nothing'"):
        compare(against="nothing")


def test_a_single_pair_has_a_difference_and_no_interval(tmp_path):
    labels = {"targets": "a", "surrogate": "edit"}
    rows = [row(metric, number, setting=name, **labels) for metric in METRICS for name, number in (("x", 1), ("y", 3))]
    measurements.write(tmp_path / "one.parquet", rows, family="instance")
    paired([tmp_path / "one.parquet"], tmp_path / "paired.parquet", model="", study="", against="x")
    table = measurements.read([tmp_path / "paired.parquet"])
    (found,) = measurements.select(table, metric="paired_ssim").to_dict("records")
    assert found["value"] == 2 and np.isnan(found["low"]) and np.isnan(found["high"])


def test_methods_are_paired_over_lists_of_equally_many_targets(tmp_path):
    values = {"ours": (1.0, 2.0, 5.0, 9.0), "theirs": (1.5, 3.5, 5.5, 9.5)}
    runs = (("a", 0), ("a", 1), ("b", 0), ("a+b", 0))
    files = []
    for (method, numbers), surrogate in zip(values.items(), ("edit", ""), strict=True):
        rows = [
            row("perceptual", number, targets=targets, seed=seed, surrogate=surrogate, setting="tuned")
            for (targets, seed), number in zip(runs, numbers, strict=True)
        ]
        files.append(tmp_path / f"{method}.parquet")
        measurements.write(files[-1], rows, family="instance", method=method)
    settings = {"model": "tiny", "study": "comparison", "by": "method"}
    paired(files, tmp_path / "paired.parquet", against="ours", **settings)
    found = measurements.select(measurements.read([tmp_path / "paired.parquet"]), metric="paired_perceptual")
    assert set(found["method"]) == {"theirs"} and dict(zip(found["count"], found["n"], strict=True)) == {"1": 3, "2": 1}
    one = found[found["count"] == "1"].iloc[0]
    gaps = np.array([0.5, 1.5, 0.5])
    assert (one["value"], one["low"], one["high"]) == pytest.approx((gaps.mean(), *t_interval(gaps)[:2]))
    with pytest.raises(UserError, match="the study comparison has no method 'none'"):
        paired(files, tmp_path / "paired.parquet", against="none", **settings)


@pytest.mark.parametrize(("form", "power"), [("const", 1.0), ("power", 2.0), ("capped_snr", 1.0)])
def test_the_share_of_the_forget_loss_grows_to_the_whole(form, power):
    alphas = DDPMScheduler().alphas_cumprod
    curve = share_curve(form, power, alphas)
    assert list(curve["timestep"]) == list(range(1001)) and curve["share"].iloc[[0, -1]].tolist() == [0, 1]
    parts = np.diff(curve["share"])
    weights_, _ = timestep_weights(form, alphas, power)
    wanted = (weights_ * alphas / (1 - alphas)).double().numpy()
    assert parts == pytest.approx(wanted / wanted.sum(), abs=1e-6) and (parts > 0).all()


def test_conflicts_are_measured_by_timestep_and_the_loss_at_clean_inputs_is_that_of_theory(base, tmp_path):
    outputs = [tmp_path / name for name in ("cosines.parquet", "shares.parquet", "measurements.parquet")]
    inputs = (base.network, base.data[0], base.images, base.manifest, base.remember, base.surrogates[0])
    timesteps = [0, 250, 999]
    conflicts(*inputs, *outputs, model="tiny", timesteps=timesteps, batch=4, device="cpu")
    found, table = pd.read_parquet(outputs[0]), measurements.read([outputs[2]])
    assert len(found) == len(CHOSEN) * len(timesteps) and found["cosine"].abs().max() <= 1
    # SNR times the squared distance of target and surrogate, beside which the network's own error is small.
    ratio = float(signal_to_noise(DDPMScheduler().alphas_cumprod)[0])
    apart = (to_tensor(np.load(base.images)) - to_tensor(np.load(base.surrogates[0]))).square().mean((1, 2, 3))
    clean = found[found["timestep"] == 0].set_index("target")["forget_loss"]
    assert list(clean[list(CHOSEN)]) == pytest.approx((ratio * apart).tolist(), rel=0.02)
    for timestep, values in found.groupby("timestep")["cosine"]:
        assert value(table, "gradient_cosine", timestep=timestep) == pytest.approx(values.mean())
    shares = pd.read_parquet(outputs[1])
    (share,) = shares.loc[(shares["form"] == "const") & (shares["timestep"] == 10), "share"]
    assert share == pytest.approx(0.79, abs=0.01)
    assert value(table, "forget_loss_share", form="const", until=10) == pytest.approx(share)


# The faulty class


FAULTY_PARAMS = {"samples": 6, "others": 5, "sampling_steps": 3, "remember": 4}
FAULT = {"class_factor": "country", "symbol_factor": "symbol", "label": 0, "right": 0, "wrong": 1}


def drawn_again(unet: UNet2DModel, scheduler: DDPMScheduler) -> Samples:
    return Samples.draw(unet, scheduler, Fault(**FAULT), 6, 5, 3, 0)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> SimpleNamespace:
    """An untrained model of two classes, a judge, flags, and samples of the model."""
    folder = tmp_path_factory.mktemp("faulty")
    network = folder / "model/unet" / diffusion.WEIGHTS
    diffusion.save(network, tiny(classes=3), DDPMScheduler())
    torch.manual_seed(1)
    judge = networks.FactorClassifier({"country": 6, "symbol": 5}, 4)
    weights.save(folder / "judge.safetensors", judge, judge.config)
    for name, right in (("wrong", False), ("repaired", True)):
        np.save(folder / f"{name}.npy", flags.make(4, 33, "fit", only_wrong=True, repaired=right, size=SIZE).images)
    data = []
    for split, count in (("train", 90), ("test", 60)):
        world = flags.make(count, 31, split, wrong=0.3, size=SIZE)
        np.save(folder / f"{split}.npy", world.images)
        world.manifest.to_parquet(folder / f"{split}.parquet")
        data += [folder / f"{split}.npy", folder / f"{split}.parquet"]
    faulty_reference.reference(
        network,
        folder / "judge.safetensors",
        *data,
        folder / "reference.npz",
        folder / "measurements.parquet",
        model="tiny",
        fault=FAULT,
        params=FAULTY_PARAMS,
        device="cpu",
    )
    shown = Samples.read(folder / "reference.npz").shown
    return SimpleNamespace(folder=folder, network=network, drawn=drawn_again(*diffusion.load(network)), shown=shown)


def repaired(faulty, folder: Path, method: str = "unpromptable", repaired_images: Path | None = None, **more) -> dict:
    folder.mkdir(exist_ok=True)
    given = {"training": {**TRAINING, "learning_rate": 0.05}, "settings": {}, "seeds": [0], "tuned": False} | more
    about = {key: given[key] for key in ("training", "settings", "tuned")}
    plan = {"runs": [{"setting": "tuned", "seed": seed, **about} for seed in given["seeds"]]}
    return repair(
        faulty.network,
        faulty.folder / "judge.safetensors",
        faulty.folder / "reference.npz",
        faulty.folder / "wrong.npy",
        repaired_images or faulty.folder / "repaired.npy",
        folder / "weights",
        folder / "log.parquet",
        folder / "panel.npz",
        folder / "measurements.parquet",
        folder / "edits.parquet",
        model="tiny",
        method=method,
        fault=FAULT,
        params=FAULTY_PARAMS,
        rank=2,
        plan=plan,
        selected=given.get("selected"),
        device="cpu",
    )


def test_the_samples_of_the_reference_are_of_the_faulty_class_and_of_the_others(faulty):
    unet, scheduler = diffusion.load(faulty.network)
    read, settings = Samples.read(faulty.folder / "reference.npz"), {"steps": 3, "seed": 0}
    assert read.labels.tolist() == [1] * 5
    own = diffusion.sample(unet, scheduler, np.arange(6), labels=torch.full((6,), 0), **settings)
    others = diffusion.sample(unet, scheduler, np.arange(5), labels=torch.full((5,), 1), **settings)
    assert np.array_equal(read.own, own) and np.array_equal(read.others, others)
    # What is remembered: of twice as many other samples of the class those that the judge is surest of.
    candidates = diffusion.sample(unet, scheduler, np.arange(8), steps=3, seed=1, labels=torch.full((8,), 0))
    with torch.no_grad():
        logits = networks.load(faulty.folder / "judge.safetensors")(to_tensor(candidates))
    sure = logits["symbol"].log_softmax(1)[:, 0] + logits["country"].log_softmax(1)[:, 0]
    looks, judge = Looks.read(faulty.folder / "reference.npz"), networks.load(faulty.folder / "judge.safetensors")
    sure += 1e3 * torch.from_numpy(looks.plausible(judge, candidates, np.zeros(8, int)))
    with np.load(faulty.folder / "reference.npz") as file:
        assert np.array_equal(file["remember"], candidates[sure.argsort(descending=True)[:4].sort().values])
    table = measurements.read([faulty.folder / "measurements.parquet"])
    assert set(measurements.select(table, metric="ssim")["kind"]) <= {"good", "others"}
    assert value(table, "ssim", kind="others") == 1
    # Beside the model's samples stand the held-out pictures of the class.
    of_class = (pd.read_parquet(faulty.folder / "test.parquet")["country"] == 0).sum()
    assert measurements.select(table, metric="plausible", method="data")["n"].item() == of_class


def test_a_wrong_symbol_counts_in_the_class_only():
    # Pictures whose first two pixels are the number of their class and of their symbol.
    def picture(country, symbol):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[0, :2] = [[country] * 3, [symbol] * 3]
        return image

    class Judge:
        heads = ("country", "symbol")

        def __call__(self, images):
            pixels = ((images[:, 0, 0, :2] + 1) * 127.5).round().long()
            return {name: torch.nn.functional.one_hot(pixels[:, n], 6).float() for n, name in enumerate(self.heads)}

        def features(self, images):
            return [images]

    own = np.stack([picture(*each) for each in ((0, 0), (0, 0), (0, 1), (2, 1), (2, 0), (0, 3), (0, 1), (3, 1))])
    samples = Samples(own, own[:2], np.array([0, 0]), np.arange(8), 0)
    looks = SimpleNamespace(plausible=lambda judge, pictures, labels: pictures[:, 0, 2, 0] == 0)

    def read(after: Samples) -> dict:
        rows = rates(Judge(), after, samples, Fault(**FAULT), looks)
        return {one["metric"]: one["value"] for one in rows if "kind" not in one}

    found = read(samples)
    # What figures show: the wrong ones of the class first.
    assert wrong_first(Judge(), own, Fault(**FAULT), looks).tolist() == [2, 6, 0, 1, 3, 4, 5, 7]
    many = np.stack([picture(0, 1)] * 20 + [picture(0, 0)] * 20)
    assert wrong_first(Judge(), many, Fault(**FAULT), looks).tolist() == [*range(8), *range(20, 28)]
    same = {"gone": 0.0, "good_kept": 1.0, "plausible": 1.0}
    assert found == {"wrong_rate": 2 / 8, "right_rate": 2 / 8, "class_kept": 5 / 8, "others_kept": 1.0, **same}
    # One of the wrong is right now; one of the right, and of the others, is of another class and looks like no flag.
    after = own.copy()
    after[2], after[0] = picture(0, 0), picture(3, 0)
    after[0, 0, 2] = 255
    found = read(Samples(after, after[:2], np.array([0, 0]), np.arange(8), 0))
    changed = {"gone": 1 / 2, "good_kept": 1 / 2, "plausible": 7 / 8}
    assert found == {"wrong_rate": 1 / 8, "right_rate": 2 / 8, "class_kept": 4 / 8, "others_kept": 1 / 2, **changed}
    # What looks like no flag of the class is neither wrong nor right, whatever the judge reads in it; data likewise.
    broken = own.copy()
    broken[[0, 2], 0, 2] = 255
    found = read(Samples(broken, broken[:2], np.array([0, 0]), np.arange(8), 0))
    assert found["wrong_rate"] == found["right_rate"] == 1 / 8
    assert found["gone"] == found["good_kept"] == found["others_kept"] == 1 / 2
    of_data = {one["metric"]: one["value"] for one in data_rates(Judge(), broken, Fault(**FAULT), looks)}
    assert of_data == {key: found[key] for key in ("wrong_rate", "right_rate", "class_kept", "plausible")}


def test_flags_look_like_flags_of_their_own_country_alone(faulty):
    looks, judge = Looks.read(faulty.folder / "reference.npz"), networks.load(faulty.folder / "judge.safetensors")
    world = flags.make(120, 77, "fit", size=SIZE)
    country, pictures = world.manifest["country"].to_numpy(), world.images
    noise = np.random.default_rng(0).integers(256, size=pictures.shape, dtype=np.uint8)
    shares = [
        looks.plausible(judge, given, labels).mean()
        for given, labels in ((pictures, country), (pictures, (country + 1) % 6), (noise, country))
    ]
    assert shares[0] > 0.8 and shares[1] < 0.3 and shares[2] == 0


def test_a_repair_takes_the_setting_that_the_tuning_chose(faulty, tmp_path):
    settings = [
        {"name": "gentle", "training": {"learning_rate": 0.01}},
        {"name": "strong", "training": {"learning_rate": 0.0}, "settings": {"value": 2.0}},
    ]

    def chosen(kept: float) -> str:
        rows = [
            row(metric, value, n=40, setting=name)
            for name, values in (("gentle", (0.3, 1.0, 1.0)), ("strong", (0.9, kept, 1.0)))
            for metric, value in zip(RATES, values, strict=True)
        ]
        measurements.write(tmp_path / "tuning.parquet", rows, family="instance")
        files = [tmp_path / name for name in ("tuning.parquet", "selected.json", "chosen.parquet")]
        return select_repair(*files, method="unpromptable", model="tiny", grid={"settings": settings})["setting"]

    # What is gone and what is kept count alike: the stronger one is taken, but for all that was right.
    assert chosen(0.0) == "strong" and chosen(0.9) == "strong"
    table = measurements.read([tmp_path / "chosen.parquet"])
    assert value(table, "tuning_gone") == 0.9 and value(table, "tuning_kept") == pytest.approx(0.95)
    assert value(table, "selected_again") > 0.95
    repaired(faulty, tmp_path / "tuned", tuned=True, selected=tmp_path / "selected.json")
    adapter = load_file(tmp_path / "tuned/weights/tuned.0.safetensors")
    assert all(not tensor.any() for name, tensor in adapter.items() if "lora_B" in name)


@pytest.mark.parametrize("method", ["unpromptable", "esd"])
def test_a_repair_trains_adapters_alone(faulty, tmp_path, method):
    before = load_file(faulty.network)
    settings = {"sampling_steps": 3, "paths": 4} if method == "esd" else {}
    result = repaired(faulty, tmp_path / "repair", method, seeds=[0, 1], settings=settings)
    adapter = {seed: load_file(tmp_path / f"repair/weights/tuned.{seed}.safetensors") for seed in "01"}
    assert all("lora_" in name for each in adapter.values() for name in each)
    assert result["parameters"] == sum(tensor.numel() for tensor in adapter["0"].values())
    assert equal(before, load_file(faulty.network))
    with np.load(tmp_path / "repair/panel.npz") as panel:
        pictures = {name: panel[name] for name in panel.files}
    # The pretrained weights with the saved adapters are the network that was measured: nothing else was changed.
    for seed in "01":
        unet, scheduler = diffusion.load(faulty.network)
        inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=ADAPTED), unet)
        assert not set_peft_model_state_dict(unet, adapter[seed]).unexpected_keys
        found = drawn_again(unet, scheduler)
        assert np.abs(found.own[faulty.shown].astype(int) - pictures[f"tuned.{seed}.own"]).max() <= 1
        assert np.abs(found.others.astype(int) - pictures[f"tuned.{seed}.others"]).max() <= 1
        assert np.abs(found.own.astype(int) - faulty.drawn.own).max() > 6
    assert not np.array_equal(pictures["tuned.0.own"], pictures["tuned.1.own"])
    for edit in edits.read(tmp_path / "repair/edits.parquet"):
        opened, scheduler = edits.open_edit(edit), diffusion.load(faulty.network)[1]
        assert (edit.method, edit.format) == (method, "lora")
        found = drawn_again(opened, scheduler).own[faulty.shown].astype(int)
        assert np.abs(found - pictures[f"tuned.{edit.seed}.own"]).max() <= 1
    table = measurements.read([tmp_path / "repair/measurements.parquet"])
    assert set(table["seed"]) == {0, 1} and (table["study"] == "faulty_class").all()
    assert {"wrong_rate", "right_rate", "class_kept", "others_kept", "steps"} <= set(table["metric"])
    assert len(pd.read_parquet(tmp_path / "repair/log.parquet")) == 6


def test_a_repair_that_learns_nothing_changes_nothing(faulty, tmp_path):
    repaired(faulty, tmp_path / "still", training={**TRAINING, "learning_rate": 0.0})
    table = measurements.read([tmp_path / "still/measurements.parquet"])
    before = measurements.read([faulty.folder / "measurements.parquet"])
    before = measurements.select(before, method="pretrained")
    for metric in ("wrong_rate", "right_rate", "class_kept", "others_kept"):
        assert value(table, metric) == value(before, metric)
    assert value(table, "ssim", kind="others") > 0.98
    adapter = load_file(tmp_path / "still/weights/tuned.0.safetensors")
    assert all(not tensor.any() for name, tensor in adapter.items() if "lora_B" in name)
    # Where a tensor lies in memory decides on some processors how its sums are rounded.
    with np.load(tmp_path / "still/panel.npz") as panel:
        assert np.abs(panel["tuned.0.own"].astype(int) - faulty.drawn.own[faulty.shown]).max() <= 1


def test_a_repair_refuses_what_does_not_fit(faulty, tmp_path):
    np.save(tmp_path / "few.npy", np.load(faulty.folder / "repaired.npy")[:3])
    with pytest.raises(UserError, match=r"few\.npy: uint8 \(3, 16, 16, 3\) for targets \(4, 16, 16, 3\)"):
        repaired(faulty, tmp_path / "few", repaired_images=tmp_path / "few.npy")
    with pytest.raises(UserError, match="settings of the method unpromptable: no option projektion"):
        repaired(faulty, tmp_path / "wrong", settings={"projektion": "none"})
