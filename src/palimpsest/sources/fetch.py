"""Fetch one published file, compare it with its hash, and give it its name.

It comes from a folder that the user has, from the Hugging Face Hub or its cache on this machine, or from a web server.
A download that failed or was killed goes on where it stopped.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path, PurePosixPath

from huggingface_hub import is_offline_mode

from palimpsest.options import Positive
from palimpsest.run import Output, UserError, step
from palimpsest.run import sha256 as hash_of
from palimpsest.sources.download import download, forget, in_attempts
from palimpsest.sources.hashes import check_hash
from palimpsest.sources.hub import HubFile

KINDS = {"hub": "model", "hub-dataset": "dataset"}


def fetch(
    file: Output,
    *,
    name: str,
    place: str,
    source: str = "",
    url: str = "",
    sha256: str = "",
    size: Positive | None = None,
    revision: str = "",
    path: Path | None = None,
    page: str = "",
    attempts: Positive = 1,
) -> dict:
    """Fetch the file `place` of the row `name` of the catalogue.

    source: `hub:owner/name` or `hub-dataset:owner/name`, of which `revision` is a commit; or the beginning of a URL
    that ends in a slash and is followed by the place; or a whole URL, as `url` is. path: a folder of the user's that
    has the file at `place`. sha256, size: what it has to be. page: where its licence stands. attempts: how many, while
    the network or the server fail. A file that stands there already and is the one is taken.
    Raises UserError, with the remedy, where it cannot be had, is another file, or its hash is not known.
    """
    if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
        raise UserError(f"the row {name} lists the file {place}: give paths inside of its source.")
    facts = {"name": name, "place": place, "source": source, "revision": revision}
    entry = f"the row {name} ({place})"
    # Beside the output under its final name: run.step deletes what has the temporary one.
    there = file.with_name(file.name.removeprefix(".partial-"))
    incomplete = there.with_name(f"{there.name}.incomplete")
    try:
        if path is not None:
            return {**facts, "from": "path", **_from_path(path / place, file, sha256, entry)}
        if sha256 and there.is_file() and hash_of(there) == sha256.lower():
            return {**facts, "from": "here", **_linked(there, file, sha256)}
        if not (source or url):
            raise UserError(f"{entry} has no source: give a folder that has the file as `path` in the row.")
        kind, _, repository = source.partition(":")
        remote = HubFile(repository, KINDS[kind], revision, place) if kind in KINDS and not url else None
        if remote and (cached := remote.cached()):
            return {**facts, "from": "cache", **_from_cache(cached, file, sha256, entry)}
        if is_offline_mode():
            raise UserError(
                f"{entry} is not on this machine, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids to fetch it. "
                "Unset it, or give a folder that has the file as `path` in the row."
            )
        url = url or (source + place if source.endswith("/") else source)

        def attempt() -> int:
            if not remote:
                return download(url, incomplete, size=size, page=page or source)
            etag, stated = remote.stated(page or source)
            _check_stated(remote, etag, stated, sha256, size, entry)
            known = {"headers": remote.headers(), "etag": etag, "size": stated if size is None else size}
            return download(remote.url, incomplete, page=page or source, **known)

        with _alone(incomplete, entry):
            resumed = in_attempts(attempts, attempt)
            return {**facts, "from": "network", "resumed": resumed, **_checked(incomplete, file, sha256, size, entry)}
    except OSError as error:
        raise _disk_error(error, incomplete, entry, size) from error


@contextmanager
def _alone(incomplete: Path, entry: str) -> Iterator[None]:
    """Refuse while another process fetches the same file: a run that was killed may have left one."""
    lock = incomplete.with_name(f"{incomplete.name}.lock")
    with lock.open("w", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{entry} is being fetched by another process (which holds {lock}). Wait for it, or end it, and run "
                "the command again."
            ) from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _from_path(path: Path, file: Path, sha256: str, entry: str) -> dict:
    if not path.is_file():
        raise UserError(f"{entry}: there is no file {path}. Put it there, or leave out `path` to have it fetched.")
    checked = check_hash(path, sha256, entry, "Put the published file there, leave out `path` to have it fetched")
    return _linked(path.resolve(), file, checked)


def _from_cache(path: Path, file: Path, sha256: str, entry: str) -> dict:
    """Take a file of the Hub's cache. There large files are named by their hash: one that has another is damaged."""
    damaged = re.fullmatch("[0-9a-f]{64}", path.name) and path.name == sha256.lower()
    remedy = "It was deleted: run the command again to fetch it anew" if damaged else f"Delete {path} to fetch it anew"
    try:
        checked = check_hash(path, sha256, entry, remedy)
    except UserError:
        if damaged:
            path.unlink()
        raise
    return _linked(path, file, checked)


def _linked(path: Path, file: Path, sha256: str) -> dict:
    """Take a file, without a second copy where the file system allows."""
    try:
        os.link(path, file)
        # Snakemake compares times, and an old file would count as older than what it was made from.
        os.utime(file)
    except OSError:
        file.unlink(missing_ok=True)
        shutil.copyfile(path, file)
    return {"sha256": sha256, "size": file.stat().st_size}


def _check_stated(remote: HubFile, etag: str, stated: int | None, sha256: str, size: int | None, entry: str) -> None:
    """Refuse, before it is fetched, a file of which the Hub itself states another hash or size, or whose is unknown."""
    hashed = re.fullmatch("[0-9a-f]{64}", etag)
    if hashed and not sha256:
        raise UserError(
            f"{entry} has no sha256. The Hub states {etag}: compare it with another source if there is one, and write "
            "it into the configuration. Nothing was fetched."
        )
    other_hash = hashed and etag != sha256.lower()
    if other_hash or (None not in (stated, size) and stated != size):
        found, expected = (f"the sha256 {etag}", sha256) if other_hash else (f"{stated:,} bytes", f"{size:,}")
        raise UserError(
            f"the Hub states for {remote.place} of {remote.repository} {found}, expected {expected}: it is another "
            f"file. Nothing was fetched. Correct the revision, or the sha256 and size, of {entry} in the configuration."
        )


def _checked(incomplete: Path, file: Path, sha256: str, size: int | None, entry: str) -> dict:
    """Give a file its name once it is what it has to be."""
    found = incomplete.stat().st_size
    if size is not None and found < size:
        raise UserError(
            f"{entry} was cut short: {found:,} of {size:,} bytes are kept in {incomplete}. Run the command again: it "
            "goes on where it stopped."
        )
    try:
        checked = check_hash(incomplete, sha256, entry, "It was deleted: run the command again to fetch it anew")
    except UserError:
        if sha256:
            forget(incomplete)
        raise
    incomplete.replace(file)
    forget(incomplete)
    return {"sha256": checked, "size": found}


def _disk_error(error: OSError, incomplete: Path, entry: str, size: int | None) -> UserError:
    if error.errno in (ENOSPC, EDQUOT):
        kept = incomplete.stat().st_size if incomplete.exists() else 0
        of = f" of {size:,}" if size is not None else ""
        return UserError(
            f"no space left in {incomplete.parent} for {entry}. {kept:,}{of} bytes are kept in {incomplete.name}: free "
            "some space and run the command again; it goes on where it stopped."
        )
    place = error.filename or incomplete.parent
    return UserError(
        f"{entry}: {place} cannot be used ({error.strerror or error}). Check its permissions and its disk."
    )


if __name__ == "__main__":
    step(fetch)
