"""Gather what the fit sets teach a rule of replacement: each code's scores, and the grids of both sets, in one file."""

from palimpsest.lcr.arrays import Fit, load_codes, load_masks, load_scores, same_network, save_fit
from palimpsest.options import Positive
from palimpsest.run import Input, Output, step


def gather(
    scores: Input,
    safe_fit_codes: Input,
    forget_fit_codes: Input,
    forget_fit_masks: Input,
    fit: Output,
    *,
    codebook_size: Positive,
) -> dict:
    """Write a `palimpsest.lcr.arrays.Fit`, once all of it has proved to be of one model and of grids of one size."""
    origin = same_network(scores, safe_fit_codes, forget_fit_codes, forget_fit_masks)
    safe = load_codes(safe_fit_codes, codebook_size)
    forget = load_codes(forget_fit_codes, codebook_size, (None, *safe.shape[1:]))
    masks = load_masks(forget_fit_masks, forget.shape)
    save_fit(fit, Fit(load_scores(scores, codebook_size), safe, forget, masks))
    return {"safe": len(safe), "forget": len(forget), **origin}


if __name__ == "__main__":
    step(gather)
