r"""Kalman filter and smoother of tracks at planes, differentiable in all that goes in.

$x_k = F_kx_{k-1} + b_k + w_k$ with $\mathrm{Cov}\,w_k = Q_k$, and $m_k = H_kx_k + e_k$ with
$\mathrm{Cov}\,e_k = R_k$. The first transition leads from the prior to the first plane.

Reference:
    R. Fruhwirth, Nucl. Instrum. Meth. A 262, 444 (1987).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from diffhep.core.checks import require_shape
from diffhep.core.typing import Scalar
from diffhep.detector.reconstruction.perigee import CURVATURE_PER_T_mm
from diffhep.detector.reconstruction.small_matrices import cholesky, inverse

__citations__ = ("doi:10.1016/0168-9002(87)90887-4",)


class LinearModel(NamedTuple):
    """How a state goes from plane to plane and what is measured of it.

    Attributes:
        transition: F, one a plane.
        offset: b, one a plane.
        process: Q, one a plane.
        measurement: H, one a plane.
        noise: R, one a plane.
    """

    transition: Float[Array, "plane state state"]
    offset: Float[Array, "plane state"]
    process: Float[Array, "plane state state"]
    measurement: Float[Array, "plane seen state"]
    noise: Float[Array, "plane seen seen"]


class States(NamedTuple):
    """Gaussian states, one or one a plane.

    Attributes:
        mean: Their means.
        covariance: Their covariances.
    """

    mean: Float[Array, "*plane state"]
    covariance: Float[Array, "*plane state state"]


class KalmanFit(NamedTuple):
    """What the filter knows.

    Attributes:
        predicted: At each plane, from the planes before.
        filtered: At each plane, its measurement included.
        chi2: Of each measurement against its prediction; zero where there is none.
        log_likelihood: Of all measurements.
    """

    predicted: States
    filtered: States
    chi2: Float[Array, " plane"]
    log_likelihood: Scalar


def kalman_filter(
    model: LinearModel,
    measured: Float[Array, "plane seen"],
    prior: States,
    *,
    alive: Bool[Array, " plane"] | None = None,
) -> KalmanFit:
    r"""Filter the measurements of one track; `vmap` it over tracks.

    Covariances are updated by Joseph's form, which keeps them positive with a wide prior.

    Args:
        model: The planes.
        measured: $m$ of each plane.
        prior: What is known before the first transition.
        alive: Whether there is a measurement at a plane; everywhere by default.

    Returns:
        The fit.

    Raises:
        ShapeError: There are not as many measurements as planes.
    """
    n = model.transition.shape[0]
    require_shape(measured.shape[0] == n, "measured", f"have {n} planes", measured.shape)
    alive = jnp.ones(n, bool) if alive is None else alive

    def step(state, plane):
        (F, b, Q, H, R), seen, there = plane
        before = States(F @ state.mean + b, F @ state.covariance @ F.T + Q)
        r = seen - H @ before.mean
        spread = H @ before.covariance @ H.T + R
        precision = inverse(spread)
        gain = before.covariance @ H.T @ precision
        kept = jnp.eye(F.shape[0], dtype=F.dtype) - gain @ H
        covariance = kept @ before.covariance @ kept.T + gain @ R @ gain.T
        chi2 = jnp.where(there, r @ precision @ r, 0.0)
        log_width = jnp.sum(jnp.log(jnp.diagonal(cholesky(2.0 * jnp.pi * spread))))
        log_p = jnp.where(there, -0.5 * chi2 - log_width, 0.0)
        updated = States(before.mean + gain @ r, covariance)
        after = jax.tree.map(lambda new, old: jnp.where(there, new, old), updated, before)
        return after, (before, after, chi2, log_p)

    _, (predicted, filtered, chi2, log_p) = jax.lax.scan(step, prior, (model, measured, alive))
    return KalmanFit(predicted, filtered, chi2, jnp.sum(log_p))


def kalman_smoother(model: LinearModel, fit: KalmanFit) -> States:
    """States at every plane from the measurements of all planes.

    The recursion of H. E. Rauch, F. Tung and C. T. Striebel (1965), from the last plane back.

    Args:
        model: The planes.
        fit: What the filter found.

    Returns:
        The smoothed states.
    """
    last = jax.tree.map(lambda x: x[-1], fit.filtered)

    def step(later, plane):
        here, predicted, F = plane
        gain = here.covariance @ F.T @ inverse(predicted.covariance)
        mean = here.mean + gain @ (later.mean - predicted.mean)
        change = later.covariance - predicted.covariance
        smoothed = States(mean, here.covariance + gain @ change @ gain.T)
        return smoothed, smoothed

    here = jax.tree.map(lambda x: x[:-1], fit.filtered)
    predicted = jax.tree.map(lambda x: x[1:], fit.predicted)
    _, before = jax.lax.scan(step, last, (here, predicted, model.transition[1:]), reverse=True)
    return jax.tree.map(lambda x, end: jnp.concatenate([x, end[None]]), before, last)


def plane_model(
    z_mm: Float[Array, " plane"],
    *,
    resolution_mm: Float[Array, " plane"],
    scattering: Float[Array, " plane"],
    field_T: float | Scalar = 0.0,
    loss: Float[Array, " plane"] | None = None,
    straggling: Float[Array, " plane"] | None = None,
) -> LinearModel:
    r"""Planes across z that measure x and y, in a field along y; small slopes.

    The state is $(x, y, t_x, t_y, q/p)$ in mm and 1/GeV, $t$ the slopes. Between planes
    $\Delta t_x = -cB\,\Delta z\,q/p$; a plane scatters and slows down behind its measurement:
    $q/p$ grows by the factor $1+\epsilon$.

    Args:
        z_mm: Of the planes, in the order they are met; the prior is at the first plane.
        resolution_mm: Of x and of y.
        scattering: Width of the angle in one plane, `highland_angle`, rad.
        field_T: Field along y.
        loss: $\epsilon = \Delta E/(\beta p)$ of each plane; none by default.
        straggling: Standard deviation of $q/p$ that a plane adds, 1/GeV; none by default.

    Returns:
        The model.
    """
    none = jnp.zeros_like(z_mm)
    loss = none if loss is None else loss
    straggling = none if straggling is None else straggling
    # What the plane before does: nothing is before the first.
    angle, slowed, spread = (
        jnp.concatenate([none[:1], x[:-1]]) for x in (scattering, loss, straggling)
    )

    def one(dz, angle, slowed, spread, resolution):
        bend = -CURVATURE_PER_T_mm * jnp.asarray(field_T) * dz
        F = jnp.eye(5).at[0, 2].set(dz).at[1, 3].set(dz)
        F = F.at[2, 4].set(bend).at[0, 4].set(0.5 * bend * dz)
        kick = jnp.diag(jnp.stack([0.0 * dz, 0.0 * dz, angle**2, angle**2, spread**2]))
        slow = jnp.ones(5).at[4].set(1.0 + slowed)
        seen = resolution**2 * jnp.eye(2)
        return LinearModel(F * slow, jnp.zeros(5), F @ kick @ F.T, jnp.eye(2, 5), seen)

    dz = jnp.diff(z_mm, prepend=z_mm[:1])
    return jax.vmap(one)(dz, angle, slowed, spread, resolution_mm)
