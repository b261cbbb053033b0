"""The door to every edit, the parts that a family gives, and how methods are found: of a toy network."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from palimpsest.models.adamw import AdamW
from palimpsest.models.forward_process import drawn_noise
from palimpsest.run import UserError
from palimpsest.unlearning import door, engine
from palimpsest.unlearning.context import PARTS, Conditioning, Context, Examples
from palimpsest.unlearning.find import method_module, methods_of
from palimpsest.unlearning.streams import Stream

SCHEDULE = torch.linspace(0.99, 0.1, 10)
TRAINING = {"steps": 3, "learning_rate": 0.01, "batch": 4}
SHARED = ["duo", "erasediff_bome", "erasediff_port", "esd", "naive_deletion", "neggrad", "neggrad_plus", "siss"]


class Toy(nn.Module):
    """Predicts scale * x + the mean of its condition, and keeps the conditions it was given."""

    def __init__(self):
        super().__init__()
        self.scale, self.heard = nn.Parameter(torch.tensor(0.5)), []

    def forward(self, noisy, timesteps, conditions=None):
        self.heard += [] if conditions is None else conditions.tolist()
        shift = 0.0 if conditions is None else conditions.float().flatten(1).mean(1).view(-1, 1, 1, 1)
        return self.scale * noisy + shift


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed))


def context(**parts) -> Context:
    given = {"frozen": Toy(), "alphas_cumprod": SCHEDULE, "seed": 5, **parts}
    return Context("toy", Examples(pictures(2, 0)), Examples(pictures(6, 1)), len(SCHEDULE), **given)


def enter(folder: Path, method: str, network: nn.Module, **changes) -> list[dict]:
    given = {"context": context(), "settings": {}, "training": TRAINING, **changes}
    saved = lambda path: torch.save(network.state_dict(), path)  # noqa: E731
    return door.edit(method, network, given.pop("context"), beside=folder / "log.parquet", save=saved, **given)


def test_a_method_is_found_in_the_familys_folder_or_among_the_shared_ones():
    assert method_module("instance", "unpromptable") == "palimpsest.instance.methods.unpromptable"
    assert method_module("instance", "esd") == method_module("toy", "esd") == "palimpsest.unlearning.methods.esd"
    assert set(SHARED) <= set(methods_of("toy")) and {"unpromptable", "retrack", "esd"} <= set(methods_of("instance"))
    assert "unpromptable" not in methods_of("toy")
    for name in ("unpromptable", "../esd", "nothing", "__init__"):
        with pytest.raises(UserError, match=r"there is neither .*src/palimpsest/toy/methods.* has .*esd"):
            method_module("toy", name)


def test_a_familys_own_method_comes_before_the_shared_one(tmp_path, monkeypatch):
    for owner in ("toy", "unlearning"):
        (tmp_path / owner / "methods").mkdir(parents=True)
        (tmp_path / owner / "methods/esd.py").touch()
    monkeypatch.setattr("palimpsest.unlearning.find.PACKAGE", tmp_path)
    assert method_module("toy", "esd") == "palimpsest.toy.methods.esd"
    assert method_module("other", "esd") == "palimpsest.unlearning.methods.esd"


def test_methods_are_found_without_torch():
    code = "import sys; from palimpsest.unlearning.find import method_module; method_module('instance', 'siss');"
    code += " sys.exit('torch' in sys.modules or 'palimpsest.unlearning.methods.siss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_that_the_family_lacks_is_an_error_that_names_it(tmp_path, part):
    asking = {
        "frozen": ("duo", {"surrogate": pictures(2, 2), "frozen": None}),
        "alphas_cumprod": ("neggrad", {"alphas_cumprod": None}),
        "surrogate": ("duo", {}),
        "conditioning": ("esd", {}),
        "anchor": ("ac", {}),
    }
    method, parts = asking.get(part, ("retrack", {}))
    given = context(**parts)
    if part == "neighbours":
        # ReTrack is a method of one family only: ask as it does.
        with pytest.raises(UserError, match=r"method retrack asks for neighbours .* the family toy does not have"):
            _ = engine.Step(*[None] * 2, Context("toy", *[None] * 2, 1, method="retrack"), *[None] * 6).neighbours
        return
    with pytest.raises(UserError, match=rf"^method {method} asks for {part} \({PARTS[part]}\), which the family toy"):
        enter(tmp_path, method, Toy(), context=given)
    assert list(tmp_path.iterdir()) == []


def test_training_along_a_direction_is_logged_and_what_is_wrong_is_told_in_a_line(tmp_path):
    network = Toy()
    log = enter(tmp_path, "neggrad_plus", network)
    assert [row["step"] for row in log] == [0, 1, 2] and network.scale.item() != 0.5
    again = Toy()
    assert enter(tmp_path, "neggrad_plus", again) == log and again.scale.item() == network.scale.item()
    for changes, named in (
        ({"settings": {"alhpa": 1}}, "settings of the method neggrad_plus: no option alhpa; there are alpha"),
        ({"training": {**TRAINING, "stepz": 1}}, "training of the method neggrad_plus: no option stepz; there are"),
        ({"training": {"steps": 1}}, "training of the method neggrad_plus: the option learning_rate, batch is missing"),
        ({"training": {**TRAINING, "timesteps": "first"}}, "timesteps is 'first': give all or last"),
    ):
        with pytest.raises(UserError, match=named):
            enter(tmp_path, "neggrad_plus", Toy(), **changes)


def test_what_is_not_finite_is_told_and_what_there_was_is_kept(tmp_path):
    network = Toy()
    wild = {**TRAINING, "steps": 50, "learning_rate": 3e37}
    with pytest.raises(UserError, match=r"method neggrad, run 7: the gradient is not finite.*failed") as error:
        enter(tmp_path, "neggrad", network, training=wild, what="run 7")
    assert str(tmp_path / "failed.parquet") in str(error.value) and not (tmp_path / "log.parquet").exists()
    assert len(pd.read_parquet(tmp_path / "failed.parquet")) >= 1
    assert torch.load(tmp_path / "failed", weights_only=True)["scale"].isfinite()


def test_weights_that_an_update_makes_infinite_are_told_and_those_before_it_kept():
    network = Toy()
    # The only update: no gradient comes after it.
    wild = {**TRAINING, "steps": 1, "learning_rate": 3e38}
    with pytest.raises(engine.NotFinite, match="the weights are not finite at step 0") as error:
        door.edit("neggrad_plus", network, context(), settings={}, training=wild)
    assert error.value.log == [] and network.scale.item() == 0.5


def test_no_step_takes_a_value_farther_than_is_said():
    """Gradients that leap from tiny to great move a value most: the second moment follows them slowly."""
    for betas in ((0.9, 0.999), (0.9, 0.97), (0.5, 0.9)):
        values, longest = torch.full((1,), 2.0), 0.0
        optimiser = AdamW(values, betas, 0.1)
        for length in (1e-12, 1e-12, 1e3, 1e3, 1e-6):
            longest, before = max(longest, length), values.abs().item()
            farthest = optimiser.farthest(0.01, longest, before)
            optimiser.step(torch.full((1,), -length), 0.01)
            assert values.item() <= farthest
        assert values.item() > 2.005
    # Where it may be infinite it is said to be.
    assert optimiser.farthest(3e38, 1.0, 2.0) > torch.finfo(torch.float32).max


def closed_form(network, context, *, factor: float = 2.0):
    """An edit without a gradient: the weights at once."""
    with torch.no_grad():
        network.scale.mul_(factor * len(context.target))
    return [{"step": 0, "factor": factor}]


def test_an_edit_without_a_gradient_comes_through_the_same_door(tmp_path, monkeypatch):
    monkeypatch.setattr(door, "method_module", lambda family, name: f"{family}.{name}")
    monkeypatch.setattr(door, "import_module", lambda name: SimpleNamespace(edit=closed_form))
    network = Toy()
    log = enter(tmp_path, "closed_form", network, training={}, settings={"factor": 3.0})
    assert network.scale.item() == pytest.approx(0.5 * 3 * 2) and log == [{"step": 0, "factor": 3.0}]
    with pytest.raises(UserError, match="trains nothing: leave out steps, learning_rate, batch"):
        enter(tmp_path, "closed_form", network)
    with pytest.raises(UserError, match="settings of the method closed_form: no option power; there are factor"):
        enter(tmp_path, "closed_form", network, training={}, settings={"power": 3.0})
    with pytest.raises(UserError, match=r"method closed_form: the weights are not finite.*failed"):
        enter(tmp_path, "closed_form", network, training={}, settings={"factor": 1e39})
    # The last finite weights are those before the edit.
    assert network.scale.item() == torch.load(tmp_path / "failed", weights_only=True)["scale"].item() == 3.0

    def unsolvable(network, context):
        network.scale.data.zero_()
        torch.linalg.cholesky(torch.zeros(2, 2))

    monkeypatch.setattr(door, "import_module", lambda name: SimpleNamespace(edit=unsolvable))
    with pytest.raises(engine.NotFinite, match="the solution is not finite"):
        door.edit("unsolvable", network, context(), settings={}, training={})
    assert network.scale.item() == 3.0


def test_pictures_go_with_their_conditions_and_a_concept_with_its_own(tmp_path):
    conditions = torch.arange(6.0).view(6, 1) + 10
    concept = Conditioning(torch.tensor([[1.0]]), torch.tensor([2.0]), torch.tensor([[3.0], [4.0]]))
    pools = {
        "target": Examples(pictures(2, 0), torch.tensor([[1.0], [1.0]])),
        "remember": Examples(pictures(6, 1), conditions),
    }
    given = replace(context(conditioning=concept), **pools)
    network = Toy()
    enter(tmp_path, "neggrad_plus", network, context=given)
    heard = {value for (value,) in network.heard}
    assert 1.0 in heard and heard - {1.0} <= set(range(10, 16)) and len(heard) > 3
    # The same picture always with the same condition.
    batch = engine.draw(given.remember, np.array([4, 0, 4]), np.zeros(3, int), np.arange(3), 0)
    assert batch.conditions.ravel().tolist() == [14, 10, 14] and torch.equal(batch.images[0], batch.images[2])
    network, settings = Toy(), {"sampling_steps": 2, "paths": 2}
    enter(tmp_path, "spm", network, context=given, settings=settings)
    assert {value for (value,) in network.heard} <= {1.0, 3.0, 4.0}
    assert {value for (value,) in given.frozen.heard} >= {1.0, 2.0}


def test_every_stream_of_random_draws_is_its_own():
    given = context()
    drawn = [given.random(stream, 3).random() for stream in Stream]
    assert len(set(drawn)) == len(Stream) and len({int(stream) for stream in Stream}) == len(Stream)
    assert given.random(Stream.TIMES, 3).random() == np.random.default_rng((5, 2, 3)).random()
    number = given.number(Stream.PATHS)
    assert number == np.random.SeedSequence((5, 6)).generate_state(1)[0]
    assert drawn_noise(number, np.arange(2), (1, 2, 2)).shape == (2, 1, 2, 2)
