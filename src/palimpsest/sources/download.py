"""One file over HTTP, resumable: what arrived stands beside the output as `<name>.incomplete` until it is whole.

A note beside it (`<name>.incomplete.json`) says which file at the source it is the beginning of, so that the rest of
another one is never put behind it. A failed, stopped or killed attempt leaves both, and the next one goes on there.
"""

import errno
import json
import re
import shutil
import sys
from pathlib import Path

import httpx2
from tqdm import tqdm

from palimpsest.run import UserError, write_json

TIMEOUT = httpx2.Timeout(60, connect=20)
CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
WAYS = (
    "Check the connection and the proxy settings (HTTPS_PROXY), or fetch it elsewhere and give the folder as `path` "
    "in the row"
)


def download(
    url: str, incomplete: Path, *, headers: dict | None = None, etag: str = "", size: int | None = None, page: str = ""
) -> int:
    """Fetch what `incomplete` lacks of the file at a URL; gives how many bytes were there already.

    headers: sent along, not to other hosts. etag: which file it is, where that is known before it is asked for, or the
    server's own. size: in bytes, where it is known. page: where a file that needs permission is explained.
    Raises UserError for every fault of the network, the server, the file there and the disk here.
    """
    note = incomplete.with_name(f"{incomplete.name}.json")
    kept = _kept(incomplete, note, url, etag, size)
    if size is not None and kept == size:
        return kept
    asked = {"Accept-Encoding": "identity", **(headers or {})}
    if kept:
        asked["Range"] = f"bytes={kept}-"
        if validator := json.loads(note.read_text())["validator"]:
            asked["If-Range"] = validator
    try:
        with httpx2.stream("GET", url, headers=asked, follow_redirects=True, timeout=TIMEOUT) as response:
            if response.status_code == 416 and _total(response, 0) == kept:
                return kept  # it was whole already
            check_status(response.status_code, url, page)
            if response.status_code != 206 or _start(response) != kept:
                kept = 0
                if response.status_code == 206:
                    incomplete.unlink(missing_ok=True)
                    raise UserError(f"{url}: the server sent another part than was asked for. Run the command again.")
            total = _total(response, kept)
            if None not in (total, size) and total != size:
                raise UserError(
                    f"{url} has {total:,} bytes, expected {size:,}: it is another file. Nothing was fetched. Look for "
                    "the file that is meant, or correct its size and sha256 in the row."
                )
            _check_space(incomplete, (total or size or 0) - kept)
            write_json(note, {"url": url, "etag": etag, "validator": _validator(response)})
            _receive(response, incomplete, kept, total or size)
    except httpx2.InvalidURL as error:
        raise UserError(f"{url} is no URL ({error}): correct `source` in the row.") from error
    except httpx2.UnsupportedProtocol as error:
        raise UserError(f"{url} is no http or https URL: correct `source` in the row.") from error
    except httpx2.HTTPError as error:
        raise UserError(explain(error, url, incomplete)) from error
    except OSError as error:
        raise _disk_error(error, url, incomplete, size) from error
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
        raise UserError(
            f"{url}: the server cannot answer now (HTTP {status}). Run the command again later; it goes on where it "
            "stopped."
        )
    if status not in (200, 206):
        raise UserError(f"{url}: the server answered HTTP {status} and no file. Correct `source` in the row.")


def explain(error: httpx2.HTTPError, url: str, incomplete: Path | None = None) -> str:
    """What a fault of the network means for a user."""
    reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return f"{url}: the server cannot be reached ({reason}). {WAYS}."
    if isinstance(error, httpx2.TooManyRedirects):
        return f"{url}: the server sends in circles ({reason}). Correct `source` in the row."
    kept = incomplete.stat().st_size if incomplete and incomplete.exists() else 0
    return (
        f"{url}: the connection broke off ({reason}). {kept:,} bytes are kept in {incomplete or 'no file'}: run the "
        "command again, and it goes on there."
    )


def _kept(incomplete: Path, note: Path, url: str, etag: str, size: int | None) -> int:
    """How many bytes of the file are there; what belongs to another file is deleted."""
    try:
        noted = json.loads(note.read_text())
        same = (noted["url"], noted["etag"]) == (url, etag)
        kept = incomplete.stat().st_size if same else 0
    except (OSError, ValueError, KeyError, TypeError):
        kept = 0
    if kept == 0 or (size is not None and kept > size):
        forget(incomplete)
        return 0
    return kept


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
    return int(length) + kept if length and "Content-Encoding" not in response.headers else None


def _receive(response: httpx2.Response, incomplete: Path, kept: int, total: int | None) -> None:
    quiet = 0.1 if sys.stderr.isatty() else 30  # seconds between two lines of a log
    name = incomplete.name.removesuffix(".incomplete")
    settings = {"total": total, "initial": kept, "unit": "B", "unit_scale": True, "desc": name, "mininterval": quiet}
    with incomplete.open("ab" if kept else "wb") as file, tqdm(**settings) as progress:
        for chunk in response.iter_bytes(CHUNK):
            file.write(chunk)
            progress.update(len(chunk))


def _check_space(incomplete: Path, needed: int) -> None:
    """Raise, before work is lost, what a full disk would raise in the end."""
    if shutil.disk_usage(incomplete.parent).free < needed:
        raise OSError(errno.ENOSPC, "No space left on device", str(incomplete))


def _disk_error(error: OSError, url: str, incomplete: Path, size: int | None) -> UserError:
    if error.errno in FULL:
        kept = incomplete.stat().st_size if incomplete.exists() else 0
        of = f" of {size:,}" if size is not None else ""
        return UserError(
            f"no space left in {incomplete.parent} for {url}. {kept:,}{of} bytes are kept in {incomplete.name}: free "
            "some space and run the command again, and it goes on there."
        )
    return UserError(f"{incomplete.parent} cannot be written to ({error.strerror}): give its folder write permission.")
