"""Halves of the seeds: what one of them says is asked of the other, too."""

from collections.abc import Iterable

HALVES = ("first", "second")


def halves_of(seeds: Iterable[int]) -> dict[str, list[int]]:
    """The seeds of each half, by their order; the first has the odd one. Of one seed there are none."""
    ordered = sorted(set(seeds))
    middle = (len(ordered) + 1) // 2
    return dict(zip(HALVES, (ordered[:middle], ordered[middle:]), strict=True)) if len(ordered) > 1 else {}
