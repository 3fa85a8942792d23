"""Laws of every flow: a bijection with its log-determinant, and the density it induces.

A flow takes seconds to compile. The laws therefore share a few programs: the map and its inverse
for a batch of three, the Jacobian, and one gradient.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffhep_lattice.observables import gauge_transform
from tests.contracts.flow_programs import BATCH, draw, pull, push
from tests.contracts.registry import FLOWS, MATRIX_FLOWS

pytestmark = pytest.mark.fast

_EVERY_FLOW = FLOWS | MATRIX_FLOWS
_GAUGE_FLOWS = [name for name, case in FLOWS.items() if case.translation]
_LINK_FLOWS = [name for name in _GAUGE_FLOWS if name != "multiscale"]
"""Those whose latent variables are links, which have a gauge of their own."""


@pytest.fixture(params=FLOWS)
def case(request):
    return FLOWS[request.param]


@pytest.fixture
def flow(case):
    return case.build(case.values[1])


def member(tree, index):
    return jax.tree.map(lambda leaf: leaf[..., index], tree)


def turn(angle):
    """The representative nearest to zero."""
    return np.remainder(np.asarray(angle) + np.pi, 2 * np.pi) - np.pi


def test_inverse_undoes_the_map(case, flow, key):
    U, log_det, log_q = push(flow, draw(flow, key))
    back, inverse_log_det, same_log_q = pull(flow, U)
    again, _, _ = push(flow, back)
    np.testing.assert_allclose(turn(again - U), 0.0, atol=case.round_trip)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=case.log_det)
    np.testing.assert_allclose(same_log_q, log_q, atol=case.log_det)
    assert U.shape == (*flow.field_shape, BATCH)
    assert U.shape[-1 - flow.lattice.dimension : -1] == flow.lattice.shape
    assert log_det.shape == log_q.shape == (BATCH,)


def test_map_is_not_the_identity(flow, key):
    """Otherwise the other laws would hold trivially."""
    _, log_det, log_q = push(flow, draw(flow, key))
    assert float(np.std(log_det)) > 1e-2
    assert float(np.std(log_q)) > 1e-2


def test_log_det_is_that_of_the_jacobian(case, flow, key):
    """Of one configuration without a batch axis; the field is that of the batch's member."""
    batch = draw(flow, key)
    z, unravel = ravel_pytree(member(batch, 1))

    @jax.jit
    def differentiate(z):
        def field(x):
            U, log_det = flow.forward_and_log_det(unravel(x))
            return U.ravel(), (U, log_det)

        return jax.jacfwd(field, has_aux=True)(z)

    jacobian, (U, log_det) = differentiate(z)
    assert jacobian.shape == (z.size, z.size)
    assert np.linalg.slogdet(jacobian)[1] == pytest.approx(float(log_det), abs=case.log_det)
    fields, log_dets, _ = push(flow, batch)
    np.testing.assert_allclose(U, fields[..., 1], atol=1e-11)
    assert log_det.shape == ()
    assert float(log_det) == pytest.approx(float(log_dets[1]), abs=1e-11)


def test_gradient_is_the_finite_difference(flow, key):
    """With respect to latent variables and parameters at once."""
    params, rest = eqx.partition(flow, eqx.is_inexact_array)
    x, unravel = ravel_pytree((params, member(draw(flow, key), 0)))
    direction = jax.random.normal(jax.random.fold_in(key, 1), x.shape)

    @jax.jit
    def value_and_gradient(x):
        def objective(x):
            params, z = unravel(x)
            U, log_det = eqx.combine(params, rest).forward_and_log_det(z)
            return jnp.sum(jnp.cos(U)) + log_det

        return jax.value_and_grad(objective)(x)

    gradient = value_and_gradient(x)[1]
    assert bool(jnp.all(jnp.isfinite(gradient)))
    h = 1e-5
    plus, minus = (value_and_gradient(x + t * direction)[0] for t in (h, -h))
    slope = float(jnp.vdot(gradient, direction))
    assert float((plus - minus) / (2 * h)) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_same_key_same_sample(flow, key):
    first, second = (draw(flow, key) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    leaf = jax.tree.leaves(first)[0]
    assert not np.any(leaf[..., 0] == leaf[..., 1])


def test_samples_come_with_their_density(key):
    """Batch axes first, and as many as one likes: code that all flows share."""
    flow = FLOWS["circle"].build(FLOWS["circle"].values[1])
    U, log_q = eqx.filter_jit(lambda flow: flow.sample_and_log_prob(key, BATCH))(flow)
    assert U.shape == (BATCH, 2, *flow.lattice.shape)
    fields, _, densities = push(flow, draw(flow, key))
    np.testing.assert_allclose(np.moveaxis(fields, -1, 0), U, atol=1e-12)
    np.testing.assert_allclose(log_q, densities, atol=1e-11)
    log_prob = eqx.filter_jit(lambda flow, U: flow.log_prob(U))
    np.testing.assert_allclose(log_prob(flow, U), log_q, atol=1e-9)
    for batch in ((), (1, BATCH)):
        shaped = U[0] if batch == () else U.reshape(*batch, *U.shape[1:])
        expected = log_q[0] if batch == () else log_q.reshape(batch)
        assert log_prob(flow, shaped).shape == batch
        np.testing.assert_allclose(log_prob(flow, shaped), expected, atol=1e-9)


def test_single_precision_fields_stay_single(case, flow, key):
    """Their densities are summed in double precision."""
    narrow = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, flow
    )
    expected = jnp.float32 if case.keeps_float32 else jnp.float64
    z = eqx.filter_eval_shape(draw, narrow, key)
    U, log_det, log_q = eqx.filter_eval_shape(push, narrow, z)
    back, _, same_log_q = eqx.filter_eval_shape(pull, narrow, U)
    assert {leaf.dtype for leaf in jax.tree.leaves((z, U, back))} == {jnp.dtype(expected)}
    assert log_det.dtype == log_q.dtype == same_log_q.dtype == jnp.float64


@pytest.mark.parametrize("name", _EVERY_FLOW)
def test_three_parameters_compile_once(name, key):
    case = _EVERY_FLOW[name]
    n_traces = 0

    @eqx.filter_jit
    def evaluate(flow, key):
        nonlocal n_traces
        n_traces += 1
        return flow.sample_latent(key)

    for value in case.values:
        evaluate(case.build(value), key)
    assert n_traces == 1


@pytest.mark.parametrize("name", _EVERY_FLOW)
def test_flow_survives_serialisation(name, tmp_path):
    case = _EVERY_FLOW[name]
    flow = case.build(case.values[1])
    path = tmp_path / "flow.eqx"
    eqx.tree_serialise_leaves(path, flow)
    assert eqx.tree_equal(eqx.tree_deserialise_leaves(path, case.build(case.values[0])), flow)


@pytest.mark.parametrize("name", _GAUGE_FLOWS)
def test_density_is_invariant(name, key):
    """Under gauge transformations, full turns of a link, and translations by the mask's period."""
    case = FLOWS[name]
    flow = case.build(case.values[1])
    keys = jax.random.split(key, 3)
    U = np.asarray(push(flow, draw(flow, keys[0]))[0])
    g = np.asarray(jax.random.uniform(keys[1], U.shape[1:], minval=-np.pi, maxval=np.pi))
    turns = np.asarray(jax.random.randint(keys[2], U.shape, -1, 2))
    reference = pull(flow, U)[2]
    for V in (
        np.asarray(transform(U, g)),
        U + 2 * np.pi * turns,
        np.roll(U, case.translation, axis=(1, 2)),
    ):
        assert not np.allclose(U, V)
        np.testing.assert_allclose(pull(flow, V)[2], reference, atol=1e-12)


@pytest.mark.parametrize("name", _LINK_FLOWS)
def test_field_moves_with_its_latent_links(name, key):
    """The map commutes with gauge transformations and with translations by the mask's period."""
    case = FLOWS[name]
    flow = case.build(case.values[1])
    z = np.asarray(draw(flow, key))
    g = jax.random.uniform(jax.random.fold_in(key, 1), z.shape[1:], minval=-np.pi, maxval=np.pi)
    U, _, _ = push(flow, z)
    moved, _, _ = push(flow, transform(z, g))
    np.testing.assert_allclose(turn(moved - transform(U, g)), 0.0, atol=1e-12)
    shift = {"shift": case.translation, "axis": (1, 2)}
    moved, _, _ = push(flow, np.roll(z, **shift))
    np.testing.assert_allclose(turn(moved - np.roll(U, **shift)), 0.0, atol=1e-12)


@jax.jit
def transform(U, g):
    return jax.vmap(gauge_transform, in_axes=-1, out_axes=-1)(U, g)
