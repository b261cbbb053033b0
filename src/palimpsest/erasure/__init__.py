"""Concept erasure in text-to-image diffusion: edits that make a model forget a concept, and what they leave."""
