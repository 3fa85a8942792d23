r"""Binned channels: expected counts of samples under modifiers, in the manner of HistFactory.

$\nu_b = \sum_s \big(\nu_{sb} + \sum_h \delta_{hb}\big) \prod_m \kappa_{mb}$ with shifts
$\delta$ and factors $\kappa$ of the parameters; counts are Poisson.

Reference:
    K. Cranmer et al., HistFactory, CERN-OPEN-2012-016; L. Heinrich et al., J. Open Source Softw. 6
    (2021) 2823.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from diffhep.core.checks import require, require_shape
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.constraints import log_poisson
from diffhep_sbi.interpolation import (
    piecewise_factor,
    piecewise_shift,
    smooth_factor,
    smooth_shift,
)
from diffhep_sbi.likelihood import AbstractChannel, Values

__citations__ = ("doi:10.21105/joss.02823",)


def _as_floats(values: ArrayLike) -> Array:
    return jnp.asarray(values, dtype=float)


class AbstractModifier(eqx.Module):
    """How parameters change the expected counts of a sample.

    Attributes:
        names: The parameters.
    """

    names: eqx.AbstractVar[tuple[str, ...]]

    @abstractmethod
    def apply(
        self, values: Float[Array, " param"], nominal: Float[Array, " bin"]
    ) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
        """Shift and factor of each bin."""


class NormFactor(AbstractModifier):
    """A free factor of all bins; also the luminosity.

    Attributes:
        names: The parameter.
    """

    names: tuple[str, ...] = eqx.field(static=True)

    def apply(
        self, values: Float[Array, " param"], nominal: Float[Array, " bin"]
    ) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
        """No shift; the parameter as a factor."""
        return jnp.zeros_like(nominal), jnp.broadcast_to(values[0], nominal.shape)


class BinFactors(AbstractModifier):
    """One factor for each bin: free shapes, and statistical uncertainties.

    Attributes:
        names: One parameter for each bin.
    """

    names: tuple[str, ...] = eqx.field(static=True)

    def apply(
        self, values: Float[Array, " param"], nominal: Float[Array, " bin"]
    ) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
        """No shift; the parameters as factors."""
        return jnp.zeros_like(nominal), values


class NormVariation(AbstractModifier):
    """A factor of all bins, interpolated between variations.

    Attributes:
        names: The nuisance parameter.
        up: Factor at 1.
        down: Factor at -1.
        is_smooth: Interpolate smoothly, else piecewise.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    up: Scalar = eqx.field(converter=_as_floats)
    down: Scalar = eqx.field(converter=_as_floats)
    is_smooth: bool = eqx.field(static=True, default=True)

    def apply(
        self, values: Float[Array, " param"], nominal: Float[Array, " bin"]
    ) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
        """No shift; the interpolated factor."""
        interpolate = smooth_factor if self.is_smooth else piecewise_factor
        factor = interpolate(values[0], self.up, self.down)
        return jnp.zeros_like(nominal), jnp.broadcast_to(factor, nominal.shape)


class ShapeVariation(AbstractModifier):
    """A shift of each bin, interpolated between varied histograms.

    Attributes:
        names: The nuisance parameter.
        up: Counts at 1.
        down: Counts at -1.
        is_smooth: Interpolate smoothly, else piecewise.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    up: Float[Array, " bin"] = eqx.field(converter=_as_floats)
    down: Float[Array, " bin"] = eqx.field(converter=_as_floats)
    is_smooth: bool = eqx.field(static=True, default=True)

    def apply(
        self, values: Float[Array, " param"], nominal: Float[Array, " bin"]
    ) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
        """The interpolated shift; no factor."""
        interpolate = smooth_shift if self.is_smooth else piecewise_shift
        shift = interpolate(values[0], self.up - nominal, self.down - nominal)
        return shift, jnp.ones_like(nominal)


class Sample(eqx.Module):
    """Expected counts of one process.

    Attributes:
        nominal: Counts before modifiers.
        modifiers: What changes them.
        name: The sample's name.

    Raises:
        ShapeError: `nominal` is no row of bins.
    """

    nominal: Float[Array, " bin"] = eqx.field(converter=_as_floats)
    modifiers: tuple[AbstractModifier, ...] = ()
    name: str = eqx.field(static=True, default="sample")

    def __check_init__(self) -> None:
        shape = self.nominal.shape
        good = len(shape) == 1 and shape[0] > 0
        require_shape(good, "nominal", "be of shape (bin,)", f"shape {shape}")

    def counts(self, values: Values) -> Float[Array, " bin"]:
        """Expected counts."""
        shifted, factor = self.nominal, jnp.ones_like(self.nominal)
        for modifier in self.modifiers:
            shift, scale = modifier.apply(values.of(modifier.names), self.nominal)
            shifted, factor = shifted + shift, factor * scale
        return shifted * factor


class BinnedChannel(AbstractChannel):
    """Poisson counts in bins.

    Attributes:
        samples: The processes.
        name: The channel's name.

    Raises:
        ConfigError: There is no sample.
        ShapeError: The samples have different numbers of bins.
    """

    samples: tuple[Sample, ...]
    name: str = eqx.field(static=True, default="bins")

    def __check_init__(self) -> None:
        require(len(self.samples) > 0, "samples", "hold at least one sample", self.samples)
        shapes = {sample.nominal.shape for sample in self.samples}
        rule = f"have one number of bins in channel `{self.name}`"
        require_shape(len(shapes) == 1, "samples", rule, f"shapes {sorted(shapes)}")

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of all modifiers, each once."""
        modifiers = (modifier for sample in self.samples for modifier in sample.modifiers)
        return tuple(dict.fromkeys(name for modifier in modifiers for name in modifier.names))

    def rate(self, values: Values) -> Float[Array, " bin"]:
        """Expected counts of each bin."""
        return jnp.sum(jnp.stack([sample.counts(values) for sample in self.samples]), axis=0)

    def log_prob(self, values: Values, data: Float[Array, " bin"]) -> Scalar:
        """Logarithm of the Poisson probability of the counts, whole or not."""
        return log_poisson(data, self.rate(values))

    def expected(self, values: Values) -> Float[Array, " bin"]:
        """The expected counts."""
        return self.rate(values)

    def sample(self, key: Key, values: Values) -> Float[Array, " bin"]:
        """Poisson counts."""
        rate = self.rate(values)
        return jax.random.poisson(key, rate).astype(rate.dtype)
