"""The classifier two-sample test of the posterior benchmark, in JAX.

A perceptron of two hidden layers of ten units per dimension learns to tell two samples apart, on
five folds; its accuracy on what it was not trained on is 0.5 where the samples have one
distribution and 1 where they do not overlap. Settings, starting weights, stopping rule,
regularisation and single precision are those of the classifier that the benchmark takes
(scikit-learn's).

Reference:
    J.-M. Lueckmann et al., arXiv:2101.04653; D. Lopez-Paz, M. Oquab, arXiv:1610.06545.
"""

from itertools import pairwise
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.errors import ConvergenceError, DataError
from diffhep.core.rng import check_key, key_at, key_for
from diffhep.core.typing import Flag, Key, PyTree, Scalar

__citations__ = ("arXiv:2101.04653", "arXiv:1610.06545")

N_FOLDS = 5
UNITS_PER_DIMENSION = 10
"""Of each of the two hidden layers, as in the benchmark."""

# scikit-learn's MLPClassifier by default.
LEARNING_RATE = 1e-3
BATCH = 200
PENALTY = 1e-4
TOLERANCE = 1e-4
PATIENCE = 10


class C2ST(NamedTuple):
    """How well a classifier tells two samples apart.

    Attributes:
        accuracy: Mean over the folds: 0.5 where it cannot, 1 where it always can.
        folds: Accuracy of each fold.
        n_epochs: Epochs that each fold was trained for.
    """

    accuracy: float
    folds: Float[np.ndarray, " fold"]
    n_epochs: Float[np.ndarray, " fold"]


class _Training(NamedTuple):
    layers: PyTree
    optimizer: PyTree
    best: Scalar
    n_stale: Array
    n_epochs: Array
    is_done: Flag


def c2st(
    reference: Float[Array, "sample param"] | Float[np.ndarray, "sample param"],
    samples: Float[Array, "other param"] | Float[np.ndarray, "other param"],
    *,
    key: Key,
    max_epochs: int = 1000,
) -> C2ST:
    """The classifier two-sample test, identical in definition to the benchmark's.

    Both samples are standardised by mean and deviation of the reference. Up to four rows that do
    not fill the folds are trained on but not tested.

    Args:
        reference: Draws from the reference.
        samples: Draws that are tested, of the same dimension.
        key: Random key: folds, starting weights and batches.
        max_epochs: Epochs of a fold at most.

    Returns:
        The accuracy, and that of each fold.

    Raises:
        ShapeError: The samples are no tables of one dimension, or too short for the folds.
        DataError: An entry is not finite, or a column of the reference is constant.
        ConvergenceError: A fold was not settled after `max_epochs`.
    """
    check_key(key)
    max_epochs = as_integer(max_epochs, "max_epochs", low=1)
    x = np.asarray(reference, float)
    y = np.asarray(samples, float)
    require_shape(x.ndim == 2 and len(x) >= N_FOLDS, "reference", "be a sample", f"{x.shape}")
    rule = f"be a sample of {x.shape[1]} parameters"
    good = y.ndim == 2 and y.shape[1] == x.shape[1] and len(y) >= N_FOLDS
    require_shape(good, "samples", rule, f"shape {y.shape}")
    for name, table in (("reference", x), ("samples", y)):
        if not np.all(np.isfinite(table)):
            row, column = (int(index) for index in np.argwhere(~np.isfinite(table))[0])
            raise DataError(
                f"Argument `{name}` must be finite, but row {row} has {table[row, column]} in "
                f"column {column}."
            )
    mean, deviation = x.mean(0), x.std(0, ddof=1)
    if np.any(deviation == 0.0):
        column = int(np.flatnonzero(deviation == 0.0)[0])
        raise DataError(f"Argument `reference` must vary, but column {column} is constant.")
    data = (np.concatenate([x, y]) - mean) / deviation
    labels = np.concatenate([np.zeros(len(x)), np.ones(len(y))])
    order = np.asarray(jax.random.permutation(key_for(key, "folds"), len(data)))
    n_test = len(data) // N_FOLDS
    tests = order[: N_FOLDS * n_test].reshape(N_FOLDS, n_test)
    trains = np.stack([np.setdiff1d(order, test, assume_unique=True) for test in tests])
    accuracy, n_epochs, done = _folds(
        jnp.asarray(data, jnp.float32),
        jnp.asarray(labels, jnp.float32),
        jnp.asarray(trains),
        jnp.asarray(tests),
        jnp.asarray(max_epochs),
        key_for(key, "networks"),
    )
    if not bool(jnp.all(done)):
        raise ConvergenceError(f"The classifier did not settle within {max_epochs} epochs.")
    folds = np.asarray(accuracy, float)
    return C2ST(float(folds.mean()), folds, np.asarray(n_epochs, float))


@eqx.filter_jit
def _folds(
    data: Array, labels: Array, trains: Array, tests: Array, max_epochs: Array, key: Key
) -> tuple[Array, Array, Array]:
    """One fold after another: side by side all would train for as long as the slowest."""

    def one(parts: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        fold, train, test = parts
        found = _train(data[train], labels[train], max_epochs, key_at(key, fold))
        right = (_logit(found.layers, data[test]) > 0.0) == (labels[test] > 0.5)
        return jnp.mean(right), found.n_epochs, found.is_done

    return jax.lax.map(one, (jnp.arange(N_FOLDS), trains, tests))


def _start(n_features: int, key: Key) -> list[tuple[Array, Array]]:
    """Glorot's uniform weights and biases."""
    n_units = UNITS_PER_DIMENSION * n_features
    sizes = (n_features, n_units, n_units, 1)
    layers = []
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        weight, bias = jax.random.split(key_at(key, index))
        limit = (6.0 / (n_in + n_out)) ** 0.5
        layers.append(
            (
                jax.random.uniform(weight, (n_in, n_out), jnp.float32, -limit, limit),
                jax.random.uniform(bias, (n_out,), jnp.float32, -limit, limit),
            )
        )
    return layers


def _logit(layers: PyTree, x: Array) -> Array:
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return (x @ weight + bias)[:, 0]


def _train(x: Array, y: Array, max_epochs: Array, key: Key) -> _Training:
    optimizer = optax.adam(LEARNING_RATE)
    layers = _start(x.shape[1], key_for(key, "start"))
    infinite, none = jnp.asarray(jnp.inf, x.dtype), jnp.asarray(0)
    first = _Training(layers, optimizer.init(layers), infinite, none, none, jnp.asarray(False))

    def epoch(state: _Training) -> _Training:
        order = key_at(key_for(key, "batches"), state.n_epochs)
        new, opt, loss = _epoch(x, y, state.layers, state.optimizer, optimizer, order)
        n_stale = jnp.where(loss > state.best - TOLERANCE, state.n_stale + 1, 0)
        best = jnp.minimum(loss, state.best)
        return _Training(new, opt, best, n_stale, state.n_epochs + 1, n_stale > PATIENCE)

    return jax.lax.while_loop(
        lambda state: ~state.is_done & (state.n_epochs < max_epochs), epoch, first
    )


def _shuffled(key: Key, n_rows: int) -> Array:
    """Row numbers in random order: of one word with random upper bits, several times faster.

    Rows whose random bits agree keep their order; a second pass tells them apart.
    """
    rows = jnp.arange(n_rows, dtype=jnp.uint32)
    mask = jnp.asarray(2 ** (n_rows - 1).bit_length() - 1, jnp.uint32)

    def once(key: Key) -> Array:
        return jnp.sort((jax.random.bits(key, (n_rows,), jnp.uint32) & ~mask) | rows) & mask

    first, second = jax.random.split(key)
    return once(first)[once(second)]


def _epoch(
    x: Array,
    y: Array,
    layers: PyTree,
    state: PyTree,
    optimizer: optax.GradientTransformation,
    key: Key,
) -> tuple[PyTree, PyTree, Scalar]:
    """One pass in random batches; the last one may be smaller, and is filled at weight 0."""
    n_rows = x.shape[0]
    size = min(BATCH, n_rows)
    n_batches = -(-n_rows // size)
    order = _shuffled(key, n_rows)
    rows = jnp.resize(order, (n_batches * size,)).reshape(n_batches, size)
    used = (jnp.arange(n_batches * size) < n_rows).astype(x.dtype).reshape(n_batches, size)

    def loss(layers: PyTree, rows: Array, used: Array) -> Scalar:
        each = optax.sigmoid_binary_cross_entropy(_logit(layers, x[rows]), y[rows])
        penalty = sum((jnp.sum(weight**2) for weight, _ in layers), jnp.zeros((), x.dtype))
        return (jnp.sum(used * each) + 0.5 * PENALTY * penalty) / jnp.sum(used)

    def step(carry: tuple, batch: tuple) -> tuple[tuple, Array]:
        layers, state = carry
        value, gradient = jax.value_and_grad(loss)(layers, *batch)
        updates, state = optimizer.update(gradient, state, layers)
        return (optax.apply_updates(layers, updates), state), value * jnp.sum(batch[1])

    (layers, state), values = jax.lax.scan(step, (layers, state), (rows, used))
    return layers, state, jnp.sum(values) / n_rows
