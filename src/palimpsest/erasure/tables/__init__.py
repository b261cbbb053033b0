"""Tables of concept erasure: one module each, named like its entry in the configuration."""
