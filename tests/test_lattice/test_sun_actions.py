"""Actions of SU(N): forces on every shape and boundary, gauge covariance, blocks, staples."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.actions import (
    ImprovedAction,
    SumAction,
    WilsonAction,
    dbw2,
    iwasaki,
    plaquettes,
    symanzik,
    wilson_force,
)
from diffhep_lattice.actions.boundary import loop_weights
from diffhep_lattice.actions.plaquettes import (
    _force_by_blocks,
    _rows_per_block,
    link_staples,
    plaquette_force,
)
from diffhep_lattice.groups import SU2, SU3, SUN
from diffhep_lattice.groups.algebra import algebra_coefficients
from diffhep_lattice.groups.matrices import multiply
from diffhep_lattice.observables import gauge_transform, plane_plaquettes, plaquette

pytestmark = pytest.mark.fast

_BETA = 2.3


@functools.partial(jax.jit, static_argnums=(0, 1))
def draw(group, site, key):
    return group.haar((len(site), *site), key=key, dtype=jnp.float64)


@eqx.filter_jit
def evaluate(action, U):
    """Action, force, and the gradient along the algebra by autodiff."""
    group, force = action.group, action.force(U)

    def moved(velocity):
        return action(U + group.multiply(group.algebra_matrix(velocity), U))

    return action(U), force, jax.grad(moved)(jnp.zeros_like(force))


def both(action, boundary):
    return {
        "wilson": lambda group: WilsonAction(_BETA, group, boundary),
        "improved": lambda group: iwasaki(_BETA, group, boundary),
    }[action]


@pytest.mark.parametrize(
    ("action", "boundary", "n", "site"),
    [
        ("wilson", "periodic", 2, (2, 5)),
        ("wilson", "open", 3, (2, 3, 4)),
        ("wilson", "periodic", 4, (3, 2)),
        ("wilson", "periodic", 2, (2, 2, 3, 4)),
        ("improved", "periodic", 2, (2, 5)),
        ("improved", "open", 2, (3, 2, 4)),
    ],
    ids=str,
)
def test_force_is_the_gradient(action, boundary, n, site, key):
    """On every shape: lengths of 2 double the links, and make a rectangle meet itself."""
    group = SUN(n)
    _, force, gradient = evaluate(both(action, boundary)(group), draw(group, site, key))
    np.testing.assert_allclose(force, gradient, atol=1e-13)
    assert float(jnp.max(jnp.abs(force))) > 0.1


@pytest.mark.parametrize("action", ["wilson", "improved"])
def test_action_is_gauge_invariant_and_force_covariant(action, key):
    """The matrices of the force are conjugated by the transformation at their site."""
    group, site = SU2(), (3, 2, 4)
    S = both(action, "open")(group)
    U = draw(group, site, key)
    g = draw(group, site, jax.random.fold_in(key, 1))[0]
    value, force, _ = evaluate(S, U)
    after, force_after, _ = evaluate(S, gauge_transform(U, g))
    assert float(after) == pytest.approx(float(value), abs=1e-12)
    conjugated = multiply(multiply(g[None], group.algebra_matrix(force)), group.inverse(g[None]))
    np.testing.assert_allclose(group.algebra_matrix(force_after), conjugated, atol=1e-13)


def test_values_on_the_unit_field_and_in_plaquettes(key):
    group, site = SU2(), (3, 2, 4)
    one = jnp.broadcast_to(jnp.eye(2).reshape(1, 2, 2, 1, 1, 1), (3, 2, 2, *site)) + 0j
    n_plaquettes, n_rectangles = 3 * 24, 6 * 24
    assert float(WilsonAction(_BETA, group)(one)) == pytest.approx(-_BETA * n_plaquettes)
    for action, c1 in (
        (symanzik(_BETA, group), -1 / 12),
        (iwasaki(_BETA, group), -0.331),
        (dbw2(_BETA, group), -1.4088),
    ):
        expected = -_BETA * ((1 - 8 * c1) * n_plaquettes + c1 * n_rectangles)
        assert float(action(one)) == pytest.approx(expected)
        assert isinstance(action, ImprovedAction)
    # Open: two spatial slices of 6 plaquettes count half, a temporal layer of 12 not at all.
    expected = -_BETA * (n_plaquettes - 6 - 2 * 6)
    assert float(WilsonAction(_BETA, group, "open")(one)) == pytest.approx(expected)
    U = draw(group, site, key)
    value = float(WilsonAction(_BETA, group)(U))
    assert value == pytest.approx(-_BETA * n_plaquettes * float(plaquette(U)))
    assert plane_plaquettes(U).shape == (3,)


def test_links_across_an_open_boundary_are_free(key):
    group = SU2()
    U = draw(group, (3, 2, 4), key)
    V = U.at[-1, ..., -1].set(draw(group, (3, 2, 4), jax.random.fold_in(key, 1))[-1, ..., -1])
    for action in (WilsonAction(_BETA, group, "open"), iwasaki(_BETA, group, "open")):
        value, force, _ = evaluate(action, U)
        other, other_force, _ = evaluate(action, V)
        assert float(value) == pytest.approx(float(other), abs=1e-12)
        np.testing.assert_allclose(force, other_force, atol=1e-13)
        np.testing.assert_array_equal(force[-1, ..., -1], 0.0)


@pytest.mark.parametrize(("site", "boundary"), [((6, 4), "periodic"), ((6, 2, 4), "open")], ids=str)
def test_blocks_of_rows_add_up_to_the_whole(site, boundary, key):
    U, weights = draw(SU2(), site, key), loop_weights(boundary, site[-1])
    whole = jax.jit(_force_by_blocks(site[0]))(U, weights)
    for n_rows in (1, 2):
        np.testing.assert_allclose(jax.jit(_force_by_blocks(n_rows))(U, weights), whole, atol=1e-14)


def test_large_lattices_are_taken_by_blocks(key, monkeypatch):
    assert _rows_per_block((8, 8, 8, 8)) == 8
    assert _rows_per_block((16, 16, 16, 16)) == 1
    assert _rows_per_block((12, 12, 12, 12)) == 2
    assert _rows_per_block((256, 256)) == 16
    monkeypatch.setattr(plaquettes, "_BLOCK_SITES", 512)
    U = draw(SU2(), (8, 6, 4, 6), key)
    force = jax.jit(plaquette_force)
    np.testing.assert_allclose(force(U), jax.jit(_force_by_blocks(8))(U, None), atol=1e-14)
    together = jax.jit(jax.vmap(plaquette_force))(jnp.stack([U, U]))
    np.testing.assert_allclose(together[1], force(U), atol=1e-14)


def test_staples_close_to_the_loops_of_the_force(key):
    U, weights = draw(SU2(), (3, 2, 4), key), loop_weights("open", 4)

    @jax.jit
    def both_ways(U):
        loops = [multiply(U[mu], link_staples(U, mu, weights), 0) for mu in range(3)]
        return algebra_coefficients(jnp.stack(loops)), plaquette_force(U, weights)

    by_link, by_plane = both_ways(U)
    np.testing.assert_allclose(by_link, by_plane, atol=1e-14)


def test_wilson_force_reads_the_group_off_the_field(key):
    U = draw(SU2(), (3, 4), key)
    angles = jax.random.normal(key, (2, 4, 6))
    forces = eqx.filter_jit(lambda U, action: (wilson_force(U, _BETA), action.force(U)))
    np.testing.assert_array_equal(*forces(U, WilsonAction(_BETA, SU2())))
    np.testing.assert_array_equal(*forces(angles, WilsonAction(_BETA)))


def test_sum_of_actions_is_their_sum(key):
    group = SU2()
    terms = WilsonAction(1.0, group), symanzik(0.7, group)
    U = draw(group, (3, 4), key)
    total = SumAction(*terms)
    assert float(total(U)) == pytest.approx(sum(float(term(U)) for term in terms), rel=1e-14)
    np.testing.assert_allclose(total.force(U), terms[0].force(U) + terms[1].force(U), atol=1e-14)
    assert total.group == group
    with pytest.raises(ConfigError, match="Argument `terms` must share one group"):
        SumAction(WilsonAction(1.0, SU2()), WilsonAction(1.0, SU3()))
    with pytest.raises(ConfigError, match="Argument `terms` must hold at least one"):
        SumAction()


def test_single_precision_force_is_near_the_double_one(key):
    U = draw(SU3(), (4, 4, 4), key)
    force = jax.jit(plaquette_force)
    narrow = force(U.astype(jnp.complex64))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, force(U), atol=2e-5)


def test_bad_arguments_are_refused(key):
    with pytest.raises(ConfigError, match="Argument `boundary` must be one of"):
        WilsonAction(1.0, SU3(), "fixed")
    with pytest.raises(ConfigError, match="Argument `boundary` must be 'periodic' for U1"):
        WilsonAction(1.0, boundary="open")
    with pytest.raises(ConfigError, match="Argument `beta` must be finite and at least 0"):
        symanzik(-1.0, SU3())
    with pytest.raises(ConfigError, match="Argument `c1` must be finite"):
        ImprovedAction(1.0, float("inf"), SU3())
    U = draw(SU2(), (3, 4), key)
    for bad in (U[:1], U[:, :1], U.real, U[0]):
        with pytest.raises(ShapeError, match="Argument `U` must"):
            WilsonAction(1.0, SU2()).force(bad)
    with pytest.raises(ShapeError, match=r"shape \(mu, 3, 3, \*site\)"):
        WilsonAction(1.0, SU3())(U)
    with pytest.raises(ShapeError, match="Argument `U` must have one link angle"):
        WilsonAction(1.0)(jnp.zeros((3, 4, 4)))
