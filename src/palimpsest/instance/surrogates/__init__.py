"""Surrogates: what a target is replaced by. One module each, named like its `kind` in the configuration.

A module has `make(context, **settings)`, which gives pictures (targets, h, w, 3) uint8.
"""
