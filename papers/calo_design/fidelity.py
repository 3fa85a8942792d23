"""A surrogate of the whole design space, and how far its events are from the simulator's."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.typing import Key
from diffhep.detector import AbstractSurrogate, Design
from diffhep.detector.objectives import resolution, resolution_error
from diffhep.detector.surrogates import Area, SplineFlow, classifier_auc
from papers.calo_design.stack import N_SEGMENTS, visible_share

FLOOR_MEV = 0.1
"""Added to segments before a logarithm: less than a minimum-ionising electron leaves in a slab."""

MIDDLE = 2
"""The segment that logarithms are taken against: it is never empty."""

OVERSAMPLE = 10
"""Surrogate events per simulated one where a width is compared: the error is then Geant4's."""


WIDTH = 32
"""Hidden units of the flow."""

View = Callable[[np.ndarray], np.ndarray]
"""What a classifier sees of segments."""


class Fidelity(NamedTuple):
    """A surrogate at designs that it was not trained at.

    Attributes:
        width: sigma/E by the simulator, by design.
        width_error: Its standard error.
        surrogate_width: sigma/E by the surrogate.
        low_level: Area of a classifier that sees the segments.
        high_level: Of one that sees energy, mean depth and spread in depth.
        floor: Of one between two halves of the simulator's events, by segments.
        simulated: Segments of the simulator's events, by design.
        drawn: As many of the surrogate's.
    """

    width: Float[np.ndarray, " design"]
    width_error: Float[np.ndarray, " design"]
    surrogate_width: Float[np.ndarray, " design"]
    low_level: Area
    high_level: Area
    floor: Area
    simulated: Float[np.ndarray, "design event segment"]
    drawn: Float[np.ndarray, "design event segment"]


def known(design: Design) -> Float[Array, " param"]:
    """A design as the surrogate knows it.

    Args:
        design: The thicknesses.

    Returns:
        Their logarithms.
    """
    return jnp.log(design.to_vector())


def to_features(energy_MeV: Float[np.ndarray, "event segment"], design: Design) -> np.ndarray:
    """Segments as what is learned, in numbers that depend little on the design.

    Args:
        energy_MeV: By event and segment.
        design: The thicknesses.

    Returns:
        The sum over what a minimum-ionising particle of unit loss would leave, and logarithms of
        ratios to the middle segment.
    """
    logs = np.log(energy_MeV + FLOOR_MEV)
    others = np.delete(logs, MIDDLE, axis=1) - logs[:, [MIDDLE]]
    total = energy_MeV.sum(axis=1, keepdims=True) / float(visible_share(design))
    return np.concatenate([total, others], axis=1)


def to_segments(features: Float[np.ndarray, "event feature"], design: Design) -> np.ndarray:
    """The inverse of `to_features`; what would be negative is none.

    Args:
        features: Of events.
        design: The thicknesses.

    Returns:
        Energies by segment in MeV.
    """
    ratios = np.exp(np.insert(features[:, 1:], MIDDLE, 0.0, axis=1))
    share = ratios / ratios.sum(axis=1, keepdims=True)
    total = float(visible_share(design)) * features[:, :1] + N_SEGMENTS * FLOOR_MEV
    return np.clip(total * share - FLOOR_MEV, 0.0, None)


def blank_surrogate(n_steps: int) -> SplineFlow:
    """The surrogate before it has learned.

    Args:
        n_steps: Of its training.

    Returns:
        A spline flow.
    """
    return SplineFlow(
        n_layers=1, width=WIDTH, n_knots=6, n_steps=n_steps, batch=512, learning_rate=1e-2
    )


def learn(
    n_steps: int, designs: list[Design], energies: list[np.ndarray], *, key: Key
) -> AbstractSurrogate:
    """A surrogate of the segments at any thicknesses.

    Args:
        n_steps: Of the training.
        designs: That were simulated.
        energies: Segments of the events at each.
        key: Random key.

    Returns:
        The fitted surrogate.
    """
    pairs = list(zip(designs, energies, strict=True))
    rows = np.concatenate([np.tile(known(one), (len(each), 1)) for one, each in pairs])
    features = np.concatenate([to_features(each, one) for one, each in pairs])
    return blank_surrogate(n_steps).fit(rows, features, key=key)


def judge(
    surrogate: AbstractSurrogate, designs: list[Design], energies: list[np.ndarray], *, key: Key
) -> Fidelity:
    """Hold the surrogate against events at designs that it does not know.

    Args:
        surrogate: Fitted.
        designs: Unseen.
        energies: Segments of the simulator's events at each, as many at all.
        key: Random key.

    Returns:
        Widths and areas.
    """
    n = len(energies[0])
    drawn = []
    for index, design in enumerate(designs):
        one = key_for(key, f"draw {index}")
        events = surrogate.sample(known(design), OVERSAMPLE * n, key=one)
        drawn.append(to_segments(np.asarray(events), design))
    totals = [jnp.asarray(each.sum(axis=1)) for each in energies]
    # Rows of all designs in turn: halves then hold every design alike.
    simulated, mine = (np.stack([e[:n] for e in some], axis=1) for some in (energies, drawn))
    columns = np.tile([np.asarray(known(one)) for one in designs], (n, 1))

    def area(view: View) -> Area:
        rows = [np.hstack([view(a.reshape(-1, N_SEGMENTS)), columns]) for a in (simulated, mine)]
        return classifier_auc(*rows, key=key_for(key, view.__name__))

    low = np.hstack([simulated.reshape(-1, N_SEGMENTS), columns])
    half = len(low) // 2
    return Fidelity(
        width=np.array([float(resolution(total)) for total in totals]),
        width_error=np.array([float(resolution_error(total)) for total in totals]),
        surrogate_width=np.array([float(resolution(jnp.asarray(e.sum(axis=1)))) for e in drawn]),
        low_level=area(_low_level),
        high_level=area(_high_level),
        floor=classifier_auc(low[:half], low[half : 2 * half], key=key_for(key, "floor")),
        simulated=simulated.swapaxes(0, 1),
        drawn=mine.swapaxes(0, 1),
    )


def _low_level(energy_MeV: np.ndarray) -> np.ndarray:
    """All that is read out."""
    return energy_MeV


def _high_level(energy_MeV: np.ndarray) -> np.ndarray:
    """Energy, mean depth and spread in depth."""
    total = energy_MeV.sum(axis=1)
    depth = np.arange(N_SEGMENTS)
    mean = energy_MeV @ depth / total
    square = energy_MeV @ depth**2 / total
    return np.stack([total, mean, np.sqrt(np.clip(square - mean**2, 0.0, None))], axis=1)
