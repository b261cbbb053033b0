"""From the configuration to runs and files: all that the rule files need to know, in plain Python.

One module per family, and what they share. Nothing here imports Snakemake, torch, pandas or a step: it is read at the
start of every job that a cluster runs.
"""
