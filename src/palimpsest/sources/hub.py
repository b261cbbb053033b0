"""A file of the Hugging Face Hub: where it is, what the Hub states of it, and whether it is in the library's cache.

The library finds the file, the cache and the token (HF_HOME, HF_ENDPOINT, HF_TOKEN). The download is ours, since the
library's starts anew at each attempt, and keeps a second copy.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, validate_repo_id

from palimpsest.run import UserError
from palimpsest.sources.download import check_status, fault


@dataclass(frozen=True)
class HubFile:
    """A file at a fixed revision of a repository (`owner/name`). kind: model or dataset."""

    repository: str
    kind: str
    revision: str
    place: str

    def __post_init__(self):
        if not re.fullmatch("[0-9a-f]{40}", self.revision):
            raise UserError(
                f"{self.repository} has the revision {self.revision or '(none)'} in its row: give the 40 digits of a "
                "commit, since a branch or tag may move."
            )
        try:
            validate_repo_id(self.repository)
        except HFValidationError as error:
            raise UserError(f"{self.repository} is no name of a repository, owner/name: {error}") from error

    @property
    def url(self) -> str:
        return hf_hub_url(self.repository, self.place, repo_type=self.kind, revision=self.revision)

    def headers(self) -> dict[str, str]:
        """What identifies the user to the Hub."""
        return build_hf_headers()

    def cached(self) -> Path | None:
        """The file in the library's cache, behind its link."""
        found = try_to_load_from_cache(self.repository, self.place, revision=self.revision, repo_type=self.kind)
        return Path(found).resolve() if isinstance(found, str) else None

    def stated(self, page: str) -> tuple[str, int | None]:
        """What the Hub states of the file: its etag, which is the sha256 of a large file, and its size.

        Raises UserError with the remedy where they cannot be had; page: where its licence stands.
        """
        place = f"{self.place} of {self.repository}"
        try:
            found = get_hf_file_metadata(self.url)
        except GatedRepoError as error:
            raise UserError(
                f"{place} is given to those who accepted its licence: do so at {page} with your account on the Hugging "
                "Face Hub, and set HF_TOKEN to a token of that account that may read."
            ) from error
        except RevisionNotFoundError as error:
            raise UserError(
                f"{self.repository} has no revision {self.revision}: correct `revision` in its row."
            ) from error
        except EntryNotFoundError as error:
            raise UserError(f"there is no {place} at the revision {self.revision}: correct its row.") from error
        except RepositoryNotFoundError as error:
            raise UserError(
                f"{self.repository} is not on the Hub, or not open to you: correct `source` in its row; or look at "
                f"{page}, and set HF_TOKEN to a token of an account that may read it."
            ) from error
        except HfHubHTTPError as error:
            check_status(error.response.status_code, self.url, page)
            raise
        except httpx2.UnsupportedProtocol as error:
            raise UserError(f"{self.url} is no URL: correct HF_ENDPOINT, which begins with https://.") from error
        except httpx2.HTTPError as error:
            raise fault(error, self.url) from error
        except (ValueError, httpx2.InvalidURL) as error:  # which the library raises of what it was told
            raise UserError(
                f"{self.repository} cannot be asked for ({error}): correct HF_ENDPOINT, HF_TOKEN or the proxy "
                "(HTTPS_PROXY)."
            ) from error
        if found.commit_hash is None or not found.etag:
            raise UserError(
                f"{self.url}: what answers there is no Hub. Check HF_ENDPOINT, and the proxy (HTTPS_PROXY)."
            )
        return found.etag, found.size
