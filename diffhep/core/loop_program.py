"""The compiled part of a loop: one program for a chunk of any length."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffhep.core.checks import require_shape
from diffhep.core.loop_guard import Guard
from diffhep.core.rng import is_typed_key, key_at
from diffhep.core.typing import Key, PyTree

Step = Callable[[Key, PyTree], tuple[PyTree, PyTree]]
"""`step(key, state) -> (state, metrics)`."""


def as_state(tree: PyTree) -> tuple[PyTree, PyTree]:
    """The arrays of a tree, copied and strongly typed because the loop consumes them; the rest."""

    def own(leaf: Any) -> Any:
        if is_typed_key(leaf):
            return leaf.copy()
        if isinstance(leaf, (np.ndarray, np.generic, jax.Array)):
            return jnp.array(leaf, dtype=leaf.dtype, copy=True)
        return leaf

    return eqx.partition(jax.tree.map(own, tree), eqx.is_array)


def _describe(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _check_same_state(before: PyTree, after: PyTree) -> None:
    """Raise a `ShapeError` unless a step returns what it was given."""
    rule = "return a state of the structure, shapes and dtypes that it was given"
    old, new = (
        {
            jax.tree_util.keystr(path): _describe(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (before, after)
    )
    for name in [*old, *new]:
        was, now = old.get(name, "no array"), new.get(name, "no array")
        changed = f"turned leaf {name or 'state'} from {was} into {now}"
        require_shape(was == now, "step", rule, changed)
    same = jax.tree.structure(before) == jax.tree.structure(after)
    require_shape(same, "step", rule, "another structure")


def _strong(value: Any) -> Array:
    """The array without a weak type, so that a loop can carry it."""
    return value if is_typed_key(value) else jax.lax.convert_element_type(value, value.dtype)


class Program(NamedTuple):
    """A step split into what is traced and what is static, and the form of its metrics."""

    step_arrays: PyTree
    step_static: PyTree
    state_static: PyTree
    metrics_like: PyTree
    key_implementation: str
    chunk: int
    guard: Guard

    def whole(self, state: PyTree) -> PyTree:
        """The state as the user knows it."""
        return eqx.combine(state, self.state_static)

    def one_step(
        self, state: PyTree, step_arrays: PyTree, key: Key, index: Array
    ) -> tuple[PyTree, PyTree]:
        """One step on the array part of the state."""
        step = eqx.combine(step_arrays, self.step_static)
        new_state, metrics = step(key_at(key, index), self.whole(state))
        new_arrays, _ = eqx.partition(new_state, eqx.is_array)
        _check_same_state(state, new_arrays)
        return jax.tree.map(_strong, new_arrays), jax.tree.map(jnp.asarray, metrics)

    def run_chunk(
        self, state: PyTree, step_arrays: PyTree, key_words: Array, start: Array, stop: Array
    ) -> tuple[PyTree, PyTree, Array, Array]:
        """Steps `start` up to `stop`, or up to the first bad one.

        The number of steps is no constant of the program: the last, shorter chunk costs no second
        compilation, and the bits do not depend on how the steps are divided into chunks.
        """
        key = jax.random.wrap_key_data(key_words, impl=self.key_implementation)
        buffers = jax.tree.map(
            lambda leaf: jnp.zeros((self.chunk, *leaf.shape), leaf.dtype), self.metrics_like
        )

        def proceed(carry: Any) -> Array:
            _, _, index, good = carry
            return good & (index < stop)

        def advance(carry: Any) -> Any:
            old_state, old_buffers, index, _ = carry
            new_state, metrics = self.one_step(old_state, step_arrays, key, index)
            new_buffers = jax.tree.map(
                lambda rows, row: rows.at[index - start].set(row), old_buffers, metrics
            )
            good = self.guard.is_good(new_state, metrics)
            return new_state, new_buffers, index + 1, good

        return jax.lax.while_loop(proceed, advance, (state, buffers, start, jnp.asarray(True)))

    def compile(self, state: PyTree, key_words: np.ndarray) -> Callable[..., Any]:
        """The chunk compiled ahead of time; a sharded state stays sharded as it is."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
        is_sharded = any(len(each.device_set) > 1 for each in jax.tree.leaves(shardings))
        out = (shardings, None, None, None) if is_sharded else None
        jitted = jax.jit(self.run_chunk, donate_argnums=0, out_shardings=out)
        zero = np.int32(0)
        return jitted.lower(state, self.step_arrays, key_words, zero, zero).compile()


def build_program(
    step: Step, state: PyTree, state_static: PyTree, key: Key, chunk: int, guard: Guard
) -> Program:
    """Split a step and find out what it measures, without compiling it."""
    step_arrays, step_static = eqx.partition(step, eqx.is_array)
    implementation = str(jax.random.key_impl(key))
    program = Program(step_arrays, step_static, state_static, None, implementation, chunk, guard)
    like = jax.eval_shape(program.one_step, state, step_arrays, key, jnp.asarray(0))
    return program._replace(metrics_like=like[1])
