"""Particles of an event as generators and event files give them, and features of them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffhep.core.checks import require_type
from diffhep_sbi.event_shapes import event_shapes

__citations__ = ("arXiv:1907.10621",)

_BATCH = 512
"""Events whose features are computed by one call of the compiled program."""

_ROOM = 64
"""Particles are filled up to a multiple of this, so that few shapes are compiled."""

NEUTRINOS = (12, 14, 16)


class Particles(NamedTuple):
    """Final particles of one event, filled up with rows of zeros.

    Attributes:
        pdg_id: Numbers of the Particle Data Group; 0 where a row is empty.
        charge: In units of the positron's.
        four_momentum_GeV: px, py, pz and E.
    """

    pdg_id: Int[Array, " particle"]
    charge: Float[Array, " particle"]
    four_momentum_GeV: Float[Array, "particle 4"]


class Features(NamedTuple):
    """Named features of an event.

    Attributes:
        names: One for each.
        compute: A function of one event's `Particles`, in terms of jax.numpy, to shape (feature,).
    """

    names: tuple[str, ...]
    compute: Callable[[Particles], Float[Array, " feature"]]


Event = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Numbers, charges and four-momenta of one event, of its own length."""


_QUARK_CHARGE = np.array([0, -1, 2, -1, 2, -1, 2, -1, 2, 0])
"""Thrice the charge, by the digit of a quark; 0 where a digit is none."""


def charges(pdg_id: Int[np.ndarray, " particle"]) -> Float[np.ndarray, " particle"]:
    """Charges that follow from the digits of the Particle Data Group's numbers.

    Args:
        pdg_id: Of leptons, quarks, bosons, hadrons, nuclei and supersymmetric partners.

    Returns:
        In units of the positron's; 0 for numbers without a rule.

    Reference:
        Particle Data Group, Monte Carlo particle numbering scheme.
    """
    number = np.abs(np.asarray(pdg_id, np.int64))
    is_nucleus = number >= 10**9
    # Partners carry the charge of what they are partners of, but for charginos.
    base = np.where(number < 100, number, number % 10**6)
    elementary = np.select(
        [base <= 8, np.isin(base, (11, 13, 15, 17)), np.isin(base, (24, 34, 37))],
        [_QUARK_CHARGE[np.minimum(base, 8)], -3, 3],
        0,
    )
    q1, q2, q3 = (number // power % 10 for power in (1000, 100, 10))
    charge1, charge2, charge3 = (_QUARK_CHARGE[digit] for digit in (q1, q2, q3))
    # A positive number is the meson whose heavier quark is up-like, or antiquark is down-like.
    meson = np.where(q2 % 2 == 0, charge2 - charge3, charge3 - charge2)
    hadron = np.where(q1 == 0, meson, charge1 + charge2 + charge3)
    thrice = np.select([is_nucleus, base < 100], [3 * (number // 10**4 % 1000), elementary], hadron)
    return np.sign(pdg_id) * thrice / 3.0


def featurise(events: Sequence[Event], features: Features) -> Float[np.ndarray, "event feature"]:
    """Features of events of any number of particles.

    Args:
        events: The particles of each.
        features: What to compute.

    Returns:
        One row an event.

    Raises:
        ConfigError: `features` are none.
    """
    require_type(features, Features, "features", "be Features(names, compute)")
    rows = [np.zeros((0, len(features.names)))]
    for first in range(0, len(events), _BATCH):
        part = events[first : first + _BATCH]
        longest = max(event[0].size for event in part)
        n_particles = _ROOM * max(1, -(-longest // _ROOM))
        rows.append(np.asarray(_compute(_fill(part, n_particles), features.compute))[: len(part)])
    return np.concatenate(rows)


@partial(jax.jit, static_argnums=1)
def _compute(particles: Particles, compute: Callable[[Particles], Array]) -> Array:
    return jax.vmap(compute)(particles)


def _fill(events: Sequence[Event], n_particles: int) -> Particles:
    """A full batch of one shape."""
    pdg_id = np.zeros((_BATCH, n_particles), int)
    charge = np.zeros((_BATCH, n_particles))
    momentum = np.zeros((_BATCH, n_particles, 4))
    for row, (ids, charges, momenta) in enumerate(events):
        pdg_id[row, : ids.size], charge[row, : ids.size] = ids, charges
        momentum[row, : ids.size] = momenta
    return Particles(*map(jnp.asarray, (pdg_id, charge, momentum)))


def _shapes_and_charged(particles: Particles) -> Float[Array, " feature"]:
    """Shapes of what is visible, number and momenta of what is charged."""
    neutrino = jnp.isin(jnp.abs(particles.pdg_id), jnp.array(NEUTRINOS))
    momentum = jnp.where(neutrino[:, None], 0.0, particles.four_momentum_GeV)
    charged = particles.charge != 0.0
    n_charged = jnp.sum(charged)
    size = jnp.linalg.norm(momentum[:, :3], axis=1)
    # xi = ln(1/x_p), with the visible energy in place of the beams'.
    scale = 0.5 * jnp.maximum(jnp.sum(momentum[:, 3]), 1e-9)
    xi = jnp.where(charged, jnp.log(scale / jnp.where(charged, size, 1.0)), 0.0)
    mean = jnp.sum(xi) / jnp.maximum(n_charged, 1)
    variance = jnp.sum(jnp.where(charged, (xi - mean) ** 2, 0.0)) / jnp.maximum(n_charged, 1)
    leading = jnp.max(jnp.where(charged, size, 0.0)) / scale
    shapes = jnp.stack(event_shapes(momentum))
    return jnp.concatenate([shapes, jnp.stack([n_charged, mean, variance, leading])])


EVENT_SHAPES = Features(
    names=(
        "1-T",
        "C",
        "D",
        "S",
        "A",
        "M_H^2",
        "M_L^2",
        "B_T",
        "B_W",
        "N_ch",
        "mean xi",
        "var xi",
        "leading x_p",
    ),
    compute=_shapes_and_charged,
)
r"""Shapes of hadronic events, and number and spectrum of their charged particles."""


def _muon_cosine(particles: Particles) -> Float[Array, " feature"]:
    of_muon = (particles.pdg_id == 13)[:, None] * particles.four_momentum_GeV[:, :3]
    momentum = jnp.sum(of_muon, axis=0)
    size = jnp.linalg.norm(momentum)
    return jnp.where(size > 0.0, momentum[2] / jnp.where(size > 0.0, size, 1.0), jnp.nan)[None]


MUON_COSINE = Features(names=("cosine",), compute=_muon_cosine)
"""Cosine of the angle of the one negative muon to the first beam; not a number without one."""
