"""What an operator with memory offers: a state, a step, a run over a series."""

import abc
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require_shape
from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep.core.typing import Scalar

State = TypeVar("State")


class AbstractOperator(eqx.Module, Generic[State]):
    """A causal map of an input to an output that depends on the input's past.

    The input is a current or a magnetic field strength, the output a field, a magnetisation or a
    force; parameters carry the units. All that an operator knows of the past is in its state, so
    that a series may be cut anywhere and carried on.
    """

    @abc.abstractmethod
    def rest(self, u0: Scalar) -> State:
        """The state at an input that was reached from the demagnetised state in one sweep."""

    @abc.abstractmethod
    def step(self, state: State, u: Scalar, dt: Scalar) -> tuple[State, Scalar]:
        """The state and the output at the next input.

        Args:
            state: The state before.
            u: The input, reached from the one before on a straight line.
            dt: The time that took, in seconds; operators that know no rate ignore it.

        Returns:
            State and output.
        """

    def init(
        self,
        u0: Any,
        history: Float[Array, " past"] | None = None,
        dt: Any = 1.0,
    ) -> State:
        """The state at an input, after a history if there was one.

        Args:
            u0: The input now.
            history: Inputs before, the oldest first, which started demagnetised.
            dt: Seconds between them.

        Returns:
            The state, to be passed to `step` or to a call.

        Raises:
            DataError: The history holds a value that is not finite.
            ShapeError: It is no series.
        """
        u0 = jnp.asarray(u0, dtype=float)
        if history is None:
            return self.rest(u0)
        history = as_series(history, "history")
        return self(jnp.append(history[1:], u0), dt, state=self.rest(history[0]))[1]

    def __call__(
        self,
        u: Float[Array, " time"],
        dt: Float[Array, " time"] | float | Scalar = 1.0,
        *,
        state: State | None = None,
    ) -> tuple[Float[Array, " time"], State]:
        """The output along a series, and the state at its end.

        Args:
            u: Inputs.
            dt: Seconds from the input before to each; one number where they are the same.
            state: The state before the first input; at rest there by default.

        Returns:
            Outputs, and the state to carry on with.

        Raises:
            ConfigError: The state is one of another operator.
            DataError: An input or a time step is not finite, or time does not advance.
            ShapeError: `u` is no series, or `dt` has another length.
        """
        u = as_series(u, "u")
        steps = _time_steps(dt, u.shape[0])
        if state is None:
            state = self.rest(u[0])
        self._require_own(state, u[0])

        def advance(state: State, at: tuple[Scalar, Scalar]) -> tuple[State, Scalar]:
            return self.step(state, *at)

        end, y = jax.lax.scan(advance, state, (u, steps))
        return y, end

    def _require_own(self, state: State, u0: Scalar) -> None:
        """The state has the form of one of this operator."""
        expected = eqx.filter_eval_shape(self.rest, u0)

        def form(tree: Any) -> Any:
            return jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]

        if form(state) != form(expected):
            raise ConfigError(
                f"Argument `state` must be a state of this {type(self).__name__}, but it is one "
                f"of another operator: {type(state).__name__} with arrays of shapes "
                f"{form(state)[1]} where {form(expected)[1]} belong."
            )


def as_series(values: Any, name: str) -> Float[Array, " time"]:
    """A series of numbers as an array, all of them finite.

    Args:
        values: Numbers along one axis.
        name: The argument's name.

    Returns:
        The array, in the default floating dtype at least.

    Raises:
        DataError: A value is not finite; the first one is named. Traced values pass.
        ShapeError: There is another number of axes than one, or no value.
    """
    series = jnp.asarray(values)
    require_shape(
        series.ndim == 1 and series.shape[0] > 0,
        name,
        "be a series along one axis",
        f"shape {series.shape}",
    )
    if not jnp.issubdtype(series.dtype, jnp.floating):
        series = series.astype(float)
    known = concrete(series)
    if known is not None and not np.all(np.isfinite(known)):
        index = int(np.argmin(np.isfinite(known)))
        raise DataError(
            f"Argument `{name}` must be finite, but at index {index} it is {known[index]}."
        )
    return series


def _time_steps(dt: Any, n: int) -> Float[Array, " time"]:
    """Positive time steps, one for every input."""
    steps = jnp.asarray(dt, dtype=float)
    if steps.ndim and steps.shape != (n,):
        raise ShapeError(
            f"Argument `dt` must be one number or as long as `u`, {n}, but it has "
            f"shape {steps.shape}."
        )
    known = concrete(steps)
    if known is not None and not np.all((known > 0) & (known < np.inf)):
        wrong = np.atleast_1d(known)
        index = int(np.argmin((wrong > 0) & (wrong < np.inf)))
        raise DataError(
            f"Argument `dt` must be finite and positive, but at index {index} it is {wrong[index]}."
        )
    return jnp.broadcast_to(steps, (n,))
