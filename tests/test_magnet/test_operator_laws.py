"""Laws that every operator obeys: cut and carried on, rate, gradients, own states."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep.magnet.forecasters import learned_field
from diffhep.magnet.operators import (
    BoucWen,
    BoucWenForce,
    Calibration,
    ColemanHodgdon,
    Dynamic,
    EddyCascade,
    HystereticOscillator,
    JilesAtherton,
    Parallel,
    Play,
    PrandtlIshlinskii,
    Preisach,
    RelayPreisach,
    Series,
    Stop,
    cell_everett,
    relay_mesh,
)

pytestmark = pytest.mark.fast

_NODES = np.linspace(-2.0, 2.0, 9)
_MASS = np.exp(-np.add.outer((_NODES[1:] - 0.5) ** 2, (_NODES[:-1] + 0.5) ** 2))
_UP, _DOWN = relay_mesh(-2.0, 2.0, 8)

_LINEAR = learned_field(
    np.array([[0.0, 1.0], [-1.0, -0.2]]),
    np.array([0.0, 1.0]),
    np.array([1.0, 0.0]),
    3,
    key=jax.random.key(0),
)
_FIELD = eqx.tree_at(lambda field: field.outer, _LINEAR, jnp.full((2, 3), 0.2))

STATIC = {
    "play": Play(0.3),
    "stop": Stop(0.3),
    "prandtl_ishlinskii": PrandtlIshlinskii([0.05, 0.2, 0.7], [1.0, 0.5, -0.3]),
    "preisach": Preisach(cell_everett(_NODES, 0.5 * (_MASS + _MASS[::-1, ::-1].T)), capacity=8),
    "relays": RelayPreisach(_UP, _DOWN, np.linspace(0.1, 1.0, len(_UP))),
    "bouc_wen": BoucWen(1.0, 0.7, 0.2, 1.5, elastic=0.4),
    "jiles_atherton": JilesAtherton(1.6, 0.4, 1e-3, 0.3, 0.2),
    "coleman_hodgdon": ColemanHodgdon(1.5, 1.0, 0.3),
    "calibration": Calibration([-1.0, 0.0, 2.0], [-2.0, 0.5, 1.0]),
    "series": Series((Play(0.2), Calibration([-1.0, 1.0], [-2.0, 3.0]))),
}
"""Operators that know no rate."""

OPERATORS = STATIC | {
    "dynamic": Dynamic(HystereticOscillator(1.0, 0.3, 2.0, BoucWenForce(1.0, 0.5, 0.2)), 2),
    "neural_ode": Dynamic(_FIELD),
    "eddy": EddyCascade([0.6, 0.3], [0.5, 2.0]),
    "held": EddyCascade([0.6, 0.3], [0.5, 2.0], "constant"),
    "parallel": Parallel((Play(0.2), EddyCascade([0.5], [1.0]))),
}

SMOOTH = sorted(OPERATORS.keys() - {"relays"})
"""Those whose output is continuous in the input."""

INPUTS = jnp.array([0.113, 0.917, 1.329, 0.441, -0.637, -0.271, 0.557, 0.311, 0.379, -1.223, 1.031])
"""With many reversals, and nowhere at a kink of an operator below."""

STEPS = jnp.linspace(0.1, 0.6, INPUTS.size)

every = pytest.mark.parametrize("name", sorted(OPERATORS))


@eqx.filter_jit
def run(operator, u, dt, state=None):
    return operator(u, dt, state=state)


@every
def test_a_series_may_be_cut_and_carried_on(name):
    operator = OPERATORS[name]
    whole, end = run(operator, INPUTS, STEPS)
    first, state = run(operator, INPUTS[:6], STEPS[:6])
    second, last = run(operator, INPUTS[6:], STEPS[6:], state)
    np.testing.assert_array_equal(jnp.concatenate([first, second]), whole)
    for a, b in zip(jax.tree.leaves(last), jax.tree.leaves(end), strict=True):
        np.testing.assert_array_equal(a, b)


@every
def test_compiled_is_eager(name):
    operator = OPERATORS[name]
    np.testing.assert_allclose(
        operator(INPUTS, STEPS)[0], run(operator, INPUTS, STEPS)[0], rtol=1e-13, atol=1e-13
    )


@every
def test_history_is_the_series_before(name):
    operator = OPERATORS[name]
    state = operator.init(INPUTS[6], INPUTS[:6], 0.5)
    _, expected = operator(INPUTS[1:7], 0.5, state=operator.rest(INPUTS[0]))
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", sorted(STATIC))
def test_static_operators_know_no_rate(name):
    """Neither time steps nor samples that say the same twice change a bit."""
    operator = STATIC[name]
    once, end = run(operator, INPUTS, STEPS)
    twice, same = run(operator, jnp.repeat(INPUTS, 2), 7.0)
    np.testing.assert_array_equal(twice[::2], once)
    np.testing.assert_array_equal(twice[1::2], once)
    for a, b in zip(jax.tree.leaves(end), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient_by_parameters_and_inputs(name):
    """Against central differences along a random direction."""
    arrays, rest = eqx.partition(OPERATORS[name], eqx.is_inexact_array)
    numbers = np.random.default_rng(len(name))
    direction = jax.tree.map(
        lambda x: jnp.asarray(numbers.normal(size=x.shape), x.dtype), (arrays, INPUTS)
    )
    # The nodes of a grid and the radii of plays are places of kinks: they stay.
    held = ("nodes", "rectangles", "triangles_below")
    direction = jax.tree_util.tree_map_with_path(
        lambda path, x: 0.0 * x if any(name in jax.tree_util.keystr(path) for name in held) else x,
        direction,
    )

    @jax.jit
    def along(t):
        moved, u = jax.tree.map(lambda x, d: x + t * d, (arrays, INPUTS), direction)
        return jnp.sum(jnp.cos(jnp.arange(u.size)) * eqx.combine(moved, rest)(u, STEPS)[0])

    width = 1e-5
    expected = (along(width) - along(-width)) / (2 * width)
    for derivative in (jax.grad, jax.jacfwd):
        assert abs(derivative(along)(0.0) - expected) < 1e-6 * (1.0 + abs(expected))


@every
def test_a_state_of_another_operator_is_refused(name):
    operator = OPERATORS[name]
    other = Play(1.0) if name in ("preisach", "calibration") else OPERATORS["preisach"]
    with pytest.raises(ConfigError, match="must be a state of this"):
        operator(INPUTS, state=other.rest(INPUTS[0]))


@pytest.mark.parametrize(
    ("inputs", "dt", "error", "rule"),
    [
        (jnp.array([0.0, jnp.nan]), 1.0, DataError, "at index 1 it is nan"),
        (jnp.array([0.0, 1.0]), 0.0, DataError, "positive, but at index 0 it is 0.0"),
        (jnp.array([0.0, 1.0]), jnp.ones(3), ShapeError, "as long as `u`"),
        (jnp.zeros((2, 2)), 1.0, ShapeError, "a series along one axis"),
    ],
)
def test_bad_series(inputs, dt, error, rule, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=rule):
        Play(1.0)(inputs, dt)


@pytest.mark.parametrize(
    ("build", "error", "rule"),
    [
        (lambda: Play(-1.0), ConfigError, "radius"),
        (lambda: PrandtlIshlinskii([0.0, 0.0], [1.0, 1.0]), ConfigError, "rise"),
        (lambda: PrandtlIshlinskii([0.0, 1.0], [1.0, -2.0]).inverse(), ConfigError, "partial sums"),
        (lambda: PrandtlIshlinskii([0.5, 1.0], [1.0, 2.0]).inverse(), ConfigError, "start with 0"),
        (lambda: RelayPreisach([0.0], [1.0], [1.0]), ConfigError, "1.0 above 0.0 at index 0"),
        (lambda: BoucWen(1.0, 0.5, 0.5, 0.5), ConfigError, "exponent"),
        (lambda: JilesAtherton(1.0, 1.0, 0.0, 1.0, 1.0), ConfigError, "reversibility"),
        (lambda: EddyCascade([1.0], [0.0]), ConfigError, "tau_s"),
        (lambda: Calibration([0.0, 1.0, 2.0], [0.0, 1.0, 0.9]), ConfigError, "0.9 at index 2"),
        (lambda: cell_everett([0.0, 1.0], np.ones((2, 2))), ShapeError, "1 x 1"),
    ],
)
def test_bad_parameters(build, error, rule, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=rule):
        build()
