"""Replace codes by one rule, decode, and measure what was forgotten and what it cost.

A rule is a module of palimpsest.lcr.rules, named like its entry in the configuration. It has either
`replace(codes, cells, context, rng, **params) -> codes`, an edit of codes, or `paint(pictures, region, **params)`, an
edit of the reconstruction's pixels (the baselines).

scope: "mask" (cells that a detector's box touches), "elsewhere" (the same area at another place: a control), "global"
(everywhere). cells: "all" in scope, or only those whose code is "explicit".
"""

import dataclasses
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, NotRequired

import numpy as np
import pandas as pd

from palimpsest.arrays import read_pictures, read_table
from palimpsest.judges import networks as judges
from palimpsest.lcr import selection
from palimpsest.lcr.arrays import load_codes, load_fit, load_masks, same_network
from palimpsest.lcr.cells import moved, to_pixels
from palimpsest.lcr.codes import count_codes
from palimpsest.lcr.context import Context
from palimpsest.lcr.evaluation import Evaluated, Evaluation, Judges
from palimpsest.metrics.measurements import write
from palimpsest.models import vqgan as vqgans
from palimpsest.models.edit_table import write as list_edits
from palimpsest.models.vqgan import decode
from palimpsest.options import Count, Positive, check, module_of
from palimpsest.run import Input, Output, UserError, step, torch_device

PANEL = 12  # pictures kept for the qualitative figures


Scope, Cells = Literal["mask", "elsewhere", "global"], Literal["all", "explicit"]


class Settings(Evaluated):
    """See `replace`; `settings` are the rule's own."""

    selection: dict
    min_count: Count
    variants: list[tuple[Scope, Cells]]
    seeds: list[Count]
    settings: NotRequired[dict]
    tops: NotRequired[list[Positive]]


def replace(
    network: Input,
    codes: Input,
    masks: Input,
    images: Input,
    manifest: Input,
    reconstruction: Input,
    fit: Input,
    edited: Output,
    per_image: Output,
    panel: Output,
    measurements: Output,
    edits: Output,
    *,
    twins: Input | None = None,
    twin_codes: Input | None = None,
    guide: Input | None = None,
    judge: Input | None = None,
    classifier: Input | None = None,
    model: str,
    preset: str,
    set: str,
    rule: str,
    params: dict,
    device: str = "auto",
) -> dict:
    """Apply one rule under every variant of params.

    params: `selection` of the explicit codes (and `tops`, to sweep their number), `min_count` of a safe code,
    `variants` [[scope, cells], ...], `seeds`, `settings` of the rule, and those of an evaluation (`Evaluated`). fit:
    what palimpsest.lcr.gather wrote. judge, guide: weights of the detectors that score and that make the masks.
    """
    check(Settings, params, "params of the replacement")
    check(selection.choose, params["selection"], "selection of the explicit codes")
    module = module_of("palimpsest.lcr.rules", rule, "replace", "paint")
    edit_of = module.paint if hasattr(module, "paint") else module.replace
    check(edit_of, params.get("settings", {}), f"settings of the rule {rule}")
    vqgan = vqgans.load(network).to(torch_device(device))
    size = vqgan.config.codes
    same_network(codes, masks, reconstruction, fit, *([twin_codes] if twin_codes else []), network=network)
    grid = load_codes(codes, size).astype(np.int64)
    cells = np.array(load_masks(masks, grid.shape))
    taught = load_fit(fit, size, grid.shape[1:])
    counts = count_codes(taught.safe_codes, size)
    ranked = selection.choose(taught.scores, **params["selection"])
    if not len(ranked):
        raise UserError(
            f"no code of {fit} passes the selection {params['selection']}: loosen it in the preset {preset!r}"
        )
    plain = read_pictures(reconstruction, len(grid))
    context = Context(
        model=vqgan,
        images=read_pictures(images, len(grid), plain.shape[1:3]),
        explicit=ranked,
        safe=selection.safe_codes(counts, ranked, params["min_count"]),
        counts=counts,
        bank=taught.safe_codes,
        fit_codes=taught.forget_codes,
        fit_cells=taught.forget_masks,
        guide=judges.load(guide) if guide else None,
        twin_codes=load_codes(twin_codes, size, grid.shape).astype(np.int64) if twin_codes else None,
    )
    evaluation = Evaluation(
        Judges.load(params["detector"], judge, classifier),
        params["classes"],
        plain,
        cells,
        read_table(manifest, count=len(grid)),
        read_pictures(twins, len(grid), plain.shape[1:3]) if twins else None,
    )
    rows, tables, grids, pictures, listed = [], [], {}, {}, []
    for variant in variants(module, params):
        if variant.top is not None:
            few = ranked[: variant.top]
            safe = selection.safe_codes(counts, few, params["min_count"])
            context = dataclasses.replace(context, explicit=few, safe=safe, learned={})
        if not len(context.safe):
            raise UserError(
                f"{len(context.explicit)} explicit codes leave none of the {np.count_nonzero(counts)} codes that occur "
                f"in the safe grids of {fit} at least {params['min_count']} times: lower `tops`, `q` or `min_count`"
            )
        edit = apply(module, variant, grid, cells, plain, context, params.get("settings", {}))
        table = evaluation.per_image(edit.pictures, edit.changed)
        labels = {name: value for name, value in dataclasses.asdict(variant).items() if value is not None}
        rows += evaluation.summary(table, params["shows_concept"], **labels)
        tables.append(table.assign(image=np.arange(len(table)), **labels))
        if edit.codes is not None:
            grids[variant.name] = edit.codes.astype(np.uint16 if size <= 2**16 else np.uint32)
            listed.append({"seed": variant.seed, "setting": f"{preset}/{set}/{variant.name}", "path": edited})
        pictures[variant.name] = edit.pictures[:PANEL]
    np.savez(edited, **grids)
    np.savez(panel, **pictures)
    pd.concat(tables, ignore_index=True).to_parquet(per_image, index=False)
    concept = params["concept"]
    base = {"base": model, "base_path": network, "family": "lcr", "method": rule, "target": concept, "format": "codes"}
    list_edits(edits, listed, **base)
    write(measurements, rows, family="lcr", model=model, set=set, concept=concept, method=rule, preset=preset)
    return {"explicit_codes": len(ranked), "safe_codes": len(context.safe), "variants": len(tables)}


@dataclass(frozen=True)
class Variant:
    """One cell of the grid scope x cells x seed, with the number of explicit codes where that is swept."""

    scope: Scope
    cells: Cells
    seed: int
    top: int | None = None

    @property
    def name(self) -> str:
        return "-".join(str(part) for part in dataclasses.astuple(self) if part is not None)


@dataclass(frozen=True)
class Edit:
    """An edit's pictures, uint8, and for edits of codes the codes and which cells changed."""

    pictures: np.ndarray
    codes: np.ndarray | None
    changed: np.ndarray | None


def variants(module: ModuleType, params: dict) -> list[Variant]:
    """The variants a rule takes: pixel baselines only whole regions, rules without chance one seed."""
    paints = hasattr(module, "paint")
    draws = getattr(module, "RANDOM", False)
    chosen = []
    for scope, cells in params["variants"]:
        if paints and (scope == "global" or cells == "explicit"):
            continue
        seeds = params["seeds"] if draws else params["seeds"][:1]
        chosen += [Variant(scope, cells, seed, top) for seed in seeds for top in params.get("tops", [None])]
    return chosen


def apply(
    module: ModuleType,
    variant: Variant,
    codes: np.ndarray,
    cells: np.ndarray,
    plain: np.ndarray,
    context: Context,
    settings: dict,
) -> Edit:
    """Edit codes or pixels within the variant's scope. Only cells in scope may change."""
    place, rng = (np.random.default_rng((variant.seed, stream)) for stream in (0, 1))
    scope = {"mask": lambda: cells, "elsewhere": lambda: moved(cells, place), "global": lambda: np.ones_like(cells)}
    chosen = scope[variant.scope]()
    if hasattr(module, "paint"):
        return Edit(module.paint(plain, to_pixels(chosen, plain.shape[1:3]), **settings), None, None)
    if variant.cells == "explicit":
        chosen = chosen & np.isin(codes, context.explicit)
    after = module.replace(codes, chosen, context, rng, **settings)
    changed = after != codes
    if (changed & ~chosen).any():
        raise RuntimeError(f"the rule {module.__name__} changed cells outside its scope")
    return Edit(decode(context.model, after), after, changed)


if __name__ == "__main__":
    step(replace)
