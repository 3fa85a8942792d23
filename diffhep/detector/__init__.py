"""Differentiable detector simulation and design."""
