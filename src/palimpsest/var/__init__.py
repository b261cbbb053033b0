"""Concept erasure in visual autoregressive models: VARE, S-VARE and what they are compared with."""
