"""The runs of one method in a study: each makes a copy of the base forget one concept, by its setting and seed."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from torch import nn

from palimpsest.metrics.measurements import row
from palimpsest.models.edits import save_delta
from palimpsest.models.training import uncompile
from palimpsest.run import UserError, seed_everything
from palimpsest.unlearning.context import Context
from palimpsest.unlearning.door import edit, method_of
from palimpsest.unlearning.engine import NotFinite

MERGED = ("settings", "training")
# What a run costs: how many pictures, or rows of tokens, went through a network; none where nothing is trained.
PASSES = ("forwards", "backwards")


@dataclass(frozen=True)
class Edited:
    """A run that ended. run: concept, setting, seed; failure: why it ended early, or ""."""

    run: dict
    network: nn.Module
    log: list[dict]
    failure: str = ""

    @property
    def name(self) -> str:
        """What its files are called."""
        return name_of(self.run)


def name_of(run: dict) -> str:
    """A run's concept, setting and seed."""
    return f"{run['concept']}.{run['setting']}.{run['seed']}"


def edited(
    runs: list[dict],
    chosen: dict,
    context_of: Callable[[dict], Context],
    base: nn.Module,
    module: str,
    prepare: Callable[[nn.Module, str], None],
    autocast: bool = False,
) -> Iterator[Edited]:
    """The runs one after the other.

    runs: each with concept, setting, seed, selection, training and settings, of which what the tuning chose takes the
    place, and the run's own `changes` that of both. prepare(network, selection): lets parameters change. autocast:
    whether what trains computes in bfloat16. One whose gradient or weights are not finite comes with its last finite
    weights.
    Raises UserError, which names the run, before the first one begins where any of them cannot be made as it is
    described. What a method finds wrong as it begins ends all at once: of a job that fails nothing is kept.
    """
    complete = [completed(run, chosen, autocast) for run in runs]
    family, selections = context_of(complete[0]).family, set()
    for run in complete:
        with named(run):
            method_of(family, module, run["settings"], run["training"])
            if run["selection"] not in selections:
                prepare(copy.deepcopy(base), run["selection"])
        selections.add(run["selection"])
    for run in complete:
        made = Edited(run, copy.deepcopy(base), [])
        seed_everything(run["seed"])
        prepare(made.network, run["selection"])
        context = replace(context_of(run), seed=run["seed"])
        try:
            with named(run):
                log = edit(module, made.network, context, settings=run["settings"], training=run["training"])
            made.log.extend(log)
        except NotFinite as error:
            made = replace(made, log=error.log, failure=str(error))
            print(f"{made.name}: {error}. Its last finite weights are kept, and the other runs go on")
        # What attacks it learns something else, and calls it in other shapes: gradients of its weights, and what was
        # compiled, would be for nothing.
        made.network.requires_grad_(False)
        uncompile(made.network)
        yield made


def completed(run: dict, chosen: dict, autocast: bool) -> dict:
    """A run with its selection, settings and training as they are after the tuning's choice and its own changes."""
    parts = (run, chosen, run.get("changes", {}))
    settings, training = ({k: v for part in parts for k, v in part.get(key, {}).items()} for key in MERGED)
    training |= {"autocast": True} if autocast and training else {}
    selection = [part["selection"] for part in parts if "selection" in part][-1]
    return {**run, "selection": selection, "settings": settings, "training": training}


@contextmanager
def named(run: dict) -> Iterator[None]:
    """Say of what is wrong in it which run it is of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{name_of(run)}: {error}") from error


class RunFiles:
    """What a step writes of its runs: each one's changed tensors, row, log and cost, and whether it ended early.

    half: whether the tensors are kept in bfloat16.
    """

    def __init__(self, weights: Path, base_path: Path, method: str, half: bool = False):
        weights.mkdir(parents=True)
        self.weights, self.base_path, self.method, self.half = weights, base_path, method, half
        self.rows, self.logs, self.measured = [], [], []

    def add(self, made: Edited, network: nn.Module) -> dict:
        """Save a run's network, as the base's kind has it; its labels. In halves the network is rounded too."""
        path, labels = self.weights / f"{made.name}.safetensors", {key: made.run[key] for key in ("setting", "seed")}
        concept, kind = made.run["concept"], save_delta(path, network, self.base_path, self.half)
        steps = pd.DataFrame(made.log)
        self.logs.append(steps.assign(concept=concept, **labels))
        self.rows.append({"target": concept, "path": path, "format": kind, "failure": made.failure, **labels})
        found = {"unfinished": bool(made.failure)} | {key: steps[key].sum() if key in steps else 0 for key in PASSES}
        self.measured += [
            row(metric, value, concept=concept, method=self.method, n=1, **labels) for metric, value in found.items()
        ]
        return labels

    def write_log(self, path: Path) -> None:
        """Write a row per step of every run."""
        pd.concat(self.logs, ignore_index=True).to_parquet(path, index=False)

    @property
    def unfinished(self) -> list[str]:
        """The concepts of the runs that ended early."""
        return [each["target"] for each in self.rows if each["failure"]]
