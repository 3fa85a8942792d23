"""Bad input of every kind: one clear line that names the argument, at the earliest moment.

The shape checks of the other tests would come first, so they are off here, as for a user.
"""

import functools
import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import diffhep_lattice as dl
from diffhep.core.errors import ConfigError, DataError, DiffhepError, ShapeError
from diffhep_lattice.actions.sum import SumAction
from diffhep_lattice.flows import Chain, CircularSpline, GaugeCoupling, StoutLayer, Stripes
from diffhep_lattice.level_training import LevelKL
from diffhep_lattice.samplers import StepwiseWork

pytestmark = pytest.mark.instant

U = jnp.zeros((2, 4, 4))
"""Cold angles."""

V = jnp.broadcast_to(jnp.eye(3, dtype=complex)[None, :, :, None, None], (2, 3, 3, 4, 4))
"""Cold links of SU(3)."""

LATTICE = dl.Lattice((4, 4))
ACTION = dl.WilsonAction(2.0)
SU3_ACTION = dl.WilsonAction(2.0, dl.SU3())
LADDER = dl.replica_exchange([dl.hmc(dl.WilsonAction(b, dl.SU3())) for b in (1.0, 2.0)])
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _as_a_user(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@functools.cache
def stripes():
    return dl.stripe_flow(LATTICE, key=KEY, n_layers=8, hidden=(2,), kernel=CircularSpline(2))


@functools.cache
def loops():
    return dl.multiscale_flow(dl.Lattice((2, 2)), key=KEY, n_bins=1, width=1)


def fit(**settings):
    return dl.train(stripes(), dl.ReverseKL(ACTION), 1, key=KEY, **settings)


def tune(algorithm=None, positions=U[None], **settings):
    algorithm = dl.hmc(ACTION) if algorithm is None else algorithm
    return dl.adapt_step_size(algorithm, positions, key=KEY, **settings)


def ensemble(tmp="unused", **settings):
    settings = {"start": V[None]} | settings
    return dl.Ensemble(tmp, dl.hmc(SU3_ACTION), dl.Schedule(), **settings)


NUMBERS = {
    "beta of two": (lambda: dl.WilsonAction(jnp.ones(2)), ShapeError, "`beta` must be one real"),
    "beta as a list": (lambda: dl.WilsonAction([1.0]), ConfigError, "`beta` must be one real"),
    "beta as text": (lambda: dl.WilsonAction("2"), ConfigError, "`beta` must be one real number"),
    "complex beta": (lambda: dl.WilsonAction(2j), ConfigError, "`beta` must be one real number"),
    "beta as a bool": (lambda: dl.WilsonAction(True), ConfigError, "`beta` must be one real"),
    "no beta": (lambda: dl.WilsonAction(None), ConfigError, "`beta` must be one real number"),
    "beta of two spins": (lambda: dl.XYAction(jnp.ones(2)), ShapeError, "`beta` must be one real"),
    "mass of two": (
        lambda: dl.Phi4Action(jnp.ones(2), 1.0),
        ShapeError,
        "`mass_squared` must be one real number",
    ),
    "components as a float": (
        lambda: dl.Phi4Action(1.0, 1.0, n_components=2.0),
        ConfigError,
        "`n_components` must be an integer of at least 1",
    ),
    "improved beta of two": (
        lambda: dl.iwasaki(np.ones(2), dl.SU3()),
        ShapeError,
        "`beta` must be one real number, but it has shape (2,)",
    ),
    "c1 of two": (
        lambda: dl.ImprovedAction(1.0, np.ones(2), dl.SU3()),
        ShapeError,
        "`c1` must be one real number",
    ),
    "force beta of two": (lambda: dl.wilson_force(U, np.ones(2)), ShapeError, "`beta` must be"),
    "beta of two in a level": (lambda: LevelKL(np.ones(2), 16), ShapeError, "`beta` must be one"),
    "step_size of two": (
        lambda: dl.hmc(ACTION, step_size=jnp.ones(2)),
        ShapeError,
        "`step_size` must be one real number",
    ),
    "flow step_size of two": (
        lambda: dl.flow_hmc(stripes(), ACTION, step_size=jnp.ones(2)),
        ShapeError,
        "`step_size` must be one real number",
    ),
    "n_steps as a float": (
        lambda: dl.hmc(ACTION, n_steps=2.0),
        ConfigError,
        "`n_steps` must be an integer of at least 1, but it is 2.0, of type float",
    ),
    "n_steps as a bool": (lambda: dl.hmc(ACTION, n_steps=True), ConfigError, "`n_steps` must"),
    "colours as a bool": (lambda: dl.SUN(True), ConfigError, "`n` must be an integer"),
    "colours as a float": (lambda: dl.SUN(3.0), ConfigError, "`n` must be an integer"),
    "complex md_dtype": (
        lambda: dl.hmc(ACTION, md_dtype=complex),
        ConfigError,
        "`md_dtype` must be a real floating dtype",
    ),
    "unknown md_dtype": (
        lambda: dl.hmc(ACTION, md_dtype="half a float"),
        ConfigError,
        "`md_dtype` must be a real floating dtype, but it is 'half a float'",
    ),
    "lengths as floats": (
        lambda: dl.Lattice((8.0, 8.0)),
        ConfigError,
        "`shape` must hold one integer of at least 2 per direction, but it is (8.0, 8.0)",
    ),
    "one length": (lambda: dl.Lattice(8), ConfigError, "`shape` must hold one integer"),
    "no number as length": (lambda: dl.Lattice((8, np.nan)), ConfigError, "`shape` must hold"),
    "text as shape": (lambda: dl.Lattice("88"), ConfigError, "`shape` must hold one integer"),
    "no direction": (lambda: dl.Lattice(()), ConfigError, "`shape` must hold one integer"),
    "loop as floats": (lambda: dl.wilson_loop(U, 2.0, 2), ConfigError, "`R` must be an integer"),
    "loop of a bool": (lambda: dl.wilson_loop(U, 1, True), ConfigError, "`T` must be an integer"),
    "direction as a float": (
        lambda: dl.polyakov_loop(U, 1.0),
        ConfigError,
        "`direction` must be a direction below 2",
    ),
    "one direction for a plane": (
        lambda: dl.wilson_loop(U, 1, 1, plane=0),
        ConfigError,
        "`plane` must be two directions, but it is 0, of type int",
    ),
    "plane as floats": (
        lambda: dl.wilson_loop(U, 1, 1, plane=(0.0, 1.0)),
        ConfigError,
        "`plane` must be two directions below 2, but it is (0.0, 1.0)",
    ),
    "work without a number": (
        lambda: dl.crooks(np.array([1.0, np.nan]), np.ones(2)),
        ConfigError,
        "`work` must be finite, but it is nan",
    ),
    "no charge": (lambda: dl.susceptibility(np.ones(0), 16), ShapeError, "`charges` must hold"),
    "volume as a float": (lambda: dl.susceptibility(np.ones(2), 16.0), ConfigError, "`volume`"),
    "steps of a warm-up": (lambda: tune(n_steps=2.5), ConfigError, "`n_steps` must be an integer"),
    "target as text": (lambda: tune(target="high"), ConfigError, "`target` must be one real"),
    "no chain": (
        lambda: tune(positions=U[None][:0]),
        ShapeError,
        "`positions` must have one leading axis of at least one chain",
    ),
    "negative rate": (lambda: fit(learning_rate=-1e-3), ConfigError, "`learning_rate` must be fin"),
    "zero rate": (lambda: fit(learning_rate=0.0), ConfigError, "`learning_rate` must be finite"),
    "rate without a number": (
        lambda: fit(learning_rate=float("nan")),
        ConfigError,
        "`learning_rate` must be finite and positive, but it is nan",
    ),
    "rate of levels": (
        lambda: dl.train_levels(loops(), 2.0, 1, key=KEY, learning_rate=0.0),
        ConfigError,
        "`learning_rate` must be finite and positive",
    ),
    "integers as fields": (lambda: fit(dtype=int), ShapeError, "`dtype` must be real floating"),
    "warm-up as a float": (lambda: fit(warmup_steps=5.0), ConfigError, "`warmup_steps` must be"),
    "batch as a float": (lambda: dl.ReverseKL(ACTION, 8.0), ConfigError, "`batch` must be an int"),
    "polish": (
        lambda: dl.block_flow(LATTICE, key=KEY, largest=1, n_polish=4),
        ConfigError,
        "`n_polish` must be 0 or a multiple of 8, but it is 4",
    ),
    "layers as a float": (
        lambda: dl.stripe_flow(LATTICE, key=KEY, n_layers=8.0),
        ConfigError,
        "`n_layers` must be a multiple of 8, but it is 8.0",
    ),
    "three dimensions": (
        lambda: dl.stripe_flow(dl.Lattice((4, 4, 4)), key=KEY),
        ConfigError,
        "`shape` must have two directions for stripes, but it is (4, 4, 4)",
    ),
    "width of nothing": (
        lambda: dl.stripe_flow(LATTICE, key=KEY, n_layers=8, width=0),
        ConfigError,
        "`width` must be odd and positive",
    ),
    "no neuron": (
        lambda: dl.multiscale_flow(LATTICE, key=KEY, width=0),
        ConfigError,
        "`width` must be an integer of at least 1",
    ),
    "empty hidden layer": (
        lambda: dl.stripe_flow(LATTICE, key=KEY, n_layers=8, hidden=(0,)),
        ConfigError,
        "`hidden` must hold positive integers, but it is (0,)",
    ),
    "hidden as a number": (
        lambda: dl.stripe_flow(LATTICE, key=KEY, n_layers=8, hidden=16),
        ConfigError,
        "`hidden` must hold positive integers",
    ),
    "chunk of nothing": (
        lambda: dl.evaluate(stripes(), ACTION, 64, key=KEY, chunk=0),
        ConfigError,
        "`chunk` must be an integer of at least 1",
    ),
    "n as a float": (
        lambda: dl.evaluate(stripes(), ACTION, 64.0, key=KEY),
        ConfigError,
        "`n` must be an integer of at least 16",
    ),
    "samples as a float": (
        lambda: stripes().sample_and_log_prob(KEY, 2.0),
        ConfigError,
        "`n` must be an integer of at least 1",
    ),
    "infinite flow time": (
        lambda: dl.gradient_flow(V, [0.1, np.inf]),
        ConfigError,
        "`times` must rise from 0 or later, all of them finite",
    ),
    "negative flow time": (lambda: dl.gradient_flow(V, [-0.1]), ConfigError, "`times` must rise"),
    "flow times back": (
        lambda: dl.scale_t0(np.arange(5.0)[::-1], np.ones((2, 5))),
        ConfigError,
        "`time` must rise from 0 or later",
    ),
    "no bins": (
        lambda: dl.scale_t0(np.arange(5.0), np.ones((2, 5)), n_bins=0),
        ConfigError,
        "`n_bins` must be an integer of at least 2",
    ),
    "dimension as a float": (lambda: dl.stout_layer(4.0), ConfigError, "`dimension` must be an"),
    "schedule as a float": (
        lambda: dl.Schedule(save_every=10.0),
        ConfigError,
        "`save_every` must be an integer",
    ),
    "sweeps as a bool": (
        lambda: dl.heatbath(ACTION, n_overrelaxation=True),
        ConfigError,
        "`n_overrelaxation` must be an integer",
    ),
}

FIELDS = {
    "complex angles": (lambda: ACTION(U + 0j), ShapeError, "`U` must be a real floating array"),
    "integer angles": (lambda: ACTION(U.astype(int)), ShapeError, "`U` must be a real floating"),
    "real links": (
        lambda: SU3_ACTION(V.real),
        ShapeError,
        "`U` must be a complex array, but it has dtype float64",
    ),
    "real links improved": (
        lambda: dl.symanzik(2.0, dl.SU3())(V.real),
        ShapeError,
        "`U` must be a complex array",
    ),
    "links of other colours": (lambda: SU3_ACTION(V[:, :2, :2]), ShapeError, "(mu, 3, 3, *site)"),
    "projection onto other colours": (
        lambda: dl.SU2().project(V),
        ShapeError,
        "`a` must have the shape (mu, 2, 2, *site)",
    ),
    "offset of one number": (lambda: Stripes(0, [0]), ShapeError, "`offset` must hold two numbers"),
    "a list of links": (lambda: ACTION([[0.0]]), ConfigError, "`U` must be an array, but it is of"),
    "hmc on complex angles": (
        lambda: dl.hmc(ACTION).init(U + 0j),
        ShapeError,
        "`U` must be a real floating array",
    ),
    "hmc on integers": (
        lambda: dl.hmc(ACTION).init(U.astype(int)),
        ShapeError,
        "`U` must be a real floating array",
    ),
    "heatbath of angles on links": (
        lambda: dl.heatbath(ACTION).init(V),
        ShapeError,
        "`U` must be a real floating array",
    ),
    "density of complex angles": (
        lambda: stripes().log_prob(U + 0j),
        ShapeError,
        "`U` must be a real floating array",
    ),
    "density of integers": (
        lambda: stripes().log_prob(U.astype(int)),
        ShapeError,
        "`U` must be a real floating array, but it has dtype int64",
    ),
    "training on complex angles": (
        lambda: dl.ForwardKL((U + 0j)[None])(stripes(), KEY, 0),
        ShapeError,
        "`configurations` must be a real floating array",
    ),
    "training on another lattice": (
        lambda: dl.ForwardKL(jnp.zeros((3, 2, 4, 8)))(stripes(), KEY, 0),
        ShapeError,
        "`configurations` must end with the axes (2, 4, 4) of the flow's fields",
    ),
    "training on nothing": (
        lambda: dl.ForwardKL(U[None][:0]),
        ShapeError,
        "`configurations` must have shape (config, *field) with at least one",
    ),
    "stepwise training on nothing": (
        lambda: StepwiseWork(V[None][:0]),
        ShapeError,
        "`configurations` must hold at least one field",
    ),
    "evaluation on nothing": (
        lambda: dl.evaluate(stripes(), ACTION, 64, key=KEY, configurations=U[None][:0]),
        ShapeError,
        "`configurations` must have shape (config, *field) with at least one",
    ),
    "evaluation on another lattice": (
        lambda: dl.evaluate(stripes(), ACTION, 64, key=KEY, configurations=jnp.zeros((3, 2, 8, 8))),
        ShapeError,
        "(2, 4, 4) of the flow's fields, but it has shape (3, 2, 8, 8)",
    ),
    "latent hmc on another lattice": (
        lambda: dl.flow_hmc(stripes(), ACTION).init(jnp.zeros((2, 8, 8))),
        ShapeError,
        "`position` must end with the axes (2, 4, 4) of the flow's fields",
    ),
    "transformation with a batch axis": (
        lambda: dl.gauge_transform(U[None], U[0]),
        ShapeError,
        "`U` must have one link angle per direction",
    ),
    "transformation with a batch axis last": (
        lambda: dl.gauge_transform(U[..., None], U[0]),
        ShapeError,
        "`U` must have one link angle per direction",
    ),
    "transformation of another lattice": (
        lambda: dl.gauge_transform(U, jnp.zeros((1, 4))),
        ShapeError,
        "`g` must be a real floating array of shape (4, 4), as `U`",
    ),
    "angles transform links": (
        lambda: dl.gauge_transform(V, U[0]),
        ShapeError,
        "`g` must be a complex floating array of shape (3, 3, 4, 4), as `U`",
    ),
    "links for too many directions": (
        lambda: StoutLayer(jnp.zeros((4, 2))).forward_and_log_det(V),
        ShapeError,
        "`raw` must have the shape (2, 2) for these links",
    ),
    "flow of one number": (
        lambda: dl.gradient_flow(jnp.zeros(()), [0.1]),
        ShapeError,
        "`U` must have one link angle per direction",
    ),
    "flow of links that are not unitary": (
        lambda: dl.gradient_flow(1.01 * V, [0.1]),
        DataError,
        "`U` must hold finite links of the group to 1e-05",
    ),
    "flow of another group": (
        lambda: dl.gradient_flow(V, [0.1], action=dl.WilsonAction(4.0, dl.SU2())),
        ShapeError,
        "shape (mu, 2, 2, *site)",
    ),
    "ensemble of links that are not unitary": (
        lambda: ensemble(start=2.0 * V[None]),
        DataError,
        "`start` must hold finite links of the group",
    ),
    "ensemble of no stream": (lambda: ensemble(start=V[None][:0]), ShapeError, "`start` must have"),
}

OBJECTS = {
    "number for action": (
        lambda: dl.hmc(2.0),
        ConfigError,
        "`action` must be an action, such as WilsonAction(beta), but it is 2.0, of type float",
    ),
    "class for group": (
        lambda: dl.WilsonAction(2.0, dl.U1),
        ConfigError,
        "`group` must be U1(), SU2(), SU3() or SUN(n), but it is the class U1",
    ),
    "improved u1": (lambda: dl.dbw2(1.0, dl.U1()), ConfigError, "`group` must be SU2(), SU3() or"),
    "boundary": (
        lambda: dl.symanzik(1.0, dl.SU3(), "opened"),
        ConfigError,
        "`boundary` must be one of ('periodic', 'open'), but it is 'opened'",
    ),
    "list of terms": (lambda: SumAction([ACTION]), ConfigError, "`terms` must be an action"),
    "integrator by name": (
        lambda: dl.hmc(ACTION, integrator="leapfrog"),
        ConfigError,
        "`integrator` must be an integrator, such as leapfrog(), but it is 'leapfrog'",
    ),
    "integrator not called": (
        lambda: dl.hmc(ACTION, integrator=dl.leapfrog),
        ConfigError,
        "but it is the function leapfrog",
    ),
    "integrator of zero": (
        lambda: dl.flow_hmc(stripes(), ACTION, integrator=0),
        ConfigError,
        "`integrator` must be an integrator",
    ),
    "too many time scales": (
        lambda: dl.hmc(ACTION, integrator=dl.nested(dl.leapfrog(), dl.leapfrog(), n_inner=2)),
        ConfigError,
        "a term for each of the 2 time scales of the integrator, but it has 1",
    ),
    "nested by name": (
        lambda: dl.nested("leapfrog", dl.leapfrog(), n_inner=2),
        ConfigError,
        "`outer` must be an integrator with one time scale",
    ),
    "list of algorithms": (
        lambda: dl.alternate([dl.hmc(ACTION)]),
        ConfigError,
        "`algorithms` must be sampling algorithms, as in alternate(hmc(action), heatbath(action)),",
    ),
    "two couplings": (
        lambda: dl.alternate(dl.hmc(ACTION), dl.instanton_hit(dl.WilsonAction(3.0))),
        ConfigError,
        "`algorithms` must sample the same action, with the same couplings, but it is [[2.0], [3.",
    ),
    "swapped": (
        lambda: dl.independence_metropolis(ACTION, stripes()),
        ConfigError,
        "`flow` must be a flow, such as stripe_flow(lattice, key=key), but it is of type Wilson",
    ),
    "swapped for latent hmc": (
        lambda: dl.flow_hmc(ACTION, stripes()),
        ConfigError,
        "`flow` must be a flow",
    ),
    "angles for links": (
        lambda: dl.flow_hmc(stripes(), SU3_ACTION).init(U),
        ShapeError,
        "`U` must be a complex array, but it has dtype float64",
    ),
    "instantons of links": (
        lambda: dl.instanton_hit(SU3_ACTION),
        ConfigError,
        "`action.group` must be U1()",
    ),
    "instantons of spins": (
        lambda: dl.instanton_hit(dl.XYAction(1.0)),
        ConfigError,
        "`action` must be one of a gauge field, but it is 'XYAction'",
    ),
    "heatbath of rectangles": (
        lambda: dl.heatbath(dl.symanzik(1.0, dl.SU3())),
        ConfigError,
        "`action` must be a WilsonAction, whose conditional density the heatbath draws from",
    ),
    "overrelaxation of rectangles": (
        lambda: dl.overrelaxation(dl.symanzik(1.0, dl.SU3())),
        ConfigError,
        "`action` must be a WilsonAction",
    ),
    "tuning of a mixture": (
        lambda: tune(dl.alternate(dl.hmc(ACTION))),
        ConfigError,
        "`algorithm` must be made by hmc(...) or flow_hmc(...), which have a step size",
    ),
    "levels of stripes": (
        lambda: dl.train_levels(stripes(), 2.0, 1, key=KEY),
        ConfigError,
        "`flow` must be a multiscale_flow(lattice, key=key), but it is of type CouplingFlow",
    ),
    "training swapped": (
        lambda: dl.train(dl.ReverseKL(ACTION), stripes(), 1, key=KEY),
        ConfigError,
        "`flow` must be a flow",
    ),
    "training without a loss": (
        lambda: dl.train(stripes(), 2.0, 1, key=KEY),
        ConfigError,
        "`loss` must be a function loss(flow, key, step)",
    ),
    "loss of no action": (lambda: dl.ReverseKL(2.0), ConfigError, "`action` must be an action"),
    "evaluation swapped": (
        lambda: dl.evaluate(ACTION, stripes(), key=KEY),
        ConfigError,
        "`flow` must be a flow",
    ),
    "shape for lattice": (
        lambda: dl.multiscale_flow((8, 8), key=KEY),
        ConfigError,
        "`lattice` must be a Lattice, such as Lattice((8, 8)), but it is of type tuple",
    ),
    "shape for lattice of stripes": (
        lambda: dl.stripe_flow((8, 8), key=KEY),
        ConfigError,
        "`lattice` must be a Lattice",
    ),
    "shape for lattice of blocks": (
        lambda: dl.block_flow((8, 8), key=KEY),
        ConfigError,
        "`lattice` must be a Lattice",
    ),
    "kernel by name": (
        lambda: dl.stripe_flow(LATTICE, key=KEY, kernel="spline"),
        ConfigError,
        "`kernel` must be CircularSpline() or NonCompactProjection(), but it is 'spline'",
    ),
    "mask of a tuple": (
        lambda: GaugeCoupling((0, 1), CircularSpline(), key=KEY),
        ConfigError,
        "`stripes` must be Stripes",
    ),
    "stripes along a float": (lambda: Stripes(0.0, [0, 0]), ConfigError, "`direction` must be an"),
    "chain of a layer's class": (
        lambda: Chain((StoutLayer,)),
        ConfigError,
        "`bijections` must hold bijections, but it is the class StoutLayer",
    ),
    "observables without names": (
        lambda: dl.gradient_flow(V, [0.1], observe=dl.plaquette),
        ConfigError,
        "`observe` must be a dictionary of functions of the field",
    ),
    "observable by name": (
        lambda: dl.gradient_flow(V, [0.1], observe={"P": "plaquette"}),
        ConfigError,
        "`observe['P']` must be a function of the field",
    ),
    "updates of one algorithm": (
        lambda: dl.stochastic_flow(SU3_ACTION, dl.hmc(SU3_ACTION)),
        ConfigError,
        "`updates` must be a list of sampling algorithms",
    ),
    "updates without an action": (
        lambda: dl.stochastic_flow(SU3_ACTION, [LADDER]),
        ConfigError,
        "`updates[...].action` must be an action",
    ),
    "updates of another group": (
        lambda: dl.stochastic_flow(ACTION, [dl.hmc(SU3_ACTION)]),
        ConfigError,
        "`updates[...].action.group` must be U1(), as the prior's, but it is SUN(n=3)",
    ),
    "updates of two forms": (
        lambda: dl.stochastic_flow(ACTION, [dl.hmc(ACTION), dl.hmc(ACTION, n_steps=3)]),
        ConfigError,
        "`updates` must be alike but for the values of their arrays, but number 1 differs",
    ),
    "a layer for bijections": (
        lambda: dl.stochastic_flow(SU3_ACTION, [dl.hmc(SU3_ACTION)], dl.stout_layer(2)),
        ConfigError,
        "`bijections` must be a list of bijections",
    ),
    "no trajectory": (
        lambda: dl.stochastic_flow(ACTION, [dl.hmc(ACTION)]).sample(U[None][:0], key=KEY),
        ShapeError,
        "`starts` must hold at least one field",
    ),
    "reverse process of another form": (
        lambda: dl.stochastic_flow(
            dl.symanzik(1.0, dl.SU3()), [dl.heatbath(SU3_ACTION)]
        ).sample_back(V[None], key=KEY),
        ConfigError,
        "`prior` must be of the same form as the actions of the updates",
    ),
    "ensemble of an action": (
        lambda: dl.Ensemble("unused", ACTION, dl.Schedule(), start=U[None]),
        ConfigError,
        "`algorithm` must be a sampling algorithm",
    ),
    "ensemble observes a name": (
        lambda: ensemble(observe={"P": "plaquette"}),
        ConfigError,
        "`observe['P']` must be a function of one configuration",
    ),
}

CASES = NUMBERS | FIELDS | OBJECTS


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_line(case):
    call, error, message = CASES[case]
    with pytest.raises(error, match=re.escape(message)) as caught:
        call()
    assert isinstance(caught.value, DiffhepError)
    assert str(caught.value).startswith("Argument `")
    assert "\n" not in str(caught.value)


def test_integers_of_numpy_are_integers():
    n = np.int64(8)
    assert dl.Lattice(np.array([4, 4])) == LATTICE
    assert dl.SUN(np.int64(3)) == dl.SU3()
    assert dl.hmc(ACTION, n_steps=n).n_steps == 8
    assert dl.heatbath(ACTION, n_overrelaxation=n).n_overrelaxation == 8
    assert float(dl.wilson_loop(U, np.int64(2), np.int64(3))) == 1.0
    assert len(dl.multiscale_flow(LATTICE, key=KEY, width=np.int64(1)).splits) == 4
    assert float(dl.susceptibility(np.ones(3), np.int64(2))) == 0.5


def test_traced_numbers_pass():
    """The values are those of the caller; shapes are checked under `jit` as well."""
    action = jax.jit(lambda beta: dl.WilsonAction(beta)(U))
    assert float(action(-1.0)) == 16.0
    with pytest.raises(ShapeError, match="`beta` must be one real number"):
        action(jnp.ones(2))


def test_densities_need_double_precision():
    """Otherwise the sums over the sites would be in single precision without notice."""
    flow = stripes()
    with jax.enable_x64(False):
        for call in (
            lambda: flow.log_prob(jnp.zeros((2, 4, 4))),
            lambda: flow.pull_back(jnp.zeros((2, 4, 4))),
        ):
            with pytest.raises(ConfigError, match="`jax_enable_x64` must be true"):
                call()
