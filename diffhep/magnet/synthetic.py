r"""A synthetic magnet: all that makes a real one hard to forecast, with a truth that is known.

It stands in for the main dipoles of CERN's Super Proton Synchrotron, whose measured fields are not
public. Its field is

$B = \mathrm{eddy}[\,C(I) + P(I)\,] + d(t)$, measured with noise:

a calibration curve $C$ that saturates, a Preisach operator $P$ with a density that is constant in
cells of an uneven grid and falls off with the relays' half-width, two modes of eddy currents of
0.05 s and 0.97 s, and a drift $d$ of the Ornstein-Uhlenbeck kind. The largest width of the loop is
45e-4 of the full field and the drift's standard deviation 0.2e-4; real magnets have 38e-4 to 76e-4
and a repeatability of 0.2e-4 to 3.7e-4.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require_positive
from diffhep.core.rng import check_key
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.cycles import FLAT_BOTTOM_A, FLAT_BOTTOM_T, Cycle
from diffhep.magnet.datasets import Recording
from diffhep.magnet.operators import (
    AbstractOperator,
    Calibration,
    EddyCascade,
    Parallel,
    Preisach,
    Series,
    cell_everett,
)

__citations__ = ("doi:10.1007/978-1-4612-3028-1",)

FULL_CURRENT_A = 5750.0
"""Where the field is full."""

FULL_FIELD_T = 2.02
"""Of the anhysteretic curve at the full current."""

EDDY_AMPLITUDE = (2e-3, 2e-4)
"""Of the two modes, dimensionless."""

EDDY_TAU_S = (0.05, 0.97)
"""Time constants of the two modes."""

_SATURATION = 0.09
"""Part of the linear field that is lost at the full current."""

_HALF_WIDTH_A = 800.0
"""Half-width in which the density of relays falls by a factor e."""

_DENSITY = 2.4153313513677057e-09
"""Of narrow relays, in T per square ampere: the loop between flat bottom and full current is at its
widest 45e-4 of the full field."""

_REMANENT_T = 0.010880333726305237
"""Output of the relays at the flat bottom after full current."""

_LONG_S = 600.0
"""Between two inputs of the magnet's past, so that its eddy currents are gone."""

_CAPACITY = 24
"""Reversals remembered; cycles as these leave a few."""

_POSITIVE_NODES_A = (0, 40, 90, 140, 200, 300, 450, 700, 1100, 1600, 2300, 3200, 4300, 5200, 6000)
"""Edges of the density's cells; finest where the flat bottom is."""


class MagnetState(NamedTuple):
    """What the magnet remembers.

    Attributes:
        operator: State of the operator.
        drift_T: The drift now.
    """

    operator: tuple
    drift_T: Scalar


class SyntheticMagnet(eqx.Module):
    """A magnet whose truth is an operator, a drift and noise.

    Attributes:
        operator: From the current in A to the field in T.
        drift_T: Standard deviation of the drift.
        drift_s: Its correlation time.
        noise_T: Standard deviation of each sample's noise, independent.

    Raises:
        ConfigError: A number is not positive.
    """

    operator: AbstractOperator
    drift_T: float = eqx.field(static=True, default=4e-5)
    drift_s: float = eqx.field(static=True, default=900.0)
    noise_T: float = eqx.field(static=True, default=5e-6)

    def __check_init__(self) -> None:
        require_positive(self, "drift_T", "drift_s", "noise_T")

    @eqx.filter_jit
    def init(self, current_A: Scalar | float, *, key: Key) -> MagnetState:
        """After two sweeps to the full current and back, with a drift of stationary size.

        Args:
            current_A: The current now.
            key: Random key.

        Returns:
            The state.
        """
        check_key(key)
        way = jnp.array([current_A, FULL_CURRENT_A] * 2 + [current_A] * 2)
        settled = self.operator(way, _LONG_S)[1]
        return MagnetState(settled, self.drift_T * jax.random.normal(key))

    @eqx.filter_jit
    def run(
        self,
        state: MagnetState,
        current_A: Float[Array, " time"],
        dt_s: Scalar | float,
        *,
        key: Key,
    ) -> tuple[MagnetState, Float[Array, " time"]]:
        """Measure the field along a current.

        Args:
            state: Before the first sample.
            current_A: The current.
            dt_s: Seconds between samples.
            key: Random key of drift and noise.

        Returns:
            The state to carry on with, and the measured field in T.
        """
        drift_key, noise_key = jax.random.split(key)
        field, operator = self.operator(current_A, dt_s, state=state.operator)
        kept = jnp.exp(-dt_s / self.drift_s)
        kick = self.drift_T * jnp.sqrt(1.0 - kept**2)
        kicks = kick * jax.random.normal(drift_key, field.shape)

        def drift(before: Scalar, kick: Scalar) -> tuple[Scalar, Scalar]:
            now = kept * before + kick
            return now, now

        last, drifts = jax.lax.scan(drift, state.drift_T, kicks)
        noise = self.noise_T * jax.random.normal(noise_key, field.shape)
        return MagnetState(operator, last), field + drifts + noise


def sps_dipole() -> SyntheticMagnet:
    """The stand-in, so tuned that at rest at the flat bottom, after full current, it has 0.0622 T.

    Returns:
        The magnet.
    """
    points = np.append(-100.0, np.linspace(0.0, 1.05 * FULL_CURRENT_A, 43))
    at_rest = float(_anhysteretic(np.array([FLAT_BOTTOM_A]))[0]) + _REMANENT_T
    curve = _anhysteretic(points) + (FLAT_BOTTOM_T - at_rest)
    static = Parallel((Calibration(points, curve), _relays()))
    return SyntheticMagnet(Series((static, EddyCascade(EDDY_AMPLITUDE, EDDY_TAU_S))))


def measure(
    magnet: SyntheticMagnet,
    cycles: Sequence[Cycle],
    *,
    key: Key,
    dt_s: float = 0.02,
) -> tuple[Recording, ...]:
    """Run cycles one after the other, each measured as a recording of its own.

    Args:
        magnet: The magnet, settled before.
        cycles: In their order.
        key: Random key.
        dt_s: Seconds between samples.

    Returns:
        One recording for each cycle, named after it.
    """
    first, *keys = jax.random.split(key, len(cycles) + 1)
    state = magnet.init(FLAT_BOTTOM_A, key=first)
    found = []
    for cycle, one in zip(cycles, keys, strict=True):
        current = cycle.samples(dt_s)
        state, field = magnet.run(state, jnp.asarray(current), dt_s, key=one)
        found.append(Recording(cycle.name, current, np.asarray(field), "A", "T", dt_s=dt_s))
    return tuple(found)


def _anhysteretic(current_A: np.ndarray) -> np.ndarray:
    """A straight line that bends when the iron saturates."""
    x = current_A / FULL_CURRENT_A
    slope = FULL_FIELD_T / (1.0 - _SATURATION)
    return slope * x * (1.0 - _SATURATION * np.abs(x) ** 6)


def _relays() -> Preisach:
    """A density that is highest for narrow relays, with a ridge at low mean current."""
    half = np.array(_POSITIVE_NODES_A, float)
    nodes = np.concatenate([-half[:0:-1], half])
    middle, size = 0.5 * (nodes[1:] + nodes[:-1]), np.diff(nodes)
    up, down = np.meshgrid(middle, middle, indexing="ij")
    width, mean = np.abs(up - down) / 2, (up + down) / 2
    density = np.exp(-width / _HALF_WIDTH_A) * (1.0 + 0.8 * np.exp(-((mean / 1200.0) ** 2)))
    area = np.outer(size, size) * np.where(np.eye(size.size, dtype=bool), 0.5, 1.0)
    return Preisach(cell_everett(nodes, _DENSITY * density * area), _CAPACITY)
