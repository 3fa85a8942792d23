"""Parameters of one's own: the shower's law fitted to simulated or measured showers."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from diffhep.core.checks import require
from diffhep.core.errors import ConvergenceError
from diffhep.core.typing import Scalar
from diffhep.detector.showers.medium import Medium
from diffhep.detector.showers.parameters import GflashParameters
from diffhep.detector.showers.profiles import (
    longitudinal_cdf,
    mean_radial_cdf,
    quadrature_shapes,
    sampling_term,
    shower_law,
    visible_fraction,
    warp_density,
)

__citations__ = ("arXiv:hep-ex/0001020",)

PRIOR = 0.5
"""Width of the weak prior, in units of a parameter's own size, that holds what data do not."""

LEAST_WIDTH = 0.1
"""Of the prior, where a parameter is next to nothing."""


class ShowerSample(NamedTuple):
    """What a sample of showers of one energy in one medium says, with errors.

    Attributes:
        medium: What they are in.
        energy_MeV: Of the electrons.
        absorber_critical_MeV: For the sampling term.
        depth_x0: Edges of the bins in depth.
        share: Mean share of the bins in the energy seen between the outer edges.
        share_error: Its standard error.
        spread: Standard deviation of the energy seen before the upper edge of each bin, over the
            mean energy seen.
        spread_error: Its standard error; infinite where it is not to be used.
        radius: Upper edges of the rings in Moliere radii.
        inside: Share of the energy inside a ring's upper edge, of that inside the last.
        inside_error: Its standard error.
        deposit: Mean of all energy that is left between the outer edges, over the beam's.
        deposit_error: Its standard error; infinite, as by default, where it is not to be used.
        visible: Mean energy that the gaps see, over the beam's.
        visible_error: Its standard error; infinite, as by default, where it is not to be used.
    """

    medium: Medium
    energy_MeV: Scalar
    absorber_critical_MeV: Scalar
    depth_x0: Float[Array, " edge"]
    share: Float[Array, " bin"]
    share_error: Float[Array, " bin"]
    spread: Float[Array, " bin"]
    spread_error: Float[Array, " bin"]
    radius: Float[Array, " ring"]
    inside: Float[Array, " ring"]
    inside_error: Float[Array, " ring"]
    deposit: Scalar | float = 0.0
    deposit_error: Scalar | float = math.inf
    visible: Scalar | float = 0.0
    visible_error: Scalar | float = math.inf


class Prediction(NamedTuple):
    """What the law says of the same.

    Attributes:
        share: As in the sample.
        spread: As in the sample.
        inside: As in the sample.
        deposit: As in the sample.
        visible: As in the sample.
    """

    share: Float[Array, " bin"]
    spread: Float[Array, " bin"]
    inside: Float[Array, " ring"]
    deposit: Scalar
    visible: Scalar


class FitResult(NamedTuple):
    """A fit.

    Attributes:
        parameters: With the fitted values.
        chi_squared: Of the data, without the prior.
        n_data: Numbers that were fitted.
    """

    parameters: GflashParameters
    chi_squared: Scalar
    n_data: int


def predict(parameters: GflashParameters, sample: ShowerSample) -> Prediction:
    """What the law says of a sample.

    Args:
        parameters: Of the law.
        sample: Medium, energy and bins.

    Returns:
        Shares, spreads, the radial distribution, and the energies that are left and seen.
    """
    medium, energy_MeV = sample.medium, sample.energy_MeV
    shape, weight = quadrature_shapes(shower_law(parameters, medium, energy_MeV))
    before = longitudinal_cdf(shape.against(1), sample.depth_x0)
    mean = weight @ before
    total = mean[-1] - mean[0]
    seen = before[:, 1:] - before[:, :1]
    variance = weight @ seen**2 - (weight @ seen) ** 2
    if medium.is_sampling:
        c = sampling_term(parameters, medium, sample.absorber_critical_MeV)
        variance += c**2 / (energy_MeV / 1e3) * (weight @ seen)
    inside = mean_radial_cdf(parameters, medium, energy_MeV, sample.depth_x0, sample.radius)
    return Prediction(
        jnp.diff(mean) / total,
        jnp.sqrt(jnp.clip(variance, 1e-12)) / total,
        inside / inside[-1],
        total,
        visible_fraction(parameters, medium) * total,
    )


def _fields(is_sampling: bool) -> tuple[str, ...]:
    """What a fit turns."""
    widths = ("position_width", "shape_width", "correlation")
    across = ("core", "tail", "weight", "warp")
    if not is_sampling:
        return ("position", "slope", "shape", *widths, *across)
    widths = tuple(f"sampling_{name}" for name in widths)
    return ("position", "slope", "shape", *widths, "resolution", "response", *across)


def fit_parameters(
    samples: Sequence[ShowerSample],
    start: GflashParameters | None = None,
    *,
    max_steps: int = 40,
) -> FitResult:
    r"""Least squares over profiles, spreads and radial distributions of all samples at once.

    Samples may differ in energy and in the thicknesses of their layers. Every parameter has a weak
    normal prior around its start, half its size wide, which holds the combinations that the samples
    do not determine (the dependence on Z in one medium). The fitted parameters hold for the media
    and energies of the samples and in between. Compiled once for samples of one shape.

    Args:
        samples: Of calorimeters of the same materials; all sampling or all homogeneous.
        start: Where to start; the published parameters if not given.
        max_steps: Steps of Levenberg-Marquardt.

    Returns:
        The parameters and the goodness of the fit.

    Raises:
        ConfigError: There is no sample, or they are of both kinds.
        ConvergenceError: The fit left the numbers, or its profile is negative somewhere.
    """
    require(len(samples) > 0, "samples", "hold at least one", len(samples))
    kinds = {sample.medium.is_sampling for sample in samples}
    require(len(kinds) == 1, "samples", "be all sampling or all homogeneous", kinds)
    data = _Data(start or GflashParameters(), tuple(samples))
    solution = optx.least_squares(
        _residuals,
        optx.LevenbergMarquardt(rtol=1e-4, atol=1e-4),
        jnp.zeros(ravel_pytree(_turned(data.start, kinds.pop()))[0].shape),
        args=data,
        max_steps=max_steps,
        throw=False,
    )
    left = _residuals(solution.value, data)[: -solution.value.size]
    chi_squared = jnp.sum(left**2)
    if not np.isfinite(chi_squared):
        raise ConvergenceError("The fit of the shower's law gave numbers that are not finite.")
    fitted = _moved(data, solution.value)
    if float(jnp.min(warp_density(fitted.warp, jnp.linspace(0.0, 1.0, 101)))) <= 0.0:
        raise ConvergenceError("The fit of the shower's law gave a profile that turns negative.")
    return FitResult(fitted, chi_squared, sum(_n_used(sample) for sample in samples))


class _Data(NamedTuple):
    """What residuals depend on besides the parameters."""

    start: GflashParameters
    samples: tuple[ShowerSample, ...]

    @property
    def is_sampling(self) -> bool:
        return self.samples[0].medium.is_sampling


def _turned(parameters: GflashParameters, is_sampling: bool) -> list[Any]:
    """What a fit turns."""
    return [getattr(parameters, name) for name in _fields(is_sampling)]


def _moved(data: _Data, move: Float[Array, " param"]) -> GflashParameters:
    """Parameters, from moves in units of the prior's width."""
    origin, unravel = ravel_pytree(_turned(data.start, data.is_sampling))
    width = jnp.maximum(PRIOR * jnp.abs(origin), LEAST_WIDTH)
    moved = unravel(origin + width * move)
    return eqx.tree_at(lambda one: _turned(one, data.is_sampling), data.start, moved)


def _residuals(move: Float[Array, " param"], data: _Data) -> Float[Array, " residual"]:
    """Pulls of all samples, and of the prior."""
    parameters = _moved(data, move)
    return jnp.concatenate([*(_pulls(parameters, sample) for sample in data.samples), move])


def _n_used(sample: ShowerSample) -> int:
    """Numbers of a sample that are fitted: those with a finite error."""
    errors = [getattr(sample, name) for name in ShowerSample._fields if name.endswith("_error")]
    return sum(int(np.isfinite(error).sum()) for error in errors)


def _pulls(parameters: GflashParameters, sample: ShowerSample) -> Float[Array, " data"]:
    """Prediction less data over its error."""
    said = predict(parameters, sample)
    return jnp.concatenate(
        [
            (said.share - sample.share) / sample.share_error,
            (said.spread - sample.spread) / sample.spread_error,
            (said.inside - sample.inside) / sample.inside_error,
            jnp.stack([(said.deposit - sample.deposit) / sample.deposit_error]),
            jnp.stack([(said.visible - sample.visible) / sample.visible_error]),
        ]
    )
