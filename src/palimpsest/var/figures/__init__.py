"""Figures of the family: one module each, named like its entry in the configuration."""
