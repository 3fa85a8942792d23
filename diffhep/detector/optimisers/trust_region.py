"""How far a surrogate is believed."""

import equinox as eqx

from diffhep.core.checks import require, require_positive


class TrustRegion(eqx.Module):
    r"""A ball around the design in the coordinates of `Design.to_free`, and what a step in it is worth.

    The actual gain d of a step is known with a standard error e. With the predicted gain p as a prior
    $N(p, p^2)$, its mean is positive where $d > -e^2/p$: then the step is taken. A gain measured
    precisely has to be one; a small promise that noise hides is believed unless it is refuted. The
    radius shrinks where a step is refused, or d is below the share `poor` of p by more than e; it grows
    where d is above the share `good`.

    Attributes:
        radius: Root of the mean square change of a free coordinate: in a parameter's unit where it
            has no bounds; one is about a quarter of the interval where it lies in the middle of two.
        poor: Share of the predicted gain below which the radius shrinks.
        good: Share above which it grows.
        shrink: Factor.
        grow: Factor.
        largest: Of the radius.
        least: Radius at which a search ends.

    Raises:
        ConfigError: The numbers are out of order.
    """

    radius: float = 0.2
    poor: float = 0.25
    good: float = 0.75
    shrink: float = 0.5
    grow: float = 1.5
    largest: float = 4.0
    least: float = 1e-3

    def __check_init__(self) -> None:
        require_positive(self, "radius", "poor", "good", "shrink", "grow", "least")
        require(self.poor < self.good, "poor, good", "rise", (self.poor, self.good))
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

    def next_radius(self, radius: float, predicted: float, actual: float, error: float) -> float:
        """The radius after a step.

        Args:
            radius: Of the step.
            predicted: See `accepts`.
            actual: See `accepts`.
            error: See `accepts`.

        Returns:
            The new radius.
        """
        refused = not self.accepts(predicted, actual, error)
        if refused or actual + error < self.poor * predicted:
            return self.shrink * radius
        return min(self.grow * radius, self.largest) if actual > self.good * predicted else radius
