"""A file of the Hugging Face Hub: where it is, what the Hub states of it, and whether it is in the library's cache.

The library finds the file and the token (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE); the download is ours, since
the library's starts anew at each attempt and leaves a second copy in its cache.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers

from palimpsest.run import UserError
from palimpsest.sources.download import check_status, explain


@dataclass(frozen=True)
class HubFile:
    """A file at a fixed revision. kind: "model" or "dataset"."""

    repository: str
    kind: str
    revision: str
    place: str

    @property
    def url(self) -> str:
        return hf_hub_url(self.repository, self.place, repo_type=self.kind, revision=self.revision)

    def cached(self) -> Path | None:
        """The file in the library's cache, behind its link."""
        found = try_to_load_from_cache(self.repository, self.place, revision=self.revision, repo_type=self.kind)
        return Path(found).resolve() if isinstance(found, str) else None


def check(file: HubFile, name: str) -> None:
    """Raise UserError for what is no name of the Hub or no fixed revision."""
    if not re.fullmatch("[0-9a-f]{40}", file.revision):
        raise UserError(
            f"the row {name} has the revision {file.revision or '(none)'!r}: give the 40 digits of a commit of "
            f"{file.repository}, since a branch or tag may move."
        )
    try:
        hf_hub_url(file.repository, file.place, repo_type=file.kind, revision=file.revision)
    except HFValidationError as error:
        raise UserError(f"{file.repository} is no repository's name (owner/name): {error}") from error


def stated(file: HubFile, page: str) -> tuple[str, int | None]:
    """What the Hub states of a file: its etag, which is the sha256 of a large file, and its size.

    Raises UserError with the remedy where it cannot be had.
    """
    place = f"{file.place} of {file.repository}"
    try:
        found = get_hf_file_metadata(file.url)
    except GatedRepoError as error:
        raise UserError(
            f"{place} is only given to those who accepted its licence: do so at {page} with your account on the "
            "Hugging Face Hub, and set HF_TOKEN to a token of that account that may read."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{file.repository} has no revision {file.revision}: correct `revision` in the row.") from error
    except EntryNotFoundError as error:
        raise UserError(
            f"{file.repository} has no file {file.place} at the revision {file.revision}: correct its name in the row."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{file.repository} is not on the Hub, or not open to you: correct `source` in the row, or look at {page} "
            "and set HF_TOKEN to a token of an account that may read it."
        ) from error
    except HfHubHTTPError as error:
        check_status(error.response.status_code, file.url, page)
        raise
    except FileMetadataError as error:
        raise UserError(f"{file.url}: what answers is no Hub ({error}). Check HF_ENDPOINT.") from error
    except httpx2.HTTPError as error:
        raise UserError(explain(error, file.url)) from error
    return found.etag or "", found.size


def headers() -> dict[str, str]:
    """What identifies the user to the Hub."""
    return build_hf_headers()
