"""What a designer may choose: named parameters with units and bounds, and what they cost."""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require
from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.typing import Scalar


class Parameter(NamedTuple):
    """A quantity that is chosen, before it is part of a design.

    Attributes:
        value: One number or an array of them.
        unit: Of the value; written out, not converted.
        low: Least value that is allowed; None for no bound.
        high: Largest value that is allowed; None for no bound.
    """

    value: Any
    unit: str = ""
    low: float | None = None
    high: float | None = None


class Bounds(NamedTuple):
    """Open interval of a parameter, and the smooth one-to-one map of the real line onto it."""

    low: float | None
    high: float | None

    def to_value(self, free: Float[Array, "*param"]) -> Float[Array, "*param"]:
        r"""From the real line: identity, $\mathrm{softplus}$ from one bound, a sigmoid between two.

        Args:
            free: Any real numbers.

        Returns:
            Numbers inside the bounds.
        """
        match self.low, self.high:
            case None, None:
                return free
            case low, None:
                return low + jax.nn.softplus(free)
            case None, high:
                return high - jax.nn.softplus(-free)
            case low, high:
                return low + (high - low) * jax.nn.sigmoid(free)

    def to_free(self, value: Float[Array, "*param"]) -> Float[Array, "*param"]:
        """The inverse of `to_value`.

        Args:
            value: Numbers inside the bounds.

        Returns:
            Real numbers.
        """
        match self.low, self.high:
            case None, None:
                return value
            case low, None:
                return _inverse_softplus(value - low)
            case None, high:
                return -_inverse_softplus(high - value)
            case low, high:
                return jnp.log(value - low) - jnp.log(high - value)


def _inverse_softplus(value: Array) -> Array:
    return value + jnp.log(-jnp.expm1(-value))


class Design(eqx.Module):
    """Named parameters with units inside their bounds.

    A design is a pytree whose only leaves are its values: `jax.grad` with respect to it gives a
    design that holds the derivatives, each in the unit of the objective per its own.

    Example:
        ```python
        design = Design(absorber=Parameter(2.0, "mm", 0.5, 10.0), gap=Parameter(5.0, "mm", 1.0))
        design["absorber"]
        ```

    Attributes:
        values: By name.
        units: By name.
        bounds: By name.

    Raises:
        ConfigError: There is no parameter, a value is not finite or not inside its bounds, or the
            bounds are crossed.
    """

    values: dict[str, Array]
    units: tuple[tuple[str, str], ...] = eqx.field(static=True)
    bounds: tuple[tuple[str, Bounds], ...] = eqx.field(static=True)

    def __init__(self, **parameters: Parameter) -> None:
        require(len(parameters) > 0, "parameters", "name at least one", parameters)
        for name, parameter in parameters.items():
            _require_inside(name, parameter)
        self.values = {
            name: jnp.asarray(parameter.value, dtype=float)
            for name, parameter in parameters.items()
        }
        self.units = tuple((name, parameter.unit) for name, parameter in parameters.items())
        self.bounds = tuple(
            (name, Bounds(parameter.low, parameter.high)) for name, parameter in parameters.items()
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters, in their order."""
        return tuple(name for name, _ in self.units)

    def __getitem__(self, name: str) -> Float[Array, "*param"]:
        """A value by its name.

        Args:
            name: Of the parameter.

        Returns:
            Its value.

        Raises:
            ConfigError: There is none of that name; the nearest are listed.
        """
        if name not in self.values:
            near = difflib.get_close_matches(name, self.names, n=3, cutoff=0.3) or self.names
            raise ConfigError(
                f"Argument `name` must be a parameter of the design, but it is {name!r}; "
                f"near it: {', '.join(near)}."
            )
        return self.values[name]

    def replace(self, **values: Any) -> "Design":
        """The design with other values.

        Args:
            values: By name; of the shapes of the old ones.

        Returns:
            The new design.

        Raises:
            ConfigError: A name is unknown, or a value outside its bounds.
            ShapeError: A value has another shape.
        """
        bounds, new = dict(self.bounds), dict(self.values)
        for name, value in values.items():
            old = self[name]
            _require_inside(name, Parameter(value, "", *bounds[name]))
            new[name] = jnp.asarray(value, dtype=float)
            if new[name].shape != old.shape:
                raise ShapeError(
                    f"Argument `{name}` must have shape {old.shape}, but it has shape "
                    f"{new[name].shape}."
                )
        return self._with(new)

    def to_free(self) -> Float[Array, " param"]:
        """All values as one vector of real numbers without bounds, for an optimiser.

        Returns:
            The vector; `from_free` brings it back.
        """
        bounds = dict(self.bounds)
        parts = [jnp.ravel(bounds[name].to_free(self.values[name])) for name in self.names]
        return jnp.concatenate(parts)

    def from_free(self, free: Float[Array, " param"]) -> "Design":
        """The design of a vector without bounds.

        Args:
            free: As `to_free` makes it.

        Returns:
            The design, inside its bounds.
        """
        bounds, new, start = dict(self.bounds), {}, 0
        for name in self.names:
            old = self.values[name]
            part = free[start : start + old.size].reshape(old.shape)
            new[name], start = bounds[name].to_value(part), start + old.size
        return self._with(new)

    def to_vector(self) -> Float[Array, " param"]:
        """All values in their units as one vector.

        Returns:
            The vector.
        """
        return jnp.concatenate([jnp.ravel(self.values[name]) for name in self.names])

    def _with(self, values: Mapping[str, Array]) -> "Design":
        return eqx.tree_at(lambda design: design.values, self, dict(values))


class LinearCost(eqx.Module):
    r"""What a design costs: $c_0+\sum_i c_i\sum_k p_{ik}$.

    Attributes:
        prices: Of each parameter, per its unit; parameters without a price are free.
        fixed: What is paid in any case.
    """

    prices: dict[str, Scalar]
    fixed: Scalar

    def __init__(self, prices: Mapping[str, float], fixed: float = 0.0) -> None:
        self.prices = {name: jnp.asarray(price, dtype=float) for name, price in prices.items()}
        self.fixed = jnp.asarray(fixed, dtype=float)

    def __call__(self, design: Design) -> Scalar:
        """The cost of a design.

        Args:
            design: It.

        Returns:
            In the unit of the prices.

        Raises:
            ConfigError: A price is for a parameter that the design has not.
        """
        parts = [price * jnp.sum(design[name]) for name, price in self.prices.items()]
        return self.fixed + sum(parts, jnp.zeros(()))


def _require_inside(name: str, parameter: Parameter) -> None:
    low, high = parameter.low, parameter.high
    crossed = low is not None and high is not None and not low < high
    require(not crossed, name, "have its lower bound below its upper one", (low, high))
    known = concrete(jnp.asarray(parameter.value, dtype=float))
    if known is None:
        return
    above = -np.inf if low is None else low
    below = np.inf if high is None else high
    inside = np.isfinite(known) & (known > above) & (known < below)
    rule = f"be finite and lie inside ({above}, {below})"
    require(bool(np.all(inside)), name, rule, known.tolist())
