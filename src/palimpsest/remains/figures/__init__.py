"""Figures over all families: one module each, named like its entry in the configuration."""
