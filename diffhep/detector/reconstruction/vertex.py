r"""Vertex of several tracks: least squares at linear cost, differentiable in all that goes in.

The vertex $v$ and the momenta $p_i$ of the tracks there minimise
$\sum_i w_i r_i^TC_i^{-1}r_i + (v-b)^TC_b^{-1}(v-b)$ with $r_i = x_i - h(v, p_i; B)$, the measured
less the expected perigee parameters. Momenta couple to the vertex alone: they are eliminated one
track at a time, and what is left is a system of three equations.

Derivatives are those of the minimum, by the implicit function theorem with the exact second
derivatives; no step of the search is kept. Both modes work, of any order.

Reference:
    P. Billoir and S. Qian, Nucl. Instrum. Meth. A 311, 139 (1992).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.typing import Count, Flag, Scalar
from diffhep.detector.reconstruction.perigee import perigee
from diffhep.detector.reconstruction.small_matrices import inverse, inverse_symmetric

__citations__ = ("doi:10.1016/0168-9002(92)90859-3", "arXiv:2310.12804")

_PHI = 2
"""Index of the angle among the perigee parameters."""


class BeamSpot(NamedTuple):
    """Where vertices are expected.

    Attributes:
        position_mm: Its centre.
        covariance_mm2: Its covariance.
    """

    position_mm: Float[Array, "3"]
    covariance_mm2: Float[Array, "3 3"]


class VertexFit(NamedTuple):
    """A fitted vertex.

    Attributes:
        position_mm: The vertex.
        covariance_mm2: Its covariance, the inverse of the information of the tracks, each times
            its weight: by the tracks' errors where weights are 0 or 1. A weight between them
            counts as an error that is larger by the root of its inverse.
        momentum: (phi, theta, q/p) of every track at the vertex, q/p in 1/GeV; straight tracks
            have no q/p.
        track_chi2: Chi-squared of every track with the vertex, not weighted.
        chi2: The minimum, with weights and beam spot.
        n_steps: Steps that the search took.
        converged: Whether the last step was below the tolerance; also false where the tracks do
            not determine a vertex, as parallel ones.
    """

    position_mm: Float[Array, "3"]
    covariance_mm2: Float[Array, "3 3"]
    momentum: Float[Array, "track momentum"]
    track_chi2: Float[Array, " track"]
    chi2: Scalar
    n_steps: Count
    converged: Flag


class _Input(NamedTuple):
    """What the minimum depends on; covariances enter by their inverses."""

    track: Float[Array, "track param"]
    information: Float[Array, "track param param"]
    weight: Float[Array, " track"]
    field_T: Scalar
    beam: Float[Array, "3"]
    beam_information: Float[Array, "3 3"]


class _Unknowns(NamedTuple):
    """Vertex and momenta."""

    vertex: Float[Array, "3"]
    momentum: Float[Array, "track momentum"]


def vertex_fit(
    track: Float[Array, "track param"],
    covariance: Float[Array, "track param param"],
    *,
    weight: Float[Array, " track"] | None = None,
    field_T: float | Scalar = 0.0,
    beam_spot: BeamSpot | None = None,
    start_mm: Float[Array, "3"] | None = None,
    max_steps: int = 20,
    tolerance: float | None = None,
) -> VertexFit:
    r"""Fit one vertex to tracks by the method of Gauss and Newton; `vmap` it over vertices.

    Time and memory are linear in the number of tracks, forward and backward. Derivatives with
    respect to tracks, covariances, weights, field and beam spot are exact at the minimum.

    Args:
        track: Perigee parameters about the z axis, $(d_0, z_0, \phi_0, \theta, q/p)$ in mm and
            1/GeV, or the first four of straight tracks.
        covariance: Of every track's parameters, positive definite.
        weight: $w_i$ of every track, 1 by default; a track of weight 0 is as if it were not there,
            which makes room for events of different sizes.
        field_T: Field along z in T.
        beam_spot: Where the vertex is expected; nowhere by default.
        start_mm: Where the search starts: the beam spot by default, or else the origin.
        max_steps: Most steps of the search.
        tolerance: Largest last step in standard deviations; by default the square root of the
            rounding error.

    Returns:
        The fit.

    Raises:
        ConfigError: `max_steps` is no integer of at least 1.
        ShapeError: A track has neither four nor five parameters, or the covariances or weights
            do not belong to the tracks.
    """
    n_tracks, n_params = track.shape
    require_shape(n_params in (4, 5), "track", "have 4 or 5 parameters a track", track.shape)
    good = covariance.shape == (n_tracks, n_params, n_params)
    require_shape(good, "covariance", "have a matrix for every track", covariance.shape)
    weight = jnp.ones(n_tracks, track.dtype) if weight is None else weight
    require_shape(weight.shape == (n_tracks,), "weight", "have one number a track", weight.shape)
    max_steps = as_integer(max_steps, "max_steps", low=1)
    nowhere = jnp.zeros(3, track.dtype), jnp.zeros((3, 3), track.dtype)
    beam = nowhere
    if beam_spot is not None:
        beam = beam_spot.position_mm, inverse(beam_spot.covariance_mm2)
    information = jax.vmap(inverse)(covariance)
    given = _Input(track, information, weight, jnp.asarray(field_T, track.dtype), *beam)
    start = _Unknowns(beam[0] if start_mm is None else start_mm, track[:, _PHI:])
    limit = float(jnp.finfo(track.dtype).eps) ** 0.5 if tolerance is None else tolerance
    found, n_steps, converged = _search(given, start, limit, max_steps)
    unknowns = _minimum(given, jax.lax.stop_gradient(found))
    r = jax.vmap(_residual, in_axes=(None, 0, 0, None))(*unknowns, track, given.field_T)
    chi2 = jnp.einsum("ti,tij,tj->t", r, information, r)
    away = unknowns.vertex - given.beam
    total = weight @ chi2 + away @ given.beam_information @ away
    covered = inverse(_normal_equations(given, unknowns)[0])
    return VertexFit(unknowns.vertex, covered, unknowns.momentum, chi2, total, n_steps, converged)


def _residual(vertex: Array, momentum: Array, track: Array, field_T: Scalar) -> Array:
    """Measured less expected parameters, the angle within half a turn."""
    r = track - perigee(vertex, momentum, field_T)
    return r.at[_PHI].set(jnp.mod(r[_PHI] + jnp.pi, 2.0 * jnp.pi) - jnp.pi)


def _expected(at: Array) -> Array:
    """Expected parameters as a function of vertex, momentum and field in one vector."""
    return perigee(at[:3], at[3:-1], at[-1])


def _search(given: _Input, start: _Unknowns, limit: float | Scalar, max_steps: int):
    """Gauss and Newton's steps until one is short."""
    given, start = jax.lax.stop_gradient((given, start))

    def unfinished(carry):
        _, n_steps, length = carry
        return (n_steps < max_steps) & (length > limit)

    def step(carry):
        unknowns, n_steps, _ = carry
        curvature, slope, back = _normal_equations(given, unknowns)
        dv = inverse(curvature) @ slope
        momentum = unknowns.momentum + back[0] - back[1] @ dv
        return _Unknowns(unknowns.vertex + dv, momentum), n_steps + 1, jnp.sqrt(slope @ dv)

    far = jnp.asarray(jnp.inf, given.track.dtype)
    found, n_steps, length = jax.lax.while_loop(unfinished, step, (start, jnp.asarray(0), far))
    return found, n_steps, length <= limit


def _normal_equations(given: _Input, unknowns: _Unknowns):
    """What is left of the linear least squares for the vertex, and the way back to momenta."""

    def one(momentum, track, information):
        at = jnp.concatenate([unknowns.vertex, momentum, given.field_T[None]])
        J = jax.jacfwd(_expected)(at)
        A, D = J[:, :3], J[:, 3:-1]
        r = _residual(unknowns.vertex, momentum, track, given.field_T)
        weighted = information @ D
        solved = inverse(D.T @ weighted) @ weighted.T
        left, rest = A - D @ (solved @ A), r - D @ (solved @ r)
        return A.T @ information @ left, A.T @ (information @ rest), solved @ r, solved @ A

    curvature, slope, to_momentum, by_vertex = jax.vmap(one)(
        unknowns.momentum, given.track, given.information
    )
    total = jnp.einsum("t,tij->ij", given.weight, curvature) + given.beam_information
    slope = given.weight @ slope + given.beam_information @ (given.beam - unknowns.vertex)
    return total, slope, (to_momentum, by_vertex)


@jax.custom_jvp
def _minimum(given: _Input, found: _Unknowns) -> _Unknowns:
    """The minimum that the search has found, as a function of what was given."""
    del given
    return found


@_minimum.defjvp
def _minimum_jvp(primals, tangents):
    r"""Solves the derivative of the conditions of the minimum for that of the minimum.

    With $J = \partial h/\partial(v, p, B)$ the conditions are $\sum w J_v^TGr = G_b(v-b)$ and,
    track by track, $J_p^TGr = 0$; these without the weight, so that a track of weight 0 still has
    its momentum. The matrix is theirs by vertex and momentum, second derivatives of $h$ included;
    it need not be positive for a track far from the vertex.
    """
    given, found = primals
    moved, _ = tangents
    # Once through the rule again: the derivative's own derivative needs the minimum's.
    unknowns = _minimum(given, found)

    def one(momentum, track, information, dtrack, dinformation):
        at = jnp.concatenate([unknowns.vertex, momentum, given.field_T[None]])
        r = _residual(unknowns.vertex, momentum, track, given.field_T)
        pull = information @ r
        J = jax.jacfwd(_expected)(at)
        bent = jax.jacfwd(jax.jacrev(lambda at: pull @ _expected(at)))(at)
        second = J.T @ information @ J - bent
        slope = J.T @ (dinformation @ r + information @ dtrack) - second[:, -1] * moved.field_T
        vv, vp, pp = second[:3, :3], second[:3, 3:-1], second[3:-1, 3:-1]
        solve = inverse_symmetric(pp)
        along, across = solve @ slope[3:-1], solve @ vp.T
        return (J.T @ pull)[:3], slope[:3] - vp @ along, vv - vp @ across, along, across

    pull, slope, schur, along, across = jax.vmap(one)(
        unknowns.momentum, given.track, given.information, moved.track, moved.information
    )
    total = jnp.einsum("t,tij->ij", given.weight, schur) + given.beam_information
    slope = given.weight @ slope + moved.weight @ pull + given.beam_information @ moved.beam
    slope = slope + moved.beam_information @ (given.beam - unknowns.vertex)
    dv = inverse_symmetric(total) @ slope
    return unknowns, _Unknowns(dv, along - across @ dv)
