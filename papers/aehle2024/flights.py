r"""The same toy particles, by free paths as transport codes draw them.

A particle flies an exponential number of radiation lengths to its next collision, losing energy all
the way, and splits there with the probability $1-E_c/E$ of the material that it is in. Where
collisions lie moves continuously with the thickness; what is left to decide is whether one splits.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Key, Scalar
from diffhep.detector import Design
from papers.aehle2024.toy import N_LAYERS, BEAM_MeV, CRITICAL_MeV, GAP_MeV, LOSS_MeV_mm, X0_mm

GAP_X0 = 0.0407
GAP_CRITICAL_MeV = 32.8
"""Of 5.7 mm of liquid argon."""

N_PLACES = 24
N_FLIGHTS = 14
"""Particles and flights there is room for: with the settings of the toy, one shower in some ten
thousand needs more, and its last particles then fly on without collisions."""


class _Particles(NamedTuple):
    """Energies, depths in radiation lengths, and what the gaps have seen of all."""

    energy: Float[Array, " place"]
    depth: Float[Array, " place"]
    seen: Scalar


class Flights(eqx.Module):
    """The toy by free paths.

    Attributes:
        gap_critical_MeV: Critical energy in the gaps; that of the absorbers makes all decisions
            continuous in where they are taken.
    """

    gap_critical_MeV: Scalar = eqx.field(converter=jnp.asarray, default=GAP_CRITICAL_MeV)

    def __call__(self, design: Design, key: Key) -> Scalar:
        """One shower.

        Args:
            design: With `absorber_mm`.
            key: Random key.

        Returns:
            Energy in the gaps in MeV.
        """
        return _shower(design, key, self.gap_critical_MeV)


def _shower(design: Design, key: Key, gap_critical_MeV: Scalar) -> Scalar:
    absorber_x0 = design["absorber_mm"] / X0_mm
    lost_absorber = LOSS_MeV_mm * design["absorber_mm"]
    pitch_x0, lost_layer = absorber_x0 + GAP_X0, lost_absorber + GAP_MeV
    end = N_LAYERS * pitch_x0

    def lost_before(depth: Array) -> Array:
        layer = jnp.floor(depth / pitch_x0)
        within = depth - layer * pitch_x0
        in_gap = jnp.clip((within - absorber_x0) / GAP_X0, 0.0, 1.0)
        in_absorber = jnp.clip(within / absorber_x0, 0.0, 1.0)
        return layer * lost_layer + in_absorber * lost_absorber + in_gap * GAP_MeV

    def seen_before(lost: Array) -> Array:
        layer = jnp.floor(lost / lost_layer)
        within = lost - layer * lost_layer
        return layer * GAP_MeV + jnp.clip(within - lost_absorber, 0.0, GAP_MeV)

    def fly(now: _Particles, random: Float[Array, "three place"]) -> tuple[_Particles, None]:
        path, chance, share = random
        reach = jnp.minimum(now.depth + path, end)
        start = lost_before(now.depth)
        lost = jnp.minimum(lost_before(reach) - start, now.energy)
        seen = now.seen + jnp.sum(seen_before(start + lost) - seen_before(start))
        energy = jnp.where(reach < end, now.energy - lost, 0.0)
        in_gap = jnp.mod(reach, pitch_x0) > absorber_x0
        critical = jnp.where(in_gap, gap_critical_MeV, CRITICAL_MeV)
        probability = jnp.maximum(1.0 - critical / jnp.maximum(energy, critical), 0.0)
        free = energy == 0.0
        # The n-th particle that splits leaves its second half in the n-th free place.
        splits = chance < probability
        splits = splits & (jnp.cumsum(splits) <= jnp.sum(free))
        first = jnp.where(splits, share * energy, energy)
        place = jnp.argsort(~free, stable=True)[jnp.maximum(jnp.cumsum(splits) - 1, 0)]
        place = jnp.where(splits, place, N_PLACES)
        energy = first.at[place].set(energy - first, mode="drop")
        return _Particles(energy, reach.at[place].set(reach, mode="drop"), seen), None

    random = jax.random.uniform(key, (N_FLIGHTS, 3, N_PLACES))
    random = random.at[:, 0].set(-jnp.log1p(-random[:, 0]))
    # What flies last does so to its end.
    random = random.at[-1, 0].set(jnp.inf)
    nothing = jnp.zeros(N_PLACES)
    begin = _Particles(nothing.at[0].set(BEAM_MeV), nothing, jnp.asarray(0.0))
    return jax.lax.scan(fly, begin, random)[0].seen
