"""One file over HTTP, resumable: what arrived stands beside the output as `<name>.incomplete` until it is whole.

A note beside it (`<name>.incomplete.json`) says which file at the source it is the beginning of, so that the rest of
another one is never put behind it. A failed, stopped or killed attempt leaves both, and the next one goes on there.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from shutil import disk_usage

import httpx2
from tqdm import tqdm

from palimpsest.run import UserError, write_json

TIMEOUT = httpx2.Timeout(60, connect=20)
PAUSE = 2.0  # seconds before the second attempt, twice as many before each one after it
# GitHub's interface gives a release's file only to those who ask for bytes.
ASKED = {"Accept": "application/octet-stream, */*;q=0.5", "Accept-Encoding": "identity"}


class Unavailable(UserError):
    """A fault of the network or of the server that may have passed at the next attempt."""


def in_attempts(attempts: int, attempt: Callable[[], int]) -> int:
    """What an attempt gives, made again while it is Unavailable, so many times in all."""
    for number in range(1, attempts):
        try:
            return attempt()
        except Unavailable as error:
            pause = PAUSE * 2 ** (number - 1)
            print(f"{error} Attempt {number + 1} of {attempts} in {pause:g} seconds.", file=sys.stderr)
            time.sleep(pause)
    return attempt()


def download(
    url: str, incomplete: Path, *, headers: dict | None = None, etag: str = "", size: int | None = None, page: str = ""
) -> int:
    """Fetch what `incomplete` lacks of the file at a URL; gives how many bytes were there already.

    headers: sent along, but not to other hosts. etag: which file it is, where that is known beforehand. size: in bytes,
    where it is known. page: where a file that needs permission is explained.
    Raises UserError for every fault of the network, the server and the file there (Unavailable, where it may pass), and
    OSError for those of the disk.
    """
    note = incomplete.with_name(f"{incomplete.name}.json")
    kept, validator = _kept(incomplete, note, url, etag, size)
    if size is not None and kept == size:
        return kept
    asked = {**ASKED, **(headers or {})}
    if kept:
        asked["Range"] = f"bytes={kept}-"
    if kept and validator:
        asked["If-Range"] = validator
    try:
        with httpx2.stream("GET", url, headers=asked, follow_redirects=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:
                if _total(response, 0) == kept:
                    return kept  # it was whole already
                forget(incomplete)
                raise Unavailable(f"{url}: the file there ends before what was kept of it, which was deleted.")
            check_status(response.status_code, url, page)
            if response.status_code == 206 and _start(response) != kept:
                forget(incomplete)
                raise Unavailable(f"{url}: the server sent another part than was asked for. Run the command again.")
            if response.status_code == 200:
                kept = 0
                forget(incomplete)
            total = _total(response, kept)
            if None not in (total, size) and total != size:
                raise UserError(
                    f"{url} has {total:,} bytes, expected {size:,}: it is another file. Nothing was fetched. Look for "
                    "the file that is meant, or correct its size and sha256 in the row."
                )
            check_space(incomplete, (total or size or 0) - kept)
            write_json(note, {"url": url, "etag": etag, "validator": "" if etag else _validator(response)})
            _receive(response, incomplete, kept, total or size)
    except httpx2.InvalidURL as error:
        raise UserError(f"{url} is no URL ({error}): correct `source` in the row.") from error
    except httpx2.HTTPError as error:
        raise fault(error, url, incomplete) from error
    except ValueError as error:
        raise UserError(f"{url}: {error}. Correct `source` in the row, or the proxy (HTTPS_PROXY).") from error
    return kept


def forget(incomplete: Path) -> None:
    """Delete what is kept of a file that turned out to be another one."""
    incomplete.unlink(missing_ok=True)
    incomplete.with_name(f"{incomplete.name}.json").unlink(missing_ok=True)


def check_status(status: int, url: str, page: str = "") -> None:
    """Raise UserError for an answer of HTTP that is no file, with what can be done about it."""
    if status in (401, 403):
        raise UserError(
            f"{url}: permission refused (HTTP {status}). Read and accept its licence at {page or 'its page'}, and set "
            "HF_TOKEN to a token of your account if it lies on the Hugging Face Hub."
        )
    if status in (404, 410):
        raise UserError(
            f"{url}: no such file (HTTP {status}). It was moved or withdrawn, or source, revision or name in the row "
            f"are wrong: look at {page or 'its page'}, or give a folder that has it as `path` in the row."
        )
    if status >= 500 or status in (408, 429):
        raise Unavailable(
            f"{url}: the server cannot answer now (HTTP {status}). Run the command again later; it goes on where it "
            "stopped."
        )
    if status not in (200, 206):
        raise UserError(f"{url}: the server answered HTTP {status} and no file. Correct `source` in the row.")


def fault(error: httpx2.HTTPError, url: str, incomplete: Path | None = None) -> UserError:
    """What a fault of the network means for a user."""
    reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.TooManyRedirects):
        return UserError(f"{url} leads to no file ({reason}): correct `source` in the row.")
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return Unavailable(
            f"{url}: the server cannot be reached ({reason}). Check the connection and the proxy (HTTPS_PROXY), or "
            "fetch it elsewhere and give the folder as `path` in the row."
        )
    kept = incomplete.stat().st_size if incomplete and incomplete.exists() else 0
    where = f" {kept:,} bytes are kept in {incomplete}." if kept else ""
    return Unavailable(
        f"{url}: the connection broke off ({reason}).{where} Run the command again: it goes on where it stopped."
    )


def check_space(path: Path, needed: int) -> None:
    """Raise, before work is lost, the error that a full disk would raise in the end."""
    if disk_usage(path.parent).free < needed:
        raise OSError(ENOSPC, "No space left on device", str(path))


def _kept(incomplete: Path, note: Path, url: str, etag: str, size: int | None) -> tuple[int, str]:
    """How many bytes of the file are there, and what the server called it; what belongs to another file is deleted."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        same = (noted["url"], noted["etag"]) == (url, etag)
        kept, validator = incomplete.stat().st_size if same else 0, noted["validator"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        kept, validator = 0, ""
    if kept == 0 or (size is not None and kept > size):
        forget(incomplete)
        return 0, ""
    return kept, validator


def _validator(response: httpx2.Response) -> str:
    """What If-Range may hold: a strong ETag, else the date of the last change, else nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _start(response: httpx2.Response) -> int | None:
    """The first byte of a partial answer."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _total(response: httpx2.Response, kept: int) -> int | None:
    """The bytes of the whole file as the answer states them."""
    if found := re.search(r"/(\d+)$", response.headers.get("Content-Range", "")):
        return int(found[1])
    length = response.headers.get("Content-Length")
    return int(length) + kept if length else None


def _receive(response: httpx2.Response, incomplete: Path, kept: int, total: int | None) -> None:
    quiet = 0.1 if sys.stderr.isatty() else 30  # seconds between two lines of a log
    name = incomplete.name.removesuffix(".incomplete")
    settings = {"total": total, "initial": kept, "unit": "B", "unit_scale": True, "desc": name, "mininterval": quiet}
    with incomplete.open("ab" if kept else "wb") as file, tqdm(**settings) as progress:
        # As it was sent, also where a server that was asked not to says that it packed it: that is what ranges count.
        for chunk in response.iter_raw():
            file.write(chunk)
            progress.update(len(chunk))
