"""Neural ordinary differential equations that start from a linear system.

`Dynamic(field)` is the operator, `OperatorForecaster` its forecaster.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.operators.dynamic import AbstractField

__citations__ = ("arXiv:1806.07366",)


class LearnedField(AbstractField):
    r"""$T\dot x = Ax + b\,u/u_s + W[\tanh(Vx + c) - \tanh c]$, $y = y_s\,d\cdot x$.

    States are dimensionless and mean nothing by themselves.

    Attributes:
        linear: A.
        drive: b.
        inner: V.
        bias: c.
        outer: W.
        readout: d.
        time_s: T.
        u_scale: $u_s$.
        y_scale: $y_s$.
    """

    linear: Float[Array, "state state"]
    drive: Float[Array, " state"]
    inner: Float[Array, "hidden state"]
    bias: Float[Array, " hidden"]
    outer: Float[Array, "state hidden"]
    readout: Float[Array, " state"]
    time_s: float = eqx.field(static=True)
    u_scale: float = eqx.field(static=True)
    y_scale: float = eqx.field(static=True)

    @property
    def n_states(self) -> int:
        """As many as A has rows."""
        return self.linear.shape[0]

    def __call__(self, x: Float[Array, " state"], u: Scalar) -> Float[Array, " state"]:
        """Rates of the states."""
        hidden = jnp.tanh(self.inner @ x + self.bias) - jnp.tanh(self.bias)
        rate = self.linear @ x + self.drive * (u / self.u_scale) + self.outer @ hidden
        return rate / self.time_s

    def read(self, x: Float[Array, " state"]) -> Scalar:
        """The output."""
        return self.y_scale * (self.readout @ x)


def learned_field(
    linear: Float[Array | np.ndarray, "state state"],
    drive: Float[Array | np.ndarray, " state"],
    readout: Float[Array | np.ndarray, " state"],
    width: int = 8,
    *,
    key: Key,
    time_s: float = 1.0,
    u_scale: float = 1.0,
    y_scale: float = 1.0,
) -> LearnedField:
    """A field that is linear before it is trained.

    Args:
        linear: A of the linear system.
        drive: b.
        readout: d.
        width: Hidden units.
        key: Random key.
        time_s: Unit of time.
        u_scale: Of the input.
        y_scale: Of the output.

    Returns:
        The field.

    Raises:
        ConfigError: There is no hidden unit.
        ShapeError: A is not square.
    """
    width = as_integer(width, "width", low=1)
    found = jnp.asarray(linear, dtype=float)
    n = found.shape[0]
    require_shape(found.shape == (n, n), "linear", "be square", f"shape {found.shape}")
    inner_key, bias_key = jax.random.split(key)
    return LearnedField(
        linear=found,
        drive=jnp.asarray(drive, dtype=float),
        inner=jax.random.normal(inner_key, (width, n)) / np.sqrt(n),
        bias=jax.random.normal(bias_key, (width,)),
        outer=jnp.zeros((n, width)),
        readout=jnp.asarray(readout, dtype=float),
        time_s=time_s,
        u_scale=u_scale,
        y_scale=y_scale,
    )
