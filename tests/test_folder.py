"""A folder of images as a world: every kind of file, deterministic, and nothing that fails goes unreported."""

import io
import json
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from palimpsest import run
from palimpsest.plan.folders import listing
from palimpsest.run import UserError
from palimpsest.worlds import duplicates, folder, make

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "cat")


def photograph(name="astronaut"):
    return Image.fromarray(getattr(data, name)())


def write_all(root):
    """A folder of readable files of every kind, in subfolders; returns the relative paths in order."""
    (root / "b" / "deep").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / ".hidden" / "no.png").write_bytes(b"")
    (root / ".DS_Store").write_bytes(b"\0")
    astronaut, chelsea, coffee, rocket = (photograph(name) for name in PHOTOGRAPHS[:4])
    astronaut.convert("CMYK").save(root / "cmyk.jpg")
    chelsea.convert("L").save(root / "b" / "grey.png")
    coffee.quantize(32).save(root / "b" / "palette.gif")
    rocket.save(root / "b" / "deep" / "plain.webp", lossless=True)
    grey = np.asarray(photograph("retina").convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(root / "sixteen.png")
    return ["b/deep/plain.webp", "b/grey.png", "b/palette.gif", "cmyk.jpg", "sixteen.png"]


def png_of_declared_size(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def write_broken(root):
    """Files that give no image, and a word of the reason for each."""
    stream = io.BytesIO()
    photograph().save(stream, "png")
    whole = stream.getvalue()
    (root / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (root / "corrupt.png").write_bytes(whole[:2000] + b"\xff" * 500 + whole[2500:])
    stream = io.BytesIO()
    photograph().save(stream, "jpeg")
    (root / "truncated.jpg").write_bytes(stream.getvalue()[:9000])
    (root / "empty.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("no picture", encoding="utf-8")
    (root / "page.jpg").write_text("<html>404</html>", encoding="utf-8")
    Image.new("RGB", (1, 1)).save(root / "pixel.png")
    Image.fromarray(np.zeros((20, 20), np.float32)).save(root / "float.tiff")
    (root / "bomb.png").write_bytes(png_of_declared_size(60000, 60000))
    (root / "half-bomb.png").write_bytes(png_of_declared_size(12000, 12000))
    (root / "link.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "pipe.png")
    return {
        "bomb.png": "decompression bomb",
        "corrupt.png": "damaged",
        "empty.jpg": "0 bytes",
        "float.tiff": "floating-point",
        "half-bomb.png": "decompression bomb: 12000 x 12000",
        "link.png": "broken link",
        "notes.txt": "no image",
        "page.jpg": "no image",
        "pipe.png": "no regular file",
        "pixel.png": "too small: 1 x 1",
        "truncated.jpg": "truncated",
        "truncated.png": "truncated",
    }


def test_every_kind_of_file_is_read_in_order(tmp_path):
    paths = write_all(tmp_path)
    world = folder.make(str(tmp_path), 64)
    manifest = world.manifest
    assert manifest.path.tolist() == paths
    assert manifest["mode"].tolist() == ["RGB", "L", "P", "CMYK", "I;16"]
    assert manifest.sha256.tolist() == [run.sha256(tmp_path / path) for path in paths]
    assert manifest.width.tolist() == [640, 451, 600, 512, 1411]
    assert manifest.id.is_unique
    assert not manifest.emblem.any() and not manifest.explicit.any()
    assert set(manifest.caption) == {""} and set(manifest.near_duplicate_of) == {""}
    assert world.images.shape == (5, 64, 64, 3) and world.images.dtype == np.uint8
    assert world.masks.shape == (5, 64, 64) and not world.masks.any()
    assert world.report == {"unreadable": [], "near_duplicates": 0}
    # Each shows the picture it was made from, whatever its mode.
    for index, name in enumerate(("rocket", "chelsea", "coffee", "astronaut", "retina")):
        wanted = np.asarray(folder.fit(photograph(name), 64, "crop")).astype(float)
        shown = world.images[index].astype(float)
        if name in ("chelsea", "retina"):
            wanted, shown = wanted @ (0.299, 0.587, 0.114), shown.mean(2)
        assert np.abs(shown - wanted).mean() < 8, name


def test_two_readings_agree(tmp_path):
    write_all(tmp_path)
    first, second = (folder.make(str(tmp_path), 32) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    pd.testing.assert_frame_equal(first.manifest, second.manifest)


def test_unreadable_files_are_listed_with_reasons(tmp_path):
    paths = write_all(tmp_path)
    wanted = write_broken(tmp_path)
    world = folder.make(str(tmp_path), 32)
    assert world.manifest.path.tolist() == paths
    found = {item["path"]: item["reason"] for item in world.report["unreadable"]}
    assert found.keys() == wanted.keys()
    for path, word in wanted.items():
        assert word in found[path], (path, found[path])


def test_unreadable_files_can_be_refused(tmp_path):
    write_all(tmp_path)
    broken = write_broken(tmp_path)
    with pytest.raises(UserError) as caught:
        folder.make(str(tmp_path), 32, on_unreadable="error")
    message = str(caught.value)
    assert message.startswith(f"{len(broken)} of the {len(broken) + 5} files of {tmp_path}")
    assert sum(f"\n  {path}: " in message for path in broken) == 10
    assert "and 2 more" in message and "set on_unreadable to skip" in message


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: root / "missing", "does not exist: correct `root`"),
        (lambda root: root, "is empty: put images into it"),
        (
            lambda root: (root / "a.png").write_text("no", encoding="utf-8") and root,
            r"no file of .* is a readable image:\n  a\.png",
        ),
        (
            lambda root: (root / "a.png").write_text("no", encoding="utf-8") and root / "a.png",
            "is no folder: correct `root`",
        ),
    ],
)
def test_a_folder_without_images_is_refused(tmp_path, prepare, message):
    root = prepare(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        folder.make(str(root), 32)
    assert str(root) in str(caught.value)


def test_orientation_is_applied(tmp_path):
    image = photograph("coffee")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    world = folder.make(str(tmp_path), 64, resize="squash")
    assert world.manifest.loc[0, ["width", "height", "orientation"]].tolist() == [400, 600, 6]
    upright = folder.fit(image.transpose(Image.Transpose.ROTATE_270), 64, "squash")
    assert np.array_equal(world.images[0], np.asarray(upright))


def test_transparency_lies_over_white(tmp_path):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8] = (255, 0, 0, 255)
    pixels[8:, 8:] = (0, 0, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    image = folder.make(str(tmp_path), 16).images[0]
    assert image[2, 2].tolist() == [255, 0, 0]
    assert image[13, 2].tolist() == [255, 255, 255]
    assert np.abs(image[13, 13].astype(int) - 127).max() <= 1


def test_resizing():
    image = Image.fromarray(np.hstack([np.full((40, 40, 3), value, np.uint8) for value in (10, 200, 90)]))
    assert np.all(np.asarray(folder.fit(image, 16, "crop"))[:, 3:13] == 200)
    padded = np.asarray(folder.fit(image, 30, "pad"))
    assert not padded[:9].any() and not padded[21:].any() and padded[12:18].min() > 0
    squashed = np.asarray(folder.fit(image, 30, "squash"))
    assert [squashed[15, column, 0] for column in (3, 15, 27)] == [10, 200, 90]


def test_a_limit_spreads_over_the_subfolders(tmp_path):
    rng = np.random.default_rng(0)
    for place in "abcd":
        (tmp_path / place).mkdir()
        for index in range(5):
            pixels = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(pixels).save(tmp_path / place / f"{index}.png")
    world = folder.make(str(tmp_path), 16, limit=8)
    assert sorted(path[0] for path in world.manifest.path) == list("aabbccdd")
    assert len(folder.make(str(tmp_path), 16, limit=99).images) == 20


def test_explicit_sets_need_consent(tmp_path):
    write_all(tmp_path)
    for consent in (False, "yes", 1):
        with pytest.raises(UserError, match="consent: true"):
            folder.make(str(tmp_path), 32, explicit=True, consent=consent)
    with pytest.raises(UserError, match="consent: true"):
        folder.make(str(tmp_path), 32, explicit="false")  # any answer but False counts as explicit
    world = folder.make(str(tmp_path), 32, explicit=True, consent=True)
    assert world.manifest.explicit.all()


@pytest.fixture
def repeats(tmp_path):
    """Six photographs, the first of them again as a smaller and as a paler JPEG."""
    for name in PHOTOGRAPHS:
        photograph(name).save(tmp_path / f"{name}.png")
    photograph().resize((200, 200)).save(tmp_path / "small.jpg", quality=60)
    photograph().point(lambda value: value * 0.95 + 5).save(tmp_path / "zz-pale.jpg")
    (tmp_path / "cat.png").unlink()  # the same picture as chelsea
    return tmp_path


def test_near_duplicates_are_dropped_kept_or_refused(repeats):
    dropped = folder.make(str(repeats), 64)
    assert dropped.manifest.path.tolist() == ["astronaut.png", "chelsea.png", "coffee.png", "retina.png", "rocket.png"]
    assert len(dropped.images) == len(dropped.masks) == 5
    kept = folder.make(str(repeats), 64, near_duplicates="keep")
    first = kept.manifest.id[0]
    assert kept.manifest.near_duplicate_of.tolist() == ["", "", "", "", "", first, first]
    assert dropped.report["near_duplicates"] == kept.report["near_duplicates"] == 2
    with pytest.raises(UserError, match=r"small\.jpg repeats astronaut\.png"):
        folder.make(str(repeats), 64, near_duplicates="error")


def test_which_pictures_are_kept_does_not_depend_on_how_they_are_resized(tmp_path):
    """Two wide pictures with one centre are different ones, although a crop shows the same of both."""
    centre, wide = photograph("coffee").resize((128, 128)), Image.new("RGB", (384, 128))
    for index, sides in enumerate(("astronaut", "chelsea")):
        for place, part in ((0, photograph(sides).resize((128, 128))), (128, centre), (256, photograph("rocket"))):
            wide.paste(part, (place, 0))
        wide.save(tmp_path / f"{index}.png")
    wide.resize((300, 100)).save(tmp_path / "2.jpg", quality=80)
    worlds = {resize: folder.make(str(tmp_path), 64, resize) for resize in folder.RESIZES}
    assert duplicates.first_of_group(duplicates.fingerprint(worlds["crop"].images)).tolist() == [0, 0]
    for world in worlds.values():
        assert list(world.manifest.path) == ["0.png", "1.png"] and world.report["near_duplicates"] == 1
    assert len({tuple(world.manifest.id) for world in worlds.values()}) == 1


def test_near_duplicates_across_sets():
    images = [np.asarray(folder.fit(photograph(name), 96, "crop")) for name in PHOTOGRAPHS[:5]]
    train = duplicates.fingerprint(np.stack(images[:4]))
    again = np.asarray(Image.fromarray(images[2]).resize((70, 70)).resize((96, 96)))
    test = duplicates.fingerprint(np.stack([images[4], again]))
    assert duplicates.pairs(train, test).tolist() == [[2, 1]]


def test_pictures_without_structure_are_not_all_one():
    """A difference hash is zero for every plain picture: the mean colours keep them apart."""
    plain = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (0, 0, 120, 255)])
    prints = duplicates.fingerprint(plain)
    assert len(set(prints.bits.tolist())) == 1
    assert duplicates.first_of_group(prints).tolist() == [0, 0, 2, 3]


def test_the_hash_by_its_definition():
    image = data.chelsea()[:288, :288]
    means = image.reshape(8, 36, 9, 32, 3).mean((1, 3))
    prints = duplicates.fingerprint(image[None])
    assert np.allclose(prints.colours[0], means, atol=0.01)
    brighter = np.diff(means @ (0.299, 0.587, 0.114), axis=1) > 0
    assert np.array_equal(np.unpackbits(prints.bits.view(np.uint8)).astype(bool), brighter.ravel())


def test_uneven_cells_share_their_pixels():
    weights = duplicates._cells(9, 32)
    assert np.allclose(weights.sum(1), 1)
    assert np.allclose(weights.sum(0), 9 / 32)


def test_groups_follow_chains():
    bits = np.array([0, 0b11111, 0b1111111111, 2**63 - 1], np.uint64)
    prints = duplicates.Fingerprints(bits, np.zeros((4, 8, 9, 3), np.float32))
    assert duplicates.first_of_group(prints, threshold=5).tolist() == [0, 0, 0, 3]
    assert duplicates.first_of_group(prints, threshold=4).tolist() == [0, 1, 2, 3]


def test_the_step_reports_what_it_left_out(tmp_path, capsys):
    root = tmp_path / "pictures"
    root.mkdir()
    write_all(root)
    broken = write_broken(root)
    out = tmp_path / "out"
    outputs = [f"--{name}={out / file}" for name, file in (("images", "images.npy"), ("masks", "masks.npy"))]
    params = json.dumps({"root": str(root), "size": 32})
    run.step(make.make, [*outputs, f"--manifest={out / 'manifest.parquet'}", "--world=folder", f"--params={params}"])
    result = run.read_record(out / "images.npy")["result"]
    assert result["images"] == len(np.load(out / "images.npy")) == len(pd.read_parquet(out / "manifest.parquet")) == 5
    assert {item["path"] for item in result["unreadable"]} == broken.keys()
    warning = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(warning) == 1 and f"{len(broken)} files" in warning[0]


def test_names_that_are_no_utf8_reach_the_manifest(tmp_path):
    photograph().save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(tmp_path / os.fsdecode(b"\xff.png"))
    world = folder.make(str(tmp_path), 32)
    assert world.manifest.path.tolist() == ["\\xff.png"]
    world.manifest.to_parquet(tmp_path / "manifest.parquet")


@pytest.mark.parametrize(
    "settings", [{"resize": "stretch"}, {"near_duplicates": "yes"}, {"on_unreadable": "no"}, {"size": 2}, {"limit": 0}]
)
def test_wrong_settings_are_refused(tmp_path, settings):
    photograph().save(tmp_path / "a.png")
    with pytest.raises(UserError, match=str(next(iter(settings.values())))):
        folder.make(str(tmp_path), **{"size": 32, **settings})


# Columns of the primaries in XYZ for D50 (ICC), of Display P3 and of sRGB.
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
GAMMA = 2.2


def wide_gamut_profile():
    """A matrix profile (ICC version 2) with the primaries of Display P3 and a plain gamma, by its definition."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    name = b"Display P3 of a test\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    tags[b"wtpt"] = b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)
    for letter, column in zip(b"rgb", DISPLAY_P3.T, strict=True):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*column)
        tags[bytes([letter]) + b"TRC"] = b"curv" + bytes(4) + struct.pack(">IH", 1, round(GAMMA * 256))
    start, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48)
    return head + table + body


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_a_wide_gamut_are_converted_to_srgb(tmp_path, mode):
    colour = np.array([200, 120, 90])
    Image.new("RGB", (16, 16), tuple(colour)).convert(mode).save(tmp_path / "p3.png", icc_profile=wide_gamut_profile())
    linear = np.linalg.solve(SRGB, DISPLAY_P3 @ (colour / 255) ** GAMMA)
    wanted = 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    assert np.abs(wanted - colour).max() > 5
    world = folder.make(str(tmp_path), 16)
    assert np.abs(world.images[0].astype(float) - wanted).max() <= 1.5
    assert world.manifest.profile[0] == "Display P3 of a test"


def test_a_damaged_profile_is_said_and_the_picture_kept(tmp_path):
    Image.new("RGB", (16, 16), (200, 120, 90)).save(tmp_path / "a.png", icc_profile=b"no profile")
    Image.new("L", (16, 16), 90).save(tmp_path / "b.png", icc_profile=wide_gamut_profile())
    world = folder.make(str(tmp_path), 16)
    assert (world.images[0] == (200, 120, 90)).all() and (world.images[1] == 90).all()
    assert list(world.manifest.profile) == ["damaged", "damaged"]


def test_a_jpeg_that_lost_a_part_of_its_profile_is_said_and_kept(tmp_path):
    """A profile of more than 64 kB stands in several segments, each with its number and theirs: one of two is left."""
    profile, whole = wide_gamut_profile(), tmp_path / "whole.jpg"
    profile = struct.pack(">I", 70_000) + profile[4:] + bytes(70_000 - len(profile))
    photograph().save(whole, icc_profile=profile)
    content = whole.read_bytes()
    start = content.index(b"ICC_PROFILE\0\x02\x02") - 4
    length = 2 + struct.unpack(">H", content[start + 2 : start + 4])[0]
    assert content[start : start + 2] == b"\xff\xe2"
    (tmp_path / "part.jpg").write_bytes(content[:start] + content[start + length :])
    photograph().save(tmp_path / "without.jpg")
    world = folder.make(str(tmp_path), 64, near_duplicates="keep")
    profiles = dict(zip(world.manifest.path, world.manifest.profile, strict=True))
    assert profiles == {"part.jpg": "damaged", "whole.jpg": "Display P3 of a test", "without.jpg": ""}
    part, _, without = world.images
    assert np.array_equal(part, without)


def test_squash_is_bilinear_as_the_original_resizes():
    image = photograph()
    bilinear = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(np.asarray(folder.fit(image, 64, "squash")), bilinear)


def test_heic_is_named_with_its_remedy(tmp_path):
    photograph().save(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(100))
    (row,) = folder.make(str(tmp_path), 16).report["unreadable"]
    assert row["path"] == "b.heic" and "HEIC" in row["reason"] and "pillow-heif" in row["reason"]


def test_a_link_to_a_folder_is_followed_once(tmp_path):
    (tmp_path / "set" / "own").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    photograph().save(tmp_path / "set/own/a.png")
    photograph("cat").save(tmp_path / "elsewhere/b.png")
    for name, target in {"first": "elsewhere", "second": "elsewhere", "again": "set/own"}.items():
        (tmp_path / "set" / name).symlink_to(tmp_path / target)
    world = folder.make(str(tmp_path / "set"), 16)
    assert list(world.manifest.path) == ["first/b.png", "own/a.png"]
    assert world.report["unreadable"] == [
        {"path": "again", "reason": "a link to own, read already"},
        {"path": "second", "reason": "a link to first, read already"},
    ]


def test_a_link_back_to_the_folder_is_refused_with_both_names(tmp_path):
    (tmp_path / "set/deep").mkdir(parents=True)
    photograph().save(tmp_path / "set/a.png")
    (tmp_path / "set/deep/up").symlink_to(tmp_path / "set")
    with pytest.raises(UserError, match=r"set/deep/up is a link to .*set, which holds it"):
        folder.make(str(tmp_path / "set"), 16)


def test_a_subfolder_that_cannot_be_read_is_listed_or_refused(tmp_path, monkeypatch):
    photograph().save(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def locked(place):
        if str(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", locked)
    (row,) = folder.make(str(tmp_path), 16).report["unreadable"]
    assert row == {"path": "locked", "reason": "a folder that cannot be read (Permission denied)"}
    with pytest.raises(UserError, match="locked: a folder that cannot be read"):
        folder.make(str(tmp_path), 16, on_unreadable="error")


def test_a_listing_changes_with_names_sizes_and_times_alone(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.png").write_bytes(b"1")
    (tmp_path / "loop").symlink_to(tmp_path)
    seen = [listing(tmp_path)]
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / ".DS_Store").write_bytes(b"3")
    seen.append(listing(tmp_path))
    (tmp_path / "b.png").write_bytes(b"2")
    seen.append(listing(tmp_path))
    os.utime(tmp_path / "b.png", ns=(1, 1))
    seen.append(listing(tmp_path))
    (tmp_path / "deep/a.png").rename(tmp_path / "deep/c.png")
    seen.append(listing(tmp_path))
    (tmp_path / "b.png").unlink()
    seen.append(listing(tmp_path))
    assert seen[0] == seen[1] and len(set(seen)) == 5 and listing(tmp_path / "nowhere") == ""
