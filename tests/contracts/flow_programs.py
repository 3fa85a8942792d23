"""The programs that the laws of flows share, so that each flow compiles them once."""

import equinox as eqx

BATCH = 3
"""Configurations of a batch, its axis last."""


@eqx.filter_jit
def draw(flow, key):
    """Latent variables of a batch."""
    return flow.sample_latents(key, BATCH)


@eqx.filter_jit
def push(flow, z):
    """Fields, log-determinants and densities."""
    U, log_det = flow.forward_and_log_det(z)
    return U, log_det, flow.log_prob_latent(z) - log_det


@eqx.filter_jit
def pull(flow, U):
    """Latent variables, log-determinants of the inverse, and densities."""
    z, log_det = flow.inverse_and_log_det(U)
    return z, log_det, flow.log_prob_latent(z) + log_det
