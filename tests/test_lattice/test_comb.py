"""The comb flow: what it moves, what it is refused, and what its training reaches."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.actions import WilsonAction
from diffhep_lattice.comb_training import ChainKL, train_comb
from diffhep_lattice.exact import sun_log_partition
from diffhep_lattice.flows.comb import comb_flow
from diffhep_lattice.flows.compose import Chain
from diffhep_lattice.flows.coupling import CouplingFlow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SU2, SUN
from diffhep_lattice.training import evaluate
from tests.systems.perturbed import perturb

pytestmark = pytest.mark.fast

BETA = 2.2


@eqx.filter_jit
def push(flow, z):
    return flow.forward_and_log_det(z)


def test_only_the_links_of_the_comb_move(key):
    """Axis 0 but in its first row, and the first row of axis 1 but at its first site."""
    flow = perturb(comb_flow(Lattice((4, 3)), 2, key=key, n_bins=2, hidden=(2,)), 0.2, key=key)
    z = flow.sample_latent(key)
    U, _ = push(flow, z)
    moved = np.max(np.abs(np.asarray(U - z)), axis=(1, 2)) > 1e-12
    expected = np.zeros((2, 4, 3), bool)
    expected[0, :, 1:] = True
    expected[1, 1:, 0] = True
    np.testing.assert_array_equal(moved, expected)


def test_without_conditional_maps_one_plaquette_bears_the_constraint(key):
    r"""The last one stays Haar distributed: $ESS = z(\beta)^2/z(2\beta)$, log Z is exact.

    The training is of one plaquette, the lattice has any size. One in 15,000 seeds fails at 4
    sigma; the seed is fixed.
    """
    flow = comb_flow(Lattice((2, 2)), 2, key=key, n_constrained=1, n_bins=4, hidden=(4,))
    found = train_comb(flow, BETA, key=key, n_plaquette_steps=400, learning_rate=2e-2)
    assert found.chain is None
    losses = found.plaquette.history["loss"]
    assert 0 < losses[-1] < 1e-3 * losses[0]
    flow = CouplingFlow(Lattice((3, 4)), found.flow.bijection, found.flow.group)
    report = evaluate(flow, WilsonAction(BETA, SU2()), 4096, key=key, chunk=4096)
    log_z = sun_log_partition(2, BETA, 12)
    assert abs(report.log_z - log_z) < 4 * report.log_z_error < 0.1
    expected = np.exp(2 * log_one_plaquette(2, BETA) - log_one_plaquette(2, 2 * BETA))
    assert abs(report.ess - expected) < 4 * report.ess_error + 1e-3
    assert report.ess_error < 0.02


def log_one_plaquette(n, beta):
    """The share of one plaquette in a torus so large that the constraint does not matter."""
    return sun_log_partition(n, beta, 10_000) / 10_000


@pytest.mark.parametrize("n", [2, 3])
def test_divergence_of_a_chain_of_haar_matrices(n, key):
    """It is that of its plaquettes; one in 15,000 seeds fails at 4 sigma; the seed is fixed."""
    flow = comb_flow(Lattice((2, 2)), n, key=key, n_constrained=3, n_bins=2, hidden=(2,))
    identity = jax.tree.map(
        lambda x: jnp.zeros_like(x) if eqx.is_inexact_array(x) else x, flow.bijection.splits
    )
    batch = 4096
    loss, info = eqx.filter_jit(ChainKL(BETA, batch))(identity, key, jnp.asarray(0))
    # The variance of beta/N Re tr W is beta^2 / N^2 for SU(2) and half of that for SU(3).
    error = np.sqrt(3 * BETA**2 / n**2 / (1 if n == 2 else 2) / batch)
    assert abs(float(loss) - 3 * log_one_plaquette(n, BETA)) < 4 * error
    assert 0 < float(info["batch_ess"]) < 0.6


def test_densities_of_matrices_take_any_batch_axes(key):
    """The identity on Haar links has log q = 0."""
    flow = CouplingFlow(Lattice((2, 3)), Chain(()), SUN(3))
    U, log_q = flow.sample_and_log_prob(key, 4)
    assert U.shape == (4, 2, 3, 3, 2, 3)
    np.testing.assert_array_equal(log_q, 0.0)
    assert flow.log_prob(U.reshape(2, 2, *U.shape[1:])).shape == (2, 2)
    assert flow.log_prob(U[0]).shape == ()
    with pytest.raises(ShapeError, match="flow's fields"):
        flow.log_prob(U[..., :-1])


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((4, 4, 4), {}, "shape.*two directions"),
        ((4, 4), {"n_constrained": 0}, "n_constrained.*at least 1"),
        ((4, 4), {"n_colors": 4}, "n_colors.*2 or 3"),
        ((4, 4), {"n_bins": 0}, "n_bins.*at least 1"),
    ],
)
def test_bad_settings_are_refused(shape, settings, message, key):
    with pytest.raises(ConfigError, match=message):
        comb_flow(Lattice(shape), **{"n_colors": 2, "key": key, **settings})


def test_training_refuses_other_flows_and_couplings(key):
    with pytest.raises(ConfigError, match=r"flow.*comb_flow"):
        train_comb(CouplingFlow(Lattice((2, 2)), Chain(()), SUN(2)), BETA, key=key)
    with pytest.raises(ConfigError, match="beta"):
        train_comb(comb_flow(Lattice((2, 2)), 2, key=key, n_constrained=1), -1.0, key=key)
