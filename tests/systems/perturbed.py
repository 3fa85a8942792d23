"""Models with noise on their parameters; see README.md."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def perturb(model, scale, *, key):
    """The model with independent normal noise of this scale added to every parameter.

    By NumPy: a new program for every shape would take longer than the test.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def shake(leaf):
        if not eqx.is_inexact_array(leaf):
            return leaf
        noise = scale * rng.standard_normal(leaf.shape)
        return jnp.asarray(np.asarray(leaf) + noise.astype(leaf.dtype))

    return jax.tree.map(shake, model)
