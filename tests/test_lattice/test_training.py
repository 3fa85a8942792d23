"""Losses, their gradients, and the report on a flow, on flows with known answers."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jaxtyping import TypeCheckError

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.stats import pull
from diffhep_lattice import exact
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.flows.base import AbstractFlow
from diffhep_lattice.flows.coupling import block_flow
from diffhep_lattice.flows.kernels import CircularSpline
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import U1
from diffhep_lattice.observables import topological_charge
from diffhep_lattice.sectors import count_sectors
from diffhep_lattice.training import (
    ForwardKL,
    ReverseKL,
    SymmetrisedKL,
    cast,
    evaluate,
    train,
)
from tests.systems.circle_flow import CircleFlow
from tests.systems.exact_fields import exact_fields
from tests.systems.perturbed import perturb
from tests.systems.plaquette_flow import PlaquetteFlow

pytestmark = pytest.mark.fast

_SHAPE = (4, 4)
_LATTICE = Lattice(_SHAPE)
_VOLUME = 16
_BETA = 1.0
_ACTION = WilsonAction(_BETA)

_MAX_PULL = 4.5
"""One false alarm in 150,000 per number."""


@functools.cache
def build_flow(scale=0.2):
    """One coupling: each plaquette of a pair given their sum. The smallest flow of all."""
    key = jax.random.key(4)
    flow = block_flow(
        _LATTICE, key=key, largest=1, n_polish=0, kernel=CircularSpline(2), hidden=(2,)
    )
    return perturb(flow, scale, key=key)


_CIRCLE = CircleFlow(_LATTICE, 0.5)
"""One parameter, and programs that compile in no time."""


@functools.cache
def identity_flow():
    return jax.tree.map(lambda a: 0.0 * a if eqx.is_inexact_array(a) else a, build_flow())


class FlowAction(AbstractAction):
    """The action whose density is that of a flow: the flow is perfect for it."""

    flow: AbstractFlow
    group: U1 = U1()

    def __call__(self, U):
        return -jax.lax.stop_gradient(self.flow).pull_back(U)

    def force(self, U):
        return jax.grad(self)(U)


@eqx.filter_jit
def value_and_gradient(loss, flow, key):
    """The loss and its gradient as one vector."""
    value, gradient = eqx.filter_value_and_grad(lambda flow: loss(flow, key, jnp.asarray(0))[0])(
        flow
    )
    return value, ravel_pytree(gradient)[0]


def test_both_gradients_agree_in_expectation(key):
    """Paired over keys; the expectation is not zero, and the estimators are not the same."""
    keys = jax.random.split(key, 400)

    @eqx.filter_jit
    def gradients(flow):
        losses = [ReverseKL(_ACTION, 64, kind) for kind in ("path", "reparameterised")]
        return jax.lax.map(
            lambda key: jnp.stack([value_and_gradient(loss, flow, key)[1] for loss in losses]),
            keys,
        )

    path, plain = np.asarray(gradients(_CIRCLE))[..., 0].T
    difference = path - plain
    error = difference.std() / np.sqrt(difference.size)
    assert abs(difference.mean() / error) < _MAX_PULL
    assert error > 1e-3
    assert abs(path.mean()) > 20.0 * error


@pytest.mark.parametrize("perfect", ["haar", "itself"])
def test_path_gradient_vanishes_for_a_perfect_flow(perfect, key):
    """Sample by sample, where the plain one has noise left."""
    flow = {"haar": identity_flow, "itself": build_flow}[perfect]()
    action = {"haar": WilsonAction(0.0), "itself": FlowAction(flow)}[perfect]
    _, path = value_and_gradient(ReverseKL(action, 1, "path"), flow, key)
    np.testing.assert_allclose(path, 0.0, atol=1e-11)
    value, plain = value_and_gradient(ReverseKL(action, 1, "reparameterised"), flow, key)
    assert float(value) == pytest.approx(0.0, abs=1e-11)
    assert float(jnp.max(jnp.abs(plain))) > 1e-4


def test_plain_gradient_is_the_finite_difference(key):
    loss = ReverseKL(_ACTION, 4, "reparameterised")
    h = 1e-5
    plus, minus = (value_and_gradient(loss, CircleFlow(_LATTICE, 0.5 + t), key)[0] for t in (h, -h))
    slope = float(value_and_gradient(loss, _CIRCLE, key)[1][0])
    assert float((plus - minus) / (2 * h)) == pytest.approx(slope, rel=1e-6)


def test_path_gradient_is_the_finite_difference_through_the_samples(key):
    """The density is that of the flow as it was: only the samples move."""

    @eqx.filter_jit
    def objective(a):
        moved = CircleFlow(_LATTICE, a)
        U, _ = moved.push_forward(moved.sample_latents(key, 4))
        return jnp.mean(_CIRCLE.pull_back(U) + jax.vmap(_ACTION, in_axes=-1)(U))

    h = 1e-5
    plus, minus = (objective(jnp.asarray(0.5 + t)) for t in (h, -h))
    value, gradient = value_and_gradient(ReverseKL(_ACTION, 4, "path"), _CIRCLE, key)
    assert float(value) == pytest.approx(float(objective(jnp.asarray(0.5))), abs=1e-11)
    assert float((plus - minus) / (2 * h)) == pytest.approx(float(gradient[0]), rel=1e-6)


@eqx.filter_jit
def evaluate_loss(loss, flow, key, step):
    return loss(flow, key, step)


@eqx.filter_jit
def sample_actions(flow, key, n):
    """Actions and densities of the samples that a loss draws."""
    U, log_q = flow.push_forward(flow.sample_latents(key, n))
    return jax.vmap(_ACTION, in_axes=-1)(U), log_q


def test_loss_is_the_divergence_up_to_log_z(key):
    value, aux = evaluate_loss(ReverseKL(_ACTION, 16), _CIRCLE, key, jnp.asarray(0))
    action, log_q = (np.asarray(x) for x in sample_actions(_CIRCLE, key, 16))
    log_w = -action - log_q
    assert float(value) == pytest.approx(-log_w.mean(), abs=1e-11)
    assert float(aux["minus_log_w"]) == pytest.approx(-log_w.mean(), abs=1e-11)
    weights = np.exp(log_w)
    kish = weights.sum() ** 2 / (16 * (weights**2).sum())
    assert float(aux["batch_ess"]) == pytest.approx(kish, rel=1e-10)


def test_annealing_raises_the_strength_of_the_action_linearly(key):
    """What is reported beside the loss is always that of the full action."""
    loss = ReverseKL(_ACTION, 16, "path", anneal_steps=10, anneal_from=0.2)
    values, reports = zip(
        *(evaluate_loss(loss, _CIRCLE, key, jnp.asarray(step)) for step in (0, 5, 10, 20)),
        strict=True,
    )
    action = float(np.mean(sample_actions(_CIRCLE, key, 16)[0]))
    drops = [float(values[-1] - value) / action for value in values]
    np.testing.assert_allclose(drops, [0.8, 0.4, 0.0, 0.0], atol=1e-12)
    assert len({float(report["minus_log_w"]) for report in reports}) == 1
    assert float(reports[0]["minus_log_w"]) == pytest.approx(float(values[-1]), abs=1e-11)


def test_reverse_training_improves_the_flow_and_returns_double_precision(key):
    seen = set()
    loss = ReverseKL(_ACTION, 64)

    def watched(flow, key, step):
        seen.add(flow.push_forward(flow.sample_latents(key, 2))[0].dtype)
        return loss(flow, key, step)

    result = train(identity_flow(), watched, 60, key=key, learning_rate=0.05, progress=False)
    assert seen == {jnp.dtype(jnp.float32)}
    for model in (result.model, result.best_model):
        leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float64)}
    history = result.history
    assert history["loss"].shape == history["batch_ess"].shape == (60,)
    # The divergence of Haar fields is log Z; a quarter of the links can be brought in order.
    start, end = (history["minus_log_w"][part].mean() for part in (slice(5), slice(-20, None)))
    assert start > -0.5
    assert end < start - 0.5


def test_forward_training_raises_the_likelihood_of_configurations_not_seen(key):
    fields = exact_fields(_SHAPE, _BETA, 2000, key=key)
    seen, unseen = fields[:400], fields[400:]
    flow = identity_flow()
    loss = ForwardKL(seen, 64)
    result = train(flow, loss, 60, key=key, learning_rate=0.05, dtype=jnp.float64, progress=False)
    log_q = np.asarray(eqx.filter_jit(result.model.log_prob)(unseen))
    error = log_q.std() / np.sqrt(log_q.size)
    # Haar fields have log q = 0.
    assert log_q.mean() > 0.3 + _MAX_PULL * error


def test_symmetrised_loss_is_the_weighted_sum_of_both(key, without_shape_checks):
    fields = U1().haar((8, 2, *_SHAPE), key=key)
    parts = ReverseKL(_ACTION, 16), ForwardKL(fields, 4)
    keys = jax.random.split(key)
    (reverse, _), forward = (
        evaluate_loss(loss, _CIRCLE, key, jnp.asarray(0))
        for loss, key in zip(parts, keys, strict=True)
    )
    for weight in (0.0, 0.3, 1.0):
        value, report = evaluate_loss(SymmetrisedKL(*parts, weight), _CIRCLE, key, jnp.asarray(0))
        expected = weight * reverse + (1.0 - weight) * forward
        assert float(value) == pytest.approx(float(expected), abs=1e-10)
        assert float(report["minus_log_w"]) == pytest.approx(float(reverse), abs=1e-10)
        assert float(report["minus_log_q"]) == pytest.approx(float(forward), abs=1e-10)
    with pytest.raises(ConfigError, match="`weight` must lie in"):
        SymmetrisedKL(*parts, 1.5)
    with pytest.raises(ConfigError, match="`forward` must be a ForwardKL"):
        SymmetrisedKL(parts[0], parts[0])


def test_cast_changes_floats_alone():
    flow = build_flow()
    narrow = cast(flow, jnp.float32)
    assert narrow.dtype == jnp.float32
    stripes = narrow.bijection.bijections[0].stripes
    assert stripes.offset.dtype == flow.bijection.bijections[0].stripes.offset.dtype
    assert eqx.tree_equal(cast(narrow, jnp.float64), flow, rtol=1e-6, atol=1e-7)


def test_perfect_flow_has_a_perfect_report(key):
    action = WilsonAction(0.0)
    fields = U1().haar((20, 2, *_SHAPE), key=key)
    flow = CircleFlow(_LATTICE, 0.0)
    report = evaluate(flow, action, 300, key=key, configurations=fields, chunk=128)
    assert report.n == report.log_weights.size == 300
    np.testing.assert_allclose(report.log_weights, 0.0, atol=1e-12)
    np.testing.assert_allclose((report.ess, report.forward_ess), 1.0, atol=1e-12)
    assert report.acceptance == 1.0
    assert report.log_z == pytest.approx(0.0, abs=1e-12)
    errors = (report.ess_error, report.acceptance_error, report.log_z_error)
    np.testing.assert_allclose(errors, 0.0, atol=1e-12)


def test_report_of_independent_plaquettes_is_the_known_one(key):
    """ESS and log Z in closed form, the acceptance by an average over all pairs of samples."""
    beta, n = 2.0, 4000
    flow, action = PlaquetteFlow(_LATTICE, beta), WilsonAction(beta)
    fields = exact_fields(_SHAPE, beta, 2000, key=jax.random.fold_in(key, 1))
    report = evaluate(flow, action, n, key=key, configurations=fields)
    log_z = exact.u1_log_partition(beta, _VOLUME)
    assert abs(pull(report.log_z, report.log_z_error, log_z)) < _MAX_PULL
    assert abs(pull(report.ess, report.ess_error, flow.effective_fraction())) < _MAX_PULL
    assert report.forward_ess == pytest.approx(report.ess, abs=0.1)
    weights = np.exp(report.log_weights - report.log_weights.max())
    ratios = np.minimum(1.0, weights[None, :] / weights[:, None])
    acceptance = np.average(ratios.mean(1), weights=weights)
    assert 0.0 < report.acceptance_error < 0.03
    assert abs(report.acceptance - acceptance) < _MAX_PULL * report.acceptance_error
    assert not np.array_equal(report.log_weights[:1024], report.log_weights[1024:2048])


class OneSector(AbstractFlow):
    """The target itself in the sector of zero charge, and next to nothing elsewhere."""

    lattice: Lattice
    fields: jax.Array
    log_inside: float
    log_outside: float = -50.0

    def sample_latent(self, key):
        return self.fields[jax.random.randint(key, (), 0, self.fields.shape[0])]

    def log_prob_latent(self, z):
        if z.ndim > 3:
            return jax.vmap(self.log_prob_latent, in_axes=-1)(z)
        inside = topological_charge(z) == 0.0
        return -_ACTION(z) - jnp.where(inside, self.log_inside, -self.log_outside)

    def forward_and_log_det(self, z):
        return z, jnp.zeros(z.shape[3:])

    def inverse_and_log_det(self, U):
        return U, jnp.zeros(U.shape[3:])


def test_forward_ess_sees_a_missing_sector(key):
    """All that the flow's own samples tell is perfect; log Z and the forward ESS give it away."""
    fields = exact_fields(_SHAPE, _BETA, 1000, key=key)
    charges = np.asarray(jax.jit(jax.vmap(topological_charge))(fields))
    distribution = exact.u1_charge_distribution(_BETA, _VOLUME)
    inside = distribution.probability[distribution.charge == 0].item()
    log_z = exact.u1_log_partition(_BETA, _VOLUME)
    flow = OneSector(_LATTICE, fields[charges == 0], log_z + np.log(inside))
    report = evaluate(
        flow, _ACTION, 200, key=key, configurations=fields, observe=topological_charge
    )
    assert report.ess == pytest.approx(1.0, abs=1e-10)
    assert report.acceptance == 1.0
    assert report.log_z == pytest.approx(log_z + np.log(inside), abs=1e-10)
    assert log_z - report.log_z > 0.1
    # A fraction of the configurations has a weight of e^50 and more.
    assert 0.01 < np.mean(charges != 0) < 0.9
    assert report.forward_ess < 1e-10
    at_home = evaluate(flow, _ACTION, 200, key=key, configurations=fields[charges == 0])
    assert at_home.forward_ess == pytest.approx(1.0, abs=1e-10)
    assert at_home.observed is None
    # The sectors name what is missing, and those of the target agree with the exact ones.
    assert report.observed is not None
    left = count_sectors(report.observed, report.log_weights)
    assert left.charge.tolist() == [0]
    assert left.of(0) == (pytest.approx(1.0, abs=1e-12), pytest.approx(0.0, abs=1e-12))
    assert left.of(1) == (0.0, 0.0)
    for charge in (-1, 0, 1):
        probability, error = count_sectors(charges).of(charge)
        reference = distribution.probability[distribution.charge == charge].item()
        # One false alarm in 150,000 per sector.
        assert abs(pull(probability, error, reference)) < 4.5


def test_sectors_are_weighted():
    """By hand: weights 1, 2, 1 of 4 and charges 0, 1, 1."""
    sectors = count_sectors([0.0, 1.0, 1.0], np.log([1.0, 2.0, 1.0]))
    np.testing.assert_array_equal(sectors.charge, [0, 1])
    np.testing.assert_allclose(sectors.probability, [0.25, 0.75], atol=1e-15)
    # (1 - p)^2 + p^2 (4 + 1) over 4^2 with p = 1/4.
    np.testing.assert_allclose(sectors.error, np.sqrt(0.875 / 16.0), atol=1e-15)
    with pytest.raises(ShapeError, match="`log_weights` must hold one number per charge"):
        count_sectors([0.0, 1.0], [0.0])
    with pytest.raises(ShapeError, match="`charges` must hold one charge per configuration"):
        count_sectors([])


def test_report_without_configurations_has_no_forward_ess(key):
    report = evaluate(_CIRCLE, WilsonAction(0.0), 64, key=key)
    assert np.isnan(report.forward_ess)


@pytest.mark.parametrize(("name", "value"), [("batch", 0), ("anneal_steps", -1)])
def test_bad_losses_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"Argument `{name}` must") as caught:
        ReverseKL(_ACTION, **{name: value})
    assert "\n" not in str(caught.value)


def test_unknown_gradient_is_refused():
    """By the library's own check; under test beartype objects before it."""
    with pytest.raises(TypeCheckError):
        ReverseKL(_ACTION, gradient="score")
    loss = ReverseKL(_ACTION)
    object.__setattr__(loss, "gradient", "score")
    with pytest.raises(
        ConfigError, match=r"Argument `gradient` must be one of .*but it is 'score'"
    ):
        loss.__check_init__()


def test_bad_arguments_are_refused(key):
    with pytest.raises(ConfigError, match="Argument `batch` must be an integer of at least 1"):
        ForwardKL(jnp.zeros((5, 2, 4, 4)), 0)
    with pytest.raises(ConfigError, match="Argument `n` must be"):
        evaluate(_CIRCLE, _ACTION, 0, key=key)
    for shape in ((2, 4, 4), (1, 5, 2, 4, 4)):
        with pytest.raises(ShapeError, match="Argument `configurations` must"):
            evaluate(_CIRCLE, _ACTION, 64, key=key, configurations=jnp.zeros(shape))


def test_double_precision_is_needed(key):
    with jax.enable_x64(False):
        for call in (
            lambda: train(_CIRCLE, ReverseKL(_ACTION), 1, key=key),
            lambda: evaluate(_CIRCLE, _ACTION, 64, key=key),
        ):
            with pytest.raises(ConfigError, match="Argument `jax_enable_x64` must be true"):
                call()
