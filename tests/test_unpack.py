"""Unpacking archives of pictures: the same folder each time, and nothing outside of it."""

import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile

import pandas as pd
import pytest
from PIL import Image

from palimpsest.run import read_record, step
from palimpsest.sources.unpack import unpack
from palimpsest.worlds import folder as folder_world


def picture(colour, kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, kind)
    return buffer.getvalue()


RED, GREEN, BLUE = picture("red"), picture("green", "JPEG"), picture("blue", "WEBP")
FILES = {"faces/b.png": RED, "faces/a.jpg": GREEN, "c.webp": BLUE}


def write_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content if isinstance(content, bytes) else b""))
    return path


def write_parquet(path, values, **settings):
    pd.DataFrame({"image": values, "label": range(len(values))}).to_parquet(path, **settings)
    return path


def run(folder, *archives, **options):
    """Unpack, and give the result that the record holds."""
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    step(unpack, ["--archives", *map(str, archives), "--folder", str(folder), *flags])
    return read_record(folder)["result"]


def refused(folder, *archives, **options):
    """The one line with which an archive is refused; nothing is left of it, nor beside the folder."""
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        run(folder, *archives, **options)
    assert sorted(folder.parent.rglob("*")) == before
    message = str(caught.value.code)
    assert "\n" not in message and str(archives[-1]) in message
    return message


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is unpacked


@pytest.mark.parametrize("kind", ["zip", "stored", "tar", "tar.gz", "tar.xz"])
def test_archives_keep_the_places_of_their_pictures(tmp_path, kind):
    files = {"README.txt": b"read me", "__MACOSX/faces/._b.png": b"", "faces/labels.csv": b"0", **FILES}
    if kind in ("zip", "stored"):
        archive = write_zip(tmp_path / "all", files, zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED)
    else:
        archive = write_tar(tmp_path / "all", files, {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}[kind])
    result = run(tmp_path / "out", archive)
    assert content(tmp_path / "out") == FILES
    assert result == {"pictures": 3, "bytes": sum(map(len, FILES.values())), "left_out": 3}
    assert len(folder_world.make(str(tmp_path / "out"), 8).images) == 3


def test_several_archives_fill_one_folder(tmp_path):
    first = write_zip(tmp_path / "first.zip", {"faces/a.png": RED})
    second = write_tar(tmp_path / "second.tar", {"./faces//b.png": RED})
    assert run(tmp_path / "out", first, second)["pictures"] == 2
    assert sorted(content(tmp_path / "out")) == ["faces/a.png", "faces/b.png"]
    assert "name is that of another" in refused(tmp_path / "again", first, first)


@pytest.mark.parametrize("shape", ["bytes", "struct"])
def test_shards_are_numbered_through_and_named_by_their_format(tmp_path, shape):
    pictures = [RED, GREEN, BLUE, RED]
    values = pictures if shape == "bytes" else [{"bytes": value, "path": "../x.png"} for value in pictures]
    shards = [write_parquet(tmp_path / f"{part}.parquet", values[2 * part : 2 * part + 2]) for part in range(2)]
    run(tmp_path / "out", *shards)
    names = ["000000.png", "000001.jpg", "000002.webp", "000003.png"]
    assert content(tmp_path / "out") == dict(zip(names, pictures, strict=True))


def test_a_limit_takes_the_first_pictures(tmp_path):
    archive = write_zip(tmp_path / "all.zip", {"README.txt": b"", **FILES})
    run(tmp_path / "out", archive, limit=2)
    assert sorted(content(tmp_path / "out")) == ["faces/a.jpg", "faces/b.png"]
    shards = [write_parquet(tmp_path / f"{part}.parquet", [RED, RED]) for part in range(2)]
    assert run(tmp_path / "shards", *shards, limit=3)["pictures"] == 3


def test_files_are_ours_whatever_the_archive_says(tmp_path):
    entry = tarfile.TarInfo("a.png")
    entry.mode, entry.uid, entry.size = 0o6777, 1234, len(RED)
    with tarfile.open(tmp_path / "all.tar", "w", encoding="utf-8") as archive:
        archive.addfile(entry, io.BytesIO(RED))
    run(tmp_path / "out", tmp_path / "all.tar")
    found = (tmp_path / "out/a.png").stat()
    assert found.st_uid == os.getuid() and not found.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


def test_a_second_run_replaces_the_first(tmp_path):
    run(tmp_path / "out", write_zip(tmp_path / "all.zip", FILES))
    run(tmp_path / "out", write_zip(tmp_path / "all.zip", {"d.png": RED}))
    assert sorted(content(tmp_path / "out")) == ["d.png"]


# What is refused


OUTSIDE = [
    "../a.png",
    "faces/../../a.png",
    "/a.png",
    "//a.png",
    "C:/a.png",
    "faces\\..\\a.png",
    "..",
    "a" * 256 + ".png",
    "folder/" * 1000 + "a.png",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("writer", [write_zip, write_tar])
def test_no_member_lands_outside_its_folder(tmp_path, writer, name):
    archive = writer(tmp_path / "all", {"good.png": RED, name: RED})
    assert "outside its folder or has no proper name" in refused(tmp_path / "out", archive)


def test_programs_that_pillow_would_run_are_no_pictures(tmp_path):
    """PostScript goes to an interpreter, whatever the file is called: neither its name nor its content passes."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(a) (b) renamefile\n"
    archive = write_zip(tmp_path / "all.zip", {"a.png": RED, "b.eps": program, "c.ps": program, "d.png": program})
    assert run(tmp_path / "out", archive) == {"pictures": 2, "bytes": len(RED) + len(program), "left_out": 2}
    world = folder_world.make(str(tmp_path / "out"), 8)
    assert world.manifest.path.tolist() == ["a.png"]
    assert [item["path"] for item in world.report["unreadable"]] == ["d.png"]
    shard = write_parquet(tmp_path / "all.parquet", [RED, program])
    run(tmp_path / "shards", shard)
    assert sorted(content(tmp_path / "shards")) == ["000000.png", "000001.png"]


def test_a_size_below_zero_is_damage(tmp_path):
    archive = write_tar(tmp_path / "all.tar", {"a.png": RED})
    header = bytearray(archive.read_bytes())
    header[124:136] = b"\xff" * 12  # base-256, minus one
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    archive.write_bytes(header)
    assert "is damaged" in refused(tmp_path / "out", archive)


def test_no_name_is_cut_at_a_nul(tmp_path):
    archive = write_zip(tmp_path / "all.zip", {"a.png_.txt": RED})
    archive.write_bytes(archive.read_bytes().replace(b"a.png_.txt", b"a.png\0.txt"))
    assert "no proper name" in refused(tmp_path / "out", archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_no_links_and_devices_of_a_tar_are_made(tmp_path, kind):
    entry = tarfile.TarInfo("faces")
    entry.type, entry.linkname = kind, str(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    archive = write_tar(tmp_path / "all.tar", {"faces": entry, "faces/a.png": RED})
    assert "is a link or a device" in refused(tmp_path / "out", archive)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_no_link_of_a_zip_is_made(tmp_path):
    entry = zipfile.ZipInfo("a.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = write_zip(tmp_path / "all.zip", {"b.png": RED})
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(entry, "../../secret.png")
    assert "is a link or a device" in refused(tmp_path / "out", archive)


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "a.png"),
        ("a.png", "./a.png"),
        ("a.png", "A.PNG"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("a.png/b.png", "a.png"),
        ("a.png", "a.png/b.png"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide_on_some_machine_are_refused(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in names:
            archive.writestr(name, RED)
    assert "name is that of another" in refused(tmp_path / "out", tmp_path / "all.zip")


def test_a_bomb_is_refused_before_it_is_written(tmp_path):
    bomb = {"good.png": RED, "bomb.png": bytes(3_000_000)}
    archives = [write_zip(tmp_path / "all.zip", bomb), write_tar(tmp_path / "all.tgz", bomb, "w:gz")]
    archives += [write_parquet(tmp_path / "all.parquet", [bytes(3_000_000)], compression="zstd")]
    archives += [write_parquet(tmp_path / "rows.parquet", [bytes(30_000)] * 100)]  # it stands there once
    for archive in archives:
        assert archive.stat().st_size < 30_000
        assert "decompression bomb" in refused(tmp_path / "out", archive)
        assert "unpacked_size" in refused(tmp_path / "out", archive, unpacked_size=2_000_000)
    assert run(tmp_path / "out", archives[0], unpacked_size=4_000_000)["pictures"] == 2


def test_a_bomb_in_many_small_pieces_is_one(tmp_path):
    archive = write_zip(tmp_path / "all.zip", {f"{number}.png": bytes(100_000) for number in range(30)})
    assert "decompression bomb" in refused(tmp_path / "out", archive, unpacked_size=2_000_000)


def test_a_member_larger_than_it_states_is_refused(tmp_path):
    archive = write_zip(tmp_path / "all.zip", {"a.png": bytes(1000) + RED}, zipfile.ZIP_DEFLATED)
    data = archive.read_bytes()
    size = struct.pack("<I", 1000 + len(RED))
    assert data.count(size) == 2  # in the member's header, and in the directory at the end
    archive.write_bytes(data.replace(size, struct.pack("<I", 10)))
    assert "is damaged" in refused(tmp_path / "out", archive)


@pytest.mark.parametrize("name", ["all.zip", "all.tar", "all.tgz", "all.parquet"])
def test_a_damaged_archive_is_named(tmp_path, name):
    path = tmp_path / name
    if name.endswith("zip"):
        write_zip(path, FILES, zipfile.ZIP_STORED)
        path.write_bytes(path.read_bytes().replace(RED[20:40], bytes(20)))
    else:
        writers = {"all.tar": lambda: write_tar(path, {f"{number}.png": bytes(5000) for number in range(9)})}
        writers |= {"all.tgz": lambda: write_tar(path, {"a.png": os.urandom(50_000)}, "w:gz")}
        writers |= {"all.parquet": lambda: write_parquet(path, [os.urandom(5000)])}
        writers[name]()
        path.write_bytes(path.read_bytes()[:4700])
    assert "damaged" in refused(tmp_path / "out", path)


def test_an_encrypted_archive_is_named(tmp_path):
    archive = write_zip(tmp_path / "all.zip", FILES)
    data = bytearray(archive.read_bytes())
    for start in (position for position in range(len(data)) if data[position : position + 4] == b"PK\1\2"):
        data[start + 8] |= 1
    for start in (position for position in range(len(data)) if data[position : position + 4] == b"PK\3\4"):
        data[start + 6] |= 1
    archive.write_bytes(data)
    assert "encrypted" in refused(tmp_path / "out", archive)


def test_what_is_no_archive_or_has_no_pictures_is_named(tmp_path):
    page = tmp_path / "login.zip"
    page.write_text("<html>Log in first</html>", encoding="utf-8")
    assert "is no zip, tar or Parquet file" in refused(tmp_path / "out", page)
    assert "no picture" in refused(tmp_path / "out", write_zip(tmp_path / "text.zip", {"README.txt": b"x"}))


def test_a_column_that_is_not_there_or_holds_none_is_named(tmp_path):
    shard = write_parquet(tmp_path / "all.parquet", [RED])
    assert "no column 'picture', but image, label" in refused(tmp_path / "out", shard, column="picture")
    assert "row 0 of 'label' holds no picture's bytes" in refused(tmp_path / "out", shard, column="label")


def test_a_full_disk_is_none_of_the_archives_faults(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    archive = write_zip(tmp_path / "all.zip", {f"{number}.png": os.urandom(20_000) for number in range(9)})
    try:
        command = [sys.executable, "-m", "palimpsest.sources.unpack", "--archives", str(archive)]
        done = subprocess.run(
            [*command, "--folder", str(disk / "out")], capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 1 and "no space left on the device" in done.stderr
        assert not any(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
