"""Batches: where memory does not suffice they become smaller, to the same result."""

import numpy as np
import pytest
import torch

from palimpsest.models import batch_sizes, var, visual_tokenizer
from palimpsest.models.batch_sizes import in_parts
from palimpsest.unlearning import draw_rollouts
from test_var import BITS, model_of

SHORT = torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A process that has met no limit yet."""
    monkeypatch.setattr(batch_sizes, "KNOWN", {})


def test_parts_are_in_order_and_halved_where_memory_does_not_suffice(capsys):
    taken = []

    def of(part: slice) -> list[int]:
        if part.stop - part.start > 2:
            raise SHORT
        taken.append(part.stop - part.start)
        return list(range(part.start, part.stop))

    assert [row for part in in_parts(of, 7, 64, "rows") for row in part] == list(range(7))
    assert taken == [2, 2, 2, 1]
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"rows: memory does not suffice for {size} at a time; from now on {half} are taken"
        for size, half in ((7, 4), (4, 2))
    ]
    # The same work begins with what there was memory for, another one anew.
    assert [len(part) for part in in_parts(of, 3, 64, "rows")] == [2, 1] and not capsys.readouterr().out
    assert [len(part) for part in in_parts(of, 3, 64, "others")] == [2, 1] and capsys.readouterr().out
    assert in_parts(lambda part: part, 0, 4, "nothing") == [slice(0, 0)]


@pytest.mark.parametrize(("error", "tries"), [(SHORT, [4, 2, 1]), (RuntimeError("cannot be multiplied"), [4])])
def test_memory_that_suffices_for_no_row_and_other_errors_are_raised(error, tries):
    tried = []

    def fails(part: slice) -> None:
        tried.append(part.stop - part.start)
        raise error

    with pytest.raises(type(error), match=str(error)):
        in_parts(fails, 4, 4, "rows")
    assert tried == tries


def cramped(function, place: int):
    """The function, which has memory for two rows of what stands at a place among its arguments."""

    def of(*given, **more):
        if len(given[place]) > 2:
            raise SHORT
        return function(*given, **more)

    return of


def test_pictures_and_rollouts_are_the_same_where_few_have_room(monkeypatch):
    model, noise = model_of(BITS), var.noise_of(model_of(BITS), np.arange(5), 0)
    ids, safe = model.ids(["a red church"] * 5), model.ids(["a red tree"] * 5)
    expected = var.draw(model, ["a red church"] * 5, np.arange(5), seed=0, guidance=2.0)
    rolled = draw_rollouts.rolled_out(model, ids, safe, noise, guidance=2.0)
    small = cramped(var.roll_out, 1)
    monkeypatch.setattr(var, "roll_out", small)
    monkeypatch.setattr(draw_rollouts, "roll_out", small)
    monkeypatch.setattr(visual_tokenizer, "decode", cramped(visual_tokenizer.decode, 1))
    assert np.array_equal(var.draw(model, ["a red church"] * 5, np.arange(5), seed=0, guidance=2.0), expected)
    again = draw_rollouts.rolled_out(model, ids, safe, noise, guidance=2.0)
    assert torch.equal(again.own, rolled.own) and torch.equal(again.tokens, rolled.tokens)
    torch.testing.assert_close(again.plain, rolled.plain)
    assert set(batch_sizes.KNOWN.values()) == {2} and len(batch_sizes.KNOWN) == 3
