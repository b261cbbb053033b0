"""Fetching published files: resumed, compared with their hashes, and refused in one line that names the remedy."""

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from conftest import copy_of_the_project, snakemake
from doubles.hub import REFUSED_TOKEN, TOKEN, Hub, Repository
from palimpsest.models import checkpoints
from palimpsest.run import UserError, read_record, step
from palimpsest.sources import download, licence
from palimpsest.sources.fetch import fetch

REVISION, OTHER_REVISION = "ab" * 20, "cd" * 20
CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
PAGE = "https://publisher.example/licence"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """What the machine says of proxies, tokens and the Hub is not asked."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith("HF_") or name == "TRANSFORMERS_OFFLINE":
            monkeypatch.delenv(name)


@pytest.fixture
def server():
    with Hub(files={"/models/last.ckpt": CONTENT}) as hub:
        yield hub


@pytest.fixture
def place(tmp_path):
    return tmp_path / "resources" / "last.ckpt"


def arguments(out, server, **changes):
    given = {"file": out, "name": "vqgan", "source": f"{server.url}/models/", "place": "last.ckpt", "page": PAGE}
    given |= {"sha256": SHA256, "size": SIZE, **changes}
    return [part for key, value in given.items() if value is not None for part in (f"--{key}", str(value))]


def run(out, server, **changes):
    """Fetch, and give the result that the record holds."""
    step(fetch, arguments(out, server, **changes))
    return read_record(out)["result"]


def refused(out, server, **changes):
    """The one line with which a fetch is refused."""
    with pytest.raises(SystemExit) as caught:
        step(fetch, arguments(out, server, **changes))
    message = str(caught.value.code)
    assert "\n" not in message and not out.exists()
    return message


def stalled(place, server):
    """Another process that fetches the file and has most of what it is given before the server falls silent."""
    server.faults.append(("stall", 200_000))
    process = subprocess.Popen([sys.executable, "-m", "palimpsest.sources.fetch", *arguments(place, server)])
    half, limit = place.with_name(f"{place.name}.incomplete"), time.monotonic() + 60
    while not half.exists() or half.stat().st_size < 190_000:
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    return process


def names(place):
    return sorted(path.name for path in place.parent.iterdir())


# Plain servers


def test_a_file_is_fetched_and_its_record_says_from_where(place, server):
    assert run(place, server) == {
        "name": "vqgan",
        "place": "last.ckpt",
        "source": f"{server.url}/models/",
        "revision": "",
        "from": "network",
        "resumed": 0,
        "sha256": SHA256,
        "size": SIZE,
    }
    assert place.read_bytes() == CONTENT and names(place) == ["last.ckpt", "last.record.json"]


def test_a_file_has_its_own_url_where_it_needs_one(place, server):
    server.files = {"/f/1234/": CONTENT}
    run(place, server, url=f"{server.url}/f/1234/?dl=1")
    run(
        place.with_name("second.ckpt"),
        server,
        source=f"{server.url}/f/1234/?dl=1".replace("/?", "?").replace("4?", "4/?"),
    )
    assert [request.path for request in server.log] == ["/f/1234/?dl=1"] * 2


def test_redirects_are_followed(place, server):
    server.redirects = {"/models/last.ckpt": "/moved", "/moved": f"{server.other_host}/there"}
    server.files = {"/there": CONTENT}
    run(place, server)
    server.redirects["/moved"] = "/models/last.ckpt"
    assert "leads to no file" in refused(place.with_name("circle"), server)


@pytest.mark.parametrize("fault", ["cut", "unsized"])
def test_a_broken_connection_is_resumed_and_only_the_rest_is_sent(place, server, fault):
    server.faults.append((fault, 200_000))
    message = refused(place, server)
    assert "200,000" in message and "last.ckpt.incomplete" in message and "goes on where it stopped" in message
    assert names(place) == ["last.ckpt.incomplete", "last.ckpt.incomplete.json"]
    assert run(place, server)["resumed"] == 200_000
    assert server.sent() == SIZE and server.log[-1].status == 206
    assert place.read_bytes() == CONTENT and names(place) == ["last.ckpt", "last.record.json"]


def test_several_breaks_add_up(place, server):
    for end in (100_000, 50_000, 70_000):
        server.faults.append(("cut", end))
        refused(place, server)
    assert run(place, server)["resumed"] == 220_000 and server.sent() == SIZE


def test_what_may_pass_is_tried_again_and_what_does_not_is_not(place, server, monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    server.faults.extend([("status", 503), ("cut", 100_000), ("cut", 50_000)])
    assert run(place, server, attempts=4)["resumed"] == 150_000 and len(server.log) == 4 and server.sent() == SIZE
    server.faults.extend([("status", 503)] * 3)
    assert "cannot answer now" in refused(place.with_name("busy"), server, attempts=3) and len(server.log) == 7
    for changes in ({"sha256": "0" * 64}, {"source": f"{server.url}/absent/"}, {"size": 400_000}):
        before = len(server.log)
        refused(place.with_name("other"), server, attempts=3, **changes)
        assert len(server.log) == before + 1, changes


def test_half_of_a_longer_file_is_begun_anew(place, server):
    """The server says that there is nothing so far behind: with the length of the whole, or without."""
    for name, announced in (("first", True), ("second", False)):
        half = place.with_name(f"{name}.incomplete")
        server.faults.append(("cut", 200_000))
        refused(place.with_name(name), server, size=None)
        half.write_bytes(bytes(SIZE + 1))
        server.faults.extend([] if announced else [("unknown", 0)])
        assert "ends before what was kept" in refused(place.with_name(name), server, size=None) and not half.exists()
        assert run(place.with_name(name), server, size=None)["resumed"] == 0


def test_what_is_said_to_be_packed_is_kept_as_it_was_sent(place, server):
    server.faults.append(("packed", 200_000))
    assert "200,000 bytes are kept" in refused(place, server, size=None)
    assert run(place, server)["resumed"] == 200_000 and server.sent() == SIZE


def test_a_file_that_is_there_already_is_taken_and_another_one_replaced(place, server):
    place.parent.mkdir()
    place.write_bytes(CONTENT)
    assert run(place, server)["from"] == "here" and not server.log and names(place) == ["last.ckpt", "last.record.json"]
    place.write_bytes(OTHER)
    assert run(place, server)["from"] == "network" and place.read_bytes() == CONTENT


def test_one_file_is_fetched_by_one_process_at_a_time(place, server):
    first = stalled(place, server)
    assert "is being fetched by another process" in refused(place, server) and len(server.log) == 1
    first.kill()
    first.wait()
    assert run(place, server)["resumed"] >= 190_000 and names(place) == ["last.ckpt", "last.record.json"]


def test_a_server_without_ranges_sends_it_all_again(place, server):
    server.faults.extend([("cut", 200_000), ("whole", 0)])
    refused(place, server)
    assert run(place, server)["resumed"] == 0 and place.read_bytes() == CONTENT


def test_the_rest_of_another_file_is_not_put_behind_half_of_this(place, server):
    server.files["/models/last.ckpt"] = OTHER
    server.faults.append(("cut", 200_000))
    refused(place, server)
    server.files["/models/last.ckpt"] = CONTENT
    assert run(place, server)["resumed"] == 0 and server.log[-1].status == 200


def test_what_is_kept_of_another_url_is_not_used(place, server):
    server.files["/elsewhere/last.ckpt"] = OTHER
    server.faults.append(("cut", 200_000))
    refused(place, server, source=f"{server.url}/elsewhere/")
    assert run(place, server)["resumed"] == 0 and "range" not in server.log[-1].headers


def test_a_part_that_was_not_asked_for_is_refused(place, server):
    server.faults.extend([("cut", 200_000), ("slipped", 0)])
    refused(place, server)
    assert "another part" in refused(place, server)
    assert run(place, server)["resumed"] == 0


def test_a_file_that_was_whole_already_is_not_fetched_again(place, server):
    assert "has no sha256" in refused(place, server, sha256=None)
    for size in (SIZE, None):  # with its size nobody is asked, without it the server says that nothing is missing
        assert "has no sha256" in refused(place, server, sha256=None, size=size)
    assert run(place, server)["resumed"] == SIZE and server.sent() == SIZE


def test_without_a_hash_a_file_is_refused_and_its_hash_shown(place, server):
    message = refused(place, server, sha256=None)
    assert "the row vqgan (last.ckpt) has no sha256" in message and SHA256 in message
    assert names(place) == ["last.ckpt.incomplete", "last.ckpt.incomplete.json"]


def test_another_file_behind_a_pinned_hash_is_deleted_and_fetched_anew(place, server):
    server.files["/models/last.ckpt"] = OTHER
    message = refused(place, server)
    assert hashlib.sha256(OTHER).hexdigest() in message and f"expected {SHA256}" in message and "deleted" in message
    assert names(place) == []
    server.files["/models/last.ckpt"] = CONTENT
    assert run(place, server)["resumed"] == 0


def test_a_damaged_half_is_found_by_the_hash_and_not_kept(place, server):
    server.faults.append(("cut", 200_000))
    refused(place, server)
    half = place.with_name("last.ckpt.incomplete")
    half.write_bytes(b"\0" * 1000 + half.read_bytes()[1000:])
    assert "was cut short" in refused(place, server) and names(place) == []
    assert run(place, server)["resumed"] == 0


def test_another_size_is_refused_before_anything_is_fetched(place, server):
    assert f"has {SIZE:,} bytes, expected 400,000" in refused(place, server, size=400_000)
    assert not place.with_name("last.ckpt.incomplete").exists()


def test_a_truncated_file_is_not_taken_for_the_whole(place, server):
    server.faults.append(("short", 1000))  # the server itself has only a part
    assert f"has 1,000 bytes, expected {SIZE:,}" in refused(place, server)
    server.faults.append(("unsized", 1000))
    assert f"was cut short: 1,000 of {SIZE:,} bytes" in refused(place, server)
    server.faults.append(("short", 1000))
    assert "is another file or was cut short" in refused(place.with_name("other"), server, size=None)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, f"accept its licence at {PAGE}"),
        (403, "set HF_TOKEN"),
        (404, "no such file (HTTP 404). It was moved or withdrawn, or source, revision or name"),
        (410, PAGE),
        (418, "answered HTTP 418 and no file"),
        (429, "Run the command again later"),
        (500, "Run the command again later"),
        (503, "goes on where it stopped"),
    ],
)
def test_an_answer_that_is_no_file_names_the_remedy_and_keeps_what_is_there(place, server, status, remedy):
    server.faults.extend([("cut", 200_000), ("status", status)])
    refused(place, server)
    message = refused(place, server)
    assert remedy in message and f"{server.url}/models/last.ckpt" in message
    assert run(place, server)["resumed"] == 200_000


def test_a_server_that_falls_silent_is_not_waited_for(place, server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.faults.append(("stall", 200_000))
    assert "the connection broke off (" in refused(place, server)
    monkeypatch.undo()
    assert run(place, server)["resumed"] == 200_000


def test_without_a_network_the_message_names_the_server_and_the_way_out(place, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        message = refused(place, server, source=f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert "cannot be reached" in message and "`path`" in message and "HTTPS_PROXY" in message


def test_a_name_that_is_not_resolved_is_no_network(place, server, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "cannot be reached ([Errno -2] Name or service not known)" in refused(place, server)


@pytest.mark.parametrize("source", ["", "ftp://127.0.0.1/", "models/", "http://127.0.0.1:port/", "hub:owner/name/more"])
def test_a_source_that_is_none_is_refused(place, server, source):
    assert re.search(
        "correct `source`|no name of a repository|has no source: give",
        refused(place, server, source=source, revision=REVISION),
    )


@pytest.mark.parametrize("listed", ["../last.ckpt", "/models/last.ckpt", "a/../../last.ckpt"])
def test_a_file_outside_of_its_source_is_refused(place, server, listed):
    assert "inside of its source" in refused(place, server, place=listed) and not server.log


def test_a_killed_fetch_is_resumed(place, server):
    process = stalled(place, server)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not place.exists()
    kept = place.with_name("last.ckpt.incomplete").stat().st_size
    assert run(place, server)["resumed"] == kept and place.read_bytes() == CONTENT
    assert server.log[-1].sent == SIZE - kept


# The disk


@pytest.fixture
def mounted(tmp_path):
    """Mounts a file system of a size in KiB, where one may be mounted."""
    places = []

    def mount(*options):
        places.append(tmp_path / f"disk{len(places)}")
        places[-1].mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(places[-1])]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            places.pop()
            pytest.skip("a file system can be mounted by root alone")
        return places[-1]

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("announced", [True, False])
def test_a_full_disk_keeps_what_is_there_and_a_rerun_completes(mounted, server, announced):
    place = mounted("size=400k") / "last.ckpt"
    ballast = place.with_name("ballast")
    ballast.write_bytes(b"0" * 200_000)
    if not announced:
        server.faults.append(("unsized", SIZE))
    message = refused(place, server, size=SIZE if announced else None)
    assert "no space left" in message and "free some space and run the command again" in message
    half = place.with_name("last.ckpt.incomplete")
    assert half.exists() != announced  # what cannot fit is not begun
    kept = half.stat().st_size if half.exists() else 0
    assert f"{kept:,}" in message
    ballast.unlink()
    assert run(place, server)["resumed"] == kept and place.read_bytes() == CONTENT


def test_a_quota_is_a_full_disk(place, server, monkeypatch):
    monkeypatch.setattr(download, "disk_usage", lambda _: SimpleNamespace(free=SIZE - 1))
    assert f"0 of {SIZE:,} bytes" in refused(place, server)


def test_a_folder_that_cannot_be_written_to_is_named(mounted, server):
    disk = mounted("size=400k")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(UserError, match=f"{disk}.* cannot be used .*Check its permissions"):
        fetch(disk / "last.ckpt", name="vqgan", source=f"{server.url}/models/", place="last.ckpt", sha256=SHA256)


# A folder of the user's


def test_a_copy_that_the_user_has_is_taken_without_the_network_and_without_a_second_copy(place, server, tmp_path):
    mine = tmp_path / "mine" / "sub" / "last.ckpt"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(CONTENT)
    os.utime(mine, (0, 0))
    result = run(place, server, path=tmp_path / "mine", place="sub/last.ckpt")
    assert result["from"] == "path" and result["sha256"] == SHA256
    assert place.samefile(mine) and not server.log
    assert time.time() - place.stat().st_mtime < 60  # else Snakemake would think it older than its licence


def test_a_copy_on_another_disk_is_copied_and_no_link_points_there(mounted, server, tmp_path):
    (tmp_path / "real").write_bytes(CONTENT)
    (tmp_path / "last.ckpt").symlink_to("real")
    place = mounted("size=400k") / "last.ckpt"
    run(place, server, path=tmp_path)
    assert place.read_bytes() == CONTENT and not place.is_symlink()


def test_a_copy_with_another_hash_is_refused_and_left_alone(place, server, tmp_path):
    mine = tmp_path / "last.ckpt"
    mine.write_bytes(OTHER)
    message = refused(place, server, path=tmp_path)
    assert hashlib.sha256(OTHER).hexdigest() in message and "Put the published file there" in message
    assert mine.read_bytes() == OTHER and not server.log
    assert "has no sha256" in refused(place, server, path=tmp_path, sha256=None)
    mine.unlink()
    assert f"there is no file {mine}" in refused(place, server, path=tmp_path)


# The Hub


@pytest.fixture
def hub(server, tmp_path):
    """The server with repositories, and the steps of other processes told to use it."""
    files = {"config.json": b'{"a": 1}', "unet/weights.bin": CONTENT}
    server.repositories = {
        "owner/name": Repository(REVISION, files, large=("unet/weights.bin",)),
        "owner/gated": Repository(REVISION, files, large=("unet/weights.bin",), gated=True),
    }
    return server


def on_the_hub(out, hub, environment=None, fails=True, **changes):
    """Fetch from the Hub in another process, since the library reads its settings once; what it said."""
    given = {"source": "hub:owner/name", "revision": REVISION, "place": "unet/weights.bin", **changes}
    command = [sys.executable, "-m", "palimpsest.sources.fetch", *arguments(out, hub, **given)]
    settings = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(out.parent.parent / "hf"),
        **(environment or {}),
    }
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode == 1) == fails and out.exists() != fails, done.stderr
    assert not fails or "Traceback" not in done.stderr
    return done.stderr


def test_files_of_the_hub_are_fetched_and_the_other_host_gets_no_token(place, hub):
    on_the_hub(place, hub, {"HF_TOKEN": TOKEN}, fails=False, source="hub:owner/gated")
    assert place.read_bytes() == CONTENT and read_record(place)["result"]["revision"] == REVISION
    asked = [request.headers for request in hub.log if request.sent]
    assert len(asked) == 1 and "authorization" not in asked[0] and hub.sent() == SIZE
    assert {request.headers.get("authorization") for request in hub.log if not request.sent} == {f"Bearer {TOKEN}"}
    small = place.with_name("config.json")
    digest = hashlib.sha256(b'{"a": 1}').hexdigest()
    on_the_hub(small, hub, fails=False, place="config.json", sha256=digest, size=8)
    assert names(place) == ["config.json", "config.record.json", "last.ckpt", "last.record.json"]


def test_data_sets_of_the_hub_are_asked_for_as_such(place, hub):
    on_the_hub(place, hub, fails=False, source="hub-dataset:owner/name")
    assert all(request.path.startswith(("/datasets/owner/name/", "/cdn/")) for request in hub.log)


def test_a_broken_fetch_of_the_hub_is_resumed(place, hub):
    hub.faults.append(("cut", 200_000))
    assert "200,000" in on_the_hub(place, hub)
    on_the_hub(place, hub, fails=False)
    assert read_record(place)["result"]["resumed"] == 200_000 and hub.sent() == SIZE


@pytest.mark.parametrize(
    ("changes", "environment", "said"),
    [
        ({"revision": OTHER_REVISION}, {}, f"owner/name has no revision {OTHER_REVISION}"),
        ({"revision": "main"}, {}, "give the 40 digits of a commit"),
        ({"place": "absent.bin"}, {}, "there is no absent.bin of owner/name"),
        ({"source": "hub:owner/absent"}, {}, "owner/absent is not on the Hub, or not open to you"),
        ({"source": "hub:owner/gated"}, {}, f"accepted its licence: do so at {PAGE}"),
        ({"source": "hub:owner/gated"}, {"HF_TOKEN": REFUSED_TOKEN}, "set HF_TOKEN"),
        ({}, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids"),
        ({}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the server cannot be reached"),
        ({}, {"HF_ENDPOINT": "127.0.0.1:9"}, "correct HF_ENDPOINT"),
        ({}, {"HF_TOKEN": "hf_ä"}, "HF_TOKEN"),
        ({}, {"HTTP_PROXY": "foo://127.0.0.1:9"}, "the proxy (HTTPS_PROXY)"),
        ({"sha256": "0" * 64}, {}, f"states for unet/weights.bin of owner/name the sha256 {SHA256}, expected 0000"),
        ({"size": 1}, {}, f"{SIZE:,} bytes, expected 1"),
        ({"sha256": None}, {}, f"has no sha256. The Hub states {SHA256}"),
    ],
)
def test_what_the_hub_refuses_or_has_otherwise_is_said_before_anything_is_fetched(
    place, hub, changes, environment, said
):
    message = on_the_hub(place, hub, environment, **changes)
    assert said in message and TOKEN not in message and REFUSED_TOKEN not in message
    assert message.count("\n") == 1 and hub.sent() == 0


def test_the_cache_of_the_hub_is_used_and_a_damaged_one_fetched_anew(place, hub):
    on_the_hub(place, hub, fails=False)
    cache = place.parent.parent / "hf/hub/models--owner--name"
    blob, pointer = cache / "blobs" / SHA256, cache / "snapshots" / REVISION / "unet/weights.bin"
    blob.parent.mkdir(parents=True)
    pointer.parent.mkdir(parents=True)
    shutil.move(place, blob)
    pointer.symlink_to(blob)
    sent = hub.sent()
    on_the_hub(place, hub, {"HF_HUB_OFFLINE": "1"}, fails=False)
    assert hub.sent() == sent and place.samefile(blob) and not place.is_symlink()
    place.unlink()
    blob.write_bytes(OTHER)
    assert "It was deleted" in on_the_hub(place, hub)
    on_the_hub(place, hub, fails=False)
    assert place.read_bytes() == CONTENT and read_record(place)["result"]["from"] == "network"


# What a fetched file may not do


class Shell:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_fetched_pickle_that_runs_code_is_refused_by_its_conversion(place, server, tmp_path):
    ran = tmp_path / "ran"
    content = pickle.dumps({"state_dict": Shell(ran)}, protocol=2)
    server.files["/models/last.ckpt"] = content
    digest = hashlib.sha256(content).hexdigest()
    run(place, server, sha256=digest, size=len(content))
    with pytest.raises(UserError, match=r"refused and nothing of it ran"):
        checkpoints.read_checkpoint(place)
    assert not ran.exists()
    pickle.loads(content)
    assert ran.exists()  # so it would have


# The rules


@pytest.mark.workflow
def test_the_rules_show_the_licence_go_on_after_a_break_and_unpack(server, tmp_path):
    picture, archive = BytesIO(), BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("faces/0.png", picture.getvalue())
    server.files["/f/0/"] = archive.getvalue()
    stated = {"licence": "ours", "page": PAGE}
    row = {**stated, "layout": "torchscript", "source": f"{server.url}/models/"}
    pictures = {"sha256": hashlib.sha256(archive.getvalue()).hexdigest(), "url": f"{server.url}/f/0/?dl=1&n=1"}
    collection = {**stated, "layout": "zip", "source": server.url, "files": {"all.zip": pictures}}
    overlay = tmp_path / "overlay.json"
    checkpoints = {"ours": {**row, "files": {"last.ckpt": {"sha256": SHA256, "size": SIZE}}}}
    checkpoints["ours"]["files"]["a name; with spaces.bin"] = {
        "sha256": SHA256,
        "url": f"{server.url}/models/last.ckpt",
    }
    overlay.write_text(json.dumps({"checkpoints": checkpoints, "collections": {"ours": collection}}), encoding="utf-8")
    project = copy_of_the_project(tmp_path / "project")
    folder = "resources/checkpoints/ours"
    targets = [f"{folder}/last.ckpt", "resources/collections/ours/pictures", f"{folder}/a name; with spaces.bin"]
    settings = ["--configfile", "config/smoke.yaml", str(overlay)]
    server.faults.append(("cut", 200_000))
    said = snakemake(project, targets[0], *settings).stdout
    assert read_record(project / targets[0])["result"]["resumed"] == 200_000
    shown = f"* Licence: ours\n* Read it at: {PAGE}"
    assert said.count(shown) == 1 and shown in snakemake(project, targets[1], *settings).stdout
    assert (project / targets[1] / "faces/0.png").read_bytes() == picture.getvalue()
    assert "/f/0/?dl=1&n=1" in [request.path for request in server.log]
    assert shown not in snakemake(project, targets[2], *settings).stdout
    assert (project / targets[2]).read_bytes() == CONTENT
    sent = server.sent()
    assert "Nothing to be done" in snakemake(project, *targets, *settings).stdout and server.sent() == sent
    # Neither an edit of its row nor a wrong hash costs a file that is there.
    checkpoints["ours"]["files"]["last.ckpt"] = {"sha256": SHA256}
    overlay.write_text(json.dumps({"checkpoints": checkpoints}), encoding="utf-8")
    snakemake(project, targets[0], *settings)
    assert read_record(project / targets[0])["result"]["from"] == "here" and server.sent() == sent
    checkpoints["ours"] |= {"files": {"last.ckpt": {"sha256": "0" * 64}}, "path": str(tmp_path / "absent")}
    overlay.write_text(json.dumps({"checkpoints": checkpoints}), encoding="utf-8")
    refusal = snakemake(project, targets[0], *settings, check=False)
    assert refusal.returncode != 0 and "there is no file" in refusal.stdout
    assert (project / targets[0]).read_bytes() == CONTENT


# Licences


ROW = {"source": "hub:owner/name", "revision": REVISION, "licence": "MIT", "page": PAGE, "layout": "taming"}


def shown(path, row, capsys):
    step(licence.show, ["--text", str(path), "--name", "vqgan", "--row", json.dumps(row)])
    return capsys.readouterr().out


def test_a_licence_is_shown_and_kept(tmp_path, capsys):
    text = shown(tmp_path / "LICENCE.md", ROW, capsys)
    assert text == (tmp_path / "LICENCE.md").read_text(encoding="utf-8")
    assert all(part in text for part in ("vqgan", "MIT", PAGE, REVISION, "hub:owner/name"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"licence": None}, "states no licence"),
        ({"consent": False}, "asks for your agreement"),
        ({"explicit": True}, "explicit pictures"),
        ({"explicit": True, "consent": "yes"}, "consent: true"),
    ],
)
def test_without_licence_or_consent_nothing_may_be_fetched(tmp_path, capsys, changes, said):
    with pytest.raises(SystemExit, match=said):
        shown(tmp_path / "LICENCE.md", {**ROW, **changes}, capsys)
    assert not (tmp_path / "LICENCE.md").exists()
    shown(tmp_path / "LICENCE.md", {**ROW, "explicit": True, "consent": True}, capsys)
