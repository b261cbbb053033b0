"""Tables of the instance unlearning family, one file each: `build(lookup, params) -> Table`."""
