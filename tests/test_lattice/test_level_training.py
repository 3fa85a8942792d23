"""Training by quadrature: the divergence against closed forms and sampling, and its result."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import ConfigError
from diffhep.core.stats import pull
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.flows.multiscale import multiscale_flow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.level_training import LevelKL, train_levels
from diffhep_lattice.training import evaluate
from tests.systems.exact_fields import exact_fields
from tests.systems.perturbed import perturb

pytestmark = pytest.mark.fast

_SHAPE = (2, 2)
_VOLUME = 4

_MAX_PULL = 4.5
"""One false alarm in 150,000 per number."""


@functools.cache
def build_flow(scale=0.2):
    key = jax.random.key(5)
    return perturb(multiscale_flow(Lattice(_SHAPE), key=key, n_bins=4, width=4), scale, key=key)


@functools.cache
def haar_flow():
    return jax.tree.map(lambda a: 0.0 * a if eqx.is_inexact_array(a) else a, build_flow())


@eqx.filter_jit
def divergence(loss, flow, keys):
    """The divergence and that of each level, for several origins of the grids."""
    values, aux = jax.lax.map(lambda key: loss(flow, key, jnp.asarray(0)), keys)
    return values, aux["levels"]


@pytest.mark.parametrize("beta", [0.0, 1.0, 7.0])
def test_divergence_of_haar_fields_is_the_known_one(beta, key):
    r"""$\beta V\langle\cos P\rangle - \log Z$; the integrand is smooth, so quadrature is exact."""
    values, levels = divergence(LevelKL(beta, _VOLUME), haar_flow(), jax.random.split(key, 4))
    expected = beta * _VOLUME * exact.u1_plaquette(beta, _VOLUME)
    expected -= exact.u1_log_partition(beta, _VOLUME)
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(levels.sum(1), values, rtol=1e-12, atol=1e-13)
    assert levels.shape == (4, 2)


def test_divergence_is_that_of_exact_configurations(key):
    r"""$\langle\log p - \log q\rangle_p$ of a flow with random parameters."""
    beta, flow = 1.0, build_flow()
    values, _ = divergence(LevelKL(beta, _VOLUME), flow, jax.random.split(key, 16))
    fields = exact_fields(_SHAPE, beta, 8000, key=key)
    action = np.asarray(jax.jit(jax.vmap(WilsonAction(beta)))(fields))
    log_p = -action - exact.u1_log_partition(beta, _VOLUME)
    sampled = log_p - np.asarray(eqx.filter_jit(flow.log_prob)(fields))
    error = np.hypot(sampled.std() / np.sqrt(sampled.size), values.std() / 4.0)
    assert abs(sampled.mean() - values.mean()) < _MAX_PULL * error
    assert error < 0.05 * sampled.mean()


@pytest.mark.slow
def test_short_training_fits_the_target(key):
    beta, lattice = 1.0, Lattice((4, 4))
    flow = multiscale_flow(lattice, key=key, n_bins=4, width=4)
    result = train_levels(flow, beta, 300, key=key, learning_rate=2e-2, progress=False)
    report = evaluate(result.model, WilsonAction(beta), 4000, key=key)
    assert report.ess > 0.9
    log_z = exact.u1_log_partition(beta, lattice.volume)
    assert abs(pull(report.log_z, report.log_z_error, log_z)) < _MAX_PULL
    assert report.log_z_error < 0.01
    # To leading order 1 / ESS - 1 is twice the divergence.
    loss = float(np.mean(result.history["loss"][-20:]))
    assert 0.0 < loss < 0.06
    assert loss == pytest.approx(0.5 * (1.0 / report.ess - 1.0), rel=0.5)
    assert result.history["levels"].shape == (300, 4)


def test_checkpoint_of_another_theory_is_refused(key, tmp_path):
    options = {"key": key, "checkpoint": Checkpoint(tmp_path / "a"), "progress": False}
    train_levels(build_flow(), 1.0, 0, **options)
    assert train_levels(build_flow(), 1.0, 0, **options)
    changes = [
        ("loss", {"beta": 2.0}),
        ("model", {"flow": haar_flow()}),
        ("learning_rate", {"learning_rate": 1e-3}),
    ]
    for part, change in changes:
        with pytest.raises(ConfigError, match=f"another `{part}`"):
            train_levels(**{"flow": build_flow(), "beta": 1.0, "n_steps": 0, **options, **change})


@pytest.mark.parametrize("beta", [-1.0, float("nan"), float("inf")])
def test_bad_beta_is_refused(beta, key):
    for call in (lambda: LevelKL(beta, 16), lambda: train_levels(haar_flow(), beta, 1, key=key)):
        with pytest.raises(ConfigError, match="Argument `beta` must be finite and at least 0"):
            call()


def test_double_precision_is_needed():
    with (
        jax.enable_x64(False),
        pytest.raises(ConfigError, match="Argument `jax_enable_x64` must be true"),
    ):
        LevelKL(1.0, 16)
