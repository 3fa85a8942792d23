"""Likelihood ratios learned from simulators."""
