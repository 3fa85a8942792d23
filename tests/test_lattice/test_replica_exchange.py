"""Replica exchange against the exact values at every rung of the ladder."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.sampling import sample
from diffhep.core.stats import effective_samples, gamma_method, pull
from diffhep_lattice import exact
from diffhep_lattice.actions.phi4 import Phi4Action
from diffhep_lattice.actions.sum import SumAction
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.convolutions import FreeField
from diffhep_lattice.flows.stout import stout_layer
from diffhep_lattice.groups import SUN, U1
from diffhep_lattice.observables import plaquette, topological_charge
from diffhep_lattice.samplers.alternate import Alternate
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.replica_exchange import replica_exchange, round_trips

pytestmark = pytest.mark.fast

MAX_PULL = 4.5
"""One false alarm in 150,000 per number."""

BETAS = (1.0, 2.0, 3.0)
N_CHAINS, BURN_IN = 64, 20


def ladder(betas, group=None, **settings):
    group = U1() if group is None else group
    return [hmc(WilsonAction(beta, group), **settings) for beta in betas]


def starts(group, n_replicas, key):
    draw = jax.vmap(jax.vmap(lambda k: group.haar((2, 4, 4), key=k)))
    return draw(jax.random.split(key, (N_CHAINS, n_replicas)))


def assert_exact(series, reference):
    """Chains of one number, the warm-up cut off, against its exact mean."""
    found = gamma_method(series[:, BURN_IN:])
    assert effective_samples(series[:, BURN_IN:].size, found.tau_int) > 500
    assert abs(pull(found.mean, found.error, reference)) < MAX_PULL


def test_every_rung_has_its_exact_plaquette_and_charge(key):
    algorithm = replica_exchange(ladder(BETAS, step_size=0.25, n_steps=4))
    observe = {
        "plaquette": jax.vmap(plaquette),
        "charge_squared": lambda U: jax.vmap(topological_charge)(U) ** 2,
    }
    result = sample(
        algorithm,
        starts(U1(), len(BETAS), key),
        BURN_IN + 120,
        observe=observe,
        key=key,
        progress=False,
    )
    for rung, beta in enumerate(BETAS):
        plaquettes = result.observables["plaquette"][..., rung]
        assert_exact(plaquettes, exact.u1_plaquette(beta, 16))
        charges = result.observables["charge_squared"][..., rung]
        assert_exact(charges, exact.u1_charge_squared(beta, 16))
        # The replicas are independent: their joint density is a product.
        if rung:
            below = result.observables["plaquette"][..., rung - 1] - exact.u1_plaquette(
                BETAS[rung - 1], 16
            )
            assert_exact(below * (plaquettes - exact.u1_plaquette(beta, 16)), 0.0)
            rate = result.info[f"swaps/{rung - 1}/acceptance_probability"].mean()
            assert 0.05 < rate < 0.9
        assert f"updates/{rung}/acceptance_probability" in result.info
    assert round_trips(result.info).sum() > 100


def swap_once(algorithm, fields, key):
    return algorithm._swap(key, fields, np.array([0]))


@eqx.filter_jit
def by_hand(algorithms, layer, fields):
    """What a swap of two replicas proposes, and the change of all energies."""
    low, high = (algorithm.action for algorithm in algorithms)
    up, down, log_det = fields[0], fields[1], 0.0
    if layer is not None:
        up, log_det_up = layer.forward_and_log_det(up)
        down, log_det_down = layer.inverse_and_log_det(down)
        log_det = log_det_up + log_det_down
    change = low(down) + high(up) - low(fields[0]) - high(fields[1]) - log_det
    return jnp.stack([down, up]), change


@pytest.mark.parametrize("mapped", [False, True])
def test_a_swap_and_its_reverse_obey_detailed_balance(mapped, key):
    group = SUN(2)
    layer = eqx.tree_at(lambda m: m.raw, stout_layer(2), jnp.full((2, 2), 0.04))
    algorithms = ladder((1.0, 1.1), group)
    algorithm = replica_exchange(algorithms, [layer] if mapped else None)
    fields = starts(group, 2, key)[0]
    swap = eqx.filter_jit(swap_once)
    for attempt in range(20):
        after, test = swap(algorithm, fields, jax.random.fold_in(key, attempt))
        if bool(test.accepted[0]):
            break
    proposal, change = by_hand(algorithms, layer if mapped else None, fields)
    np.testing.assert_allclose(after, proposal, atol=1e-10)
    assert float(test.energy_change[0]) == pytest.approx(float(change), abs=1e-8)
    # Back again the change is the opposite one, so that both directions balance.
    again, back = swap(algorithm, after, key)
    assert float(back.energy_change[0]) == pytest.approx(-float(change), abs=1e-8)
    if bool(back.accepted[0]):
        np.testing.assert_allclose(again, fields, atol=1e-9)


class BetweenFreeFields(AbstractBijection):
    """The linear map of a free field to one of another mass, which makes the swap perfect."""

    first: FreeField
    second: FreeField

    def forward_and_log_det(self, phi):
        z, log_det = self.first.inverse_and_log_det(phi)
        phi, more = self.second.forward_and_log_det(z)
        return phi, log_det + more

    def inverse_and_log_det(self, phi):
        return BetweenFreeFields(self.second, self.first).forward_and_log_det(phi)


def test_a_perfect_map_swaps_always_and_keeps_the_exact_values(key):
    """Free fields of two masses on 2x4; without the map the rungs are too far apart."""
    masses = (0.25, 25.0)
    rungs = [hmc(Phi4Action(m, 0.0), step_size=0.2 / (1 + m) ** 0.5, n_steps=4) for m in masses]
    maps = [BetweenFreeFields(*(FreeField(np.log(m)) for m in masses))]
    result = sample(
        replica_exchange(rungs, maps),
        jnp.zeros((N_CHAINS, 2, 2, 4)),
        BURN_IN + 100,
        observe={"phi2": jax.vmap(lambda phi: jnp.mean(phi**2))},
        key=key,
        progress=False,
    )
    np.testing.assert_allclose(result.info["swaps/0/energy_change"], 0.0, atol=1e-10)
    assert result.info["swaps/0/accepted"].all()
    for rung, mass_squared in enumerate(masses):
        series = result.observables["phi2"][..., rung]
        assert_exact(series, exact.free_scalar((2, 4), mass_squared).phi2)
    # By hand, at the last fields: swapped as they are, next to none would be accepted.
    plain = replica_exchange(rungs)
    _, test = swap_once(plain, result.state.position[0], key)
    assert float(test.energy_change[0]) > 3.0


def test_round_trips_are_counted():
    """Three rungs: there and back again, and a walk from the top to the foot and back."""
    lower = [[True, False, True, False], [False, False, True, True]]
    upper = [[True, True, False, False], [True, False, False, True]]
    info = {"swaps/0/accepted": np.array(lower), "swaps/1/accepted": np.array(upper)}
    # Chain 0: 0 climbs to the top at once, comes back to the middle, then to the foot.
    # Chain 1: 2 comes down to the foot and is up again at the end, which is half a trip.
    np.testing.assert_array_equal(round_trips(info), [1, 0])


def test_bad_input(without_shape_checks):
    with pytest.raises(ConfigError, match="`algorithms` must have couplings that only rise or"):
        replica_exchange(ladder((1.0, 3.0, 2.0)))
    with pytest.raises(ConfigError, match="`algorithms` must hold at least 2 algorithms"):
        replica_exchange(ladder((1.0,)))
    with pytest.raises(ConfigError, match="`algorithms` must be a list of sampling"):
        replica_exchange(hmc(WilsonAction(1.0)))
    with pytest.raises(ConfigError, match=r"`algorithms\[...\].action` must be an action"):
        replica_exchange([Alternate((), ()), Alternate((), ())])
    with pytest.raises(ConfigError, match="`algorithms` must be alike"):
        replica_exchange([hmc(WilsonAction(1.0)), hmc(WilsonAction(2.0), n_steps=3)])
    with pytest.raises(ConfigError, match="`algorithms` must be alike"):
        replica_exchange([hmc(WilsonAction(1.0)), hmc(SumAction(WilsonAction(2.0)))])
    with pytest.raises(ConfigError, match="`bijections` must be 1, one from every rung to the"):
        replica_exchange(ladder((1.0, 2.0), SUN(2)), [])
    with pytest.raises(ShapeError, match="`position` must have a leading axis of 2 replicas"):
        replica_exchange(ladder((1.0, 2.0))).init(jnp.zeros((2, 4, 4))[None])
    with pytest.raises(ConfigError, match="`info` must hold"):
        round_trips({"accepted": np.ones((1, 1), bool)})
