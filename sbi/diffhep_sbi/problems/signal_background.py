r"""A peak on a falling background, with a nuisance parameter of its norm and one of its slope.

The intensity is $f(x) = \mu S s(x) + a B b(x; \alpha)$ in a window: s is a Gaussian, b an
exponential of slope $(1 + \delta\alpha)/\tau$, both truncated and normalised in closed form.
$a \sim N(1, \sigma_B)$ and $\alpha \sim N(0, 1)$ are constrained. A second feature c, where there
is one, has the density $(1\pm kc)/2$ between -1 and 1, + for the signal.

Reference:
    arXiv:1007.1727 (its counting form).
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf, erfinv
from jaxtyping import Array, Float

from diffhep.core.checks import as_scalar, concrete, require, require_real, require_shape
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.constraints import GaussianConstraint
from diffhep_sbi.events import Events
from diffhep_sbi.likelihood import Likelihood, Parameter
from diffhep_sbi.unbinned import UnbinnedChannel, room_for

__citations__ = ("arXiv:1007.1727",)

N_NODES = 256
"""Nodes of the quadrature: fields of the default width are integrated to rounding."""

N_TILT_NODES = 16
"""The same in the second feature, where densities are nearly linear."""

SQRT_2 = 1.4142135623730951


def _setting(name: str, default: float) -> Any:
    return eqx.field(converter=partial(as_scalar, name=name), default=default)


class SignalBackground(eqx.Module):
    r"""Signal and background with a closed-form likelihood ratio.

    The parameters are $\theta = (\mu, a)$, or $(\mu, a, \alpha)$ where the slope is uncertain.
    The reference of the ratio is $\mu = a = 1$, $\alpha = 0$.

    Attributes:
        signal: S, expected signal events at $\mu = 1$.
        background: B, expected background events at $a = 1$.
        norm_error: $\sigma_B$, relative uncertainty of the background.
        slope_error: $\delta$, relative uncertainty of the slope; 0 for a known slope.
        peak: Position of the signal, in units of the window from 0 to 1.
        width: Standard deviation of the signal, likewise.
        decay: $\tau$, likewise.
        tilt: k, between 0 and 1.
        has_slope: Whether the slope is a parameter.
        has_tilt: Whether there is a second feature.

    Raises:
        ConfigError: A number is not finite or not positive, or the tilt is 1 or more.
    """

    signal: Scalar = _setting("signal", 20.0)
    background: Scalar = _setting("background", 100.0)
    norm_error: Scalar = _setting("norm_error", 0.1)
    slope_error: Scalar = _setting("slope_error", 0.1)
    peak: Scalar = _setting("peak", 0.4)
    width: Scalar = _setting("width", 0.05)
    decay: Scalar = _setting("decay", 0.5)
    tilt: Scalar = _setting("tilt", 0.8)
    has_slope: bool = eqx.field(static=True, default=False)
    has_tilt: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        for name in ("signal", "background", "norm_error", "slope_error", "width", "decay", "tilt"):
            require_real(getattr(self, name), name, "be finite and positive")
            known = concrete(getattr(self, name))
            require(known is None or float(known) > 0, name, "be positive", known)
        known = concrete(self.tilt)
        require(known is None or float(known) < 1, "tilt", "be below 1", known)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of `theta`."""
        return ("mu", "norm", "slope") if self.has_slope else ("mu", "norm")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features."""
        return ("x", "c") if self.has_tilt else ("x",)

    @property
    def reference(self) -> Float[Array, " param"]:
        """The parameters of the reference density."""
        return jnp.array([1.0, 1.0, 0.0] if self.has_slope else [1.0, 1.0])

    def expected_events(self, theta: Float[Array, " param"]) -> Scalar:
        r"""$\mu S + a B$."""
        self._require(theta)
        return theta[0] * self.signal + theta[1] * self.background

    def intensity(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """Expected events per unit of the features; it integrates to `expected_events`."""
        self._require(theta)
        signal = self.signal * self._signal_density(x[:, 0])
        background = self.background * self._background_density(x[:, 0], theta)
        if self.has_tilt:
            odd = self.tilt * x[:, 1]
            signal, background = 0.5 * signal * (1.0 + odd), 0.5 * background * (1.0 - odd)
        return theta[0] * signal + theta[1] * background

    def log_prob(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """Log p(x|theta) of each event, within the window."""
        return jnp.log(self.intensity(x, theta) / self.expected_events(theta))

    def log_ratio(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """Log p(x|theta)/p(x|reference) of each event."""
        return self.log_prob(x, theta) - self.log_prob(x, self.reference)

    def score(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, "event param"]:
        """Gradient of log p(x|theta) with respect to theta, of each event."""
        return jax.jacfwd(self.log_prob, argnums=1)(x, theta)

    def simulate(
        self, theta: Float[Array, " param"], n_events: int, *, key: Key
    ) -> Float[Array, "event feature"]:
        """A number of events at non-negative rates, by inverting the distribution functions."""
        check_key(key)
        which, where = key_for(key, "component"), key_for(key, "x")
        chance = theta[0] * self.signal / self.expected_events(theta)
        is_signal = jax.random.bernoulli(which, jnp.clip(chance, 0.0, 1.0), (n_events,))
        u = jax.random.uniform(where, (n_events,))
        x = jnp.where(is_signal, self._signal_quantile(u), self._background_quantile(u, theta))
        x = jnp.clip(x, 0.0, 1.0)
        if not self.has_tilt:
            return x[:, None]
        k = jnp.where(is_signal, self.tilt, -self.tilt)
        v = jax.random.uniform(key_for(key, "c"), (n_events,))
        return jnp.stack([x, (jnp.sqrt((1.0 - k) ** 2 + 4.0 * k * v) - 1.0) / k], axis=1)

    def quadrature(self) -> Events:
        """The reference density as weighted nodes: sums over them are integrals over the window."""
        x, weight = self._nodes()
        return Events(x, weight * jnp.exp(self.log_prob(x, self.reference)))

    def information(self, theta: Float[Array, " param"]) -> Float[Array, "param param"]:
        r"""Expected information of one experiment, constraints included.

        $I_{ij} = \int dx\,\frac{\partial_i f\,\partial_j f}{f}$, with $1/\sigma_B^2$ and 1 added
        for the constrained norm and slope.
        """
        x, weight = self._nodes()
        slope = jax.jacfwd(self.intensity, argnums=1)(x, theta)
        curvature = jnp.einsum("e,ei,ej->ij", weight / self.intensity(x, theta), slope, slope)
        constraint = jnp.array([0.0, 1.0, 1.0])[: len(self.names)]
        return curvature + jnp.diag(constraint.at[1].set(self.norm_error**-2))

    def likelihood(
        self, *, low: float = 0.0, high: float = 20.0, n_rows: int | None = None
    ) -> Likelihood:
        r"""The likelihood of one experiment, with exact ratios; it has no observed data.

        Args:
            low: Lower bound of $\mu$ in fits; it may be negative as far as the intensity stays
                positive.
            high: Upper bound of $\mu$ in fits.
            n_rows: Room for events; enough for $\mu$ up to 3 where left out.

        Returns:
            The likelihood; its parameter of interest is "mu".
        """
        largest = 3.0 * float(self.signal) + 1.5 * float(self.background)
        channel = UnbinnedChannel(
            ratio=self,
            expected_events=self.expected_events,
            names=self.names,
            reference=self.quadrature(),
            n_rows=room_for(largest) if n_rows is None else n_rows,
            simulate=self.simulate,
            features=self.features,
        )
        parameters = [Parameter("mu", 1.0, low, high), Parameter("norm", 1.0, 0.05, 5.0)]
        terms = [GaussianConstraint(("norm",), self.norm_error)]
        if self.has_slope:
            parameters.append(Parameter("slope", 0.0, -5.0, 5.0))
            terms.append(GaussianConstraint(("slope",), 1.0))
        return Likelihood((channel,), tuple(parameters), "mu", tuple(terms))

    def _require(self, theta: Array) -> None:
        rule = f"hold {', '.join(self.names)}"
        require_shape(theta.shape == (len(self.names),), "theta", rule, f"shape {theta.shape}")

    def _nodes(self) -> tuple[Float[Array, "node feature"], Float[Array, " node"]]:
        """Points of the window, and weights whose sums are integrals over it."""
        nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
        x, weight = (nodes[:, None] + 1.0) / 2.0, weights / 2.0
        if self.has_tilt:
            c, share = np.polynomial.legendre.leggauss(N_TILT_NODES)
            pairs = np.meshgrid(x[:, 0], c, indexing="ij")
            x, weight = (
                np.stack([p.ravel() for p in pairs], axis=1),
                np.outer(weight, share).ravel(),
            )
        return jnp.asarray(x), jnp.asarray(weight)

    def _edges(self) -> tuple[Scalar, Scalar]:
        """The error function at the ends of the window."""
        scale = SQRT_2 * self.width
        return erf((0.0 - self.peak) / scale), erf((1.0 - self.peak) / scale)

    def _signal_density(self, x: Array) -> Array:
        low, high = self._edges()
        norm = self.width * jnp.sqrt(jnp.pi / 2.0) * (high - low)
        return jnp.exp(-0.5 * ((x - self.peak) / self.width) ** 2) / norm

    def _signal_quantile(self, u: Array) -> Array:
        low, high = self._edges()
        return self.peak + SQRT_2 * self.width * erfinv(low + u * (high - low))

    def _slope(self, theta: Array) -> Scalar:
        alpha = theta[2] if self.has_slope else jnp.zeros(())
        return (1.0 + self.slope_error * alpha) / self.decay

    def _background_density(self, x: Array, theta: Array) -> Array:
        slope = self._slope(theta)
        return slope * jnp.exp(-slope * x) / -jnp.expm1(-slope)

    def _background_quantile(self, u: Array, theta: Array) -> Array:
        slope = self._slope(theta)
        return -jnp.log1p(u * jnp.expm1(-slope)) / slope
