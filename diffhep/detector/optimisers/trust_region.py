"""How far a surrogate is believed."""

import equinox as eqx
import numpy as np

from diffhep.core.checks import require, require_positive


class TrustRegion(eqx.Module):
    r"""A ball around the design in the coordinates of `Design.to_free`, and what a step is worth.

    The actual gain d of a step is known with a standard error e. With the predicted gain p as a
    prior $N(p, p^2)$, its mean is positive where $d > -e^2/p$: then the step is taken. A gain
    measured precisely has to be one; a small promise that noise hides is believed unless it is
    refuted.

    The next radius is the length at which a parabola is least that has the slope of the surrogate
    and the gain of the simulations: with t the slope times the length of the step, $1/(2(1-d/t))$
    of that length. Here d is drawn towards t/2, which would leave the length as it is, by a prior
    $N(t/2, (t/2)^2)$: noise does not move the radius.

    Attributes:
        radius: Root of the mean square change of a free coordinate: in a parameter's unit where it
            has no bounds; one is about a quarter of the interval in the middle of two bounds.
        shrink: Least factor from radius to radius.
        grow: Largest factor.
        largest: Of the radius.
        least: Radius at which a search ends.

    Raises:
        ConfigError: The numbers are out of order.
    """

    radius: float = 0.25
    shrink: float = 0.7
    grow: float = 1.5
    largest: float = 4.0
    least: float = 1e-3

    def __check_init__(self) -> None:
        require_positive(self, "radius", "shrink", "grow", "least")
        sizes = self.least < self.radius <= self.largest
        require(sizes, "least, radius, largest", "rise", (self.least, self.radius, self.largest))
        factors = self.shrink < 1.0 < self.grow
        require(factors, "shrink, grow", "lie below and above 1", (self.shrink, self.grow))

    def accepts(self, predicted: float, actual: float, error: float) -> bool:
        """Whether a step is taken.

        Args:
            predicted: Gain, by the surrogate.
            actual: Gain, by simulations.
            error: Standard error of the actual gain.

        Returns:
            The verdict.
        """
        return predicted > 0.0 and actual * predicted > -(error**2)

    def next_radius(
        self, radius: float, length: float, slope: float, actual: float, error: float
    ) -> float:
        """The radius after a step.

        Args:
            radius: Of the step's region.
            length: Of the step, a root of the mean square too.
            slope: Of the surrogate's objective along the step, downhill, times the length.
            actual: See `accepts`.
            error: See `accepts`.

        Returns:
            The new radius.
        """
        low, high = self.shrink * radius, min(self.grow * radius, self.largest)
        if slope <= 0.0 or np.isnan(actual):
            return low
        weight = (slope / 2.0) ** 2 / ((slope / 2.0) ** 2 + error**2)
        share = 0.5 + weight * (actual / slope - 0.5)
        best = length / (2.0 * (1.0 - share)) if share < 1.0 else np.inf
        return float(np.clip(best, low, high))
