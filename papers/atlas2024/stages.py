"""Stages of a run: learn the ratios, build the likelihoods, fit the same experiments with all."""

from dataclasses import replace
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import norm

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import RunDir
from diffhep.core.typing import Key
from diffhep_sbi import (
    BinnedChannel,
    Events,
    Gold,
    Likelihood,
    MixtureChannel,
    NormFactor,
    Process,
    RatioNuisance,
    Sample,
    ShapeVariation,
    build_mixture,
    calibrate,
    contrast,
    fit_ratio,
    mle,
    mlp,
    report,
)
from diffhep_sbi.asymptotic import BANDS
from diffhep_sbi.likelihood import Observation
from diffhep_sbi.problems import SignalBackground
from diffhep_sbi.profile_statistics import evaluate_statistic
from diffhep_sbi.unbinned import room_for
from papers.atlas2024.config import Config, Signed, Training

PROBLEM = SignalBackground(
    signal=jnp.asarray(10.0),
    background=jnp.asarray(30.0),
    slope_error=jnp.asarray(0.3),
    width=jnp.asarray(0.1),
    has_slope=True,
    has_tilt=True,
)
"""A peak of ten events on thirty; the slope is known to 30 %, the norm to 10 %."""

SIGNAL, BACKGROUND = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])
STEP = jnp.array([0.0, 0.0, 1.0])

N_ROWS = room_for(40.0)
"""Room for the events of the expected signal, the largest that is drawn."""

N_BINS = 20
"""Bins of the histogram of x, half a standard deviation of the peak wide."""

RATIOS = {
    "signal": (SIGNAL, PROBLEM.reference),
    "background": (BACKGROUND, PROBLEM.reference),
    "up": (BACKGROUND + STEP, BACKGROUND),
    "down": (BACKGROUND - STEP, BACKGROUND),
}
"""What is learned: numerator and denominator of every ratio."""


class PointRatio(eqx.Module):
    """An exact ratio of two points, in the form of a learned one."""

    numerator: Float[Array, " param"]
    denominator: Float[Array, " param"]

    def log_ratio(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The log-ratio of every event, whatever theta is."""
        return PROBLEM.log_prob(x, self.numerator) - PROBLEM.log_prob(x, self.denominator)


EXACT = {name: PointRatio(*points) for name, points in RATIOS.items()}
"""The ratios themselves: what is left of errors is the interpolation."""


@eqx.filter_jit
def draw(theta: Float[Array, " param"], n_events: int, key: Key) -> Float[Array, "event feature"]:
    """Events of the problem."""
    return PROBLEM.simulate(theta, n_events, key=key)


def two_samples(name: str, n_events: int, key: Key) -> Gold:
    """Events of a ratio's numerator and denominator."""
    samples = [draw(RATIOS[name][i], n_events, key_at(key, i)) for i in range(2)]
    return contrast(*samples)


def train(gold: Gold, name: str, settings: Training, directory: RunDir, key: Key) -> Any:
    """An ensemble from labels, as data have."""
    return fit_ratio(
        gold,
        "carl",
        network=mlp(settings.width, settings.depth),
        n_members=settings.n_members,
        n_epochs=settings.n_epochs,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        checkpoint=directory.checkpoint(name),
        key=key,
    )


def learn(settings: Training, directory: RunDir, key: Key) -> tuple[dict[str, Any], list[str]]:
    """All ratios, calibrated, and the gates that failed."""
    ratios, failures = {}, []
    for name in RATIOS:
        own = key_for(key, name)
        parts = ("train", "calibrate", "judge")
        sizes = (settings.n_events, settings.n_judge, settings.n_judge)
        golds = [
            two_samples(name, n, key_for(own, part)) for n, part in zip(sizes, parts, strict=True)
        ]
        fitted = train(golds[0], name, settings, directory, key_for(own, "fit"))
        ratios[name] = calibrate(fitted, golds[1])
        verdict = report(
            ratios[name], golds[2], closure=settings.judges_closure, key=key_for(own, "report")
        )
        failures += [f"{name}: {failure}" for failure in verdict.failures]
        loss = float(fitted.held_out_loss[-1].mean())
        directory.log("gates", len(ratios), ratio=name, held_out_loss=loss, verdict=str(verdict))
    return ratios, failures


def member(ratios: dict[str, Any], index: int) -> dict[str, Any]:
    """The ratios of one network each, with the calibration of all."""
    return {
        name: eqx.tree_at(lambda r: r.ratio, ratio, ratio.ratio.member(index))
        for name, ratio in ratios.items()
    }


def pools(n_events: int, key: Key) -> dict[str, Events]:
    """Simulated events of both processes."""
    points = {"signal": SIGNAL, "background": BACKGROUND}
    return {
        name: Events(draw(theta, n_events, key_for(key, name)), jnp.ones(n_events))
        for name, theta in points.items()
    }


def nodes() -> dict[str, Events]:
    """Both processes as weighted nodes: sums over them are integrals, without any noise."""
    at = PROBLEM.quadrature()
    return {
        name: Events(at.x, at.weight * jnp.exp(PROBLEM.log_ratio(at.x, theta)))
        for name, theta in (("signal", SIGNAL), ("background", BACKGROUND))
    }


def exact_likelihood() -> Likelihood:
    """The one that all others are held against."""
    return PROBLEM.likelihood(n_rows=N_ROWS)


def mixture(events: dict[str, Events], ratios: dict[str, Any]) -> Likelihood:
    """The likelihood of ratios, the slope interpolated between its variations."""
    slope = RatioNuisance("slope", ratios["up"], ratios["down"])
    exact = exact_likelihood()
    processes = [
        Process("signal", ratios["signal"], _signal_events, events["signal"]),
        Process(
            "background",
            ratios["background"],
            _background_events,
            events["background"],
            (slope,),
        ),
    ]
    channel = build_mixture(
        processes,
        ("mu", "norm"),
        n_rows=N_ROWS,
        features=PROBLEM.features,
    )
    return Likelihood((channel,), exact.parameters, "mu", exact.constraints)


def channel_of(likelihood: Likelihood) -> MixtureChannel:
    """The one channel of a likelihood made by `mixture`."""
    return cast(MixtureChannel, likelihood.channels[0])


def _signal_events(theta: Float[Array, " param"]) -> Float[Array, ""]:
    return PROBLEM.signal * theta[0]


def _background_events(theta: Float[Array, " param"]) -> Float[Array, ""]:
    return PROBLEM.background * theta[1]


def histogram() -> Likelihood:
    """A binned fit of x alone, with the same nuisance parameters."""
    at, share = np.polynomial.legendre.leggauss(32)
    edges = np.linspace(0.0, 1.0, N_BINS + 1)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1] - edges[0]) / 2
    x = jnp.asarray((middle[:, None] + half * at).reshape(-1, 1))
    one = replace(PROBLEM, has_tilt=False)

    def counts(theta: Float[Array, " param"]) -> Float[Array, " bin"]:
        return one.intensity(x, theta).reshape(N_BINS, -1) @ jnp.asarray(half * share)

    slope = ShapeVariation(("slope",), counts(BACKGROUND + STEP), counts(BACKGROUND - STEP))
    exact = exact_likelihood()
    signal = Sample(counts(SIGNAL), (NormFactor(("mu",)),))
    background = Sample(counts(BACKGROUND), (slope, NormFactor(("norm",))))
    channel = BinnedChannel(samples=(signal, background))
    return Likelihood((channel,), exact.parameters, "mu", exact.constraints)


def binned(data: Observation) -> Observation:
    """The same experiment as counts of x."""
    (events,) = data.channels
    edges = jnp.linspace(0.0, 1.0, N_BINS + 1)
    counts = jnp.histogram(events.x[:, 0], edges, weights=events.weight)[0]
    return Observation((counts,), data.auxiliary)


@eqx.filter_jit
def experiments(strength: float | Array, n_experiments: int, key: Key) -> Observation:
    """Experiments of fresh events, drawn from the exact likelihood with auxiliary observations."""
    truth = PROBLEM.reference.at[0].set(strength)
    likelihood = exact_likelihood()
    return jax.vmap(lambda index: likelihood.sample(truth, key=key_at(key, index)))(
        jnp.arange(n_experiments)
    )


def single(learned: Likelihood, ratios: dict[str, Any], index: int) -> MixtureChannel:
    """The channel with the ratios of one network; its pool is that of all."""
    signal, background = channel_of(learned).processes
    alone = member(ratios, index)
    slope = RatioNuisance("slope", alone["up"], alone["down"])
    processes = (
        eqx.tree_at(lambda p: p.ratio, signal, alone["signal"]),
        eqx.tree_at(lambda p: (p.ratio, p.nuisances), background, (alone["background"], (slope,))),
    )
    return eqx.tree_at(lambda c: c.processes, channel_of(learned), processes)


def as_terms(channel: MixtureChannel, data: Observation) -> Observation:
    """The same experiments in the form of a mixture: all networks are evaluated here, once."""
    (events,) = data.channels
    flat = events.x.reshape(-1, events.x.shape[-1])
    terms = channel.terms(flat).reshape(*events.weight.shape, -1)
    return Observation((Events(terms, events.weight),), data.auxiliary)


class Fits(NamedTuple):
    """Best fits of experiments."""

    strength: Float[np.ndarray, " experiment"]
    error: Float[np.ndarray, " experiment"]
    t: Float[np.ndarray, " experiment"]


@eqx.filter_jit
def _fits(likelihood: Likelihood, data: Observation, strength: Array) -> tuple[Array, Array, Array]:
    def one(each: Observation) -> tuple[Array, Array, Array]:
        found = evaluate_statistic("t", likelihood, strength, each)
        return found.free.theta[0], jnp.sqrt(found.free.covariance[0, 0]), found.statistic

    return jax.vmap(one)(data)


def fits(likelihood: Likelihood, data: Observation, strength: float) -> Fits:
    """Best fit, its error, and the statistic of the truth of every experiment, in one program."""
    return Fits(*map(np.asarray, _fits(likelihood, data, jnp.asarray(strength))))


def asimov(likelihood: Likelihood, strength: float) -> Observation:
    """The data expected at a strength, other parameters at the reference."""
    return _asimov(likelihood, jnp.asarray(strength))


@eqx.filter_jit
def _asimov(likelihood: Likelihood, strength: Array) -> Observation:
    return likelihood.asimov(PROBLEM.reference.at[0].set(strength))


def expected_limits(
    strengths: Float[np.ndarray, " grid"], t: Float[np.ndarray, " grid"]
) -> Float[np.ndarray, " band"]:
    r"""Upper limits expected without signal, from the profile of the data expected there.

    Where the best fit fluctuates by N standard deviations, $CL_s$ is
    $[1 - \Phi(\sqrt{t} - N)]/\Phi(N)$, arXiv:1007.1727.
    """
    root = np.sqrt(np.maximum(t, 0.0))
    wanted = [norm.isf(0.05 * norm.cdf(band)) + band for band in BANDS]
    return np.asarray(np.interp(wanted, root, strengths))


def signed_pair(
    settings: Signed, training: Training, directory: RunDir, seed: int, key: Key
) -> tuple[float, float]:
    """Best fits of Asimov data with the background's ratio from signed and from positive weights.

    The signed sample has events beside, flat in the features, that cancel in the mean.
    """
    n_beside = round(settings.excess * settings.n_events)
    found = []
    for name in ("signed", "positive"):
        own = key_at(key_for(key, name), seed)
        samples = [
            draw(RATIOS["background"][i], settings.n_events, key_at(own, i)) for i in range(2)
        ]
        weights = [np.ones(settings.n_events)] * 2
        if name == "signed":
            flat = jax.random.uniform(key_for(own, "flat"), (2 * n_beside, 2))
            beside = flat * jnp.array([1.0, 2.0]) - jnp.array([0.0, 1.0])
            samples[0] = jnp.concatenate([samples[0], beside])
            weights[0] = np.concatenate([weights[0], np.repeat([1.0, -1.0], n_beside)])
        gold = contrast(*samples, weights=(weights[0], weights[1]))
        fitted = train(gold, f"{name}-{seed}", training, directory, key_for(own, "fit"))
        found.append(_asimov_strength(fitted))
    return found[0], found[1]


def _asimov_strength(background: Any) -> float:
    """The best fit of noiseless data, all but one ratio exact."""
    likelihood = mixture(nodes(), EXACT | {"background": background})
    return float(mle(likelihood, asimov(likelihood, 1.0)).theta[0])


def pool_shifts(
    learned: Likelihood, sizes: tuple[int, ...], n_pools: int, key: Key
) -> Float[np.ndarray, "size pool"]:
    """Shift of the best fit of expected data by pools of some sizes, against the whole pool."""
    channel = channel_of(learned)
    largest = channel.origin.shape[0] // 2
    whole = mle(learned, asimov(learned, 1.0)).theta[0]
    rows = []
    for index, size in enumerate(sizes):
        found = []
        for pool in range(n_pools):
            own = key_at(key_at(key, index), pool)
            kept = [jax.random.permutation(key_at(own, j), largest) < size for j in range(2)]
            weight = jnp.concatenate(kept).astype(float)
            part = eqx.tree_at(lambda c: c.pool.weight, channel, weight)
            data = asimov(eqx.tree_at(lambda each: each.channels, learned, (part,)), 1.0)
            found.append(float(mle(learned, data).theta[0] - whole))
        rows.append(found)
    return np.array(rows)


def settings_of(config: Config) -> Training:
    """Budget of a single network of the check of signed weights."""
    return Training(
        n_events=max(config.signed.n_events if config.signed else 0, 10 * config.training.batch),
        n_judge=config.training.n_judge,
        n_epochs=config.training.n_epochs,
        batch=config.training.batch,
        learning_rate=config.training.learning_rate,
        width=config.training.width,
        depth=config.training.depth,
        n_members=1,
    )
