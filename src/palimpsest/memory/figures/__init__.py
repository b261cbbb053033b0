"""Figures of the memory audit: one module each, named like its entry in the configuration."""
