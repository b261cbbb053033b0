"""Figures of the latent code replacement family, one file each: `draw(inputs, params) -> Figure`."""
