"""Figures of the instance unlearning family, one file each: `draw(inputs, params) -> Figure`."""
