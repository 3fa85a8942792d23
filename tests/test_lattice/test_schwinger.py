"""The Schwinger model sampled with its exact determinant, by HMC and with flows, against quadrature
on 2 x 2; and what becomes of a chain that meets a singular Dirac operator."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import ConfigError, ConvergenceError
from diffhep.core.sampling import AbstractSamplingAlgorithm, sample
from diffhep.core.stats import gamma_method
from diffhep_lattice import exact
from diffhep_lattice.actions.schwinger import SchwingerAction
from diffhep_lattice.flows.multiscale import multiscale_flow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import U1
from diffhep_lattice.observables import chiral_condensate, plaquette
from diffhep_lattice.samplers.alternate import alternate
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.independence import independence_metropolis
from diffhep_lattice.samplers.instanton import instanton_hit
from diffhep_lattice.samplers.latent_hmc import flow_hmc
from diffhep_lattice.samplers.pseudofermion_hmc import pseudofermion_hmc
from tests.systems.plaquette_flow import PlaquetteFlow

pytestmark = pytest.mark.fast

_BETA, _KAPPA = 2.0, 0.276
_SIGMAS = 4.5
"""Standard errors allowed: 7e-6 false alarms a comparison."""

_SINGULAR = jnp.zeros((2, 2, 2)).at[1, :, -1].set(np.pi)
"""Has two zero modes at kappa = 1/4."""


def starts(key, n_chains=64):
    return U1().haar((n_chains, 2, 2, 2), key=key, dtype=jnp.float64)


def agrees(series, truth):
    found = gamma_method(series)
    assert series.size / (2 * found.tau_int) > 400
    assert abs(found.mean - truth) < _SIGMAS * found.error


@pytest.mark.parametrize("n_flavours", [1, 2])
def test_hmc_samples_the_model(n_flavours, key):
    """For one flavour the sign is part of the average."""
    action = SchwingerAction(_BETA, _KAPPA, n_flavours=n_flavours)
    result = sample(
        hmc(action, step_size=0.25, n_steps=4),
        starts(key),
        260,
        observe={"plaquette": plaquette, "sign": action.sign},
        key=key,
        progress=False,
    )
    truth = exact.schwinger_2x2(_BETA, _KAPPA, n_flavours)
    series, sign = (result.observables[name][:, 20:] for name in ("plaquette", "sign"))
    # <(P - truth) s> vanishes with the truth.
    agrees((series - truth.plaquette) * sign, 0.0)
    agrees(np.exp(-result.info["energy_change"][:, 20:]), 1.0)
    assert np.mean(result.info["acceptance_probability"]) > 0.8
    assert np.mean(sign) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["independence", "flow_hmc"])
def test_flows_sample_the_model(name, key):
    """Whatever the flow: one knows the plaquettes of pure gauge theory, one nothing."""
    action, lattice = SchwingerAction(_BETA, _KAPPA), Lattice((2, 2))
    if name == "independence":
        flow = PlaquetteFlow(lattice, _BETA)
        sampler, n_steps = independence_metropolis(flow, action), 500
    else:
        flow = multiscale_flow(lattice, key=key, n_bins=2, width=2)
        sampler, n_steps = flow_hmc(flow, action, step_size=0.3, n_steps=4), 250
    first, _ = flow.sample_and_log_prob(key, 64)
    result = sample(
        sampler,
        first,
        n_steps,
        observe={"P": plaquette, "condensate": lambda U: chiral_condensate(U, _KAPPA)},
        key=key,
        progress=False,
    )
    truth = exact.schwinger_2x2(_BETA, _KAPPA, 2)
    assert np.mean(result.info["acceptance_probability"]) > 0.05
    agrees(result.observables["P"][:, 20:], truth.plaquette)
    agrees(result.observables["condensate"][:, 20:], truth.condensate)


class Misled(AbstractSamplingAlgorithm):
    """Another algorithm's chain, put on a singular field now and then."""

    inner: AbstractSamplingAlgorithm

    def init(self, position):
        return self.inner.init(position)

    def step(self, key, state):
        lost = jax.random.bernoulli(key, 0.3)
        return self.inner.step(key, self.init(jnp.where(lost, _SINGULAR, state.position)))


@pytest.mark.parametrize("name", ["pseudofermions", "alternate", "on the way"])
def test_chain_at_a_singular_operator_is_reported_and_saved(name, key, tmp_path):
    action = SchwingerAction(_BETA, 0.25)
    hit = instanton_hit(action)
    sampler = {
        "pseudofermions": pseudofermion_hmc(action, n_steps=1),
        "alternate": alternate(hit, hit),
        "on the way": Misled(hit),
    }[name]
    chains = starts(key, 3)
    if name != "on the way":
        chains = chains.at[1].set(_SINGULAR)
    checkpoint = Checkpoint(tmp_path / "chains")
    with pytest.raises(ConvergenceError) as caught:
        sample(sampler, chains, 20, observe={}, key=key, checkpoint=checkpoint, progress=False)
    text = str(caught.value)
    assert "must have a Dirac operator without zero modes, but it is singular at kappa" in text
    assert "\n" not in text
    assert ("chain 1 did not at step 0:" in text) == (name != "on the way")
    failed = Checkpoint(tmp_path / "chains.failed")
    assert str(failed.path) in text
    assert failed.exists()
    assert np.asarray(_SINGULAR).tobytes() in failed.path.read_bytes()


def test_singular_operator_outside_of_jit():
    with pytest.raises(ConvergenceError, match="it is singular at kappa"):
        SchwingerAction(_BETA, 0.25)(_SINGULAR)
    assert float(eqx.filter_jit(SchwingerAction(_BETA, 0.25))(_SINGULAR)) == np.inf


def test_bad_arguments():
    for arguments, name in (
        ({"beta": -1.0}, "beta"),
        ({"kappa": np.inf}, "kappa"),
        ({"n_flavours": 3}, "n_flavours"),
        ({"boundary": "periodic"}, "boundary"),
    ):
        with pytest.raises(ConfigError, match=f"`{name}` must"):
            SchwingerAction(**({"beta": 1.0, "kappa": 0.2} | arguments))
