"""Laws of every flow: a bijection with its log-determinant, and the density it induces."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffhep_lattice.groups import wrap
from tests.contracts.registry import FLOWS

pytestmark = pytest.mark.fast


@pytest.fixture(params=FLOWS)
def case(request):
    return FLOWS[request.param]


@pytest.fixture
def flow(case):
    return case.build(case.values[1])


@eqx.filter_jit
def latent(flow, key):
    return flow.sample_latent(key)


@eqx.filter_jit
def forward(flow, z):
    return flow.forward_and_log_det(z)


@eqx.filter_jit
def inverse(flow, U):
    return flow.inverse_and_log_det(U)


@eqx.filter_jit
def sample(flow, key, n):
    return flow.sample_and_log_prob(key, n)


@eqx.filter_jit
def log_prob(flow, U):
    return flow.log_prob(U)


def member(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def test_inverse_undoes_the_map(case, flow, key):
    z = latent(flow, key)
    U, log_det = forward(flow, z)
    back, inverse_log_det = inverse(flow, U)
    again, _ = forward(flow, back)
    np.testing.assert_allclose(wrap(again - U), 0.0, atol=case.round_trip)
    assert float(log_det) == pytest.approx(-float(inverse_log_det), abs=case.round_trip)


def test_log_det_is_that_of_the_jacobian(case, flow, key):
    z, unravel = ravel_pytree(latent(flow, key))
    jacobian = jax.jit(jax.jacfwd(lambda x: flow.forward_and_log_det(unravel(x))[0].ravel()))(z)
    _, log_det = forward(flow, unravel(z))
    assert float(jnp.linalg.slogdet(jacobian)[1]) == pytest.approx(float(log_det), abs=case.log_det)


def test_samples_have_the_density_they_are_given(case, flow, key):
    U, log_q = sample(flow, key, 3)
    np.testing.assert_allclose(log_prob(flow, U), log_q, atol=case.log_det)
    assert float(log_prob(flow, U[0])) == pytest.approx(float(log_q[0]), abs=case.log_det)


def test_density_is_the_latent_one_over_the_jacobian(case, flow, key):
    z = latent(flow, key)
    U, log_det = forward(flow, z)
    assert float(log_prob(flow, U)) == pytest.approx(
        float(flow.log_prob_latent(z) - log_det), abs=case.log_det
    )


def test_same_key_same_sample(flow, key):
    first, second = (sample(flow, key, 2)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_gradient_is_the_finite_difference(flow, key):
    z, unravel = ravel_pytree(latent(flow, key))
    direction = jax.random.normal(jax.random.fold_in(key, 1), z.shape)

    @jax.jit
    def objective(x):
        U, log_det = flow.forward_and_log_det(unravel(x))
        return jnp.sum(jnp.cos(U)) + log_det

    gradient = jax.grad(objective)(z)
    assert bool(jnp.all(jnp.isfinite(gradient)))
    h = 1e-5
    slope = (objective(z + h * direction) - objective(z - h * direction)) / (2 * h)
    assert float(slope) == pytest.approx(float(jnp.vdot(gradient, direction)), rel=1e-5, abs=1e-6)


def test_vmap_is_a_loop(flow, key):
    keys = jax.random.split(key, 3)
    z = eqx.filter_vmap(latent, in_axes=(None, 0))(flow, keys)
    together = eqx.filter_vmap(forward, in_axes=(None, 0))(flow, z)
    for index in range(3):
        alone = forward(flow, member(z, index))
        np.testing.assert_allclose(together[0][index], alone[0], atol=1e-11)
        np.testing.assert_allclose(together[1][index], alone[1], atol=1e-11)


def test_batch_as_the_last_axis_is_a_loop(flow, key):
    """The maps take their batch last, and samples come with theirs first."""
    z = eqx.filter_jit(flow.sample_latents)(key, 3)
    U, log_det = forward(flow, z)
    inverse_log_det = inverse(flow, U)[1]
    for index in range(3):
        alone, log_det_alone = forward(flow, jax.tree.map(lambda x, i=index: x[..., i], z))
        np.testing.assert_allclose(U[..., index], alone, atol=1e-11)
        assert float(log_det[index]) == pytest.approx(float(log_det_alone), abs=1e-11)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-8)
    np.testing.assert_array_equal(sample(flow, key, 3)[0], jnp.moveaxis(U, -1, 0))


def test_three_parameters_compile_once(case, key):
    n_traces = 0

    @eqx.filter_jit
    def evaluate(flow, z):
        nonlocal n_traces
        n_traces += 1
        return flow.forward_and_log_det(z)

    for value in case.values:
        flow = case.build(value)
        evaluate(flow, latent(flow, key))
    assert n_traces == 1
