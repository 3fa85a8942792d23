"""Named random streams that do not depend on the device layout.

JAX's partitionable counter-based generator draws element `i` of an array from `(key, i)` alone,
with `i` the global index: an array drawn in global shape under `jit` has the same bits on any mesh.
So noise is always drawn for the whole lattice, never per device, and one key per chain and step is
made here by folding in the global index.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Int

from diffhep.core.checks import require_shape
from diffhep.core.typing import Key, Keys


def is_typed_key(leaf: Any) -> bool:
    """Whether something is an array of typed keys, or the shape of one."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def check_key(key: Key) -> None:
    """Raise a `ShapeError` unless `key` is one typed key."""
    require_shape(
        is_typed_key(key) and key.shape == (),
        "key",
        "be one typed key from jax.random.key",
        f"dtype {getattr(key, 'dtype', type(key))} and shape {getattr(key, 'shape', '?')}",
    )


def key_for(key: Key, name: str) -> Key:
    """The stream called `name`: independent of every other name, whatever order they are asked in.

    Args:
        key: The parent key.
        name: Any text; its CRC-32 is folded into the key.

    Returns:
        One typed key.
    """
    check_key(key)
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def keys_for_chains(key: Key, n_chains: int) -> Keys:
    """One key per chain; chain `i` gets the same key however many chains run beside it.

    Args:
        key: The parent key.
        n_chains: Number of chains.

    Returns:
        Keys of shape (n_chains,).
    """
    check_key(key)
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(n_chains))


def key_at(key: Key, index: Int[jax.Array, ""] | int) -> Key:
    """The key of step or site number `index`, the same whether reached at once or by resuming."""
    return jax.random.fold_in(key, index)
