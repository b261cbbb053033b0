"""Work in parts: where memory does not suffice it is taken in smaller ones, to the same result."""

import numpy as np
import pytest
import torch

from palimpsest.models import var
from palimpsest.models.memory import in_parts
from test_var import BITS, model_of

SHORT = torch.OutOfMemoryError("CUDA out of memory")


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
    assert in_parts(lambda part: part, 0, 4, "rows") == [slice(0, 0)]


@pytest.mark.parametrize("error", [SHORT, RuntimeError("shapes cannot be multiplied")])
def test_memory_that_suffices_for_no_row_and_other_errors_are_raised(error):
    with pytest.raises(type(error), match=str(error)):
        in_parts(lambda part: (_ for _ in ()).throw(error), 1, 4, "rows")


def test_pictures_are_the_same_where_few_have_room(monkeypatch):
    model, prompts, plain = model_of(BITS), ["a red church"] * 5, var.roll_out
    settings = {"seed": 0, "guidance": 2.0}
    expected = var.draw(model, prompts, np.arange(5), **settings)

    def cramped(model: var.Var, conditions: torch.Tensor, *given, **more) -> var.Rollout:
        if len(conditions) > 2:
            raise SHORT
        return plain(model, conditions, *given, **more)

    monkeypatch.setattr(var, "roll_out", cramped)
    assert np.array_equal(var.draw(model, prompts, np.arange(5), **settings), expected)
