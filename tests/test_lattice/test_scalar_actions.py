"""Scalar actions link by link, on doubled links, and their bad input; HMC against exact values."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.sampling import sample
from diffhep.core.stats import gamma_method, pull
from diffhep_lattice import exact
from diffhep_lattice.actions import Phi4Action, SumAction, XYAction
from diffhep_lattice.groups import Reals, random_momentum
from diffhep_lattice.samplers import hmc, leapfrog, nested

pytestmark = pytest.mark.fast


def links_of(shape):
    """Pairs of sites, once for every direction that joins them."""
    for site in itertools.product(*map(range, shape)):
        for axis, length in enumerate(shape):
            ahead = list(site)
            ahead[axis] = (site[axis] + 1) % length
            yield site, tuple(ahead)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 2, 2, 3)], ids=str)
def test_actions_are_sums_over_links(shape, key):
    phi = jax.random.normal(key, shape)
    values = np.asarray(phi)
    steps = np.array([values[a] - values[b] for a, b in links_of(shape)])
    potential = np.sum(-4.0 * values**2 + 7.0 * values**4)
    assert float(Phi4Action(-4.0, 7.0)(phi)) == pytest.approx(np.sum(steps**2) + potential)
    assert float(XYAction(1.3)(phi)) == pytest.approx(-1.3 * np.sum(np.cos(steps)))


def test_components_are_coupled_by_their_length(key):
    phi = jax.random.normal(key, (3, 2, 4))
    rotation, _ = jnp.linalg.qr(jax.random.normal(jax.random.fold_in(key, 1), (3, 3)))
    action = Phi4Action(-4.0, 7.0, n_components=3)
    turned = jnp.tensordot(rotation, phi, 1)
    assert float(action(turned)) == pytest.approx(float(action(phi)), rel=1e-13)
    np.testing.assert_allclose(
        action.force(turned), jnp.tensordot(rotation, action.force(phi), 1), atol=1e-12
    )
    alone = jnp.zeros((3, 2, 4)).at[1].set(phi[1])
    assert float(action(alone)) == pytest.approx(float(Phi4Action(-4.0, 7.0)(phi[1])))


def test_three_values_of_each_coupling_compile_once():
    n_traces = 0

    @eqx.filter_jit
    def count(action, phi):
        nonlocal n_traces
        n_traces += 1
        return action(phi)

    for mass_squared, coupling in ((-4, 8), (1.0, 0.0), (-3.0, 2.0)):
        count(Phi4Action(mass_squared, coupling), jnp.ones((2, 3)))
    assert n_traces == 1


_N_CHAINS, _N_STEPS, _N_WARM_UP = 128, 200, 50


def run(algorithm, shape, observe, key):
    """Series of chains from a narrow start, without the warm-up.

    Far up the potential the steps would be too coarse: such a start is left late.
    """
    start = 0.3 * jax.random.normal(jax.random.fold_in(key, 1), (_N_CHAINS, *shape))
    result = sample(
        algorithm,
        start,
        _N_STEPS + _N_WARM_UP,
        observe=observe,
        key=key,
        progress=False,
        chunk=_N_STEPS + _N_WARM_UP,
    )
    return {name: x[:, _N_WARM_UP:] for name, x in result.observables.items()}


def compare(series, expected):
    """Pulls below 4.5: one false alarm in 150,000 a number."""
    for name, value in expected.items():
        found = gamma_method(series[name])
        assert found.tau_int < 10.0
        assert found.error < 0.03 * abs(value)
        assert abs(pull(found.mean, found.error, value)) < 4.5


_SCALAR = {
    "phi2": lambda phi: jnp.mean(phi**2),
    "phi4": lambda phi: jnp.mean(phi**4),
    "chi2": lambda phi: jnp.sum(phi) ** 2 / phi.size,
}


@pytest.mark.parametrize("shape", [(2, 2), (2, 3)], ids=str)
def test_hmc_of_phi4_is_exact(shape, key):
    algorithm = hmc(Phi4Action(-4.0, 8.0), step_size=0.08, n_steps=8)
    exactly = exact.phi4(shape, -4.0, 8.0)
    compare(run(algorithm, shape, _SCALAR, key), {name: getattr(exactly, name) for name in _SCALAR})


def test_hmc_of_a_free_field_in_three_dimensions_is_exact(key):
    # Frequencies are 1 to 4.8: a longer trajectory brings some mode back to where it was.
    shape = (2, 3, 2)
    algorithm = hmc(Phi4Action(0.5, 0.0), step_size=0.1, n_steps=5)
    exactly = exact.free_scalar(shape, 0.5)
    expected = {"phi2": exactly.phi2, "phi4": 3 * exactly.phi2**2, "chi2": exactly.chi2}
    compare(run(algorithm, shape, _SCALAR, key), expected)


def test_hmc_of_two_terms_on_two_time_scales_is_exact(key):
    """The potential on the long scale, the free field within."""
    action = SumAction(Phi4Action(-5.0, 8.0), Phi4Action(1.0, 0.0))
    observe = _SCALAR
    algorithm = hmc(
        action, step_size=0.1, n_steps=5, integrator=nested(leapfrog(), leapfrog(), n_inner=2)
    )
    doubled = run(algorithm, (2, 2), observe, key)
    # Two gradient terms: fields are smaller by sqrt 2 for half the mass and a quarter coupling.
    exactly = exact.phi4((2, 2), -2.0, 2.0)
    compare(
        {name: (4 if name == "phi4" else 2) * x for name, x in doubled.items()},
        {name: getattr(exactly, name) for name in observe},
    )


def test_hmc_of_the_xy_model_is_exact(key):
    shape = (2, 3)
    observe = {
        "energy": lambda theta: -XYAction(1.0)(theta) / (2 * theta.size),
        "chi": lambda theta: jnp.abs(jnp.sum(jnp.exp(1j * theta))) ** 2 / theta.size,
    }
    exactly = exact.xy(shape, 1.0, n_nodes=16)
    series = run(hmc(XYAction(1.0), step_size=0.25, n_steps=6), shape, observe, key)
    compare(series, {"energy": exactly.energy, "chi": exactly.chi})


def test_momenta_have_the_form_of_the_field(key):
    for shape in ((7,), (2, 3), (3, 2, 4)):
        momentum = random_momentum(Reals(), jnp.zeros(shape), key=key)
        assert momentum.shape == shape


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: Phi4Action(float("nan"), 1.0), "mass_squared"),
        (lambda: Phi4Action(-1.0, 0.0), "mass_squared"),
        (lambda: Phi4Action(1.0, -0.1), "coupling"),
        (lambda: Phi4Action(1.0, 0.1, n_components=0), "n_components"),
        (lambda: XYAction(-1.0), "beta"),
        (lambda: Phi4Action(1.0, 1.0)(jnp.zeros((4, 1))), "shape"),
        (lambda: XYAction(1.0).force(jnp.zeros((1, 4))), "shape"),
    ],
)
def test_bad_settings_are_named(build, argument):
    with pytest.raises(ConfigError, match=f"Argument `{argument}` must"):
        build()


@pytest.mark.parametrize(
    ("phi", "rule"),
    [
        (jnp.zeros((4, 4)), "have shape \\(3, \\*site\\)"),
        (jnp.zeros(3), "have shape \\(3, \\*site\\)"),
    ],
)
def test_wrong_fields_are_named(phi, rule):
    with pytest.raises(ShapeError, match=f"Argument `phi` must {rule}"):
        Phi4Action(1.0, 1.0, n_components=3)(phi)


def test_actions_need_double_precision():
    for action in (Phi4Action(1.0, 1.0), XYAction(1.0)):
        with jax.enable_x64(False), pytest.raises(ConfigError, match="jax_enable_x64"):
            action(jnp.zeros((2, 2)))
