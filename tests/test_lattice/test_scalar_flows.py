"""Flows of scalar fields: symmetries, the Jacobian of the integrator, other lattices, samplers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.sampling import sample
from diffhep.core.stats import gamma_method, pull
from diffhep_lattice import exact
from diffhep_lattice.actions import Phi4Action
from diffhep_lattice.flows import (
    Dilation,
    FreeField,
    LineSpline,
    ScalarFlow,
    checkerboard_flow,
    continuous_flow,
    with_steps,
)
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.samplers import alternate, flow_hmc, hmc, independence_metropolis
from diffhep_lattice.training import ReverseKL, evaluate, train
from tests.systems.perturbed import perturb

pytestmark = pytest.mark.fast

_LATTICE = Lattice((4, 4))
_KEY = jax.random.key(0)


@eqx.filter_jit
def push(flow, z):
    return flow.forward_and_log_det(z)


@eqx.filter_jit
def pull_back(flow, phi):
    return flow.inverse_and_log_det(phi)


@pytest.fixture(scope="module")
def continuous():
    """Far from the identity, with kernels that reach around the small torus."""
    flow = continuous_flow(_LATTICE, key=_KEY, n_sines=2, n_modes=2, reach=2, n_steps=6)
    return perturb(flow, 0.15, key=_KEY)


@pytest.fixture(scope="module")
def checkerboard():
    flow = checkerboard_flow(_LATTICE, key=_KEY, n_layers=2, kernel=LineSpline(2), hidden=(2,))
    return perturb(flow, 0.2, key=_KEY)


SQUARE = {
    "step along 0": lambda x: np.roll(x, 1, 0),
    "step along 1": lambda x: np.roll(x, 1, 1),
    "quarter turn": lambda x: np.rot90(x, axes=(0, 1)),
    "reflection": lambda x: np.flip(x, 0),
    "diagonal reflection": lambda x: np.swapaxes(x, 0, 1),
    "sign": np.negative,
}


def test_continuous_flow_has_every_symmetry_of_the_square(continuous, key):
    """All at once in one batch; the generators generate the whole group."""
    z = np.asarray(jax.random.normal(key, _LATTICE.shape))
    batch = np.stack([z, *(act(z) for act in SQUARE.values())], axis=-1)
    fields, log_dets = push(continuous, batch)
    assert float(np.std(fields[..., 0] - z)) > 0.1
    for index, act in enumerate(SQUARE.values(), start=1):
        np.testing.assert_allclose(fields[..., index], act(np.asarray(fields[..., 0])), atol=1e-12)
    np.testing.assert_allclose(log_dets, log_dets[0], atol=1e-11)


def test_checkerboard_flow_has_its_symmetries(checkerboard, key):
    """Even steps, diagonal ones with the parities exchanged left out, and the sign."""
    z = np.asarray(jax.random.normal(key, _LATTICE.shape))
    acts = (np.negative, lambda x: np.roll(x, (1, 1), (0, 1)), lambda x: np.roll(x, 2, 1))
    batch = np.stack([z, *(act(z) for act in acts)], axis=-1)
    fields, log_dets = push(checkerboard, batch)
    for index, act in enumerate(acts, start=1):
        np.testing.assert_allclose(fields[..., index], act(np.asarray(fields[..., 0])), atol=1e-12)
    np.testing.assert_allclose(log_dets, log_dets[0], atol=1e-11)


def test_couplings_need_not_be_odd(key):
    flow = checkerboard_flow(
        _LATTICE, key=_KEY, n_layers=2, kernel=Dilation(), hidden=(2,), is_odd=False
    )
    flow = perturb(flow, 0.2, key=_KEY)
    z = jax.random.normal(key, _LATTICE.shape)
    fields, _ = push(flow, jnp.stack([z, -z], axis=-1))
    assert float(jnp.max(jnp.abs(fields[..., 0] + fields[..., 1]))) > 1e-3


@eqx.filter_jit
def jacobian_log_det(flow, z):
    """Of the map that is used, the integrator's."""

    def field(x):
        return flow.forward_and_log_det(x.reshape(z.shape))[0].ravel()

    return jnp.linalg.slogdet(jax.jacfwd(field)(z.ravel()))[1]


def test_eighth_order_has_the_jacobian_of_its_own_map(continuous, key):
    """The integral of the divergence against autodiff through the steps, and the way back.

    The fourth order in two steps shows that the test can tell.
    """
    z = 1.5 * jax.random.normal(key, _LATTICE.shape)
    errors = {}
    for order, n_steps in ((8, 6), (4, 2)):
        flow = with_steps(continuous, n_steps, order)
        field, log_det = push(flow, z)
        back, inverse_log_det = pull_back(flow, field)
        errors[order] = (
            abs(float(log_det - jacobian_log_det(flow, z))),
            float(jnp.max(jnp.abs(back - z))),
            abs(float(log_det + inverse_log_det)),
        )
    assert errors[8][0] < 1e-8
    assert errors[8][1] < 1e-9
    assert errors[8][2] < 1e-8
    assert min(errors[4]) > 1e-6


@pytest.mark.parametrize("name", ["continuous", "checkerboard"])
def test_parameters_mean_the_same_on_a_larger_lattice(name, request, key):
    """A field with the small lattice's period is mapped to the repeated image."""
    flow = request.getfixturevalue(name)
    z = jax.random.normal(key, (*_LATTICE.shape, 1))
    field, log_det = push(flow, z)
    larger = flow.on(Lattice((8, 4)))
    repeated, repeated_log_det = push(larger, jnp.tile(z, (2, 1, 1)))
    np.testing.assert_allclose(repeated, jnp.tile(field, (2, 1, 1)), atol=1e-11)
    assert larger.sample_latent(key).shape == (8, 4)
    assert repeated_log_det.shape == log_det.shape


def free_flow(lattice, mass_squared):
    return ScalarFlow(lattice, FreeField(jnp.log(mass_squared)))


@pytest.mark.parametrize("shape", [(2, 2), (3, 4)], ids=str)
def test_free_field_is_exact(shape, key):
    """Every weight is Z, on doubled links and odd lengths too."""
    report = evaluate(free_flow(Lattice(shape), 0.7), Phi4Action(0.7, 0.0), 64, key=key)
    expected = exact.free_scalar(shape, 0.7).log_z
    np.testing.assert_allclose(report.log_weights, expected, atol=1e-11)


def test_training_finds_the_mass_of_the_free_field(key):
    """The path gradient vanishes at the optimum, so that it is found without noise."""
    loss = ReverseKL(Phi4Action(2.0, 0.0), 64)
    fitted = train(
        free_flow(Lattice((2, 3)), 1.0), loss, 150, key=key, learning_rate=0.1, progress=False
    )
    assert float(fitted.model.bijection.log_mass_squared) == pytest.approx(np.log(2.0), abs=1e-3)


_SHAPE, _M2, _COUPLING = (2, 3), -4.0, 8.0
_ACTION = Phi4Action(_M2, _COUPLING)
_FLOW = free_flow(Lattice(_SHAPE), 1.0)
_HMC = hmc(_ACTION, step_size=0.08, n_steps=8)

SAMPLERS = {
    "independence": independence_metropolis(_FLOW, _ACTION),
    "flow_hmc": flow_hmc(_FLOW, _ACTION, step_size=0.2, n_steps=5),
    "alternate": alternate(_HMC, independence_metropolis(_FLOW, _ACTION)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_with_a_flow_are_exact(name, key):
    """Pulls below 4.5: one false alarm in 150,000 a number."""
    start = 0.3 * jax.random.normal(jax.random.fold_in(key, 1), (128, *_SHAPE))
    result = sample(
        SAMPLERS[name],
        start,
        250,
        observe={"phi2": lambda x: jnp.mean(x**2), "chi2": lambda x: jnp.sum(x) ** 2 / x.size},
        key=key,
        progress=False,
        chunk=250,
    )
    exactly = exact.phi4(_SHAPE, _M2, _COUPLING)
    for observable, series in result.observables.items():
        found = gamma_method(series[:, 50:])
        reference = getattr(exactly, observable)
        assert found.error < 0.05 * reference
        assert found.tau_int < 15.0
        assert abs(pull(found.mean, found.error, reference)) < 4.5


def test_densities_ask_for_their_own_fields():
    with pytest.raises(ShapeError, match=r"Argument `U` must end with the axes \(2, 3\)"):
        _FLOW.log_prob(jnp.zeros((5, 3, 2)))
    with pytest.raises(ShapeError, match="Argument `configurations` must end with"):
        evaluate(_FLOW, _ACTION, 16, key=_KEY, configurations=jnp.zeros((5, 3, 2)))


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: checkerboard_flow(Lattice((4, 5)), key=_KEY), "shape"),
        (lambda: checkerboard_flow(Lattice((4,)), key=_KEY), "shape"),
        (lambda: checkerboard_flow(_LATTICE, key=_KEY, n_layers=3), "n_layers"),
        (lambda: continuous_flow(Lattice((4, 4, 4)), key=_KEY), "shape"),
        (lambda: continuous_flow(_LATTICE, key=_KEY, n_sines=0), "n_sines"),
        (lambda: continuous_flow(_LATTICE, key=_KEY, mass_squared=0.0), "mass_squared"),
        (lambda: continuous_flow(_LATTICE, key=_KEY, order=5), "order"),
        (lambda: continuous_flow(_LATTICE, key=_KEY, n_steps=0), "n_steps"),
        (lambda: LineSpline(0), "n_bins"),
        (lambda: LineSpline(2, extent=0.0), "extent"),
    ],
)
def test_bad_settings_are_named(build, argument):
    with pytest.raises(ConfigError, match=f"Argument `{argument}` must"):
        build()
