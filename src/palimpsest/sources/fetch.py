"""Fetch one published file, compare it with its hash, and give it its name.

It comes from a folder that the user has, from the Hugging Face Hub (or its cache on this machine), or from a web
server. A download that failed or was killed goes on where it stopped.
"""

import os
import re
import shutil
from pathlib import Path

from huggingface_hub import is_offline_mode

from palimpsest.run import Output, UserError, step
from palimpsest.sources import hub
from palimpsest.sources.download import download, forget
from palimpsest.sources.hashes import check_hash

HUB = re.compile("(hub|hub-dataset):(.+)")


def fetch(
    file: Output,
    *,
    name: str,
    place: str,
    source: str = "",
    sha256: str = "",
    size: int | None = None,
    revision: str = "",
    path: Path | None = None,
    page: str = "",
) -> dict:
    """Fetch `place` of the row `name` as `file`.

    source: `hub:owner/name` or `hub-dataset:owner/name`, of which `revision` is a commit; or a URL, which is that of a
    folder of files where it ends in a slash, and else of the file itself. path: a folder of the user's with the file.
    sha256, size: of the file. page: where its licence stands.
    Raises UserError, with the remedy, where it cannot be had, is another file, or its hash is not known.
    """
    entry = f"{name} ({place})"
    facts = {"name": name, "place": place, "source": source, "revision": revision}
    page = page or source
    if path is not None:
        return {**facts, "from": "path", **_from_path(path / place, file, sha256, entry)}
    if not source:
        raise UserError(f"{entry} has no source: get it from {page or 'its owner'}, and give its folder as `path`.")
    if found := HUB.fullmatch(source):
        remote = hub.HubFile(found[2], {"hub": "model", "hub-dataset": "dataset"}[found[1]], revision, place)
        hub.check(remote, name)
        if cached := remote.cached():
            return {**facts, "from": "cache", **_from_cache(cached, file, sha256, entry)}
    if is_offline_mode():
        raise UserError(
            f"{entry} is not here, and HF_HUB_OFFLINE forbids to fetch it. Unset HF_HUB_OFFLINE (and "
            "TRANSFORMERS_OFFLINE), or give a folder that has the file as `path` in the row."
        )
    # Beside the output under its final name: run.step deletes what has the temporary one.
    incomplete = file.with_name(f"{file.name.removeprefix('.partial-')}.incomplete")
    if found:
        etag, stated_size = hub.stated(remote, page)
        _check_stated(remote, etag, stated_size, sha256, size, entry)
        resumed = download(
            remote.url, incomplete, headers=hub.headers(), etag=etag, size=stated_size or size, page=page
        )
    else:
        url = source + place if source.endswith("/") else source
        resumed = download(url, incomplete, size=size, page=page)
    return {**facts, "from": "network", **_checked(incomplete, file, sha256, size, entry), "resumed": resumed}


def _from_path(path: Path, file: Path, sha256: str, entry: str) -> dict:
    if not path.is_file():
        raise UserError(f"{entry}: there is no file {path}. Put it there, or leave out `path` to have it fetched.")
    checked = check_hash(path, sha256, entry, "Put the published file there, leave out `path` to have it fetched")
    return _linked(path.resolve(), file, checked)


def _from_cache(path: Path, file: Path, sha256: str, entry: str) -> dict:
    try:
        checked = check_hash(path, sha256, entry, "Run the command again to fetch it anew")
    except UserError:
        # The cache names large files by their hash: one that has another was damaged there.
        if re.fullmatch("[0-9a-f]{64}", path.name) and sha256.lower() == path.name:
            path.unlink()
        raise
    return _linked(path, file, checked)


def _linked(path: Path, file: Path, sha256: str) -> dict:
    """Take a file without a second copy where the file system allows."""
    try:
        os.link(path, file)
    except OSError:
        shutil.copyfile(path, file)
    else:
        # Snakemake compares times, and an old file would count as older than what it was made from.
        os.utime(file)
    return {"sha256": sha256, "size": file.stat().st_size, "resumed": 0}


def _check_stated(
    remote: hub.HubFile, etag: str, stated: int | None, sha256: str, size: int | None, entry: str
) -> None:
    """Refuse, before it is fetched, a file of which the Hub itself states another hash or size, or one unknown here."""
    hashed = re.fullmatch("[0-9a-f]{64}", etag)
    if hashed and not sha256:
        raise UserError(
            f"{entry} has no sha256. The Hub states {etag} for it: if you trust it, write it into the row. Nothing was "
            "fetched."
        )
    if (hashed and etag != sha256.lower()) or (None not in (stated, size) and stated != size):
        raise UserError(
            f"{remote.place} of {remote.repository} has the sha256 {etag if hashed else '(not stated)'} and {stated} "
            f"bytes, expected {sha256} and {size or 'any number of'} bytes: it is another file. Nothing was fetched. "
            f"Correct the revision, or the sha256 and size of {entry}, in the row."
        )


def _checked(incomplete: Path, file: Path, sha256: str, size: int | None, entry: str) -> dict:
    """Give a file its name once it is what it has to be."""
    found = incomplete.stat().st_size
    if size is not None and found < size:
        raise UserError(
            f"{entry} was cut short: {found:,} of {size:,} bytes are kept in {incomplete}. Run the command again, and "
            "it goes on there."
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


if __name__ == "__main__":
    step(fetch)
