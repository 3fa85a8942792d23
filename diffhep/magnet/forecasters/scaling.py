"""From physical units to numbers of order one and back, a calibration taken off."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.errors import DataError
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.windows import Window, Windows


def _float(value: Any) -> Array:
    return jnp.asarray(value, dtype=float)


class Scaling(eqx.Module):
    """Means and scales of what a network sees, and the calibration whose residual it forecasts.

    A field of 2 T has 84 units of the last place of single precision in 2e-5 T: what is forecast is
    the residual of the calibration, and physical units are put on in double precision.

    Attributes:
        u_mean: Of the input.
        u_scale: Of the input.
        rate_scale: Of the input's rate, per second.
        y_mean: Of the output's residual.
        y_scale: Of the output's residual.
        covariate_mean: Of each covariate.
        covariate_scale: Of each covariate.
        y_step: Of the scaled output's change from sample to sample.
        y_bend: Of the change of that change.
        dt: Seconds from sample to sample.
        calibration: An operator without memory that is taken off the output; none by default.
    """

    u_mean: Scalar = eqx.field(converter=_float, default=0.0)
    u_scale: Scalar = eqx.field(converter=_float, default=1.0)
    rate_scale: Scalar = eqx.field(converter=_float, default=1.0)
    y_mean: Scalar = eqx.field(converter=_float, default=0.0)
    y_scale: Scalar = eqx.field(converter=_float, default=1.0)
    covariate_mean: Float[Array, " covariate"] = eqx.field(converter=_float, default=())
    covariate_scale: Float[Array, " covariate"] = eqx.field(converter=_float, default=())
    y_step: Scalar = eqx.field(converter=_float, default=1.0)
    y_bend: Scalar = eqx.field(converter=_float, default=1.0)
    dt: Scalar = eqx.field(converter=_float, default=1.0)
    calibration: AbstractOperator | None = None

    def inputs(self, window: Window) -> Float[Array, "context_and_horizon channel"]:
        """The channels known ahead: input, rate to the sample from the one before, covariates.

        Args:
            window: What is known.

        Returns:
            Them, of order one; the rate at the first sample is that at the second.
        """
        u = jnp.asarray(window.u, dtype=float)
        steps = jnp.diff(u) / window.dt
        rate = jnp.concatenate([steps[:1], steps]) if u.shape[0] > 1 else jnp.zeros_like(u)
        covariates = jnp.asarray(window.covariates, dtype=float)
        if covariates.shape[-1]:
            covariates = (covariates - self.covariate_mean) / self.covariate_scale
        channels = [((u - self.u_mean) / self.u_scale)[:, None], (rate / self.rate_scale)[:, None]]
        constant = jnp.broadcast_to(covariates, (u.shape[0], covariates.shape[-1]))
        return jnp.concatenate([*channels, constant], axis=1)

    def past(self, window: Window) -> Float[Array, " context"]:
        """The output along the context, of order one.

        Args:
            window: What is known.

        Returns:
            It.
        """
        return self.scale(window.y, window.u[: window.n_context])

    def scale(self, y: Float[Array, " time"], u: Float[Array, " time"]) -> Float[Array, " time"]:
        """Outputs at their inputs, of order one.

        Args:
            y: Outputs.
            u: Inputs at the same times.

        Returns:
            (y - calibration(u) - mean) / scale.
        """
        return (y - self._calibrated(u) - self.y_mean) / self.y_scale

    def restore(
        self, scaled: Float[Array, "*quantile horizon"], window: Window
    ) -> Float[Array, "*quantile horizon"]:
        """Outputs along the horizon, in their unit.

        Args:
            scaled: Of order one.
            window: What is known.

        Returns:
            calibration(u) + mean + scale * scaled.
        """
        field = self._calibrated(window.u[window.n_context :])
        return field + self.y_mean + self.y_scale * scaled

    def _calibrated(self, u: Float[Array, " time"]) -> Float[Array, " time"]:
        if self.calibration is None or u.shape[0] == 0:
            return jnp.zeros(u.shape[0])
        return self.calibration(u)[0]


def unit_scaling(n_covariates: int) -> Scaling:
    """Scales that change nothing, those of a forecaster before its training.

    Args:
        n_covariates: Covariates of a window.

    Returns:
        They, in the form of those after it but for a calibration.
    """
    return Scaling(covariate_mean=jnp.zeros(n_covariates), covariate_scale=jnp.ones(n_covariates))


def scaling_of(windows: Windows, calibration: AbstractOperator | None = None) -> Scaling:
    """Means and standard deviations of windows to learn from.

    Args:
        windows: Of the training part only.
        calibration: An operator without memory, to be taken off the output.

    Returns:
        The scaling.

    Raises:
        DataError: Input or output never changes.
    """
    known = windows.known
    plain = Scaling(calibration=calibration)
    y = jnp.concatenate([known.y, windows.target], axis=1)
    residual = jax.vmap(plain.scale)(y, known.u)
    rate = jnp.diff(known.u, axis=1) / jnp.asarray(known.dt)[:, None]
    scales = {"u": jnp.std(known.u), "y": jnp.std(residual)}
    for name, scale in scales.items():
        if not float(scale) > 0.0:
            raise DataError(
                f"Argument `windows` must hold a `{name}` that changes, but its standard "
                f"deviation is {float(scale)}."
            )
    spread = jnp.std(known.covariates, axis=0)
    return Scaling(
        u_mean=jnp.mean(known.u),
        u_scale=scales["u"],
        rate_scale=jnp.sqrt(jnp.mean(rate**2)),
        y_mean=jnp.mean(residual),
        y_scale=scales["y"],
        covariate_mean=jnp.mean(known.covariates, axis=0),
        covariate_scale=jnp.where(spread > 0.0, spread, 1.0),
        y_step=_size(jnp.diff(residual, axis=1) / scales["y"]),
        y_bend=_size(jnp.diff(residual, n=2, axis=1) / scales["y"]),
        dt=jnp.mean(jnp.asarray(known.dt)),
        calibration=calibration,
    )


def _size(values: Float[Array, "window time"]) -> Scalar:
    """Root mean square; one where there is nothing or nothing else than zero."""
    square = jnp.sum(values**2) / max(values.size, 1)
    return jnp.where(square > 0.0, jnp.sqrt(square), 1.0)
