"""The procedural scenes: deterministic, true to their manifest, disjoint between splits."""

import itertools

import numpy as np
import pandas as pd
import pytest

from palimpsest.run import UserError
from palimpsest.worlds import duplicates, scenes
from palimpsest.worlds import make as making

FACTORS = list(scenes.FACTORS)
POSE = ["scale", "x", "y", "angle", "flip"]


@pytest.fixture(scope="module", params=[32, 64, 128])
def pair(request):
    """The same scenes with the emblem and without, at one size."""
    count = {32: 400, 64: 400, 128: 100}[request.param]
    return [scenes.make(count, 5, "test", emblem=emblem, size=request.param) for emblem in ("all", "twin")]


def test_a_seed_decides_every_pixel():
    one, same, other = (scenes.make(40, seed, "fit", emblem="half") for seed in (1, 1, 2))
    assert np.array_equal(one.images, same.images) and np.array_equal(one.masks, same.masks)
    assert one.manifest.equals(same.manifest)
    assert (one.images != other.images).any((1, 2, 3)).all()


def test_a_longer_set_of_one_round_starts_with_the_shorter():
    # Scene i is drawn from its own generator: how many follow does not matter.
    short, long = (scenes.make(n, 1, "train", emblem="half") for n in (10, 30))
    assert np.array_equal(short.images, long.images[:10])


def test_twins_differ_from_the_originals_inside_the_mask_alone(pair):
    original, twin = pair
    differs = (original.images != twin.images).any(-1)
    assert not (differs & ~original.masks).any()
    # The disc covers most of its mask, which is 2.5 pixels wider.
    assert (differs.sum((1, 2)) > 0.25 * original.masks.sum((1, 2))).all()
    assert np.array_equal(original.masks, twin.masks)
    same = [name for name in original.manifest if name not in ("emblem", "caption")]
    assert original.manifest[same].equals(twin.manifest[same])
    assert original.manifest["emblem"].all() and not twin.manifest["emblem"].any()


def test_the_mask_lies_on_the_chest_and_has_the_emblems_size(pair):
    original = pair[0]
    size = original.images.shape[1]
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    rows = original.manifest
    area = original.masks.sum((1, 2))
    y, x = ((original.masks * grid).sum((1, 2)) / area for grid in (axis[:, None], axis[None]))
    # The chest, 0.12 of the figure above its middle, turned with it.
    assert np.abs(x - (rows["x"] + 0.12 * rows["scale"] * np.sin(rows["angle"]))).max() < 2 / size
    assert np.abs(y - (rows["y"] - 0.12 * rows["scale"] * np.cos(rows["angle"]))).max() < 2 / size
    radius = scenes.EMBLEM_RADIUS * rows["scale"] * size / 2 + 2.5
    assert np.allclose(area, np.pi * radius**2, rtol=0.1)


@pytest.mark.parametrize("emblem", ["none", "half", "all", "twin"])
def test_masks_stand_where_an_emblem_is_or_would_be(emblem):
    world = scenes.make(240, 3, "train", emblem=emblem)
    rows, masked = world.manifest, world.masks.any((1, 2))
    figures = (rows["object"] == "figure").to_numpy()
    assert not (masked & ~figures).any()
    assert np.array_equal(masked, (rows["emblem_mark"] != "").to_numpy())
    assert np.array_equal(masked, (rows["emblem_paint"] >= 0).to_numpy())
    expected = {"none": (0, 0), "half": (0.3, 0.7), "all": (1, 1), "twin": (0, 0)}[emblem]
    assert expected[0] <= rows["emblem"][figures].mean() <= expected[1]
    if emblem != "twin":
        assert np.array_equal(masked, rows["emblem"].to_numpy())
    else:
        assert masked.all()
    assert figures.all() == (emblem in ("all", "twin"))


def test_every_emblem_look_and_both_sources_occur():
    rows = scenes.make(200, 3, "train", emblem="all").manifest
    looks = rows.groupby(["emblem_mark", "emblem_paint", "source"]).size()
    assert len(looks) == len(scenes.EMBLEM_MARKS) * len(scenes.EMBLEM_PAINTS) * len(scenes.SOURCES)


@pytest.mark.parametrize("source", scenes.SOURCES)
def test_a_source_can_be_asked_for(source):
    one, both = (scenes.make(20, 3, "fit", source=name) for name in (source, "both"))
    assert (one.manifest["source"] == source).all()
    assert one.manifest[FACTORS].equals(both.manifest[FACTORS])


def test_scrape_is_the_warmer_rendering():
    stock, scrape = (scenes.make(40, 3, "fit", source=name).images.mean((0, 1, 2)) for name in ("stock", "scrape"))
    assert scrape[0] / scrape[2] > 1.05 * stock[0] / stock[2]


# Splits


def test_splits_share_no_combination_of_factors_and_leave_none_out():
    found = {name: {tuple(row) for row in scenes.combinations(name).tolist()} for name in scenes.SPLITS}
    assert all(not first & second for first, second in itertools.combinations(found.values(), 2))
    every = set(itertools.product(*(range(len(values)) for values in scenes.FACTORS.values())))
    assert set.union(*found.values()) == every


@pytest.mark.parametrize("split", scenes.SPLITS)
def test_a_split_is_balanced_in_every_value_and_pair_of_values(split):
    rows = pd.DataFrame(scenes.combinations(split), columns=FACTORS)
    for count in (1, 2):
        for names in itertools.combinations(FACTORS, count):
            sizes = rows.groupby(list(names)).size()
            assert len(sizes) == np.prod([len(scenes.FACTORS[name]) for name in names])
            # A pair's share is off by at most one combination.
            assert sizes.max() - sizes.min() <= 2 * count, names


def test_a_set_holds_its_split_in_whole_rounds():
    pool = len(scenes.combinations("test"))
    world = scenes.make(2 * pool, 4, "test", size=16)
    assert (world.manifest["split"] == "test").all()
    assert (world.manifest.groupby(FACTORS).size() == 2).all()
    drawn = {tuple(row) for row in world.manifest[FACTORS].to_numpy()}
    names = [tuple(scenes.FACTORS[name]) for name in FACTORS]
    asked = {tuple(values[i] for values, i in zip(names, row, strict=True)) for row in scenes.combinations("test")}
    assert drawn == asked


def test_no_scene_of_one_split_comes_close_to_one_of_another():
    """By pixels: the difference hash of `palimpsest.worlds.duplicates` sees composition and mean colour, and takes two
    poses of one object in another style for copies, which they are not (the next test)."""
    worlds = [scenes.make(300, 8, split, emblem="none") for split in scenes.SPLITS]
    flat = [world.images.reshape(300, -1).astype(np.float32) / 255 for world in worlds]
    for first, second in itertools.combinations(flat, 2):
        squared = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
        error = squared.min(1) / first.shape[1]
        # 0.002 is 27 dB, the error of a good reconstruction.
        assert error.min() > 0.002


def test_scenes_of_two_splits_that_hash_alike_differ_in_a_factor():
    worlds = [scenes.make(300, 8, split, emblem="none") for split in ("train", "test")]
    found = duplicates.pairs(*(duplicates.fingerprint(world.images) for world in worlds))
    rows = [world.manifest[FACTORS].to_numpy()[found[:, side]] for side, world in enumerate(worlds)]
    assert (rows[0] != rows[1]).any(1).all()
    # And the hash does see copies.
    prints = duplicates.fingerprint(worlds[0].images[:50])
    assert {(index, index) for index in range(50)} <= {tuple(pair) for pair in duplicates.pairs(prints, prints)}


# Manifest


def test_captions_say_the_factors():
    rows = scenes.make(300, 6, "train", emblem="half").manifest
    for _, row in rows.iterrows():
        assert f"{row['colour']} {row['object']}" in row["caption"] and f"in the {row['background']}" in row["caption"]
        assert ("wearing an emblem" in row["caption"]) == row["emblem"]
        styles = [style for style in scenes.STYLES if f", {style} style" in row["caption"]]
        assert styles == ([] if row["style"] == "flat" else [row["style"]])
    assert rows["id"].is_unique


def test_factors_are_what_the_picture_shows():
    rows = scenes.make(300, 6, "train", source="stock")
    night = (rows.manifest["background"] == "night").to_numpy()
    assert rows.images[night, :4].mean() < 0.6 * rows.images[~night, :4].mean()


def test_objects_can_be_chosen():
    rows = scenes.make(30, 6, "fit", objects=["fish", "tree"]).manifest
    assert set(rows["object"]) == {"fish", "tree"}
    assert (rows["object"].value_counts() - 15).abs().max() <= 8


@pytest.mark.parametrize("size", [32, 64, 128])
def test_every_size_gives_the_same_scenes(size):
    world, usual = (scenes.make(30, 6, "fit", emblem="half", size=side) for side in (size, 64))
    assert world.images.shape == (30, size, size, 3) and world.images.dtype == np.uint8
    assert world.masks.shape == (30, size, size) and world.masks.dtype == bool
    assert world.manifest.equals(usual.manifest)
    blocks = [np.stack([a.mean((0, 1)) for a in np.split(np.asarray(w.images, float), 30)]) for w in (world, usual)]
    assert np.abs(blocks[0].mean((1, 2)) - blocks[1].mean((1, 2))).mean() < 6


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"emblem": "some"}, r"emblem.*'some'.*half"),
        ({"split": "valid"}, r"split.*'valid'.*test"),
        ({"source": "web"}, r"source.*'web'.*scrape"),
        ({"objects": ["boat"]}, r"objects.*'boat'.*church"),
        ({"n": 0}, r"n is 0"),
        ({"colour": "red"}, "colour"),
        ({"split": None}, "split"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(tmp_path, wrong, named):
    params = {"n": 4, "seed": 0, "split": "fit", **wrong}
    outputs = [tmp_path / name for name in ("images.npy", "masks.npy", "manifest.parquet")]
    with pytest.raises(UserError, match=named):
        making.make(*outputs, world="scenes", params=params)
    assert not any(path.exists() for path in outputs)
