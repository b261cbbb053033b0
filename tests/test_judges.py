"""The judges of the scenes world: boxes, training, error rates of the released networks on fresh scenes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from palimpsest.judges import detect as detecting
from palimpsest.judges import emblem, networks, quality
from palimpsest.judges.boxes import Detections, best_per_image, overlap_of, suppress
from palimpsest.judges.networks import STRIDE, EmblemDetector, FactorClassifier
from palimpsest.judges.train import augment, detection_loss
from palimpsest.models import weights
from palimpsest.models.pixels import to_tensor
from palimpsest.models.training import fit
from palimpsest.run import UserError
from palimpsest.worlds import scenes

RELEASED = ROOT / "resources/models"
SEED = 90210  # of no training and no measured set


# Boxes


@st.composite
def detections(draw):
    """Boxes at whole pixels, with scores that differ, over a few images."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    count = draw(st.integers(0, 30))
    corner = rng.integers(0, 12, (count, 2))
    box = np.concatenate([corner, corner + rng.integers(1, 12, (count, 2))], 1).astype(np.float32)
    score = rng.permutation(count) / max(count, 1)
    return Detections(rng.integers(0, 4, count), rng.integers(0, 2, count), score, box)


def counted_overlap(first, second):
    """Intersection over union by counting pixels."""
    pixels = []
    for left, top, right, bottom in (first.astype(int), second.astype(int)):
        canvas = np.zeros((24, 24), bool)
        canvas[top:bottom, left:right] = True
        pixels.append(canvas)
    return (pixels[0] & pixels[1]).sum() / (pixels[0] | pixels[1]).sum()


@settings(max_examples=30, deadline=None)
@given(detections())
def test_overlap_is_that_of_counted_pixels(found):
    matrix = overlap_of(found.box[:, None], found.box[None])
    wanted = [[counted_overlap(first, second) for second in found.box] for first in found.box]
    assert np.allclose(matrix, np.reshape(wanted, matrix.shape), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(detections(), st.sampled_from([0.1, 0.45, 0.9]))
def test_suppression_keeps_what_no_better_kept_box_of_the_image_overlaps(found, limit):
    wanted = []
    for image in range(4):
        mine = [i for i in np.argsort(-found.score) if found.image[i] == image]
        kept = []
        for i in mine:
            if all(overlap_of(found.box[i], found.box[j]) <= limit for j in kept):
                kept.append(i)
        wanted += kept
    result = suppress(found, limit)
    assert np.array_equal(result.score, found.score[wanted]) and np.array_equal(result.image, found.image[wanted])
    assert np.array_equal(result.box, found.box[wanted]) and np.array_equal(result.label, found.label[wanted])


@settings(max_examples=30, deadline=None)
@given(detections())
def test_the_best_score_of_an_image_is_zero_where_nothing_was_found(found):
    wanted = [max([0.0, *found.score[found.image == image]]) for image in range(5)]
    assert best_per_image(found, 5).tolist() == wanted


def test_boxes_of_masks_enclose_exactly_their_pixels():
    rng = np.random.default_rng(0)
    masks = np.zeros((20, 16, 24), bool)
    wanted = []
    for mask in masks:
        left, top = rng.integers(0, 20), rng.integers(0, 12)
        right, bottom = rng.integers(left + 1, 25), rng.integers(top + 1, 17)
        mask[top, left:right] = mask[bottom - 1, left:right] = True
        wanted.append([left, top, right, bottom])
    present = np.arange(20) % 3 != 0
    found = quality.boxes_of(masks, present).numpy()
    assert np.array_equal(found[present], np.array(wanted)[present])
    assert np.isnan(found[~present]).all()


# Training


@pytest.mark.parametrize("seed", range(25))
def test_augmentation_moves_boxes_with_the_picture(seed):
    rng = np.random.default_rng(seed)
    images = torch.full((6, 3, 48, 64), -0.8)
    boxes = torch.zeros(6, 4)
    for index in range(6):
        left, top = rng.integers(5, 40), rng.integers(5, 28)
        right, bottom = left + rng.integers(5, 19), top + rng.integers(5, 15)
        images[index, :, top:bottom, left:right] = 0.8
        boxes[index] = torch.tensor([left, top, right, bottom])
    boxes[3] = torch.nan
    made, moved = augment(images, np.random.default_rng(seed), boxes)
    found = quality.boxes_of((made.mean(1) > 0).numpy(), np.arange(6) != 3)
    assert torch.equal(found.isnan(), moved.isnan())
    assert torch.equal(found.nan_to_num(), moved.nan_to_num())
    assert made.shape == images.shape and not torch.equal(made, images)


def predicted(logits, sides):
    """A network that predicts these score logits and sides."""
    model = SimpleNamespace(centres=EmblemDetector(4, 1).centres)
    return type("Fixed", (), {"__call__": lambda self, images: (logits, sides), "centres": model.centres})()


def test_the_detection_loss_is_lowest_for_the_right_prediction():
    boxes = torch.tensor([[8.0, 12, 28, 36], [torch.nan] * 4])
    y, x = EmblemDetector(4, 1).centres(12, 12)
    inside = (y > 12) & (y < 36) & (x > 8) & (x < 28)
    core = ((y - 24).abs() < 8) & ((x - 18).abs() < 7)
    right = torch.stack([x - 8, y - 12, 28 - x, 36 - y])[None].expand(2, -1, -1, -1)
    sure = torch.stack([torch.where(core, 8.0, -8.0), torch.full((12, 12), -8.0)])

    def loss(logits, sides):
        return float(detection_loss(predicted(logits, sides), torch.zeros(2, 3, 48, 48), boxes))

    best = loss(sure, right)
    assert best < 0.01
    assert loss(sure, right + 6 * inside) > best + 0.2  # boxes too large
    assert loss(torch.full_like(sure, -8.0), right) > best + 1  # missed
    alarm = sure.clone()
    alarm[1, 2, 2] = 8.0
    assert loss(alarm, right) > best + 0.2  # a false alarm in the picture without an emblem
    none = detection_loss(predicted(sure[1:], right[1:]), torch.zeros(1, 3, 48, 48), boxes[1:])
    assert float(none) < 0.01


def shown(count, seed):
    """Dark noise, half of the pictures with a bright square: pictures (n, 3, 32, 32), masks, present."""
    rng = np.random.default_rng(seed)
    images, masks = rng.normal(-0.6, 0.2, (count, 3, 32, 32)).astype(np.float32), np.zeros((count, 32, 32), bool)
    present = np.arange(count) % 2 == 0
    for index in np.flatnonzero(present):
        top, left, side = rng.integers(4, 14), rng.integers(4, 14), rng.integers(10, 14)
        masks[index, top : top + side, left : left + side] = True
        images[index, :, top : top + side, left : left + side] += 1.2
    return torch.from_numpy(images), masks, present


@pytest.fixture(scope="module")
def tiny_detector():
    torch.manual_seed(0)
    images, masks, present = shown(96, 0)
    boxes, model = quality.boxes_of(masks, present), EmblemDetector(4, 1)
    losses = fit(
        model,
        lambda picks, index: detection_loss(model, images[picks], boxes[picks]),
        count=96,
        batch=24,
        steps=120,
        learning_rate=0.02,
        seed=0,
    )
    return model, losses


def test_a_small_detector_learns_a_simple_concept(tiny_detector):
    model, losses = tiny_detector
    assert losses[-1] < 0.3 * losses[0]
    found = quality.detector_quality(model, *shown(60, 1))
    assert found["recall"] >= 0.95 and found["false_positive_rate"] <= 0.02 and found["box_iou"] > 0.7


@pytest.mark.parametrize("kind", ["detector", "classifier"])
def test_a_judge_is_the_same_after_saving_and_loading(tmp_path, kind, tiny_detector):
    torch.manual_seed(1)
    model = tiny_detector[0] if kind == "detector" else FactorClassifier({"object": 3, "colour": 2}, 4).eval()
    weights.save(tmp_path / "judge.safetensors", model, model.config)
    loaded = networks.load(tmp_path / "judge.safetensors")
    assert type(loaded) is type(model) and loaded.config == model.config and not loaded.training
    images = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        before, after = model(images), loaded(images)
    pairs = zip(before, after, strict=True) if kind == "detector" else ((before[k], after[k]) for k in before)
    assert all(torch.equal(one, other) for one, other in pairs)


# Measuring


def test_detector_quality_counts_hits_false_alarms_and_the_fit_of_boxes(monkeypatch):
    masks = np.zeros((5, 32, 32), bool)
    masks[:, 8:16, 8:16] = True
    present = np.array([True, True, True, False, False])
    found = Detections(
        image=np.array([0, 0, 1, 3]),
        label=np.zeros(4, int),
        score=np.array([0.9, 0.6, 0.4, 0.7]),
        box=np.array([[8, 8, 16, 12], [0, 0, 4, 4], [8, 8, 16, 16], [0, 0, 9, 9]], np.float32),
    )
    monkeypatch.setattr(emblem, "detect", lambda model, images: found)
    measured = quality.detector_quality(None, torch.zeros(5, 3, 32, 32), masks, present)
    assert measured["recall"] == pytest.approx(1 / 3) and measured["recall_at_0.3"] == pytest.approx(2 / 3)
    assert measured["false_positive_rate"] == 0.5 and measured["false_positive_rate_at_0.7"] == 0.5
    assert measured["box_iou"] == pytest.approx(0.5)  # the best box of the one hit covers half of the emblem


def test_factor_accuracy_compares_the_likeliest_value():
    rows = scenes.make(40, 1, "fit", emblem="half", size=16).manifest
    targets = quality.targets_of(rows)
    logits = {
        name: torch.nn.functional.one_hot(targets[name], values).float() for name, values in quality.HEADS.items()
    }
    logits["colour"][:10] = logits["colour"][:10].roll(1, 1)
    place = iter(range(0, 40, 8))

    def model(part):
        start = next(place)
        return {name: values[start : start + len(part)] for name, values in logits.items()}

    found = quality.factor_accuracy(model, torch.zeros(40, 3, 16, 16), rows, batch=8)
    assert found == {"object": 1, "colour": 0.75, "style": 1, "background": 1, "emblem": 1}
    assert [scenes.OBJECTS[i] for i in targets["object"]] == rows["object"].tolist()


def test_a_detection_is_a_peak_of_the_score_map_within_the_picture(tiny_detector):
    images = shown(12, 2)[0]
    found = emblem.detect(tiny_detector[0], images, floor=0.2)
    scores, _ = emblem.score_map(tiny_detector[0], images)
    assert np.allclose(best_per_image(found, 12)[::2], scores.amax((1, 2))[::2])
    assert torch.equal(emblem.best_scores(tiny_detector[0], images), scores.amax((1, 2)))
    assert (found.score >= 0.2).all() and found.box.min() >= 0 and found.box.max() <= 32
    assert np.array_equal(emblem.detect(tiny_detector[0], images, 0.2, batch=5).image, found.image)
    assert EmblemDetector(4, 1).centres(2, 2)[0][:, 0].tolist() == [STRIDE / 2, STRIDE * 1.5]


# The released judges


@pytest.fixture(scope="module")
def fresh():
    """Held-out scenes that no network has seen: 480 of all objects, 120 figures with the emblem."""
    worlds = [scenes.make(n, SEED, "test", emblem=emblem) for n, emblem in ((480, "half"), (120, "all"))]
    return SimpleNamespace(
        images=np.concatenate([world.images for world in worlds]),
        masks=np.concatenate([world.masks for world in worlds]),
        rows=pd.concat([world.manifest for world in worlds], ignore_index=True),
    )


def test_the_released_classifier_reads_fresh_scenes(fresh):
    model = networks.load(RELEASED / "classifier_judge.safetensors")
    every = slice(0, 480)
    found = quality.factor_accuracy(model, to_tensor(fresh.images[every]), fresh.rows[every])
    assert min(found["object"], found["colour"], found["style"]) >= 0.98, found


@pytest.mark.parametrize("name", ["detector_mask", "detector_judge"])
def test_the_released_detectors_find_the_emblem_in_fresh_scenes(fresh, name):
    model = networks.load(RELEASED / f"{name}.safetensors")
    present = fresh.rows["emblem"].to_numpy()
    found = quality.detector_quality(model, to_tensor(fresh.images), fresh.masks, present)
    assert found["recall"] >= 0.95 and found["false_positive_rate"] <= 0.02 and found["box_iou"] >= 0.7, found


def test_bgr_shows_the_detector_swapped_colours(fresh):
    path, images = RELEASED / "detector_mask.safetensors", fresh.images[-40:]
    rgb, bgr = (emblem.opened(path, channels=channels) for channels in ("rgb", "bgr"))
    swapped, direct = bgr(images), rgb(np.ascontiguousarray(images[..., ::-1]))
    assert np.array_equal(swapped.score, direct.score) and np.array_equal(swapped.box, direct.box)
    assert not np.array_equal(rgb(images).score, swapped.score)
    with pytest.raises(UserError, match="grb"):
        emblem.opened(path, channels="grb")


def test_the_step_writes_every_box_in_pixels(tmp_path, fresh):
    np.save(tmp_path / "images.npy", fresh.images[-20:])
    paths = tmp_path / "images.npy", tmp_path / "found.parquet"
    network = RELEASED / "detector_mask.safetensors"
    result = detecting.detect(*paths, detector="emblem", network=network, params={"channels": "rgb", "floor": 0.3})
    table = pd.read_parquet(paths[1])
    assert list(table) == ["image", "label", "score", "x0", "y0", "x1", "y1"]
    assert result == {"images": 20, "boxes": len(table)} and set(table["label"]) == {"emblem"}
    truth = quality.boxes_of(fresh.masks[-20:], np.ones(20, bool)).numpy()
    best = table.sort_values("score").groupby("image").tail(1).set_index("image").sort_index()
    assert overlap_of(best[["x0", "y0", "x1", "y1"]].to_numpy(), truth[best.index]).mean() > 0.7


def test_pictures_without_a_box_give_an_empty_table(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((3, 64, 64, 3), np.uint8))
    paths = tmp_path / "images.npy", tmp_path / "found.parquet"
    detecting.detect(*paths, detector="emblem", network=RELEASED / "detector_mask.safetensors", params={"floor": 0.99})
    table = pd.read_parquet(paths[1])
    assert len(table) == 0 and list(table) == ["image", "label", "score", "x0", "y0", "x1", "y1"]
