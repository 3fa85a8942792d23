"""Gauge-equivariant couplings: symmetries, the shape of the Jacobian, and the flows built of them.

The laws that every flow obeys are in tests/contracts.
"""

import functools
import operator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, ShapeError
from diffhep_lattice.flows.coupling import GaugeCoupling, block_flow, stripe_flow
from diffhep_lattice.flows.kernels import CircularSpline, NonCompactProjection
from diffhep_lattice.flows.masks import Stripes
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import (
    gauge_transform,
    plaquette_angles,
    unwrapped_plaquette_angles,
)
from tests.systems.perturbed import perturb

pytestmark = pytest.mark.fast

_SHAPE = (8, 8)

_COUPLINGS = {
    "spline": (Stripes(0, [1, 0]), CircularSpline(3), "loop"),
    "projection": (Stripes(1, [2, 0]), NonCompactProjection(3), "loop"),
    "blocks": (Stripes(0, [2, 0], 2, 4, 2), CircularSpline(3), "parent"),
}


_TINY = {"kernel": CircularSpline(2), "hidden": (2,)}


@functools.cache
def build_stripes(shape):
    """A small flow of eight stripe couplings, away from the identity."""
    key = jax.random.key(2)
    return perturb(stripe_flow(Lattice(shape), key=key, n_layers=8, **_TINY), 0.1, key=key)


@functools.cache
def build_coupling(name):
    stripes, kernel, centre = _COUPLINGS[name]
    key = jax.random.key(1)
    coupling = GaugeCoupling(stripes, kernel, hidden=(4,), centre=centre, key=key)
    return perturb(coupling, 0.3, key=key)


@pytest.fixture(params=_COUPLINGS)
def coupling(request):
    return build_coupling(request.param)


@eqx.filter_jit
def forward(bijection, U):
    return bijection.forward_and_log_det(U)


@eqx.filter_jit
def loops_of(stripes, U):
    return stripes.loops(unwrapped_plaquette_angles(U))


@eqx.filter_jit
def unit_move(stripes, U):
    """The change of the links that adds one to every active loop."""
    return stripes.link_change(jnp.ones_like(loops_of(stripes, U).active))


def draw(key, shape=_SHAPE):
    return np.asarray(jax.random.uniform(key, (2, *shape), minval=-np.pi, maxval=np.pi))


def turn(angle):
    """The representative nearest to zero."""
    return np.remainder(np.asarray(angle) + np.pi, 2 * np.pi) - np.pi


def assert_same_field(U, V, atol=1e-12):
    np.testing.assert_allclose(turn(np.asarray(U) - np.asarray(V)), 0.0, atol=atol)


def test_coupling_commutes_with_gauge_transformations(coupling, key):
    U, g = draw(key), draw(jax.random.fold_in(key, 1))[0]
    image, log_det = forward(coupling, U)
    transformed, same_log_det = forward(coupling, gauge_transform(jnp.asarray(U), jnp.asarray(g)))
    assert_same_field(transformed, gauge_transform(image, jnp.asarray(g)))
    assert float(same_log_det) == pytest.approx(float(log_det), abs=1e-12)
    assert float(np.max(np.abs(image - U))) > 0.1


def test_coupling_sees_no_full_turns(coupling, key):
    """Link angles mean the same modulo 2 pi."""
    U = draw(key)
    turns = 2 * np.pi * np.asarray(jax.random.randint(key, U.shape, -2, 3))
    image, log_det = forward(coupling, U)
    turned, same_log_det = forward(coupling, U + turns)
    assert_same_field(turned, image)
    assert float(same_log_det) == pytest.approx(float(log_det), abs=1e-11)


def test_coupling_commutes_with_translations_by_its_period(coupling, key):
    stripes, U = coupling.stripes, draw(key)
    across, along = 2 - stripes.direction, 1 + stripes.direction
    image, log_det = forward(coupling, U)
    for axis, period in ((across, stripes.reach * stripes.period), (along, stripes.span)):
        moved, same_log_det = forward(coupling, np.roll(U, period, axis))
        assert_same_field(moved, np.roll(image, period, axis))
        assert float(same_log_det) == pytest.approx(float(log_det), abs=1e-12)
    # A shift that is no period is no symmetry: the stripes would be elsewhere.
    moved, _ = forward(coupling, np.roll(U, 1, across))
    assert np.max(np.abs(turn(moved - np.roll(image, 1, across)))) > 0.1


def test_only_active_loops_change(coupling, key):
    stripes, U = coupling.stripes, draw(key)
    image, _ = forward(coupling, U)
    before, after = loops_of(stripes, U), loops_of(stripes, image)
    assert_same_field(after.parent, before.parent)
    assert_same_field(after.frozen, before.frozen)
    moving = np.asarray(unit_move(stripes, U)) != 0.0
    changed = np.asarray(image - U) != 0.0
    assert not changed[1 - stripes.direction].any()
    np.testing.assert_array_equal(changed[stripes.direction], moving)


def test_jacobian_is_diagonal_on_the_moved_links(coupling, key):
    """Parameters of the kernels depend on no loop that moves, the passive ones included."""
    stripes, U = coupling.stripes, draw(key)
    flat = jnp.asarray(U.ravel())
    jacobian = jax.jit(
        jax.jacfwd(lambda x: coupling.forward_and_log_det(x.reshape(U.shape))[0].ravel())
    )(flat)
    jacobian = np.asarray(jacobian)
    moving = np.zeros(U.shape, bool)
    moving[stripes.direction] = np.asarray(unit_move(stripes, U)) != 0.0
    moving = moving.ravel()
    # Links that stay have the rows of the identity.
    np.testing.assert_array_equal(jacobian[~moving], np.eye(flat.size)[~moving])
    block = jacobian[np.ix_(moving, moving)]
    slopes = np.diag(block)
    np.testing.assert_array_equal(block, np.diag(slopes))
    assert slopes.min() > 0.0
    _, log_det = forward(coupling, U)
    assert np.log(slopes).sum() == pytest.approx(float(log_det), abs=1e-11)
    # They do depend on links that stay, beyond those of their own loop.
    assert np.abs(jacobian[np.ix_(moving, ~moving)]).max() > 1e-3


def test_half_angle_jumps_where_the_kernel_is_the_identity(key):
    """A layer centred on half the parent is continuous where the parent crosses pi."""
    coupling = build_coupling("blocks")
    U = draw(key)
    # A link at the lower edge of the first passive block: of the loops there, it changes the parent
    # alone.
    parent = loops_of(coupling.stripes, U).parent[0, 0]
    sides = []
    for shift in (-1e-7, 1e-7):
        near = U.copy()
        near[0, 0, 0] += np.pi - parent + shift
        sides.append((loops_of(coupling.stripes, near).parent[0, 0], *forward(coupling, near)))
    assert [round(float(side[0]), 5) for side in sides] == [3.14159, -3.14159]
    assert_same_field(sides[0][1], sides[1][1], atol=1e-5)
    assert float(sides[0][2]) == pytest.approx(float(sides[1][2]), abs=1e-5)


def unstack(repeat):
    """The bijections of a scan, one by one."""
    arrays, static = eqx.partition(repeat.stacked, eqx.is_array)
    n = jax.tree.leaves(arrays)[0].shape[0]
    slices = [jax.tree.map(operator.itemgetter(index), arrays) for index in range(n)]
    return [eqx.combine(one, static) for one in slices]


@pytest.mark.parametrize("shape", [(4, 4), (8, 4)])
def test_stripes_move_every_link_equally_often(shape):
    counts = np.zeros((2, *shape))
    for pair in unstack(build_stripes(shape).bijection):
        for coupling in pair.bijections:
            move = unit_move(coupling.stripes, jnp.zeros((2, *shape)))
            counts[coupling.stripes.direction] += np.abs(move)
    np.testing.assert_array_equal(counts, 1)


def test_blocks_keep_all_larger_blocks(key):
    """Level by level: the blocks of a level change, and the parents that they make up do not."""
    flow = block_flow(Lattice(_SHAPE), key=key, largest=8, n_polish=0, **_TINY)
    layers = flow.bijection.bijections
    sizes = [(4, 4), (4, 2), (2, 2), (2, 1), (1, 1)]
    assert len(layers) == len(sizes) - 1

    @jax.jit
    def plaquettes(U):
        return plaquette_angles(U)

    def blocks(U, size):
        n, m = _SHAPE[0] // size[0], _SHAPE[1] // size[1]
        return np.asarray(plaquettes(U)).reshape(n, size[0], m, size[1]).sum((1, 3))

    U = draw(key)
    for layer, parent, child in zip(layers, sizes[:-1], sizes[1:], strict=True):
        assert layer.centre == "parent"
        moved = U.copy()
        moved[layer.stripes.direction] += unit_move(layer.stripes, U)
        assert_same_field(blocks(moved, parent), blocks(U, parent))
        change = turn(blocks(moved, child) - blocks(U, child))
        np.testing.assert_allclose(np.abs(change), 1.0, atol=1e-12)


def test_new_flow_is_nearly_the_identity(key):
    flow = stripe_flow(Lattice((4, 4)), key=key, n_layers=8, **_TINY)
    U = draw(key, (4, 4))
    image, log_det = forward(flow, U)
    assert np.max(np.abs(turn(image - U))) < 0.2
    assert abs(float(log_det)) < 0.5


def test_density_is_normalised(key):
    """<1/q> = 1 under q, within 5 standard errors: one false alarm in 1.7 million."""
    draws = eqx.filter_jit(lambda flow: flow.sample_and_log_prob(key, 4000))
    _, log_q = draws(build_stripes((4, 4)))
    ratio = np.exp(-np.asarray(log_q))
    error = ratio.std() / np.sqrt(ratio.size)
    assert 1e-3 < error < 0.1
    assert abs(ratio.mean() - 1.0) < 5 * error


def test_rematerialised_flow_is_the_same(key):
    """Also its gradients."""
    kernel = NonCompactProjection(1)
    build = functools.partial(stripe_flow, Lattice((4, 4)), n_layers=8, kernel=kernel, hidden=(2,))
    z = jnp.asarray(draw(key, (4, 4)))

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def differentiate(flow):
        U, log_det = flow.forward_and_log_det(z)
        return jnp.sum(jnp.cos(U)) + log_det

    flows = [perturb(build(key=key, rematerialise=flag), 0.1, key=key) for flag in (False, True)]
    assert [flow.bijection.rematerialise for flow in flows] == [False, True]
    (value, gradient), (same, same_gradient) = map(differentiate, flows)
    assert float(value) == pytest.approx(float(same), abs=1e-12)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(same_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)


@pytest.mark.parametrize("n_layers", [0, 4, 12])
def test_number_of_couplings_must_be_a_multiple_of_eight(n_layers, key):
    with pytest.raises(ConfigError, match="Argument `n_layers` must be a multiple of 8"):
        stripe_flow(Lattice((4, 4)), key=key, n_layers=n_layers)


@pytest.mark.parametrize("shape", [(5, 5), (6, 6), (4, 6)])
def test_lattices_that_do_not_fit_are_refused(shape, key):
    for build in (stripe_flow, block_flow):
        with pytest.raises(ConfigError, match="Argument `shape` must be divisible by") as caught:
            build(Lattice(shape), key=key)
        assert "\n" not in str(caught.value)


def test_bad_settings_are_refused(key):
    for largest in (0, 3, 12):
        with pytest.raises(ConfigError, match="Argument `largest` must be a power of 2"):
            block_flow(Lattice((8, 8)), key=key, largest=largest)
    with pytest.raises(ConfigError, match="Argument `width` must be odd and positive"):
        stripe_flow(Lattice((4, 4)), key=key, width=2)
    with pytest.raises(ConfigError, match="Argument `n_polish` must be 0 or a multiple of 8"):
        block_flow(Lattice((4, 4)), key=key, n_polish=4)


def test_fields_of_a_wrong_shape_are_refused(key):
    flow = build_stripes((4, 4))
    for shape in ((4, 4), (2, 4, 8), (3, 4, 4), (2, 4, 4, 1)):
        with pytest.raises(ShapeError, match=r"Argument `U` must end with the axes \(2, 4, 4\)"):
            flow.log_prob(jnp.zeros(shape))
    with pytest.raises(
        ConfigError, match="Argument `n` must be an integer of at least 1, but it is 0"
    ):
        flow.sample_and_log_prob(key, 0)
