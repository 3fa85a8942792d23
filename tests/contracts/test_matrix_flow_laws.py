"""Laws of every flow of SU(N) links: a bijection with its log-determinant on the group.

They share a few programs: the map and its inverse for a batch of three, and one of derivatives.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep_lattice.groups.algebra import algebra_coefficients
from diffhep_lattice.groups.matrices import multiply_dagger
from diffhep_lattice.observables import gauge_transform
from tests.contracts.flow_programs import BATCH, draw, pull, push
from tests.contracts.registry import MATRIX_FLOWS

pytestmark = pytest.mark.fast


@pytest.fixture(params=MATRIX_FLOWS)
def case(request):
    return MATRIX_FLOWS[request.param]


@pytest.fixture
def flow(case):
    return case.build(case.values[1])


def test_inverse_undoes_the_map(case, flow, key):
    z = draw(flow, key)
    U, log_det, log_q = push(flow, z)
    back, inverse_log_det, same_log_q = pull(flow, U)
    np.testing.assert_allclose(back, z, atol=case.round_trip)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=case.log_det)
    np.testing.assert_allclose(same_log_q, log_q, atol=case.log_det)
    n = flow.group.n
    assert U.shape == (2, n, n, *flow.lattice.shape, BATCH)
    assert log_det.shape == log_q.shape == (BATCH,)


def test_images_are_special_unitary_and_not_the_latent_links(flow, key):
    """Were the map the identity, the other laws would hold trivially."""
    z = draw(flow, key)
    U, log_det, _ = push(flow, z)
    matrices = np.moveaxis(np.asarray(U), (1, 2), (-2, -1))
    square = matrices @ np.conj(np.swapaxes(matrices, -2, -1))
    np.testing.assert_allclose(square - np.eye(flow.group.n), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(matrices), 1.0, atol=1e-12)
    assert float(np.std(log_det)) > 1e-2
    assert float(np.max(np.abs(U - z))) > 1e-2


def test_log_det_is_that_of_the_jacobian(case, flow, key):
    """In the coordinates of the algebra to the left of every link, before and after."""
    batch = draw(flow, key)
    U, log_dets, _ = push(flow, batch)
    z, center, group = batch[..., 0], U[..., 0], flow.group
    p = jnp.zeros((2, *group.algebra_shape, *flow.lattice.shape))

    @jax.jit
    def differentiate(p):
        def coordinates(p):
            image, log_det = flow.forward_and_log_det(group.move(z, p))
            return algebra_coefficients(multiply_dagger(image, center)), log_det

        return jax.jacfwd(coordinates, has_aux=True)(p)

    jacobian, log_det = differentiate(p)
    found = np.linalg.slogdet(jacobian.reshape(p.size, p.size))[1]
    assert found == pytest.approx(float(log_det), abs=case.log_det)
    assert log_det.shape == ()
    assert float(log_det) == pytest.approx(float(log_dets[0]), abs=1e-10)


def test_map_commutes_with_gauge_transformations(case, flow, key):
    z = draw(flow, key)
    g = flow.group.haar((1, *flow.lattice.shape, BATCH), key=key, dtype=float)[0]
    transform = jax.jit(jax.vmap(gauge_transform, in_axes=-1, out_axes=-1))
    U, log_det, _ = push(flow, z)
    moved, same_log_det, _ = push(flow, transform(z, g))
    assert float(np.max(np.abs(moved - U))) > 0.1
    np.testing.assert_allclose(moved, transform(U, g), atol=1e-10)
    np.testing.assert_allclose(same_log_det, log_det, atol=1e-10)


def test_single_precision_links_stay_single(flow, key):
    """Their densities are summed in double precision."""
    narrow = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, flow
    )
    z = eqx.filter_eval_shape(draw, narrow, key)
    U, log_det, log_q = eqx.filter_eval_shape(push, narrow, z)
    back, _, same_log_q = eqx.filter_eval_shape(pull, narrow, U)
    assert {x.dtype for x in (z, U, back)} == {jnp.dtype(jnp.complex64)}
    assert log_det.dtype == log_q.dtype == same_log_q.dtype == jnp.float64
