"""The flow of Wilson loops: its velocity against the loops, its symmetries, its limits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.rng import key_for
from diffhep_lattice.flows import LoopFlow, trivializing_flow
from diffhep_lattice.flows.link_moves import unmove
from diffhep_lattice.flows.stout import StapleVelocity
from diffhep_lattice.flows.trivializing import LARGEST_SLOPE, N_LOOPS
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SU2, SU3
from diffhep_lattice.groups.matrices import dagger, multiply, multiply_dagger, trace
from diffhep_lattice.links import ahead
from diffhep_lattice.observables.loops import half_plaquettes

pytestmark = pytest.mark.fast


@eqx.filter_jit
def push(flow, z):
    return flow.forward_and_log_det(z)


def loop_sums(U):
    """All W_i, from plaquettes brought to the start of the link that they share."""
    n, (X, Y) = U.shape[1], U
    A, B = half_plaquettes(U, 0, 1)
    P = multiply_dagger(A, B, 0)
    left = multiply(dagger(X, 0), multiply(P, X, 0), 0)
    below = multiply(dagger(Y, 0), multiply(dagger(P, 0), Y, 0), 0)
    pairs = [(left, dagger(ahead(P, 0), 0)), (ahead(P, 1), below)]

    def tr(a):
        return trace(a, 0)

    def over_pairs(value):
        return sum(jnp.sum(value(a, b).real) for a, b in pairs)

    sums = [
        jnp.sum(tr(P).real),
        jnp.sum(jnp.abs(tr(P)) ** 2) / n,
        over_pairs(lambda a, b: tr(multiply_dagger(a, b, 0))),
        over_pairs(lambda a, b: tr(a) * tr(b).conj()) / n,
        over_pairs(lambda a, b: tr(multiply(a, b, 0))),
        over_pairs(lambda a, b: tr(a) * tr(b)) / n,
        jnp.sum((tr(P) ** 2).real) / n,
    ]
    return 2.0 * jnp.stack(sums)


def test_short_steps_follow_the_gradient_of_the_loops(key):
    """To first order a step changes W_i by the product of its gradient with that of all loops."""
    group = SU3()
    U = group.haar((2, 4, 4), key=key_for(key, "links"))
    c = 1e-6 * jax.random.normal(key_for(key, "coefficients"), (1, N_LOOPS))
    p = jnp.zeros((2, *group.algebra_shape, 4, 4))
    gradients = jax.jit(jax.jacrev(lambda p: loop_sums(group.move(U, p))))(p)
    moved, _ = push(LoopFlow(c, 1), U)
    change = jax.jit(loop_sums)(moved) - jax.jit(loop_sums)(U)
    overlaps = jnp.tensordot(gradients, gradients, [(1, 2, 3, 4)] * 2)
    np.testing.assert_allclose(change, overlaps @ c[0], rtol=1e-3, atol=1e-8)
    assert float(jnp.max(jnp.abs(change))) > 1e-5


def test_symmetries(key):
    """Charge conjugation, translations by four sites; a step of one site breaks little."""
    flow = trivializing_flow(Lattice((8, 4)), 3, beta=4.0, n_steps=2)
    z = flow.sample_latent(key)
    fields = jnp.stack([z, z.conj(), jnp.roll(z, 4, 3), jnp.roll(z, 1, 3)], axis=-1)
    U, log_det = push(flow, fields)
    np.testing.assert_allclose(U[..., 1], U[..., 0].conj(), atol=1e-12)
    np.testing.assert_allclose(U[..., 2], jnp.roll(U[..., 0], 4, 3), atol=1e-12)
    np.testing.assert_allclose(log_det[1:3], log_det[0], atol=1e-10)
    broken = float(jnp.abs(log_det[3] - log_det[0]))
    assert 1e-6 < broken < 0.1 * float(jnp.abs(log_det[0]))


def test_inverse_moves_have_the_derivatives_of_finite_differences(key):
    """Those that path gradients take, of the links and of what the velocity holds."""
    group = SU2()
    U, staples, change = group.haar((3, 2), key=key_for(key, "links"))
    direction = jax.random.normal(key_for(key, "direction"), (1, 3, 2))

    @jax.jit
    @jax.value_and_grad
    def value(x):
        velocity = StapleVelocity(staples + x * change, jnp.asarray(0.3) + x)
        links, log_det = unmove(group.move(U[None], x * direction)[0], velocity)
        return jnp.sum(log_det) + jnp.sum((links * change).real)

    h = 1e-4
    known = (value(h)[0] - value(-h)[0]) / (2 * h)
    assert float(value(0.0)[1]) == pytest.approx(float(known), rel=1e-6)


def test_steps_are_bounded_and_parameters_know_no_lattice():
    flow = trivializing_flow(Lattice((4, 4)), 3, beta=6.0, n_steps=2)
    assert flow.bijection.coefficients.size == 14
    assert (
        trivializing_flow(Lattice((4, 4)), 2, beta=2.0, n_knots=3).bijection.coefficients.size == 12
    )
    assert flow.on(Lattice((8, 4))).field_shape == (2, 3, 3, 8, 4)
    times = np.array([0.0, 0.25, 1.0])
    wild = LoopFlow(jnp.array([[100.0], [0.0]]), 4)._at(times)[:, 0]
    assert wild[0] == wild[1] == pytest.approx(LARGEST_SLOPE * 4 / 2)
    assert wild[2] == 0.0
    line = LoopFlow(jnp.array([[0.1], [0.2], [0.0]]), 4)._at(times)[:, 0]
    np.testing.assert_allclose(line, [0.1, 0.15, 0.0])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: trivializing_flow(Lattice((4, 6)), 3, beta=1.0), ConfigError, "multiples of 4"),
        (lambda: trivializing_flow(Lattice((4, 4, 4)), 3, beta=1.0), ConfigError, "two directions"),
        (lambda: trivializing_flow((4, 4), 3, beta=1.0), ConfigError, "lattice"),
        (lambda: trivializing_flow(Lattice((4, 4)), 1, beta=1.0), ConfigError, "`n`"),
        (lambda: trivializing_flow(Lattice((4, 4)), 3, beta=jnp.inf), ConfigError, "beta"),
        (
            lambda: trivializing_flow(Lattice((4, 4)), 3, beta=1.0, n_loops=8),
            ConfigError,
            "n_loops.*at most 7",
        ),
        (lambda: LoopFlow(jnp.zeros(3)), ShapeError, "coefficients.*knot"),
        (lambda: LoopFlow(jnp.zeros((1, 1)), 0), ConfigError, "n_steps"),
    ],
)
def test_bad_input(build, error, message, without_shape_checks):
    with pytest.raises(error, match=message):
        build()
