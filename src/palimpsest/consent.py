"""Whether a concept may be worked with: explicit content asks for the user's own word."""

from palimpsest.errors import UserError


def is_explicit(row: dict) -> bool:
    """Whether what is drawn of a concept may only be shown blurred."""
    return bool(row.get("explicit")) or row.get("kind") == "explicit"


def refuse_without_consent(name: str, row: dict) -> None:
    """Raise UserError for an explicit concept to whose use nobody consented."""
    if is_explicit(row) and row.get("consent") is not True:
        raise UserError(
            f"concept {name} is explicit, and nobody consented to its use. If you are entitled to work with it, set "
            f"erasure.concepts.{name}.consent: true in the configuration; its pictures are only ever shown blurred."
        )
