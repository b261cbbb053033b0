"""Concept erasure in text-to-image diffusion."""

from palimpsest.plan.concepts import ConceptStudies


class Erasure(ConceptStudies):
    """The plan of concept erasure in text-to-image diffusion."""

    family = "erasure"
