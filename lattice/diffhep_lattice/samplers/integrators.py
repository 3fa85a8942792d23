r"""Reversible, volume-preserving integrators of Hamilton's equations.

An integrator is a palindrome of drifts, $q \to q + a\,\epsilon\,p$ along the group, and kicks,
$p \to p - b\,\epsilon\,\partial S/\partial q$. What a drift and a kick are is the caller's: the
same coefficients serve angles, Lie groups and the latent space of a flow. Where one step ends and
the next begins with the same kind of update, the two are made one.
"""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.checks import require
from diffhep.core.typing import Scalar

Position = TypeVar("Position")
Momentum = TypeVar("Momentum")

_OMELYAN2_LAMBDA = 0.1931833275037836

_OMELYAN4_RHO = 0.2750081212332419
_OMELYAN4_THETA = -0.1347950099106792
_OMELYAN4_VARTHETA = -0.08442961950707149
_OMELYAN4_LAMBDA = 0.3549000571574260


class Integrator(eqx.Module):
    """A palindromic splitting that starts and ends with a drift.

    Attributes:
        drifts: Fractions of the step of the position updates; they sum to one.
        kicks: Fractions of the step of the momentum updates between them, one fewer.
        order: Order of the method: energy errors of a trajectory scale as step_size**order.

    Raises:
        ConfigError: The fractions are no palindrome, do not sum to one or do not alternate.
    """

    drifts: tuple[float, ...] = eqx.field(static=True)
    kicks: tuple[float, ...] = eqx.field(static=True)
    order: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        for name, fractions in (("drifts", self.drifts), ("kicks", self.kicks)):
            require(
                np.allclose(fractions, fractions[::-1], rtol=0.0, atol=1e-14)
                and abs(sum(fractions) - 1.0) < 1e-14,
                name,
                "be a palindrome that sums to one",
                fractions,
            )
        require(
            len(self.drifts) == len(self.kicks) + 1,
            "drifts",
            "have one entry more than `kicks`",
            self.drifts,
        )

    @property
    def n_forces(self) -> int:
        """Force evaluations per step."""
        return len(self.kicks)

    def integrate(
        self,
        drift: Callable[[Position, Momentum, Scalar], Position],
        kick: Callable[[Position, Momentum, Scalar], Momentum],
        position: Position,
        momentum: Momentum,
        *,
        step_size: Scalar,
        n_steps: int,
    ) -> tuple[Position, Momentum]:
        """Follow one trajectory; one drift and one kick are compiled, whatever the scheme.

        Args:
            drift: `drift(position, momentum, time)`, the position moved for a time.
            kick: `kick(position, momentum, time)`, the momentum changed by the force for a time.
            position: Where the trajectory starts.
            momentum: Momentum there.
            step_size: Time of one step, in molecular-dynamics units.
            n_steps: Number of steps, at least 1.

        Returns:
            Position and momentum after `n_steps` steps.
        """
        # The last drift of a step and the first of the next are one; the surplus that this leaves
        # after the last step is taken back. Coefficients that do not change from step to step
        # keep XLA's loops over the field free of look-ups, which is worth 40 % on a CPU.
        first = self.drifts[0] * step_size
        kicks = jnp.asarray(self.kicks) * step_size
        drifts = jnp.asarray((*self.drifts[1:-1], 2.0 * self.drifts[-1])) * step_size

        def stage(
            state: tuple[Position, Momentum], times: tuple[Scalar, Scalar]
        ) -> tuple[tuple[Position, Momentum], None]:
            q, p = state
            p = kick(q, p, times[0])
            return (drift(q, p, times[1]), p), None

        def step(
            state: tuple[Position, Momentum], _: None
        ) -> tuple[tuple[Position, Momentum], None]:
            return jax.lax.scan(stage, state, (kicks, drifts))[0], None

        start = (drift(position, momentum, first), momentum)
        (position, momentum), _ = jax.lax.scan(step, start, None, length=n_steps)
        return drift(position, momentum, -first), momentum


def leapfrog() -> Integrator:
    r"""The Störmer-Verlet scheme in its position version: second order, one force a step.

    $e^{\frac12\epsilon D}\,e^{\epsilon K}\,e^{\frac12\epsilon D}$ with drifts $D$ and kicks $K$.

    Returns:
        The integrator.

    Reference:
        L. Verlet, Phys. Rev. 159 (1967) 98.
    """
    return Integrator(drifts=(0.5, 0.5), kicks=(1.0,), order=2)


def omelyan2() -> Integrator:
    r"""The minimum-norm scheme of second order with two forces a step.

    $e^{\lambda\epsilon D}e^{\frac12\epsilon K}e^{(1-2\lambda)\epsilon D}
    e^{\frac12\epsilon K}e^{\lambda\epsilon D}$ with $\lambda = 0.1931833275037836$, which minimises
    the norm of the error of third order: about a tenth of the leapfrog's at the same step.

    Returns:
        The integrator.

    Reference:
        I. P. Omelyan, I. M. Mryglod, R. Folk, Comput. Phys. Commun. 151 (2003) 272, eq. (31); in
        lattice theory, T. Takaishi, P. de Forcrand, arXiv:hep-lat/0505020.
    """
    lam = _OMELYAN2_LAMBDA
    return Integrator(drifts=(lam, 1.0 - 2.0 * lam, lam), kicks=(0.5, 0.5), order=2)


def omelyan4() -> Integrator:
    r"""The minimum-norm scheme of fourth order with five forces a step.

    $e^{\rho D}e^{\vartheta K}e^{\theta D}e^{\lambda K}e^{(\frac12-\theta-\rho)D}
    e^{(1-2(\lambda+\vartheta))K}e^{(\frac12-\theta-\rho)D}e^{\lambda K}e^{\theta D}
    e^{\vartheta K}e^{\rho D}$, each exponent times $\epsilon$.

    Returns:
        The integrator.

    Reference:
        I. P. Omelyan, I. M. Mryglod, R. Folk, Comput. Phys. Commun. 151 (2003) 272, eqs. (72) and
        (80); in lattice theory, T. Takaishi, P. de Forcrand, arXiv:hep-lat/0505020.
    """
    rho, theta = _OMELYAN4_RHO, _OMELYAN4_THETA
    vartheta, lam = _OMELYAN4_VARTHETA, _OMELYAN4_LAMBDA
    half = 0.5 - theta - rho
    return Integrator(
        drifts=(rho, theta, half, half, theta, rho),
        kicks=(vartheta, lam, 1.0 - 2.0 * (lam + vartheta), lam, vartheta),
        order=4,
    )
