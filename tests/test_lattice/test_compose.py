"""Bijections made of bijections, on maps that do not commute."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.compose import Chain, Repeat, stack

pytestmark = pytest.mark.instant

_N = 4


class Affine(AbstractBijection):
    """U -> a U + b: two of them do not commute."""

    a: jax.Array = eqx.field(converter=jnp.asarray)
    b: jax.Array = eqx.field(converter=jnp.asarray)
    label: str = eqx.field(static=True, default="affine")

    def forward_and_log_det(self, U):
        return self.a * U + self.b, U[..., 0].size * jnp.log(jnp.abs(self.a)) * _ones(U)

    def inverse_and_log_det(self, U):
        return (U - self.b) / self.a, -U[..., 0].size * jnp.log(jnp.abs(self.a)) * _ones(U)


def _ones(U):
    return jnp.ones(U.shape[-1:])


@pytest.fixture
def maps():
    return [Affine(1.0 + 0.5 * k, 2.0 - k) for k in range(_N)]


@pytest.fixture
def U(key):
    """Three fields on 2 x 3, the batch last."""
    return jax.random.normal(key, (2, 2, 3, 3))


@pytest.fixture(params=["chain", "repeat", "rematerialised", "nested"])
def composed(request, maps):
    return {
        "chain": Chain(tuple(maps)),
        "repeat": Repeat(stack(maps)),
        "rematerialised": Repeat(stack(maps), True),
        "nested": Repeat(stack([Chain(tuple(maps[:2])), Chain(tuple(maps[2:]))])),
    }[request.param]


def test_maps_apply_in_turn_and_log_determinants_add(composed, maps, U):
    expected, total = U, jnp.zeros(3)
    for one in maps:
        expected, log_det = one.forward_and_log_det(expected)
        total = total + log_det
    image, log_det = eqx.filter_jit(composed.forward_and_log_det)(U)
    np.testing.assert_allclose(image, expected, atol=1e-13)
    np.testing.assert_allclose(log_det, total, atol=1e-13)
    swapped, _ = Chain(tuple(maps[::-1])).forward_and_log_det(U)
    assert not np.allclose(image, swapped)


def test_inverse_goes_backwards(composed, U):
    image, log_det = composed.forward_and_log_det(U)
    back, inverse_log_det = composed.inverse_and_log_det(image)
    np.testing.assert_allclose(back, U, atol=1e-13)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-13)


def test_stack_adds_an_axis_and_keeps_the_rest(maps):
    stacked = stack(maps)
    np.testing.assert_array_equal(stacked.a, [one.a for one in maps])
    assert stacked.label == "affine"


def test_rematerialising_changes_no_gradient(maps, U):
    def objective(stacked, rematerialise):
        image, log_det = Repeat(stacked, rematerialise).forward_and_log_det(U)
        return jnp.sum(jnp.sin(image)) + jnp.sum(log_det)

    kept, recomputed = (
        eqx.filter_jit(eqx.filter_grad(objective))(stack(maps), flag) for flag in (False, True)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), kept, recomputed)
    assert float(jnp.min(jnp.abs(kept.a))) > 0.0
