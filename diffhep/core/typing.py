"""Types shared by every package, and the axis words used in array annotations.

Axis words: `batch chain step site mu color time layer hit feature param`. A leading `*` stands
for any number of axes, so `Float[Array, "mu *site"]` is a field of U(1) link angles on a lattice
of any dimension.
"""

from typing import Any, TypeAlias

import jaxtyping
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Key: TypeAlias = PRNGKeyArray
"""A typed `jax.random.key`; raw uint32 keys are not accepted."""

Keys: TypeAlias = jaxtyping.Key[Array, " chain"]
"""One typed key per chain."""

Scalar: TypeAlias = Float[Array, ""]
"""A real number as an array of rank zero."""

Count: TypeAlias = Int[Array, ""]
"""An integer as an array of rank zero."""

Flag: TypeAlias = Bool[Array, ""]
"""A truth value as an array of rank zero."""

PyTree: TypeAlias = Any
"""Any nested structure of arrays that JAX can flatten."""
