"""Stripes: which links move, which loops follow, and which lattices fit."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep_lattice.flows.masks import Stripes
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import unwrapped_plaquette_angles

pytestmark = pytest.mark.instant

_MASKS = {
    "published": (Stripes(0, [1, 0]), (8, 4)),
    "published_other_direction": (Stripes(1, [3, 0]), (4, 8)),
    "pairs": (Stripes(1, [1, 0], 1, 2, 2), (4, 6)),
    "large_blocks": (Stripes(1, [2, 2], 2, 4, 2), (8, 8)),
    "three_rows": (Stripes(0, [0, 0], 2, 1, 3), (4, 6)),
}


@pytest.fixture(params=_MASKS)
def mask(request):
    return _MASKS[request.param]


@eqx.filter_jit
def loops_of(stripes, plaquettes):
    return stripes.loops(plaquettes)


@eqx.filter_jit
def move(stripes, U, change):
    """The field with its stripes moved, and the loops before and after."""
    moved = U.at[stripes.direction].add(stripes.link_change(change))
    before, after = (stripes.loops(unwrapped_plaquette_angles(V)) for V in (U, moved))
    return moved, before, after


def turn(angle):
    """The representative nearest to zero."""
    return np.remainder(np.asarray(angle) + np.pi, 2 * np.pi) - np.pi


def cells(stripes, shape):
    """Number of active loops across the stripes and along them."""
    across, along = 1 - stripes.direction, stripes.direction
    return shape[across] // (stripes.reach * stripes.period), shape[along] // stripes.span


def block_sum(plaquettes, stripes, row, a, b):
    """Sum over one block, site by site: block `row` of period `a`, number `b` along the stripe."""
    total = 0.0
    for i, j in itertools.product(range(stripes.reach), range(stripes.span)):
        site = [0, 0]
        site[1 - stripes.direction] = (
            int(stripes.offset[0]) + (a * stripes.period + row) * stripes.reach + i
        )
        site[stripes.direction] = int(stripes.offset[1]) + b * stripes.span + j
        total += plaquettes[site[0] % plaquettes.shape[0], site[1] % plaquettes.shape[1]]
    return total


def test_loops_are_sums_over_blocks(mask, key):
    stripes, shape = mask
    plaquettes = np.asarray(3.0 * jax.random.normal(key, shape))
    loops = loops_of(stripes, plaquettes)
    n_across, n_along = cells(stripes, shape)
    assert loops.active.shape == loops.parent.shape == (n_across, n_along)
    assert loops.frozen.shape == (stripes.period - 2, n_across, n_along)
    for a, b in itertools.product(range(n_across), range(n_along)):
        active = block_sum(plaquettes, stripes, 0, a, b)
        passive = block_sum(plaquettes, stripes, -1, a, b)
        expected = [active, active + passive]
        expected += [
            block_sum(plaquettes, stripes, row, a, b) for row in range(1, stripes.period - 1)
        ]
        found = np.stack([loops.active, loops.parent, *loops.frozen])[:, a, b]
        np.testing.assert_allclose(turn(found - np.array(expected)), 0.0, atol=1e-12)
        assert np.max(np.abs(found)) <= np.pi


def test_a_link_changes_its_active_loop_alone(mask, key):
    """The active loop changes by what is asked; the parent and frozen loops stay."""
    stripes, shape = mask
    U = 3.0 * jax.random.normal(key, (2, *shape))
    change = jax.random.normal(jax.random.fold_in(key, 1), cells(stripes, shape))
    _, before, after = move(stripes, U, change)
    np.testing.assert_allclose(
        turn(np.asarray(after.active - before.active) - change), 0.0, atol=1e-12
    )
    np.testing.assert_allclose(turn(after.parent - before.parent), 0.0, atol=1e-12)
    np.testing.assert_allclose(turn(after.frozen - before.frozen), 0.0, atol=1e-12)


def test_one_link_moves_per_active_loop(mask):
    stripes, shape = mask
    moved, _, _ = move(stripes, jnp.zeros((2, *shape)), jnp.ones(cells(stripes, shape)))
    assert set(np.unique(np.abs(moved))) == {0.0, 1.0}
    assert np.abs(moved).sum() == np.prod(cells(stripes, shape))
    assert not np.any(moved[1 - stripes.direction])


def test_batch_axes_come_last(mask, key):
    stripes, shape = mask
    plaquettes = jax.random.normal(key, (*shape, 3))
    together = loops_of(stripes, plaquettes)
    alone = loops_of(stripes, plaquettes[..., 1])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[..., 1], b), together, alone)
    change = jax.random.normal(key, (*cells(stripes, shape), 3))
    batch = eqx.filter_jit(lambda c: stripes.link_change(c))(change)
    one = eqx.filter_jit(lambda c: stripes.link_change(c))(change[..., 1])
    np.testing.assert_array_equal(batch[..., 1], one)


@pytest.mark.parametrize(
    ("stripes", "shape", "message"),
    [
        (Stripes(0, [0, 0]), (4, 6), "be divisible by 4 along axis 1 and by 1 along axis 0"),
        (Stripes(1, [0, 0]), (6, 4), "be divisible by 4 along axis 0 and by 1 along axis 1"),
        (Stripes(1, [0, 0], 1, 1, 2), (5, 4), "be divisible by 2 along axis 0"),
        (Stripes(0, [0, 0], 2, 4, 2), (6, 4), "be divisible by 4 along axis 1 and by 4 along"),
        (Stripes(0, [0, 0]), (4, 4, 4), "have two directions"),
    ],
)
def test_lattices_that_do_not_fit_are_refused(stripes, shape, message):
    with pytest.raises(ConfigError, match=f"Argument `shape` must {message}") as caught:
        stripes.require_fit(Lattice(shape))
    assert "\n" not in str(caught.value)


def test_lattices_that_fit_are_taken(mask):
    stripes, shape = mask
    stripes.require_fit(Lattice(shape))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((2, [0, 0]), "direction"),
        ((0, [0, 0], 0), "reach"),
        ((0, [0, 0], 1, 0), "span"),
        ((0, [0, 0], 1, 1, 1), "period"),
    ],
)
def test_bad_settings_are_refused(arguments, name):
    with pytest.raises(ConfigError, match=f"Argument `{name}` must"):
        Stripes(*arguments)
