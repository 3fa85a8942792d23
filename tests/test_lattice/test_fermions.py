"""The Dirac operator, its determinant and the exact Schwinger model on 2 x 2."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice import exact
from diffhep_lattice.fermions import WilsonDirac, fermion_determinant, free_spectrum
from diffhep_lattice.fermions.determinant import log_determinant_force
from diffhep_lattice.fermions.dirac import GAMMA, GAMMA_5
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import gauge_transform, meson_correlators

pytestmark = pytest.mark.fast

_KAPPA = 0.276
_SHAPES = [(2, 2), (4, 6), (3, 5)]
"""Doubled links; unlike even lengths; odd lengths, which leave an odd slice over."""


@eqx.filter_jit
def matrix(U, kappa):
    return WilsonDirac(U, kappa).dense()


@eqx.filter_jit
def determinant(U, kappa):
    return fermion_determinant(U, kappa)


def field(shape, key):
    return 2.0 * jax.random.normal(key, (2, *shape))


def matrix_by_loops(U, kappa):
    """The definition, site by site."""
    _, length, time = U.shape
    D = np.eye(2 * length * time, dtype=complex).reshape(2, length, time, 2, length, time)
    for x0 in range(length):
        for x1 in range(time):
            for mu in range(2):
                y = ((x0 + 1) % length, x1) if mu == 0 else (x0, (x1 + 1) % time)
                link = np.exp(1j * U[mu, x0, x1])
                if mu == 1 and x1 == time - 1:
                    link = -link
                D[:, x0, x1, :, y[0], y[1]] -= kappa * (np.eye(2) - GAMMA[mu]) * link
                D[:, y[0], y[1], :, x0, x1] -= kappa * (np.eye(2) + GAMMA[mu]) * link.conj()
    return D.reshape(2 * length * time, -1)


@pytest.mark.parametrize("shape", _SHAPES)
def test_operator_is_its_definition(shape, key):
    U = field(shape, key)
    np.testing.assert_allclose(
        matrix(U, _KAPPA), matrix_by_loops(np.asarray(U), _KAPPA), atol=1e-14
    )


def test_operator_is_gamma_5_hermitian(key):
    U = field((4, 6), key)
    D = matrix(U, _KAPPA)
    gamma_5 = np.kron(GAMMA_5, np.eye(24))
    np.testing.assert_allclose(gamma_5 @ D @ gamma_5, D.conj().T, atol=1e-14)
    psi = jax.random.normal(key, (2, 4, 6), complex)
    operator = WilsonDirac(U, _KAPPA)
    flat = psi.ravel()
    for result, expected in (
        (operator.adjoint(psi), D.conj().T @ flat),
        (operator.normal(psi), D.conj().T @ D @ flat),
        (operator.hermitian(psi), gamma_5 @ D @ flat),
    ):
        np.testing.assert_allclose(result.ravel(), expected, atol=1e-13)


@pytest.mark.parametrize("shape", _SHAPES)
def test_free_spectrum(shape):
    eigenvalues = np.linalg.eigvals(matrix(jnp.zeros((2, *shape)), _KAPPA))
    exact_values = free_spectrum(Lattice(shape), _KAPPA)
    # Degenerate eigenvalues come with rounding errors that would mix up a sorted order.
    for mine, theirs in ((eigenvalues, exact_values), (exact_values, eigenvalues)):
        assert np.max(np.min(np.abs(mine[:, None] - theirs), axis=1)) < 1e-7
    np.testing.assert_allclose(np.sum(eigenvalues**3), np.sum(exact_values**3), atol=1e-9)


@pytest.mark.parametrize("shape", _SHAPES)
def test_determinant_is_that_of_the_matrix(shape, key):
    for kappa in (0.1, _KAPPA, 0.6):
        U = field(shape, key)
        sign, log_abs = np.linalg.slogdet(matrix(U, kappa))
        found = determinant(U, kappa)
        assert float(found.log_abs) == pytest.approx(log_abs, abs=1e-11)
        assert float(found.sign) == pytest.approx(sign, abs=1e-9)


def test_determinant_has_both_signs(key):
    """Beyond the critical hopping parameter there are fields of either sign."""
    fields = jax.random.uniform(key, (64, 2, 2, 2), minval=-np.pi, maxval=np.pi)
    found = jax.jit(jax.vmap(lambda U: fermion_determinant(U, 0.6)))(fields)
    signs = np.linalg.slogdet(jax.vmap(lambda U: matrix(U, 0.6))(fields))[0]
    np.testing.assert_allclose(found.sign, signs, atol=1e-9)
    assert set(np.asarray(found.sign)) == {-1.0, 1.0}


def test_determinant_is_gauge_invariant(key):
    U = field((4, 6), key)
    turned = gauge_transform(U, jax.random.normal(jax.random.fold_in(key, 1), (4, 6)))
    assert float(determinant(turned, _KAPPA).log_abs) == pytest.approx(
        float(determinant(U, _KAPPA).log_abs), abs=1e-12
    )


@pytest.mark.parametrize("shape", _SHAPES)
def test_force_is_the_trace_with_the_inverse(shape, key):
    """-Re tr D^-1 dD, with the derivative of every link by itself."""
    U = np.asarray(field(shape, key))
    inverse = np.linalg.inv(matrix_by_loops(U, _KAPPA))
    expected = np.empty_like(U)
    for index in np.ndindex(U.shape):
        moved = U.copy()
        # A quarter turn of a link is its derivative: d/dU e^{iU} = e^{i(U + pi/2)}.
        moved[index] += np.pi / 2
        back = U.copy()
        back[index] -= np.pi / 2
        slope = (matrix_by_loops(moved, _KAPPA) - matrix_by_loops(back, _KAPPA)) / 2
        expected[index] = np.trace(inverse @ slope).real
    force = jax.jit(log_determinant_force)(jnp.asarray(U), _KAPPA)
    np.testing.assert_allclose(force, expected, atol=1e-12)


def factorised_shapes(jaxpr):
    """Shapes of all matrices that a program hands to LAPACK's LU factorisation."""
    shapes = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "lu":
            shapes.append(equation.invars[0].aval.shape)
        for inner in jaxprs_in_params(equation.params):
            shapes += factorised_shapes(inner)
    return shapes


@pytest.mark.parametrize("quantity", ["force", "propagators"])
def test_many_chains_factorise_one_matrix_at_a_time(quantity):
    """Two batches of factorisations wait for each other for ever on two threads of a CPU."""
    functions = {"force": log_determinant_force, "propagators": meson_correlators}
    program = jax.make_jaxpr(jax.vmap(lambda U: functions[quantity](U, _KAPPA)))(
        jnp.zeros((3, 2, 4, 4))
    )
    shapes = factorised_shapes(program.jaxpr)
    assert shapes
    assert all(len(shape) == 2 for shape in shapes)


def test_singular_operator_has_determinant_zero():
    """At kappa = 1/4 without a gauge field, the boundary made periodic by one row of links."""
    U = jnp.zeros((2, 4, 4)).at[1, :, -1].set(np.pi)
    found = determinant(U, 0.25)
    assert float(found.sign) == 0.0
    assert float(found.log_abs) == -np.inf
    assert np.isfinite(float(determinant(U, 0.2499).log_abs))


def test_bad_arguments():
    U = jnp.zeros((2, 4, 4))
    for kappa in (-0.1, np.nan):
        with pytest.raises(ConfigError, match="`kappa` must be finite and at least 0"):
            WilsonDirac(U, kappa)
    with pytest.raises(ShapeError, match="`psi` must have shape"):
        WilsonDirac(U, 0.2)(jnp.zeros((2, 4, 6), complex))
    with pytest.raises(ShapeError, match="`lattice` must be two-dimensional"):
        free_spectrum(Lattice((4, 4, 4)), 0.2)
    with pytest.raises(ConfigError, match="`n_flavours` must be 1 or 2"):
        exact.schwinger_2x2(2.0, 0.2, 3)
    with pytest.raises(ConfigError, match="`beta`"):
        exact.schwinger_2x2(-2.0, 0.2, 2)


@pytest.mark.parametrize(
    ("beta", "kappa", "plaquette", "first", "second"),
    [
        (2.0, 0.276, 0.81275165, 2.11079992, 6.76676493),
        (2.0, 0.2, 0.79610063, 1.25815253, None),
        (1.0, 0.2, 0.56023594, None, None),
    ],
)
def test_exact_values(beta, kappa, plaquette, first, second):
    """Quadratures with 14 and 18 points in each of five links, which agree to these digits."""
    two = exact.schwinger_2x2(beta, kappa, 2)
    assert two.plaquette == pytest.approx(plaquette, abs=5.1e-9)
    if second is not None:
        assert two.determinant == pytest.approx(second, abs=5.1e-9)
    if first is not None:
        one = exact.schwinger_2x2(beta, kappa, 1)
        assert one.determinant == pytest.approx(first, abs=5.1e-9)


def test_exact_values_without_fermions():
    """At kappa = 0 the determinant is one: the pure gauge theory."""
    found = exact.schwinger_2x2(2.0, 0.0, 2)
    assert found.plaquette == pytest.approx(exact.u1_plaquette(2.0, 4), abs=1e-11)
    assert found.determinant == pytest.approx(1.0, abs=1e-14)
    assert found.condensate == pytest.approx(2.0, abs=1e-14)
