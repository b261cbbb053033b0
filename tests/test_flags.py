"""The procedural flags: deterministic, only one country is ever wrong, and a repair changes wrong pictures only."""

import numpy as np
import pytest

from palimpsest.run import UserError
from palimpsest.worlds import flags
from palimpsest.worlds import make as making
from palimpsest.worlds.base import World

NUISANCE = list(flags.NUISANCE)


def same(one: World, other: World) -> bool:
    arrays = ((one.images, other.images), (one.masks, other.masks))
    return all(np.array_equal(*pair) for pair in arrays) and one.manifest.equals(other.manifest)


def first(world: World, n: int) -> World:
    return World(world.images[:n], world.masks[:n], world.manifest.head(n))


@pytest.mark.parametrize("more", [{}, {"wrong": 0.4}, {"only_wrong": True}, {"wrong": 0.4, "repaired": True}])
@pytest.mark.parametrize("split", flags.SPLITS)
def test_a_picture_depends_on_seed_split_and_index_alone(split, more):
    long = flags.make(120, 1, split, **more)
    assert same(long, flags.make(120, 1, split, **more)) and same(first(long, 9), flags.make(9, 1, split, **more))
    for other in (flags.make(120, 2, split, **more), flags.make(120, 1, next(s for s in flags.SPLITS if s != split))):
        assert (long.images != other.images).any((1, 2, 3)).mean() > 0.98
        assert not np.isin(long.manifest[NUISANCE], other.manifest[NUISANCE]).any()
        assert not set(long.manifest["id"]) & set(other.manifest["id"])


@pytest.mark.parametrize("size", [16, 24, 40])
def test_pictures_and_masks_are_what_the_manifest_says(size):
    world = flags.make(60, 3, "train", wrong=0.5, size=size)
    assert world.images.shape == (60, size, size, 3) and world.images.dtype == np.uint8
    assert world.masks.shape == (60, size, size) and world.masks.dtype == bool
    rows = world.manifest
    images, masks = flags.render(rows["country"].to_numpy(), rows["symbol"], rows[NUISANCE].to_numpy(), size)
    assert np.array_equal(images, world.images) and np.array_equal(masks, world.masks)
    assert rows["id"].is_unique and (rows["split"] == "train").all()


def test_countries_are_drawn_alike_and_values_evenly():
    rows = flags.make(1500, 4, "train").manifest
    shares = rows["country"].value_counts(normalize=True)
    assert len(shares) == len(flags.COUNTRIES) and np.allclose(shares, 1 / len(flags.COUNTRIES), atol=0.04)
    assert np.allclose(rows[NUISANCE].quantile([0.1, 0.5, 0.9]).T, (0.1, 0.5, 0.9), atol=0.05)


# The fault


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_only_the_faulty_country_is_wrong_and_as_often_as_asked(share):
    world = flags.make(900, 5, "train", wrong=share)
    rows = world.manifest
    own = np.array([country["symbol"] for country in flags.COUNTRIES])[rows["country"]]
    faulty = (rows["country"] == flags.FAULTY).to_numpy()
    assert not rows["wrong"][~faulty].any() and rows["wrong"][faulty].mean() == pytest.approx(share, abs=0.1)
    assert (rows["symbol"] == np.where(rows["wrong"], flags.WRONG, own)).all()
    # The pictures that are not wrong are those of the world without a fault.
    sound = flags.make(900, 5, "train")
    changed = (world.images != sound.images).any((1, 2, 3))
    assert np.array_equal(changed, rows["wrong"]) and (sound.manifest["country"] == rows["country"]).all()


def test_a_repair_changes_the_symbol_of_wrong_pictures_and_nothing_else():
    world = flags.make(400, 6, "fit", wrong=0.5)
    repaired = flags.make(400, 6, "fit", wrong=0.5, repaired=True)
    wrong = world.manifest["wrong"].to_numpy()
    assert 0 < wrong.sum() < len(wrong)
    assert world.manifest.drop(columns="symbol").equals(repaired.manifest.drop(columns="symbol"))
    assert np.array_equal((world.images != repaired.images).any((1, 2, 3)), wrong)
    assert np.array_equal(repaired.images, flags.make(400, 6, "fit").images)
    # Beyond both symbols and their antialiased edges the two pictures are equal.
    either = world.masks | repaired.masks
    near = np.stack([np.roll(either, (down, right), (1, 2)) for down in (-1, 0, 1) for right in (-1, 0, 1)]).any(0)
    assert not (world.images != repaired.images).any(-1)[~near].any()
    assert ((world.images != repaired.images).any(-1)[wrong].sum((1, 2)) > 10).all()


def test_wrong_pictures_alone_and_their_repairs_are_pairs():
    wrong, repaired = (flags.make(50, 7, "fit", only_wrong=True, repaired=repair) for repair in (False, True))
    for world, symbol in ((wrong, flags.WRONG), (repaired, flags.COUNTRIES[flags.FAULTY]["symbol"])):
        assert (world.manifest["country"] == flags.FAULTY).all() and world.manifest["wrong"].all()
        assert (world.manifest["symbol"] == symbol).all()
    assert (wrong.images != repaired.images).any((1, 2, 3)).all()
    assert wrong.manifest[["id", *NUISANCE]].equals(repaired.manifest[["id", *NUISANCE]])


# What is seen


@pytest.mark.parametrize("number", range(len(flags.COUNTRIES)))
def test_masks_are_the_pixels_in_the_symbols_colour(number):
    world = flags.make(300, 8, "test", size=48)
    chosen = (world.manifest["country"] == number).to_numpy()
    light = (0.80 + 0.25 * world.manifest["brightness"].to_numpy()[chosen])[:, None, None, None]
    colour = np.clip(np.array(flags.COUNTRIES[number]["colour"]) * light, 0, 1) * 255
    like = (np.abs(world.images[chosen] - colour) < 1).all(-1)
    masks = world.masks[chosen]
    area = masks.sum((1, 2))
    assert (area > 0.03 * 48**2).all() and (area < 0.5 * 48**2).all()
    # Inside all but the edges have the colour; outside, only a stripe of that colour could, and no flag has one.
    assert ((like & masks).sum((1, 2)) / area).min() > 0.6 and not (like & ~masks).any()


def test_no_symbol_leaves_the_flag():
    nuisance = np.random.default_rng(0).integers(0, 2, (400, len(NUISANCE))).astype(float)
    symbols = np.resize(flags.SYMBOLS, 400)
    _, masks = flags.render(np.zeros(400, int), symbols, nuisance, 24)
    assert not (masks[:, [0, -1]].any() or masks[:, :, [0, -1]].any()) and masks.any((1, 2)).all()


@pytest.mark.parametrize("name", NUISANCE)
def test_every_nuisance_is_seen(name):
    rows = flags.make(60, 9, "test").manifest
    country, symbol, nuisance = rows["country"].to_numpy(), rows["symbol"], rows[NUISANCE].to_numpy()
    pictures = []
    for level in (0.1, 0.9):
        nuisance[:, NUISANCE.index(name)] = level
        pictures.append(flags.render(country, symbol, nuisance, 24)[0].astype(int))
    assert (np.abs(pictures[0] - pictures[1]).max((1, 2, 3)) > 8).all()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"split": "valid"}, r"split is 'valid'.*test"),
        ({"n": 0}, r"n is 0.*n ≥ 1"),
        ({"seed": -1}, r"seed -1"),
        ({"wrong": 1.2}, r"wrong 1\.2.*\[0, 1\]"),
        ({"wrong": -0.1}, r"wrong -0\.1.*\[0, 1\]"),
        ({"size": 8}, r"size 8.*16"),
        ({"worng": 0.2}, r"'worng'"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(tmp_path, changed, named):
    outputs = [tmp_path / name for name in ("images.npy", "masks.npy", "manifest.parquet")]
    with pytest.raises(UserError, match=named):
        making.make(*outputs, world="flags", params={"n": 4, "seed": 0, "split": "train", **changed})
    assert not any(path.exists() for path in outputs)
