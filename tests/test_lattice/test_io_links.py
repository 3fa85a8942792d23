"""Links in NumPy: averages against a loop over sites, projection, and the order of the axes."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import DataError, ShapeError
from diffhep_lattice.geometry import from_site_major, to_site_major
from diffhep_lattice.io.links import (
    as_links,
    average_links,
    complete_rows,
    project_links,
    require_su_n,
)
from tests.systems.links import averages_by_loop, generator, random_links

pytestmark = pytest.mark.instant

SHAPE = (2, 3, 2, 4)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_averages_are_those_of_a_loop_over_sites(n, key):
    U = random_links((2, 2, 2, 4), generator(key), n)
    spatial, temporal, trace = averages_by_loop(U)
    averages = average_links(U)
    np.testing.assert_allclose(averages.spatial_plaquette, spatial, atol=1e-14)
    np.testing.assert_allclose(averages.temporal_plaquette, temporal, atol=1e-14)
    np.testing.assert_allclose(averages.link_trace, trace, atol=1e-14)
    np.testing.assert_allclose(averages.plaquette, (spatial + temporal) / 2, atol=1e-14)
    assert averages.unitarity < 1e-13


@pytest.mark.parametrize("axis", range(4))
def test_averages_on_an_asymmetric_lattice(axis, key):
    shape = np.roll((2, 3, 4, 5), axis)
    U = random_links(shape, generator(key))
    np.testing.assert_allclose(average_links(U)[:3], averages_by_loop(U), atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_deviation_sees_every_way_out_of_su_n(n, key):
    U = random_links(SHAPE, generator(key), n)
    site = (2, slice(None), slice(None), 1, 2, 1, 3)
    for change, expected in (
        (lambda link: 1.01 * link, 1.01**n - 1),
        (lambda link: np.exp(0.01j) * link, abs(np.exp(0.01j * n) - 1)),
        (lambda link: link.T.conj() @ np.diag([1.02] + [1] * (n - 1)), None),
    ):
        V = U.copy()
        V[site] = change(V[site])
        deviation = average_links(V).unitarity
        assert deviation > 0.005
        if expected is not None:
            assert deviation == pytest.approx(expected, rel=1e-9)
        with pytest.raises(DataError, match=rf"links of SU\({n}\) to 1e-05, but one deviates"):
            require_su_n(V)
    V = U.copy()
    V[3, 0, 0, 0, 0, 0, 0] = np.nan
    assert np.isnan(average_links(V).unitarity)
    with pytest.raises(DataError, match="deviates by nan"):
        require_su_n(V)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_projection_is_the_nearest_link(n, dtype, key):
    rng = generator(key)
    U = random_links(SHAPE, rng, n)
    noise = rng.normal(size=U.shape) + 1j * rng.normal(size=U.shape)
    V = (U + 0.05 * noise).astype(dtype)
    W = V.copy()
    project_links(W)
    assert W.dtype == dtype
    assert average_links(W).unitarity < (1e-13 if dtype == np.complex128 else 2e-6)
    # V = W exp(i theta) H with H positive: the polar decomposition, whose factor is nearest.
    overlap = np.einsum("mba...,mbc...->m...ac", W.conj(), V)
    trace = np.trace(overlap, axis1=-2, axis2=-1)
    positive = overlap * (trace.conj() / np.abs(trace))[..., None, None]
    tolerance = 1e-13 if dtype == np.complex128 else 2e-6
    np.testing.assert_allclose(positive, positive.conj().swapaxes(-1, -2), atol=tolerance)
    assert np.min(np.linalg.eigvalsh(positive)) > 0
    again = W.copy()
    project_links(again)
    np.testing.assert_allclose(again, W, atol=tolerance)


@pytest.mark.parametrize(("value", "words"), [(0.0, "singular values"), (np.nan, "be finite")])
def test_what_cannot_be_projected_is_refused(value, words, key):
    U = random_links(SHAPE, generator(key))
    U[1, :, :, 1, 0, 1, 2] = value
    with pytest.raises(DataError, match=words):
        project_links(U)


@pytest.mark.parametrize("n", [2, 3])
def test_last_rows_are_rebuilt(n, key):
    U = random_links(SHAPE, generator(key), n)
    V = U.copy()
    V[:, -1] = np.nan
    complete_rows(V)
    np.testing.assert_array_equal(V[:, :-1], U[:, :-1])
    np.testing.assert_allclose(V, U, atol=1e-14)


def test_site_major_order_and_back(key):
    U = random_links(SHAPE, generator(key))
    for field in (U, jnp.asarray(U)):
        V = to_site_major(field)
        assert V.shape == (*SHAPE, 4, 3, 3)
        assert V[1, 2, 0, 3, 2, 0, 1] == U[2, 0, 1, 1, 2, 0, 3]
        assert type(from_site_major(V)) is type(field)
        np.testing.assert_array_equal(from_site_major(V), U)
    assert np.shares_memory(to_site_major(U), U)
    plane = jnp.zeros((2, 3, 3, 4, 6))
    assert to_site_major(plane).shape == (4, 6, 2, 3, 3)


def test_other_shapes_are_refused(key):
    U = random_links(SHAPE, generator(key))
    for field in (U[:3], U[:, :2], U[..., 0], np.zeros((4, 4))):
        with pytest.raises(ShapeError, match="Argument `U` must have one square matrix"):
            to_site_major(field)
        with pytest.raises(ShapeError, match="Argument `U` must hold one matrix"):
            as_links(field)
        with pytest.raises(ShapeError, match="Argument `V` must have one square matrix"):
            from_site_major(np.moveaxis(field, 0, -1))
    with pytest.raises(ShapeError, match="complex array, but it has dtype float64"):
        as_links(U.real)
    with pytest.raises(ShapeError, match="have a site"):
        as_links(U[..., :0])
