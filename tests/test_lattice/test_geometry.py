"""Lattices, neighbours and checks of fields."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.geometry import Lattice, lattice_of, neighbour, require_plane

pytestmark = pytest.mark.instant


def test_counts():
    lattice = Lattice((4, 6, 3))
    assert (lattice.dimension, lattice.volume, lattice.n_links) == (3, 72, 216)
    assert lattice == Lattice([4, 6, 3])
    assert hash(lattice) == hash(Lattice((4, 6, 3)))


@pytest.mark.parametrize("shape", [(), (4, 1), (4, 0), (4, -2), (4, 2.5)])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(ConfigError, match="Argument `shape` must"):
        Lattice(shape)


def test_neighbour_is_the_value_one_site_ahead():
    x, t = np.indices((4, 6))
    field = jnp.asarray(10 * x + t)
    np.testing.assert_array_equal(neighbour(field, 0), 10 * ((x + 1) % 4) + t)
    np.testing.assert_array_equal(neighbour(field, 1, -2), 10 * x + (t - 2) % 6)


def test_parity_alternates_along_every_direction():
    parity = Lattice((4, 6)).parity()
    assert not parity[0, 0]
    for axis in (0, 1):
        assert np.all(parity != np.roll(parity, 1, axis))


def test_divisibility():
    lattice = Lattice((4, 6))
    lattice.require_divisible(2, "the masks")
    with pytest.raises(ConfigError, match="multiples of 4 for the masks"):
        lattice.require_divisible(4, "the masks")


def test_fields_tell_their_lattice():
    assert lattice_of(jnp.zeros((3, 4, 6, 2))) == Lattice((4, 6, 2))
    assert require_plane(jnp.zeros((2, 4, 6))) == Lattice((4, 6))


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        (jnp.zeros((2, 4, 4), int), "real floating"),
        (jnp.zeros((2, 4, 4), complex), "real floating"),
        (jnp.zeros((4, 4)), "one link angle per direction"),
        (jnp.zeros((5, 2, 4, 4)), "one link angle per direction"),
        (jnp.zeros((3, 4, 4, 4)), r"\(2, L, T\)"),
    ],
)
def test_wrong_rank_or_dtype_is_named(field, rule):
    with pytest.raises(ShapeError, match=f"Argument `U` must .*{rule}"):
        require_plane(field)
