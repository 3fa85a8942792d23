"""Every sampler on 8 x 8 at beta = 2 against the exact values, and what is particular to each."""

import json
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import iv
from scipy.stats import kstest, vonmises

from diffhep.core.errors import ConfigError
from diffhep.core.sampling import sample
from diffhep.core.stats import effective_samples, gamma_method, pull
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import plaquette, topological_charge, wilson_loop
from diffhep_lattice.samplers.alternate import alternate
from diffhep_lattice.samplers.angle_sweeps import _SUBLATTICES, _overrelax, _von_mises
from diffhep_lattice.samplers.heatbath import heatbath
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.independence import independence_metropolis
from diffhep_lattice.samplers.instanton import instanton_hit
from diffhep_lattice.samplers.integrators import omelyan4
from diffhep_lattice.samplers.latent_hmc import flow_hmc
from tests.systems.circle_flow import CircleFlow
from tests.systems.plaquette_flow import PlaquetteFlow

pytestmark = pytest.mark.fast

_LATTICE = Lattice((8, 8))
_BETA = 2.0
_ACTION = WilsonAction(_BETA)
_PLAQUETTES = PlaquetteFlow(_LATTICE, _BETA)
_CIRCLE = CircleFlow(_LATTICE, 0.3)

_ROW = next(
    row
    for row in json.loads(
        (Path(__file__).parent.parent / "systems" / "gauge_2d.json").read_text(encoding="utf-8")
    )["u1"]
    if row[:2] == [8, 2]
)
_EXACT = {
    "plaquette": float(_ROW[2]),
    "wilson_2x2": float(_ROW[3]),
    "charge_squared": float(_ROW[5]),
}
_OBSERVE = {
    "plaquette": plaquette,
    "wilson_2x2": lambda U: wilson_loop(U, 2, 2),
    "charge_squared": lambda U: topological_charge(U) ** 2,
    "charge": topological_charge,
}

_MAX_PULL = 4.0
"""One false alarm in 16,000 per observable."""

_MIN_EFFECTIVE = 1000

_SAMPLERS = {
    "hmc": hmc(_ACTION, step_size=0.2, n_steps=6),
    "hmc_omelyan4": hmc(_ACTION, step_size=0.6, n_steps=2, integrator=omelyan4()),
    "independence_metropolis": independence_metropolis(_PLAQUETTES, _ACTION),
    "flow_hmc": flow_hmc(_CIRCLE, _ACTION, step_size=0.2, n_steps=6),
    "alternate_hmc_independence": alternate(
        hmc(_ACTION, step_size=0.2, n_steps=3), independence_metropolis(_PLAQUETTES, _ACTION)
    ),
    "alternate_flow_hmc_instanton": alternate(
        flow_hmc(_CIRCLE, _ACTION, step_size=0.2, n_steps=4), instanton_hit(_ACTION)
    ),
    "heatbath": heatbath(_ACTION),
    "heatbath_overrelaxed_instanton": alternate(
        heatbath(_ACTION, n_overrelaxation=1), instanton_hit(_ACTION)
    ),
}
_N_STEPS = {"heatbath": 50, "heatbath_overrelaxed_instanton": 50}
"""Measured transitions of samplers that decorrelate in one sweep; the others make 200."""

_REVERSIBLE = ("hmc", "independence_metropolis", "flow_hmc")


def run(algorithm, key, n_steps, n_chains=64, burn_in=50):
    """Chains from a hot start, the warm-up cut off."""
    start = jax.random.uniform(key, (n_chains, 2, *_LATTICE.shape), minval=-np.pi, maxval=np.pi)
    result = sample(algorithm, start, burn_in + n_steps, observe=_OBSERVE, key=key, progress=False)
    return {name: series[:, burn_in:] for name, series in result.observables.items()}


@pytest.mark.parametrize("name", _SAMPLERS)
def test_sampler_reproduces_the_exact_values(name, key):
    series = run(_SAMPLERS[name], key, n_steps=_N_STEPS.get(name, 200))
    for observable, reference in _EXACT.items():
        x = series[observable]
        result = gamma_method(x)
        assert effective_samples(x.size, result.tau_int) >= _MIN_EFFECTIVE, observable
        assert abs(pull(result.mean, result.error, reference)) < _MAX_PULL, observable
    charge = gamma_method(series["charge"])
    assert abs(pull(charge.mean, charge.error, 0.0)) < _MAX_PULL
    if name in _REVERSIBLE:
        # In a reversible chain <f(x) g(x')> = <g(x) f(x')>. The difference all but telescopes along
        # a chain, so that its error comes from the spread of the independent chains.
        f, g = series["plaquette"], series["wilson_2x2"]
        flux = np.mean(f[:, :-1] * g[:, 1:] - g[:, :-1] * f[:, 1:], axis=1)
        assert abs(pull(flux.mean(), flux.std(ddof=1) / np.sqrt(len(flux)), 0.0)) < _MAX_PULL


def test_independence_accepts_as_the_weights_foretell(key):
    """Only the last plaquette's weight e^{beta cos} varies, and its angle is about uniform."""
    algorithm = _SAMPLERS["independence_metropolis"]
    U, log_q = eqx.filter_jit(_PLAQUETTES.sample_and_log_prob)(key, 4000)
    log_weight = np.asarray(-eqx.filter_vmap(_ACTION)(U) - log_q)
    weight = np.exp(log_weight - log_weight.max())
    fraction = weight.mean() ** 2 / (weight**2).mean()
    expected = iv(0, _BETA) ** 2 / iv(0, 2 * _BETA)
    assert fraction == pytest.approx(expected, abs=0.05)
    error = weight.std() / weight.mean() / np.sqrt(weight.size)
    log_z = np.log(weight.mean()) + log_weight.max()
    assert abs(log_z - exact.u1_log_partition(_BETA, _LATTICE.volume)) < _MAX_PULL * error
    # The acceptance of one step from equilibrium is the mean of min(1, w'/w) over w-weighted w.
    state = algorithm.init(U[0])
    assert float(state.log_weight) == pytest.approx(log_weight[0], abs=1e-9)


@pytest.mark.parametrize("kappa", [0.0, 1e-7, 0.01, 1.0, 30.0, 2000.0])
def test_von_mises_draws_have_their_density(kappa, key):
    """Kolmogorov-Smirnov, p > 1e-4: one false alarm in 10,000."""
    angle, accepted = jax.jit(lambda k: _von_mises(jnp.full(5000, kappa), key=k))(key)
    assert bool(accepted.all())
    if kappa > 1.0:
        # The wide support of the library's distribution function costs it digits here.
        scaled = np.asarray(angle) * np.sqrt(kappa)
        assert np.var(scaled) == pytest.approx(1.0 + 0.5 / kappa, abs=4 * np.sqrt(2 / 5000))
    distribution = vonmises(kappa).cdf if kappa > 1e-3 else lambda x: (x + np.pi) / (2 * np.pi)
    assert kstest(np.asarray(angle), distribution).pvalue > 1e-4


def test_von_mises_rounds_are_few():
    """The envelope is accepted at least 0.66 of the time, so 64 rounds are never used up."""
    kappa = jnp.linspace(0.0, 100.0, 1000)
    _, accepted = jax.vmap(lambda k: _von_mises(kappa, key=k))(
        jax.random.split(jax.random.key(0), 20)
    )
    assert bool(accepted.all())


@pytest.mark.parametrize("shape", [(4, 6), (2, 2)])
def test_overrelaxation_keeps_the_action_and_is_its_own_inverse_in_reverse(shape, key):
    U = jax.random.normal(key, (2, *shape))
    V = U
    for direction, parity in _SUBLATTICES:
        V = _overrelax(V, direction, parity, _ACTION.beta)
    assert float(jnp.max(jnp.abs(V - U))) > 0.1
    assert float(_ACTION(V)) == pytest.approx(float(_ACTION(U)), abs=1e-11)
    for direction, parity in reversed(_SUBLATTICES):
        V = _overrelax(V, direction, parity, _ACTION.beta)
    np.testing.assert_allclose(np.exp(1j * V), np.exp(1j * U), atol=1e-12)


def test_heatbath_touches_every_link_and_reports_kept_ones(key):
    algorithm = heatbath(_ACTION)
    U = jax.random.normal(key, (2, 4, 6))
    state, info = algorithm.step(key, algorithm.init(U))
    assert bool(jnp.all(state.position != U))
    assert float(info.kept_fraction) == 0.0
    assert bool(jnp.all((state.position >= -np.pi) & (state.position < np.pi)))


def test_heatbath_on_doubled_links(key):
    """The 2 x 2 torus: both neighbours of a row are the same row."""
    algorithm = heatbath(_ACTION)
    result = sample(
        algorithm,
        jnp.zeros((256, 2, 2, 2)),
        100,
        observe={"plaquette": plaquette},
        key=key,
        progress=False,
    )
    estimate = gamma_method(result.observables["plaquette"][:, 20:])
    reference = exact.u1_plaquette(_BETA, 4)
    assert abs(pull(estimate.mean, estimate.error, reference)) < _MAX_PULL


def test_instanton_hits_change_the_charge_by_one(key):
    algorithm = instanton_hit(WilsonAction(1.0))
    U = jax.random.normal(key, (2, 16, 16)) * 0.3
    state = algorithm.init(U)
    charges = [float(topological_charge(U))]
    step = eqx.filter_jit(algorithm.step)
    for index in range(30):
        state, info = step(jax.random.fold_in(key, index), state)
        charges.append(float(topological_charge(state.position)))
        assert abs(charges[-1] - charges[-2]) == float(info.accepted)
    assert len(set(charges)) > 1


def test_flow_hmc_equals_hmc_for_the_identity_flow(key):
    """A flow that does nothing: the trajectory is that of plain HMC."""
    latent = flow_hmc(CircleFlow(_LATTICE, 0.0), _ACTION, step_size=0.1, n_steps=5)
    plain = hmc(_ACTION, step_size=0.1, n_steps=5)
    U, p = jax.random.normal(key, (2, 2, *_LATTICE.shape))
    for a, b in zip(latent.trajectory(U, p), plain.trajectory(U, p), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_flow_hmc_is_reversible(key):
    algorithm = flow_hmc(_CIRCLE, _ACTION, step_size=0.05, n_steps=40)
    z, p = jax.random.normal(key, (2, 2, *_LATTICE.shape))
    trajectory = eqx.filter_jit(algorithm.trajectory)
    forth, momentum = trajectory(z, p)
    back, reversed_momentum = trajectory(forth, -momentum)
    np.testing.assert_allclose(back, z, atol=1e-10)
    np.testing.assert_allclose(reversed_momentum, -p, atol=1e-10)


def test_alternate_names_and_nests_its_parts(key):
    algorithm = alternate(hmc(_ACTION), instanton_hit(_ACTION), hmc(_ACTION, n_steps=2))
    state, info = algorithm.step(key, algorithm.init(jnp.zeros((2, 4, 4))))
    assert tuple(info.parts) == ("hmc", "instanton_hit", "hmc_2")
    mean = np.mean([float(part.acceptance_probability) for part in info.parts.values()])
    assert float(info.acceptance_probability) == pytest.approx(mean, abs=1e-15)
    assert state.position.shape == (2, 4, 4)


def test_alternate_is_its_parts_one_after_another(key):
    first, second = hmc(_ACTION), instanton_hit(_ACTION)
    both = alternate(first, second)
    U = jax.random.normal(key, (2, 4, 4))
    state, _ = both.step(key, both.init(U))
    keys = jax.random.split(key, 2)
    middle, _ = first.step(keys[0], first.init(U))
    last, _ = second.step(keys[1], second.init(middle.position))
    np.testing.assert_allclose(state.position, last.position, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: heatbath(_ACTION, n_overrelaxation=-1), "Argument `n_overrelaxation` must"),
        (lambda: heatbath(_ACTION).init(jnp.zeros((2, 4, 5))), "Argument `shape` must hold mult"),
        (alternate, "Argument `algorithms` must"),
    ],
)
def test_bad_arguments_are_named(call, rule):
    with pytest.raises(ConfigError, match=re.escape(rule)):
        call()
