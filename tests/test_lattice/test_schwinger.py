"""The Schwinger model sampled with its exact determinant, against quadrature on 2 x 2."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ConvergenceError
from diffhep.core.sampling import sample
from diffhep.core.stats import gamma_method
from diffhep_lattice import exact
from diffhep_lattice.actions.schwinger import SchwingerAction
from diffhep_lattice.groups import U1
from diffhep_lattice.observables import plaquette
from diffhep_lattice.samplers.hmc import hmc

pytestmark = pytest.mark.fast

_BETA, _KAPPA = 2.0, 0.276
_SIGMAS = 4.5
"""Standard errors allowed: 7e-6 false alarms a comparison."""

_SINGULAR = jnp.zeros((2, 4, 4)).at[1, :, -1].set(np.pi)
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


def test_singular_operator_outside_of_jit():
    with pytest.raises(ConvergenceError, match="it is singular at kappa"):
        SchwingerAction(_BETA, 0.25)(_SINGULAR)
    assert float(eqx.filter_jit(SchwingerAction(_BETA, 0.25))(_SINGULAR)) == np.inf


def test_bad_arguments():
    for arguments, name in (
        ({"beta": -1.0}, "beta"),
        ({"kappa": np.inf}, "kappa"),
        ({"n_flavours": 3}, "n_flavours"),
    ):
        with pytest.raises(ConfigError, match=f"`{name}` must"):
            SchwingerAction(**({"beta": 1.0, "kappa": 0.2} | arguments))
