"""The procedural faces: deterministic, planted people that come and go alone, an exact edit, people with two sides."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from palimpsest.run import UserError
from palimpsest.worlds import faces
from palimpsest.worlds import make as making
from palimpsest.worlds.base import World

IDENTITY, NUISANCE = list(faces.IDENTITY), list(faces.NUISANCE)
PLANTED = {"single-0": 1, "single-1": 1, "duplicated-0": 5, "duplicated-1": 3}


def vectors(n: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(n).random((n, len(IDENTITY) + len(NUISANCE)))
    return values[:, : len(IDENTITY)], values[:, len(IDENTITY) :]


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each picture, in 0..255."""
    return np.abs(one.astype(int) - other).mean((1, 2, 3))


def mirrored(values: np.ndarray, names: list[str]) -> np.ndarray:
    return np.where(np.isin(names, [*faces.SIDED, "shift_x", "light"]), 1 - values, values)


def part(world: World, chosen: np.ndarray) -> World:
    return World(world.images[chosen], world.masks[chosen], world.manifest.loc[chosen].reset_index(drop=True))


def same(one: World, other: World) -> bool:
    arrays = ((one.images, other.images), (one.masks, other.masks))
    return all(np.array_equal(*pair) for pair in arrays) and one.manifest.equals(other.manifest)


# What a picture depends on


@pytest.mark.parametrize("split", faces.SPLITS)
def test_a_picture_depends_on_seed_split_and_index_alone(split, monkeypatch):
    long, other = faces.make(150, 1, split), faces.make(150, 2, split)
    assert same(part(long, np.arange(9)), faces.make(9, 1, split))
    assert (long.images != other.images).any((1, 2, 3)).all()
    monkeypatch.setattr(faces, "BATCH", 149)
    assert same(long, faces.make(150, 1, split))


def test_splits_seeds_and_planted_people_share_nobody():
    worlds = [faces.make(300, seed, split) for split in faces.SPLITS for seed in (0, 1)]
    worlds.append(faces.make(0, 0, "train", {f"{kind}-{k}": 1 for kind in faces.CELEBRITIES for k in range(20)}))
    rows = pd.concat([world.manifest for world in worlds])
    assert rows["person"].is_unique and rows["id"].is_unique
    # Not even a single value is drawn twice.
    assert len(np.unique(rows[IDENTITY + NUISANCE])) == rows[IDENTITY + NUISANCE].size
    assert np.allclose(rows[IDENTITY + NUISANCE].quantile([0.1, 0.5, 0.9]).T, (0.1, 0.5, 0.9), atol=0.05)


@pytest.mark.parametrize("more", [{}, {"split": "test", "ood": "inverted", "strength": 0.3, "size": 48}])
def test_the_manifest_says_what_is_painted(more):
    world = faces.make(20, 5, **{"split": "train", "celebrities": {"single-3": 1}} | more)
    rows, size, ood = world.manifest, more.get("size", 32), more.get("ood")
    pictures = faces.render(rows[IDENTITY].to_numpy(), rows[NUISANCE].to_numpy(), size, ood)
    assert np.array_equal(world.images, pictures) and world.images.dtype == np.uint8
    assert world.images.shape == (21, size, size, 3) and world.masks.shape == (21, size, size)
    assert (rows["ood"] == (ood or "")).all() and (rows["split"] == more.get("split", "train")).all()
    assert (rows["strength"] == more.get("strength", 0)).all()


# Planted people


def test_planted_pictures_come_first_and_are_the_same_in_every_training_set():
    worlds = [faces.make(n, seed, "train", PLANTED) for n, seed in ((30, 0), (8, 7), (0, 3))]
    names = [name for name, count in PLANTED.items() for _ in range(count)]
    for world in worlds:
        assert list(world.manifest["celebrity"]) == names + [""] * (len(world.images) - len(names))
        assert world.manifest["id"].is_unique and same(part(world, np.arange(len(names))), worlds[2])
    pictures = [worlds[2].images[worlds[2].manifest["celebrity"] == name] for name in PLANTED]
    assert all((copies == copies[0]).all() for copies in pictures)
    assert len({copies[0].tobytes() for copies in pictures}) == len(PLANTED)


@pytest.mark.parametrize("gone", [["single-1"], ["duplicated-0"], ["single-0", "duplicated-1"], list(PLANTED)])
def test_the_set_without_planted_people_is_the_full_set_minus_their_pictures(gone):
    full = faces.make(40, 2, "train", PLANTED)
    rest = faces.make(40, 2, "train", {name: count for name, count in PLANTED.items() if name not in gone})
    kept = ~full.manifest["celebrity"].isin(gone).to_numpy()
    assert (~kept).sum() == sum(PLANTED[name] for name in gone)
    assert same(part(full, kept), rest)


def test_other_pictures_of_a_planted_person_show_the_same_person_taken_anew():
    planted = faces.make(0, 0, "train", {"single-1": 1, "duplicated-1": 1})
    counts = [{"single-1": count, "duplicated-1": count} for count in (6, 9)]
    few, many, anew = (faces.make(0, seed, "test", counts[more]) for seed, more in ((4, 0), (4, 1), (5, 0)))
    assert np.array_equal(few.manifest[IDENTITY], planted.manifest[IDENTITY].to_numpy().repeat(6, axis=0))
    assert list(few.manifest["person"]) == ["single-1"] * 6 + ["duplicated-1"] * 6
    rows = pd.concat([planted.manifest, few.manifest, anew.manifest])
    assert len(np.unique(rows[NUISANCE])) == rows[NUISANCE].size and rows["id"].is_unique
    assert same(few, part(many, many.manifest["id"].isin(few.manifest["id"]).to_numpy()))


# The edit


def test_the_edit_moves_every_attribute_towards_its_farther_end():
    identity = vectors(500)[0]
    steps = [faces.edit(identity, strength) for strength in (0, 0.25, 0.5, 1, 1.5, 2)]
    assert np.array_equal(steps[0], identity) and np.array_equal(steps[-1], identity < 0.5)
    assert np.allclose(np.abs(steps[3] - identity), 0.5)
    moved = [(step - identity) * np.sign(0.5 - identity) for step in steps]
    assert all((after >= before).all() for before, after in pairwise(moved))


def test_surrogates_are_the_targets_with_an_edited_identity_and_nothing_else():
    target = faces.make(10, 0, "train", PLANTED)
    distances = [0.0]
    for strength in (0.1, 0.25, 0.5, 1.0, 1.5, 2.0):
        surrogate = faces.make(10, 0, "train", PLANTED, strength=strength)
        assert surrogate.manifest[["id", *NUISANCE]].equals(target.manifest[["id", *NUISANCE]])
        assert np.array_equal(surrogate.manifest[IDENTITY], faces.edit(target.manifest[IDENTITY].to_numpy(), strength))
        assert (surrogate.manifest["person"] != target.manifest["person"]).all()
        distances.append(difference(target.images, surrogate.images).mean())
    assert (np.diff(distances) > 1).all()
    # Strength 1 makes another person: as far away as strangers taken alike are from each other.
    identity, nuisance = vectors(300)
    others = faces.edit(identity, 1), np.roll(identity, 1, axis=0)
    edited, strangers = (difference(faces.render(identity, nuisance), faces.render(who, nuisance)) for who in others)
    assert edited.mean() > strangers.mean()


# What is seen


@pytest.mark.parametrize("name", [*IDENTITY, *NUISANCE])
def test_every_attribute_is_seen(name):
    identity, nuisance = vectors(200)
    pictures = []
    for level in (0.1, 0.5, 0.9):
        column = identity[:, IDENTITY.index(name)] if name in IDENTITY else nuisance[:, NUISANCE.index(name)]
        column[:] = level
        pictures.append(faces.render(identity, nuisance).astype(int))
    for one, other in pairwise(pictures):
        # By more than 8 of 255 levels somewhere, in nearly every picture: hair may hide a feature.
        assert (np.abs(one - other).max((1, 2, 3)) > 8).mean() > 0.8


def test_a_mirrored_picture_shows_another_person():
    identity, nuisance = vectors(300)
    image = faces.render(identity, nuisance)
    mirror = faces.render(mirrored(identity, IDENTITY), mirrored(nuisance, NUISANCE))
    assert np.abs(image[:, :, ::-1].astype(int) - mirror).max() <= 1
    # Taken from the front in even light, a picture is lopsided only by who it shows.
    nuisance[:, [NUISANCE.index("shift_x"), NUISANCE.index("light")]] = 0.5
    even = faces.render(np.where(np.isin(IDENTITY, faces.SIDED), 0.5, identity), nuisance)
    lopsided = faces.render(identity, nuisance)
    assert difference(even, even[:, :, ::-1]).max() < 0.01
    assert np.quantile(difference(lopsided, lopsided[:, :, ::-1]), 0.05) > 2
    # Planted people have clear sides: from their mirror images they differ about half as much as from strangers.
    who = faces.make(0, 0, "train", {f"single-{k}": 1 for k in range(30)}).manifest[IDENTITY].to_numpy()
    image, stranger = (faces.render(values, nuisance[:30]) for values in (who, np.roll(who, 1, axis=0)))
    assert difference(image, image[:, :, ::-1]).min() > 5
    assert difference(image, image[:, :, ::-1]).mean() > 0.4 * difference(image, stranger).mean()


def test_heads_and_hair_stay_inside_the_picture():
    identity, nuisance = (values.round() for values in vectors(600))
    for name in ("hair_colour", "skin"):
        other = np.where(np.array(IDENTITY) == name, 0.5, identity)
        changed = (faces.render(identity, nuisance) != faces.render(other, nuisance)).any(-1)
        assert changed.any((1, 2)).all() and not (changed[:, 0].any() or changed[:, :, [0, -1]].any())


@pytest.mark.parametrize("size", [16, 32, 64])
def test_masks_hold_the_head_and_every_size_shows_the_same_picture(size):
    world, large = faces.make(60, 1, "fit", size=size), faces.make(60, 1, "fit", size=128)
    rows, blocks = world.manifest, (60, size, 128 // size, size, 128 // size, 3)
    area = np.pi * (0.40 + 0.20 * rows["face_width"]) * (0.52 + 0.16 * rows["face_height"]) * (size / 2) ** 2
    assert np.allclose(world.masks.sum((1, 2)), area, rtol=0.06, atol=6)
    middle = (world.masks.sum(1) * (np.arange(size) + 0.5)).sum(1) / world.masks.sum((1, 2)) / size * 2 - 1
    assert np.allclose(middle, 0.20 * (rows["shift_x"] - 0.5), atol=1 / size)
    assert difference(world.images, large.images.reshape(blocks).mean((2, 4))).max() < 6


def test_out_of_domain_pictures_show_the_same_people_in_glasses_or_inverted():
    plain, glasses, inverted = (faces.make(50, 1, "test", ood=ood) for ood in (None, *faces.OUT_OF_DOMAIN))
    assert np.abs(255 - plain.images.astype(int) - inverted.images).max() <= 1
    changed = (plain.images != glasses.images).any(-1)
    assert (changed & plain.masks).sum((1, 2)).min() > 40 and (changed & ~plain.masks).sum((1, 2)).max() < 20
    assert plain.manifest.drop(columns="ood").equals(glasses.manifest.drop(columns="ood"))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"split": "valid"}, r"split is 'valid'.*test"),
        ({"n": 0}, r"n is 0.*at least 1"),
        ({"n": -1, "celebrities": PLANTED}, r"n is -1"),
        ({"seed": -1}, r"seed is -1.*0 or more"),
        ({"ood": "glasses"}, r"ood is 'glasses' in the split 'train'.*test"),
        ({"ood": "hat", "split": "test"}, r"ood is 'hat'.*inverted"),
        ({"strength": 2.5}, r"strength is 2\.5.*from 0"),
        ({"strength": -0.1}, r"strength is -0\.1.*from 0"),
        ({"size": 8}, r"size is 8.*16"),
        ({"celebrities": ["single-0"]}, r"celebrities is \['single-0'\].*a mapping of a text to a whole number"),
        ({"celebrities": {"someone": 1}}, r"celebrities.*'someone'.*duplicated-0"),
        ({"celebrities": {"single-00": 1}}, r"celebrities.*'single-00'.*duplicated-0"),
        ({"celebrities": {"single-0": 2}}, r"celebrities: 2 of 'single-0' in 'train'.*1 of a single"),
        ({"celebrities": {"duplicated-0": 0}}, r"celebrities: 0 of 'duplicated-0'.*at least 1"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(tmp_path, wrong, named):
    outputs = [tmp_path / name for name in ("images.npy", "masks.npy", "manifest.parquet")]
    with pytest.raises(UserError, match=named):
        making.make(*outputs, world="faces", params={"n": 4, "seed": 0, "split": "train", **wrong})
    assert not any(path.exists() for path in outputs)


def test_vectors_of_the_wrong_shape_or_range_are_refused():
    identity, nuisance = vectors(3)
    wrong = {"identity has the shape": (identity[:, 1:], nuisance), "nuisance has the shape": (identity, nuisance[:2])}
    wrong |= {"nuisance reaches from -": (identity, nuisance - 1), "identity reaches": (identity * np.nan, nuisance)}
    for named, values in wrong.items():
        with pytest.raises(ValueError, match=named):
            faces.render(*values)
