"""Sites divided over devices: the same bits as on one device, and meshes that do not fit."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from diffhep.core.distributed import grid
from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.actions import WilsonAction
from diffhep_lattice.ensemble import Ensemble, Schedule
from diffhep_lattice.groups import SU3, U1, random_momentum
from diffhep_lattice.io import EnsembleFile
from diffhep_lattice.samplers import hmc
from diffhep_lattice.sharding import name_directions, partition_streams, shard_sites

pytestmark = pytest.mark.fast

U1_ACTION = WilsonAction(2.0)
SU3_ACTION = WilsonAction(5.7, SU3())
CASES = {
    "u1-hmc": (hmc(U1_ACTION, step_size=0.2, n_steps=4), U1(), (8, 6), {"x": 2, "t": 2}),
    "su3-hmc": (hmc(SU3_ACTION, step_size=0.1, n_steps=2), SU3(), (4, 4, 4, 4), {"z": 2, "t": 2}),
    "u1-streams": (hmc(U1_ACTION, step_size=0.2, n_steps=4), U1(), (8, 6), {"stream": 2, "x": 2}),
}

SUM_TOLERANCE = 1e-13
"""Of sums over sites, relative to the sum of their magnitudes: devices add in another order."""


@pytest.mark.bits
@pytest.mark.parametrize("case", CASES)
def test_five_trajectories_have_the_same_bits(case, key, tmp_path):
    algorithm, group, sites, divisions = CASES[case]
    shape = (len(sites), *sites)
    start = jnp.stack([group.haar(shape, key=k, dtype=float) for k in jax.random.split(key, 2)])

    def run(name, mesh):
        ensemble = Ensemble(
            tmp_path / name,
            algorithm,
            Schedule(save_every=1),
            start=start,
            observe={"action": algorithm.action},
            mesh=mesh,
        )
        return ensemble, ensemble.run(5)

    (one_file, one), (many_file, many) = run("one", None), run("many", grid(divisions))
    for stream in range(2):
        fields = (EnsembleFile(e.configuration_path(stream)) for e in (one_file, many_file))
        for a, b in zip(*fields, strict=True):
            np.testing.assert_array_equal(a.field, b.field, err_msg=f"trajectory {a.trajectory}")
    assert np.any(one.positions != start)
    np.testing.assert_allclose(
        many.observables["action"], one.observables["action"], rtol=SUM_TOLERANCE
    )
    for name, values in one.info.items():
        if values.dtype == bool:
            np.testing.assert_array_equal(many.info[name], values, err_msg=name)
    if "energy_change" in one.info:
        # Both energies of a change are of the order of the number of momenta, if not larger.
        energy = len(sites) * np.prod(group.algebra_shape, initial=1) * np.prod(sites)
        difference = np.abs(many.info["energy_change"] - one.info["energy_change"])
        assert difference.max() <= SUM_TOLERANCE * energy


@pytest.mark.parametrize("case", ["u1-hmc", "su3-hmc"])
def test_random_numbers_belong_to_the_global_site(case, key):
    _, group, sites, divisions = CASES[case]
    mesh = grid(divisions)
    shape = (len(sites), *sites)

    def draw(key):
        links = group.haar(shape, key=key, dtype=float)
        return links, random_momentum(group, links, key=key)

    whole = jax.jit(draw)(key)
    shardings = [
        NamedSharding(mesh, type(spec)(*spec[1:]))
        for spec in (partition_streams(mesh, (1, *field.shape)) for field in whole)
    ]
    divided = jax.jit(draw, out_shardings=tuple(shardings))(key)
    for a, b in zip(whole, divided, strict=True):
        assert len(b.sharding.device_set) == mesh.size
        assert b.addressable_shards[0].data.size * mesh.size == a.size
        np.testing.assert_array_equal(a, b)


def test_devices_hold_their_sites_alone(key):
    field = U1().haar((2, 8, 6), key=key)
    divided = shard_sites(field, grid({"x": 4}))
    assert [shard.data.shape for shard in divided.addressable_shards] == [(2, 2, 6)] * 4
    np.testing.assert_array_equal(field, divided)
    rolled = jax.jit(lambda U: jnp.roll(U, 1, axis=1))(divided)
    np.testing.assert_array_equal(rolled, jnp.roll(field, 1, axis=1))


def test_halos_are_exchanged_between_neighbours_only(key):
    """A force needs the next slice: nothing gathers the field on any device."""
    links = SU3().haar((4, 4, 4, 4, 8), key=key, dtype=float)
    divided = shard_sites(links, grid({"t": 4}))
    program = jax.jit(lambda U: SU3_ACTION.force(U)).lower(divided).compile().as_text()
    names = set(re.findall(r"(all-gather|all-to-all|all-reduce|collective-permute)\S*\(", program))
    assert names == {"collective-permute"}


def test_names_of_directions():
    assert [name_directions(d) for d in (1, 2, 3, 4)] == [
        ("t",),
        ("x", "t"),
        ("x", "y", "t"),
        ("x", "y", "z", "t"),
    ]
    with pytest.raises(ConfigError, match="`dimension` must lie between 1 and 4, but it is 5"):
        name_directions(5)


def test_links_are_divided_by_their_last_axes():
    spec = partition_streams(grid({"stream": 2, "t": 2}), (2, 4, 3, 3, 4, 4, 4, 8))
    assert tuple(spec) == ("stream", *[None] * 6, "t")


@pytest.mark.parametrize(
    ("divisions", "message"),
    [
        ({"t": 4}, "`mesh` must divide the 6 sites along t into equal parts of at least 2, .* 4"),
        (
            {"stream": 2},
            "`mesh` must divide the 3 streams into equal parts of at least 1, but it is 2",
        ),
        ({"z": 2}, "`mesh` must have axes out of x, t, stream, but it is 'z'"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(divisions, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        Ensemble(
            tmp_path / "run",
            CASES["u1-hmc"][0],
            Schedule(),
            start=np.zeros((3, 2, 8, 6)),
            mesh=grid(divisions),
        )
    assert not (tmp_path / "run").exists()


def test_fields_without_site_axes_are_refused():
    with pytest.raises(ShapeError, match="`start` must have the shape"):
        partition_streams(grid({"t": 2}), (1, 4, 8, 8))
