"""What a loop watches at every step: a test that runs inside `jit` and words for its failure."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.typing import Flag, PyTree


class Guard(NamedTuple):
    """When a loop must stop, and how to say why.

    Args:
        is_good: Maps the state and the metrics of a step to one truth value, inside `jit`.
        describe: Maps the step's number, the bad state and the metrics, as NumPy arrays, to the
            words after "but".
    """

    is_good: Callable[[PyTree, PyTree], Flag]
    describe: Callable[[int, PyTree, PyTree], str]


def _is_inexact(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def all_finite(tree: PyTree) -> Flag:
    """Whether every floating-point entry of a tree is finite."""
    flags = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree) if _is_inexact(leaf)]
    return jnp.all(jnp.stack(flags)) if flags else jnp.asarray(True)


def first_non_finite(tree: PyTree) -> str | None:
    """Name, index and value of the first entry that is not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not _is_inexact(leaf):
            continue
        bad = np.argwhere(~np.isfinite(np.asarray(leaf)))
        if len(bad):
            index = tuple(int(i) for i in bad[0])
            place = str(list(index)) if index else ""
            return f"{jax.tree_util.keystr(path)}{place} is {np.asarray(leaf)[index]}"
    return None


def finite_guard() -> Guard:
    """Stop when the state or a metric holds a number that is not finite."""

    def describe(step: int, state: PyTree, metrics: PyTree) -> str:
        bad_metric, bad_leaf = first_non_finite(metrics), first_non_finite(state)
        what = f"metric {bad_metric}" if bad_metric else f"state leaf {bad_leaf}"
        return f"at step {step} {what}"

    return Guard(lambda state, metrics: all_finite((state, metrics)), describe)
