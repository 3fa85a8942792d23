"""Models with noise on their parameters; see README.md."""

import equinox as eqx
import jax


def perturb(model, scale, *, key):
    """The model with independent normal noise of this scale added to every parameter."""
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(arrays)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        leaf + scale * jax.random.normal(k, leaf.shape, leaf.dtype)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(tree, noisy), rest)
