"""Normalizing flows for lattice fields."""
