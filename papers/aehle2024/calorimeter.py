"""The calorimeter of the paper, by Geant4 and by the parametrised shower."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Key, Scalar
from diffhep.detector import Beam, Design, Parameter, materials, particles
from diffhep.detector.calorimeter import GflashCalorimeter
from diffhep.detector.geant4 import Geant4Simulator, SamplingStack, Showers
from diffhep.detector.showers import GflashParameters, ShowerSample

MATERIALS = ("PbWO4", "LAr")
N_LAYERS = 50
ABSORBER_MM, GAP_MM = 2.3, 5.7
BEAM_MEV = 1000.0
SLABS = ("abs", "gap")

SEED = 0
"""Of the Geant4 events that differences are taken of; those trained with have the next ones."""

SYSTEMATIC = 0.003
"""Added to the errors of shares in a fit, in units of the largest: no law is better than this."""

EVERY = 6
"""Layers apart at which the spread of what lies before is fitted: neighbours say the same."""


def design() -> Design:
    """Where the derivative is taken: the gap is not to be chosen.

    Returns:
        The design.
    """
    return Design(absorber_mm=Parameter(ABSORBER_MM, "mm", 0.0))


def stack_design(absorber_mm: Any) -> Design:
    """The same as the parametrised calorimeter takes it.

    Args:
        absorber_mm: Thickness of an absorber.

    Returns:
        The design.
    """
    return Design(absorber_mm=Parameter(absorber_mm, "mm"), gap_mm=Parameter(GAP_MM, "mm"))


def gflash(parameters: GflashParameters | None = None) -> GflashCalorimeter:
    """The parametrised calorimeter.

    Args:
        parameters: Of the law; the published ones if not given.

    Returns:
        The calorimeter.
    """
    absorber, gap = (materials.get(name) for name in MATERIALS)
    return GflashCalorimeter(absorber, gap, N_LAYERS, parameters or GflashParameters())


def simulate(absorber_mm: float, n_events: int, seed: int) -> Float[np.ndarray, "event layer slab"]:
    """Geant4's deposits in MeV.

    Args:
        absorber_mm: Thickness of an absorber.
        n_events: How many.
        seed: Of the series.

    Returns:
        Deposits by event, layer and slab, absorber and gap.
    """
    # Thicknesses that differ in the last digit would be other calorimeters to the cache.
    stack = SamplingStack(MATERIALS, (round(absorber_mm, 6), GAP_MM), N_LAYERS)
    showers = Geant4Simulator(stack)(Beam(particles.get("e-"), BEAM_MEV, n_events), seed=seed)
    if not isinstance(showers, Showers):
        raise TypeError("A stack gives showers.")
    return showers.deposit_MeV[:, :, :, 0].astype(float)


class Geant4Deposit(eqx.Module):
    """Geant4's energy in one kind of slab; the n-th of the keys mapped over is the n-th event."""

    slab: int = eqx.field(static=True)

    def __call__(self, design: Design, key: Key) -> Scalar:
        """One event.

        Args:
            design: With `absorber_mm`.
            key: Random key, for its place alone.

        Returns:
            MeV.
        """
        kind = jax.ShapeDtypeStruct((), jnp.zeros(()).dtype)
        words = jax.random.key_data(key)
        place = design["absorber_mm"]
        return jax.pure_callback(self._host, kind, place, words, vmap_method="broadcast_all")

    def _host(self, absorber_mm: Any, words: Any) -> np.ndarray:
        del words
        thickness = np.asarray(absorber_mm)
        found = simulate(float(thickness.flat[0]), thickness.size, SEED)
        return found[:, :, self.slab].sum(axis=1).reshape(thickness.shape).astype(thickness.dtype)


class GflashDeposit(eqx.Module):
    """The parametrised shower's energy in one kind of slab."""

    calorimeter: GflashCalorimeter
    slab: int = eqx.field(static=True)

    def __call__(self, design: Design, key: Key) -> Scalar:
        """One shower.

        Args:
            design: With `absorber_mm`.
            key: Random key.

        Returns:
            MeV.
        """
        beam = Beam(particles.get("e-"), BEAM_MEV, 1)
        energy = self.calorimeter.sample_energy(stack_design(design["absorber_mm"]), beam, key=key)
        visible = jnp.sum(energy.visible_MeV)
        return visible if self.slab else jnp.sum(energy.deposit_MeV) - visible


@eqx.filter_jit
def mean_deposits(
    calorimeter: GflashCalorimeter, absorber_mm: Float[Array, ""]
) -> Float[Array, " slab"]:
    """The parametrised shower's mean energies by quadrature.

    Args:
        calorimeter: With the parameters of the law.
        absorber_mm: Thickness of an absorber.

    Returns:
        MeV in the absorbers and in the gaps.
    """
    energy = calorimeter.mean_energy(stack_design(absorber_mm), BEAM_MEV)
    visible = jnp.sum(energy.visible_MeV)
    return jnp.stack([jnp.sum(energy.deposit_MeV) - visible, visible])


@eqx.filter_jit
def mean_derivatives(
    calorimeter: GflashCalorimeter, absorber_mm: Float[Array, ""]
) -> Float[Array, " slab"]:
    """The derivatives of `mean_deposits`.

    Args:
        calorimeter: With the parameters of the law.
        absorber_mm: Thickness of an absorber.

    Returns:
        MeV/mm.
    """
    return jax.jacfwd(lambda a: mean_deposits(calorimeter, a))(absorber_mm)


def as_sample(
    absorber_mm: float, deposit_MeV: Float[np.ndarray, "event layer slab"]
) -> ShowerSample:
    """Events of one thickness as a fit takes them: the gaps' profile, its spread, both energies.

    Args:
        absorber_mm: Thickness of an absorber.
        deposit_MeV: Geant4's deposits.

    Returns:
        The sample; nothing across the shower.
    """
    calorimeter, n = gflash(), len(deposit_MeV)
    design = stack_design(absorber_mm)
    medium = calorimeter.medium(design)
    seen = deposit_MeV[:, :, 1]
    total = seen.sum(axis=1)
    share = seen.mean(axis=0) / total.mean()
    share_error = (seen - share * total[:, None]).std(axis=0, ddof=1) / total.mean() / np.sqrt(n)
    before = np.cumsum(seen, axis=1)
    spread = before.std(axis=0, ddof=1) / total.mean()
    fourth = np.mean((before - before.mean(axis=0)) ** 4, axis=0) / before.var(axis=0) ** 2
    spread_error = spread * np.sqrt(np.maximum(fourth - 1.0, 1.0) / (4 * n))
    used = np.arange(N_LAYERS)[::-1] % EVERY == 0
    left = deposit_MeV.sum(axis=(1, 2)) / BEAM_MEV
    numbers = (
        share,
        np.hypot(share_error, SYSTEMATIC * share.max()),
        spread,
        np.where(used, spread_error, np.inf),
        np.ones(1),
        np.ones(1),
        np.full(1, np.inf),
        left.mean(),
        left.std(ddof=1) / np.sqrt(n),
        total.mean() / BEAM_MEV,
        total.std(ddof=1) / np.sqrt(n) / BEAM_MEV,
    )
    return ShowerSample(
        medium,
        jnp.asarray(BEAM_MEV),
        jnp.asarray(calorimeter.absorber.critical_energy_MeV),
        calorimeter.edges_mm(design) / medium.x0_mm,
        *(jnp.asarray(number) for number in numbers),
    )


@eqx.filter_jit
def drawn_deposits(
    calorimeter: GflashCalorimeter, absorber_mm: Float[Array, ""], n_events: int, key: Key
) -> Float[Array, "event slab"]:
    """Parametrised showers.

    Args:
        calorimeter: With the parameters of the law.
        absorber_mm: Thickness of an absorber.
        n_events: How many.
        key: Random key.

    Returns:
        MeV in the absorbers and in the gaps, by event.
    """
    beam = Beam(particles.get("e-"), BEAM_MEV, n_events)
    energy = calorimeter.sample_energy(stack_design(absorber_mm), beam, key=key)
    visible = jnp.sum(energy.visible_MeV, axis=1)
    return jnp.stack([jnp.sum(energy.deposit_MeV, axis=1) - visible, visible], axis=1)
