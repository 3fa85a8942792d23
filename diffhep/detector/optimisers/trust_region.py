"""How far a surrogate is believed."""

import equinox as eqx

from diffhep.core.checks import require, require_positive


class TrustRegion(eqx.Module):
    r"""A ball around the design in the coordinates of `Design.to_free`.

    The ratio of the actual gain to the predicted one decides: a step is accepted above `accept`,
    the radius shrinks below `poor` and grows above `good`.

    Attributes:
        radius: In free coordinates: a parameter's unit where it has no bounds, about a quarter of
            the interval where it lies in the middle of two.
        accept: Least ratio of a step that is taken.
        poor: Ratio below which the radius shrinks.
        good: Ratio above which it grows.
        shrink: Factor.
        grow: Factor.
        largest: Of the radius.
        least: Radius at which a search ends.

    Raises:
        ConfigError: The numbers are out of order.
    """

    radius: float = 1.0
    accept: float = 0.1
    poor: float = 0.25
    good: float = 0.75
    shrink: float = 0.5
    grow: float = 1.5
    largest: float = 4.0
    least: float = 1e-3

    def __check_init__(self) -> None:
        require_positive(self, "radius", "accept", "poor", "good", "shrink", "grow", "least")
        order = self.accept <= self.poor < self.good
        require(order, "accept, poor, good", "rise", (self.accept, self.poor, self.good))
        sizes = self.least < self.radius <= self.largest
        require(sizes, "least, radius, largest", "rise", (self.least, self.radius, self.largest))
        factors = self.shrink < 1.0 < self.grow
        require(factors, "shrink, grow", "lie below and above 1", (self.shrink, self.grow))

    def next_radius(self, radius: float, ratio: float) -> float:
        """The radius after a step.

        Args:
            radius: Of the step.
            ratio: Of the actual gain to the predicted one.

        Returns:
            The new radius.
        """
        if not ratio >= self.poor:
            return self.shrink * radius
        return min(self.grow * radius, self.largest) if ratio > self.good else radius
