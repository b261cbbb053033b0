"""From the configuration to runs and files: pure functions, which know neither Snakemake nor torch."""
