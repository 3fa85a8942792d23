"""A search through one surrogate of the whole space: a flow of every event simulated so far."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep.detector import AbstractSurrogate, Design, Parameter, minimise
from diffhep.detector.objectives import resolution
from diffhep.detector.problem import SampleObjective, value_and_error
from papers.calo_design.config import Config
from papers.calo_design.fidelity import known, learn
from papers.calo_design.stack import N_SEGMENTS, Simulate, segments, stack

LOW_MM, HIGH_MM = np.array([1.0, 1.2]), np.array([6.0, 11.0])
"""Between which lead and scintillator are sought."""

N_CANDIDATES, PROMISING = 256, 0.15
"""Designs at which the flow is asked, and the share of them among which the next round chooses."""

N_DRAWS, N_SLOPE_DRAWS = 1000, 4000
"""Draws of the flow at a candidate, and at a step of the last descent."""

ROUND_SEED = 300_000
"""Added to the first of the simulator's seeds."""


class Found(NamedTuple):
    """What the search came to.

    Attributes:
        design: The best by the flow.
        promised: sigma/E there by the flow.
        value: The same by fresh events.
        error: Standard error of the value.
        designs: All that were simulated, in millimetres.
        n_calls: Simulated events in all.
    """

    design: Design
    promised: float
    value: float
    error: float
    designs: Float[np.ndarray, "design param"]
    n_calls: int


def search(config: Config, simulate: Simulate, width: SampleObjective, *, key: Key) -> Found:
    """Simulate everywhere, then where the flow promises most, then descend on the flow.

    Args:
        config: The settings; its rounds are used.
        simulate: The simulator.
        width: The objective.
        key: Random key.

    Returns:
        The design, verified by fresh events.

    Raises:
        ValueError: The settings have no rounds.
    """
    rounds = config.rounds
    if rounds is None:
        raise ValueError("The settings have no rounds.")
    designs: list[Design] = []
    energies: list[np.ndarray] = []

    def simulate_and_learn(chosen: np.ndarray, n_events: int, key: Key) -> AbstractSurrogate:
        for thicknesses in chosen:
            designs.append(stack(*thicknesses))
            seed = config.seed + ROUND_SEED + len(designs)
            energies.append(segments(simulate(designs[-1], n_events, seed)))
        return learn(config.n_steps, designs, energies, key=key_for(key, "learn"))

    one = key_for(key, "round 0")
    flow = simulate_and_learn(_box(rounds.n_designs[0], one), rounds.n_events[0], one)
    for index, n in enumerate(rounds.n_designs[1:], start=1):
        one = key_for(key, f"round {index}")
        flow = simulate_and_learn(_promising(flow, n, one), rounds.n_events[index], one)
    found, promised = _descend(flow, key=key_for(key, "descend"))
    fresh = simulate(found, rounds.n_verify, config.seed + ROUND_SEED)
    value, error = value_and_error(width, fresh.sum(axis=1, keepdims=True))
    n_calls = sum(map(len, energies)) + rounds.n_verify
    at = np.array([np.asarray(one.to_vector()) for one in designs])
    return Found(found, promised, value, error, at, n_calls)


def _box(n: int, key: Key) -> Float[np.ndarray, "design param"]:
    """Thicknesses spread evenly in their logarithms, by a scrambled Sobol sequence."""
    from scipy.stats import qmc

    words = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    unit = qmc.Sobol(2, rng=words).random_base2(int(np.ceil(np.log2(n))))[:n]
    return LOW_MM * (HIGH_MM / LOW_MM) ** unit


def _promising(flow: AbstractSurrogate, n: int, key: Key) -> Float[np.ndarray, "design param"]:
    """Designs of a small sigma/E by the flow; the first of an even sequence are even too."""
    candidates = _box(N_CANDIDATES, key)
    noise = _noise(N_DRAWS, key_for(key, "noise"))
    widths = np.array([float(_width(flow, jnp.log(one), noise)) for one in candidates])
    good = widths <= np.quantile(widths, PROMISING)
    return candidates[good][:n]


def _descend(flow: AbstractSurrogate, *, key: Key) -> tuple[Design, float]:
    """The least sigma/E of the flow, by its gradient from the best candidate."""
    start = _promising(flow, 1, key_for(key, "start"))[0]
    box = zip(("absorber_mm", "gap_mm"), start, LOW_MM, HIGH_MM, strict=True)
    design = Design(**{name: Parameter(v, "mm", float(a), float(b)) for name, v, a, b in box})
    noise = _noise(N_SLOPE_DRAWS, key_for(key, "noise"))

    def objective(free: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _slope(flow, design, jnp.asarray(free), noise)
        return float(value), np.asarray(slope)

    best = minimise(objective, np.asarray(design.to_free()), most_steps=100, tolerance=1e-8)
    found = design.from_free(jnp.asarray(best.x))
    return stack(float(found["absorber_mm"]), float(found["gap_mm"])), best.value


def _noise(n: int, key: Key) -> Float[Array, "event segment"]:
    """Normal numbers in pairs of opposite sign."""
    half = jax.random.normal(key, (n // 2, N_SEGMENTS))
    return jnp.concatenate([half, -half])


@eqx.filter_jit
def _width(flow: AbstractSurrogate, at: Float[Array, " param"], noise: Array) -> Scalar:
    """sigma/E of the flow; the first feature is the energy up to a factor."""
    return resolution(jax.vmap(lambda z: flow.draw(at, z))(noise)[:, 0])


@eqx.filter_jit
def _slope(
    flow: AbstractSurrogate, design: Design, free: Array, noise: Array
) -> tuple[Scalar, Array]:
    return jax.value_and_grad(lambda w: _width(flow, known(design.from_free(w)), noise))(free)
