"""Stages of a run: sequences and folds, training through the closed form, forecasts."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from diffhep.core.fit import fit_ensemble
from diffhep.core.rng import key_for
from diffhep.core.run import RunDir
from diffhep.core.typing import Key, PyTree, Scalar
from diffhep.magnet import PlayPreisach, Window, datasets
from diffhep.magnet.datasets import SAMPLING_S, Recording
from diffhep.magnet.forecasters import AdaptiveBasis, Memory, Scaling, adaptive_basis
from diffhep.magnet.forecasters.memory_features import memory_features
from papers.magnetx2025.config import Config

SCALING = Scaling(
    u_scale=0.15,
    rate_scale=1e-3 / SAMPLING_S,
    y_scale=20.0,
    covariate_mean=(50.0,),
    covariate_scale=(20.0,),
)
"""Round numbers in T, T/s, A/m and degrees centigrade; no means, so that forecasts are odd."""

CUTS = (100, 300, 500, 700, 900)
"""Samples that may be known in the task."""

CUT_SPREAD = 60
"""By how many samples the cuts of training may differ from these."""


UNSEEN = (5, 6, 7, 24, 25, 29, 30, 33, 39, 50, 56, 59, 70, 72, 73)
"""The first fold: none of its errors was computed while features and settings were chosen."""


class Sequences(NamedTuple):
    """Transients of one length.

    Attributes:
        known: Windows over whole sequences; their outputs are all there.
        n_known: Leading outputs that a forecaster may use.
    """

    known: Window
    n_known: Int[np.ndarray, " sequence"]


def sequences_of(recordings: tuple[Recording, ...]) -> Sequences:
    """Recordings as arrays.

    Args:
        recordings: Of one length.

    Returns:
        The sequences.
    """
    window = Window(
        jnp.asarray(np.stack([one.u for one in recordings])),
        jnp.asarray(np.stack([one.y for one in recordings])),
        jnp.full(len(recordings), SAMPLING_S),
        jnp.asarray([[one.temperature_C] for one in recordings], float),
    )
    return Sequences(window, np.array([one.n_known for one in recordings]))


def measured() -> Sequences:
    """The 75 transients of the ferrite 3C90.

    Returns:
        They.
    """
    return sequences_of(datasets.load("magnetx_3c90"))


def known_material(n: int = 30, length: int = 1000, *, key: Key) -> Sequences:
    """Transients of a material whose law is known: plays, a cubic and the root of the rate.

    Args:
        n: How many.
        length: Samples of each.
        key: Random key.

    Returns:
        They, at three temperatures and five cuts.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    radius = np.linspace(0.0, 0.1, 21)[1:]
    weight = np.tile(4.0 * np.exp(-radius / 0.05)[:, None], (1, 2))
    plays = PlayPreisach(radius, weight, -1.0, 1.0)
    # Demagnetised it is to give nothing: the law is odd.
    offset = float(plays(jnp.zeros(1))[0][0])
    made = []
    for index in range(n):
        corners = 0.05 * rng.normal(size=9).cumsum() + 0.1 * rng.normal(size=9)
        corners = 0.3 * np.tanh(corners / 0.3)
        u = np.interp(np.arange(length), np.linspace(0, length, 9), corners)
        rate = np.gradient(u) / 1e-3
        temperature = (25.0, 50.0, 70.0)[index % 3]
        soft = 60.0 + 0.2 * temperature
        y = soft * u + 300.0 * u**3 + np.asarray(plays(jnp.asarray(u))[0]) - offset
        y = y + 1.5 * np.sign(rate) * np.sqrt(np.abs(rate)) + 0.02 * rng.normal(size=length)
        n_known = CUTS[(index // 3) % len(CUTS)]
        made.append(Recording(f"{index}", u, y, "T", "A/m", None, SAMPLING_S, temperature, n_known))
    return sequences_of(tuple(made))


def folds_of(
    sequences: Sequences, n_folds: int, first: tuple[int, ...] = (), *, key: Key
) -> Int[np.ndarray, " sequence"]:
    """The fold of each sequence: drawn at random, all temperatures and cuts alike in each.

    Args:
        sequences: They.
        n_folds: How many.
        first: Sequences of the first fold; drawn like the others if none.
        key: Random key.

    Returns:
        Numbers from 0.
    """
    temperature = np.asarray(sequences.known.covariates)[:, 0]
    mixed = np.asarray(jax.random.permutation(key, temperature.size))
    mixed = mixed[~np.isin(mixed, first)]
    order = mixed[np.lexsort((sequences.n_known[mixed], temperature[mixed]))]
    fold, n_drawn = np.zeros(temperature.size, int), n_folds - bool(first)
    fold[order] = np.arange(order.size) % n_drawn + bool(first)
    return fold


class Member(eqx.Module):
    """A forecaster and the sequences that it learns from."""

    forecaster: AdaptiveBasis
    rows: Int[Array, " sequence"]


class Objective(eqx.Module):
    """Mean relative error on sequences that are cut at random.

    Attributes:
        memory: Features of all sequences.
        y: Outputs, dimensionless.
        size: Mean square inputs.
        stride: Every so many samples count.
        penalty: Of the squares of the network's weights.
    """

    memory: Memory
    y: Float[Array, "sequence time"]
    size: Float[Array, " sequence"]
    stride: int = eqx.field(static=True)
    penalty: float = eqx.field(static=True)

    def __call__(self, member: Member, key: Key, step: Array) -> Scalar:
        """The loss of one step."""
        keys, rows = jax.random.split(key, 3), member.rows
        cut = jnp.asarray(CUTS)[jax.random.randint(keys[0], rows.shape, 0, len(CUTS))]
        cut = cut + jax.random.randint(keys[1], rows.shape, -CUT_SPREAD, CUT_SPREAD)
        first = jax.random.randint(keys[2], (), 0, self.stride)
        time = first + self.stride * jnp.arange(self.y.shape[1] // self.stride)
        memory = Memory(*(part[rows][:, time] for part in self.memory))
        y = self.y[rows][:, time]

        def error(memory: Memory, y: Array, size: Scalar, cut: Scalar) -> Scalar:
            known = time < cut
            moment = time.astype(y.dtype)
            mean, _, _ = member.forecaster.regress(memory, y, known, moment, size)
            rest = jnp.where(known, 0.0, (mean - y) ** 2)
            return jnp.sqrt(jnp.sum(rest) / jnp.sum(jnp.where(known, 0.0, y**2)) + 1e-8)

        weights = jax.tree.leaves(member.forecaster.network)
        squares = sum(jnp.sum(weight**2) for weight in weights)
        errors = jax.vmap(error)(memory, y, self.size[rows], cut)
        return jnp.mean(errors) + self.penalty * squares


def objective_of(config: Config, sequences: Sequences) -> Objective:
    """The loss, its features computed once.

    Args:
        config: The settings.
        sequences: All of them; a member looks at its own.

    Returns:
        The loss, in single precision.
    """
    inputs = jax.vmap(SCALING.inputs)(sequences.known)
    memory = jax.jit(jax.vmap(memory_features))(inputs)
    arrays = (memory, sequences.known.y / SCALING.y_scale, jnp.mean(inputs[..., 0] ** 2, axis=1))
    single = jax.tree.map(lambda part: part.astype(jnp.float32), arrays)
    return Objective(*single, stride=config.stride, penalty=config.penalty)


def trained(
    config: Config, sequences: Sequences, fold: np.ndarray, directory: RunDir, *, key: Key
) -> PyTree:
    """Members of all tested folds, trained side by side in one program.

    Args:
        config: The settings.
        sequences: They.
        fold: Of each.
        directory: Where the run lives.
        key: Random key.

    Returns:
        Forecasters with leading axes, fold and member.
    """
    objective = objective_of(config, sequences)
    sizes = {int(np.sum(fold != index)) for index in range(config.n_tested)}
    fewest = min(sizes)
    rows = np.stack([np.flatnonzero(fold != index)[:fewest] for index in range(config.n_tested)])
    rows = jnp.asarray(np.repeat(rows, config.n_members, axis=0))

    @eqx.filter_vmap
    def built(key: Key, rows: Array) -> Member:
        made = adaptive_basis(config.width, config.n_columns, key=key, n_covariates=1)
        return Member(eqx.tree_at(lambda model: model.scaling, made, None), rows)

    models = built(jax.random.split(key_for(key, "weights"), rows.shape[0]), rows)
    result = fit_ensemble(
        objective,
        models,
        config.n_steps,
        key=key_for(key, "training"),
        learning_rate=optax.cosine_decay_schedule(config.learning_rate, config.n_steps),
        clip_norm=1.0,
        checkpoint=directory.checkpoint("training"),
        on_chunk=lambda done, found: directory.log("training", done, loss=found["loss"][-1].mean()),
    )
    shape = (config.n_tested, config.n_members)
    whole = eqx.tree_at(
        lambda model: model.scaling,
        result.model.forecaster,
        jax.tree.map(lambda part: jnp.broadcast_to(part, (rows.shape[0], *part.shape)), SCALING),
        is_leaf=lambda leaf: leaf is None,
    )
    return jax.tree.map(lambda part: part.reshape(*shape, *part.shape[1:]), whole)


def forecast(members: PyTree, known: Window, n_known: int) -> Float[Array, "member sequence time"]:
    """What each member says of the rest of sequences of one cut.

    Args:
        members: Forecasters with a leading axis.
        known: Windows over whole sequences.
        n_known: Outputs that they may use.

    Returns:
        Outputs along the horizon.
    """
    cut = known._replace(y=known.y[:, :n_known])

    @eqx.filter_jit
    def run(members: PyTree, cut: Window) -> Array:
        def one(member: AdaptiveBasis) -> Array:
            return jax.vmap(lambda window: member.predict(window).mean)(cut)

        return eqx.filter_vmap(one)(members)

    return run(members, cut)


class Outcome(NamedTuple):
    """Forecasts of sequences that their forecasters did not learn from.

    Attributes:
        error: Relative error of the average of all members; NaN where nothing was forecast.
        member_error: Of each member alone.
        forecast: The average, with the known part in front.
    """

    error: Float[np.ndarray, " sequence"]
    member_error: Float[np.ndarray, "sequence member"]
    forecast: Float[np.ndarray, "sequence time"]


def tested(config: Config, members: PyTree, sequences: Sequences, fold: np.ndarray) -> Outcome:
    """Errors on every sequence of the tested folds.

    Args:
        config: The settings.
        members: Of `trained`.
        sequences: All of them.
        fold: Of each.

    Returns:
        The errors, norm of the error over the norm of the output, on the part to forecast.
    """
    y = np.asarray(sequences.known.y)
    error = np.full(fold.size, np.nan)
    member_error = np.full((fold.size, config.n_members), np.nan)
    forecasts = y.copy()
    for index in range(config.n_tested):
        own = jax.tree.map(lambda part, index=index: part[index], members)
        for n_known in np.unique(sequences.n_known):
            rows = np.flatnonzero((fold == index) & (sequences.n_known == n_known))
            if rows.size == 0:
                continue
            part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], sequences.known)
            found = np.asarray(forecast(own, part, int(n_known)))
            rest = y[rows, n_known:]
            norm = np.linalg.norm(rest, axis=-1)
            member_error[rows] = (np.linalg.norm(found - rest, axis=-1) / norm).T
            error[rows] = np.linalg.norm(found.mean(axis=0) - rest, axis=-1) / norm
            forecasts[rows, n_known:] = found.mean(axis=0)
    return Outcome(error, member_error, forecasts)
