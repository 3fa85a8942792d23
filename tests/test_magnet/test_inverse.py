"""Feed-forward by bisection: round trips on the stack of reversals, derivatives, limits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep.magnet import InverseState, MonotoneInverse, Parallel, Polynomial, Preisach
from diffhep.magnet.operators import UniformEverett

pytestmark = pytest.mark.fast

INPUTS = np.array([0.2, 0.7, 0.4, 0.55, 0.1, -0.8, -0.3, -0.5, 0.6, 0.9, -0.2, 0.85])


def _operator(density=0.3):
    return Parallel((Polynomial([0.0, 0.5], -1.0, 1.0), Preisach(UniformEverett(density), 12)))


@eqx.filter_jit
def run(operator, u, state):
    return operator(u, 1.0, state=state)


def test_round_trip_of_input_and_output():
    """From rest, then carried on."""
    operator, rest = _operator(), _operator().rest(jnp.asarray(0.0))
    inverse = MonotoneInverse(operator, -1.0, 1.0)
    y, end = run(operator, jnp.asarray(INPUTS), rest)
    back, _ = run(inverse, y, InverseState(rest))
    np.testing.assert_allclose(back, INPUTS, atol=1e-12)
    y, _ = run(operator, jnp.asarray(INPUTS[::-1]), end)
    back, _ = run(inverse, y, InverseState(end))
    np.testing.assert_allclose(back, INPUTS[::-1], atol=1e-12)


def test_a_preisach_operator_reaches_the_outputs_asked_for():
    """Flat at its reversals, where inputs are not unique to rounding: outputs are."""
    operator = Preisach(UniformEverett(0.5), 12)
    rest = operator.rest(jnp.asarray(INPUTS[0]))
    y, _ = run(operator, jnp.asarray(INPUTS), rest)
    inverse = operator.inverse(-1.0, 1.0)
    back, _ = run(inverse, y, inverse.rest(y[0]))
    np.testing.assert_allclose(run(operator, back, rest)[0], y, atol=1e-12)
    np.testing.assert_allclose(back, INPUTS, atol=1e-6)


def test_an_output_out_of_reach_gives_the_end_of_the_range():
    inverse = MonotoneInverse(_operator(), -1.0, 0.5)
    state = InverseState(_operator().rest(jnp.asarray(0.0)))
    found, _ = run(inverse, jnp.asarray(np.tile([3.0, -3.0], 6)), state)
    np.testing.assert_allclose(found, np.tile([0.5, -1.0], 6), atol=1e-12)


def test_derivatives_are_those_of_the_implicit_function():
    rest = _operator().rest(jnp.asarray(0.0))
    y, _ = run(_operator(), jnp.asarray(INPUTS), rest)
    weight = jnp.asarray(np.cos(np.arange(INPUTS.size)))

    @jax.jit
    def value(density, y):
        inverse = MonotoneInverse(_operator(density), -1.0, 1.0)
        return weight @ inverse(y, state=InverseState(_operator(density).rest(jnp.zeros(()))))[0]

    along = jnp.asarray(np.sin(1.0 + np.arange(INPUTS.size)))
    by_density, by_y = jax.jit(jax.grad(value, argnums=(0, 1)))(0.3, y)
    exact = float(by_density + by_y @ along)
    h = 1e-4
    ends = [float(value(0.3 + k * h, y + k * h * along)) for k in (-2, -1, 1, 2)]
    central = (8 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / (12 * h)
    assert abs(exact - central) < 1e-6 * max(1.0, abs(exact))


def test_an_empty_range_is_refused():
    with pytest.raises(ConfigError, match=r"`high` must be above `low` 1\.0, but it is 0\.5"):
        MonotoneInverse(_operator(), 1.0, 0.5)
