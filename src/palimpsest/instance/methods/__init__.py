"""Methods that only instance unlearning has: they need a surrogate, or neighbours.

They are written as those of `palimpsest.unlearning.methods`.
"""
