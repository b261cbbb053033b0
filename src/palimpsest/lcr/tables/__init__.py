"""Tables of the latent code replacement family, one file each: `build(lookup, params) -> Table`."""
