"""The one door to every edit: find the method, run it, and give its log; whatever goes wrong is told in one line."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd
from torch import nn
from torch.linalg import LinAlgError

from palimpsest.options import check
from palimpsest.run import UserError
from palimpsest.unlearning.context import Context
from palimpsest.unlearning.engine import NotFinite, train
from palimpsest.unlearning.find import method_module


def edit(
    method: str,
    network: nn.Module,
    context: Context,
    *,
    settings: dict,
    training: dict,
    beside: Path | None = None,
    save: Callable[[Path], None] | None = None,
    what: str = "",
) -> list[dict]:
    """Change the network in place by a method of the context's family, or a shared one; the log, one row per step.

    settings: of the method; training: of the engine (`train`), {} for a method that trains nothing. what: the run, for
    messages. Where a loss, gradient or weight is not finite the steps so far, and by `save(path)` the last finite
    weights, are kept beside a file of the outputs, as `failed.parquet` and `failed`, which are no outputs.
    Raises UserError then, and for settings that the method or the engine does not take; NotFinite itself where nothing
    is named to keep it beside: who calls keeps the network, which has the last finite weights, and the error's log.
    """
    module = method_of(context.family, method, settings, training)
    try:
        return run(module, network, replace(context, method=method), settings, training)
    except NotFinite as error:
        if beside is None or save is None:
            raise
        steps, weights = beside.with_name("failed.parquet"), beside.with_name("failed")
        pd.DataFrame(error.log).to_parquet(steps, index=False)
        save(weights)
        raise UserError(
            f"method {method}{what and f', {what}'}: {error}. The last finite weights are in {weights}, the steps in "
            f"{steps}."
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"method {method} with {settings} and {training}: {error}") from error


def method_of(family: str, method: str, settings: dict, training: dict) -> ModuleType:
    """A method's module. Raises UserError for settings that it, and a training that the engine, does not take."""
    module = import_module(method_module(family, method))
    trains = not hasattr(module, "edit")
    check(module.direction if trains else module.edit, settings, f"settings of the method {method}")
    if trains:
        check(train, training, f"training of the method {method}")
    elif training:
        raise UserError(f"method {method} trains nothing: leave out {', '.join(training)}")
    return module


def run(module: ModuleType, network: nn.Module, context: Context, settings: dict, training: dict) -> list[dict]:
    """The method's own edit, or training along its direction."""
    if not hasattr(module, "edit"):
        return train(module.direction, network, context, settings, **training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try:
        log = module.edit(network, context, **settings)
    except LinAlgError as error:  # of numbers that are not finite, or of equations that have no one solution
        network.load_state_dict(before)
        raise NotFinite(0, [], "the solution is") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        network.load_state_dict(before)
        raise NotFinite(len(log), log, "the weights are")
    return log
