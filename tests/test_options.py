"""Options by their annotations: a float without a fraction is a whole number, and each range is kept at every door."""

import json
from typing import Annotated, Literal, TypedDict

import numpy as np
import pytest
import torch
from torch import nn

from palimpsest.imitations import pictures
from palimpsest.instance import conflicts, ridge
from palimpsest.instance.surrogates import ddim_edit, nearest
from palimpsest.judges import train, train_faces, train_factors
from palimpsest.lcr import cooccurrence, counterfactual, encode, score
from palimpsest.models import train_ddpm, train_vqgan
from palimpsest.options import Count, Positive, Share, check, check_types, fits, whole
from palimpsest.run import UserError, step
from palimpsest.unlearning import door
from palimpsest.unlearning.context import Context, Examples
from palimpsest.worlds import make, scenes

Even = Annotated[int, "an even number", lambda value: value % 2 == 0]


@pytest.mark.parametrize(
    ("given", "hint", "wanted"),
    [
        (20.0, int, 20),
        (20.0, float, 20.0),
        (20.0, int | float, 20.0),
        (20.0, int | None, 20),
        (20.0, Positive, 20),
        (20.0, Count | Literal["mode"], 20),
        (20.5, int, 20.5),
        (float("inf"), int, float("inf")),
        (True, int, True),
        ("20.0", int, "20.0"),
        ([1.0, 2], list[Even], [1, 2]),
        ([1.0, 0.5], tuple[int, float], [1, 0.5]),
        ([1.0, 2.0, 4], tuple[int, ...], [1, 2, 4]),
        ({"one": 1.0}, dict[str, int] | None, {"one": 1}),
        ([[1.0, 0.5]], list[tuple[int, float]], [[1, 0.5]]),
    ],
)
def test_a_float_without_a_fraction_is_whole_where_an_integer_is_due(given, hint, wanted):
    made = whole(given, hint)
    assert made == wanted and json.dumps(made) == json.dumps(wanted)


def test_members_of_mappings_and_of_tuples_of_any_length_are_checked():
    assert fits({"a": 1}, dict[str, int]) and not fits({"a": 0.5}, dict[str, int]) and not fits([1], dict[str, int])
    assert fits([], tuple[int, ...]) and fits([1, 2, 3], tuple[int, ...]) and not fits([1, 0.5], tuple[int, ...])


class Two(TypedDict):
    """Two options."""

    steps: Positive
    share: Share


def test_what_is_checked_is_made_whole_in_place_and_a_fraction_is_refused():
    given = {"steps": 20.0, "share": 1.0}
    check(Two, given, "params")
    assert json.dumps(given) == '{"steps": 20, "share": 1.0}'
    for steps in (20.5, 0.0, float("nan"), "20"):
        with pytest.raises(UserError, match=r"^params: steps is .*\. Give a whole number from 1 on\.$"):
            check(Two, {**given, "steps": steps}, "params")
    for make_of, name in ((nearest.make, "rank"), (ddim_edit.make, "steps"), (scenes.make, "n")):
        given = {name: 3.0}
        check_types(make_of, given, "params")
        assert json.dumps(given) == json.dumps({name: 3})


def drawn(folder, **params):
    """The pictures and the rows of a small set of scenes."""
    files = {
        name: folder / f"{name}.{end}" for name, end in (("images", "npy"), ("masks", "npy"), ("manifest", "parquet"))
    }
    given = {"seed": 0, "split": "fit", "emblem": "half", "size": 32, **params}
    step(
        make.make,
        [*(f"--{name}={path}" for name, path in files.items()), "--world=scenes", f"--params={json.dumps(given)}"],
    )
    return files


def test_a_set_and_a_training_are_the_same_by_whole_floats(tmp_path):
    sets, networks = [], []
    for index, kind in enumerate((int, float)):
        files = drawn(tmp_path / str(index), n=kind(16), size=kind(32))
        sets.append([path.read_bytes() for path in files.values()])
        params = {"kind": "detector", "learning_rate": 0.001}
        params |= {name: kind(value) for name, value in {"width": 4, "depth": 1, "batch": 2, "steps": 2}.items()}
        network = tmp_path / f"{index}.safetensors"
        train.train(*files.values(), *files.values(), network, params=params)
        networks.append(network.read_bytes())
    assert sets[0] == sets[1] and networks[0] == networks[1]
    with pytest.raises(SystemExit, match=r"params of the world scenes: n is 6\.5\. Give a whole number\.$"):
        drawn(tmp_path / "part", n=6.5)


class Scale(nn.Module):
    """Predicts a multiple of its input."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, noisy, timesteps):
        return self.scale * noisy


def test_an_edit_is_the_same_by_whole_floats(tmp_path):
    images, logs = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0)), []
    schedule = torch.linspace(0.99, 0.1, 10)
    for kind in (int, float):
        context = Context(
            "toy", Examples(images), Examples(images), 10, frozen=Scale(), alphas_cumprod=schedule, seed=1
        )
        training = {"steps": kind(2), "batch": kind(4), "learning_rate": 0.01}
        given = {"settings": {"inner_steps": kind(2)}, "training": training, "beside": tmp_path / "log", "save": print}
        logs.append(door.edit("erasediff_bome", Scale(), context, **given))
    assert logs[0] == logs[1] and len(logs[0]) == 2
    with pytest.raises(UserError, match=r"training of the method neggrad: steps is 2\.5\. Give a whole number\."):
        door.edit("neggrad", Scale(), context, **{**given, "settings": {}, "training": {**training, "steps": 2.5}})


TRAINERS = (
    (train.train, "judge"),
    (train_faces.train, "judge"),
    (train_factors.train, "classifier"),
    (train_vqgan.train, "VQ-GAN"),
    (train_ddpm.train, "diffusion model"),
)


@pytest.mark.parametrize(("trainer", "called"), TRAINERS, ids=[function.__module__ for function, _ in TRAINERS])
def test_a_trainer_refuses_options_that_it_does_not_have_before_it_reads(trainer, called):
    with pytest.raises(UserError, match=rf"^params of the {called}: no option stepz; there are .*steps"):
        trainer(*[None] * (trainer.__code__.co_argcount), params={"stepz": 1})


@pytest.mark.parametrize(
    ("function", "argument", "value", "range_"),
    [
        (score.score, "--draws", "0", "a whole number from 1 on"),
        (score.score, "--seed", "-1", "a whole number from 0 on"),
        (score.score, "--prior", "nan", "a number greater than 0"),
        (score.score, "--prior", "0", "a number greater than 0"),
        (encode.encode, "--batch", "-1", "a whole number from 1 on"),
        (cooccurrence.cooccurrence, "--ratio", "-0.5", "a number from 0 on"),
        (counterfactual.counterfactual, "--threshold", "1.5", "a number from 0 to 1"),
        (pictures.write, "--n", "0", "a whole number from 1 on"),
        (ridge.ridge, "--problems", "0", "a whole number from 1 on"),
        (conflicts.conflicts, "--timesteps", "3 -1", "a whole number from 0 on"),
    ],
)
def test_a_step_by_hand_keeps_the_range_of_each_argument(capsys, function, argument, value, range_):
    with pytest.raises(SystemExit) as caught:
        step(function, [argument, *value.split()])
    assert caught.value.code == 2
    assert f"argument {argument}: expected {range_}, got {value.split()[-1]}" in capsys.readouterr().err


def test_a_range_is_no_kind_of_file_and_stands_in_the_record(tmp_path):
    step(pictures.write, [f"--folder={tmp_path / 'out'}", "--kind=things", "--n=1", "--size=16"])
    record = json.loads((tmp_path / "out.record.json").read_text(encoding="utf-8"))
    assert record["arguments"] == {"kind": "things", "n": 1, "size": 16, "seed": 0}
    assert np.size(list((tmp_path / "out").iterdir())) == 1
