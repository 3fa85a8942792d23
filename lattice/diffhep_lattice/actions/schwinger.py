"""The Schwinger model: U(1) gauge fields and Wilson fermions in two dimensions."""

from functools import partial

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import as_integer, as_scalar, concrete, require, require_real
from diffhep.core.errors import ConvergenceError
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.fermions.determinant import fermion_determinant, log_determinant_force
from diffhep_lattice.fermions.dirac import check_kappa
from diffhep_lattice.groups import U1

__citations__ = ("doi:10.1103/PhysRevD.10.2445", "arXiv:2202.11712")


def regular_log_determinant(U: Shaped[Array, "mu ..."], kappa: Scalar) -> Scalar:
    r"""$\log|\det D|$ of a field without zero modes.

    Args:
        U: Link angles in radians, shape (2, L, T).
        kappa: Hopping parameter.

    Returns:
        The logarithm, float64; $-\infty$ inside `jit` where the operator is singular.

    Raises:
        ShapeError: `U` is no gauge field in two dimensions.
        ConfigError: `jax_enable_x64` is off.
        ConvergenceError: The Dirac operator is singular, outside of `jit`.
    """
    log_abs = fermion_determinant(U, kappa).log_abs
    value = concrete(log_abs)
    if value is not None and bool(np.any(np.isneginf(value))):
        raise ConvergenceError(
            "Argument `U` must have a Dirac operator without zero modes, but it is singular "
            f"at kappa = {float(kappa)!r}."
        )
    return log_abs


class SchwingerAction(AbstractAction):
    r"""Two-dimensional QED with the exact fermion determinant.

    $S(U) = -\beta\sum_x\cos P(x) - N_f\log|\det D(U)|$ with the Wilson operator
    $D = 1 - \kappa H$ of `fermions.dirac`, antiperiodic along axis 1.

    The determinant is real. For two flavours its square is a density. For one flavour its sign is
    left out of the density, and goes into the averages,
    $\langle O\rangle = \langle O\,s\rangle/\langle s\rangle$ with $s$ = `sign(U)`; it is negative
    in exceptional fields alone, and never for $\kappa < 1/4$.

    Where $D$ is singular to rounding the action is $+\infty$, so that proposals are refused there;
    outside of `jit` it is a `ConvergenceError`.

    Attributes:
        beta: Inverse coupling, dimensionless, at least 0.
        kappa: Hopping parameter, dimensionless, at least 0; $\kappa = 1/(2m_0+4)$.
        n_flavours: Number of degenerate flavours $N_f$, 1 or 2.
        group: `U1()`.
        boundary: Of the fermions in time: "antiperiodic", which makes $Z$ a trace over states.

    Raises:
        ConfigError: `beta` or `kappa` is negative or not finite, `n_flavours` is neither 1 nor 2,
            or `boundary` is not "antiperiodic".

    Reference:
        J. Schwinger, Phys. Rev. 128 (1962) 2425; sampled with flows, M. S. Albergo et al.,
        arXiv:2202.11712.
    """

    beta: Scalar = eqx.field(converter=partial(as_scalar, name="beta"))
    kappa: Scalar = eqx.field(converter=partial(as_scalar, name="kappa"))
    n_flavours: int = eqx.field(
        static=True, converter=partial(as_integer, name="n_flavours", low=1), default=2
    )
    group: U1 = eqx.field(default_factory=U1)
    boundary: str = eqx.field(static=True, default="antiperiodic")

    def __check_init__(self) -> None:
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)
        check_kappa(self.kappa)
        require(self.n_flavours <= 2, "n_flavours", "be 1 or 2", self.n_flavours)
        require(isinstance(self.group, U1), "group", "be U1()", self.group)
        rule = 'be "antiperiodic", as fermions are in time'
        require(self.boundary == "antiperiodic", "boundary", rule, self.boundary)

    @property
    def gauge(self) -> WilsonAction:
        """The gauge part of the action."""
        return WilsonAction(beta=self.beta)

    def __call__(self, U: Shaped[Array, "mu ..."]) -> Scalar:
        """The action of one configuration, computed in double precision whatever its dtype.

        Args:
            U: Link angles in radians, shape (2, L, T).

        Returns:
            $S(U)$, dimensionless, float64.

        Raises:
            ShapeError: `U` is no gauge field in two dimensions.
            ConfigError: `jax_enable_x64` is off.
            ConvergenceError: The Dirac operator is singular, outside of `jit`.
        """
        gauge = self.gauge(U)
        return gauge - self.n_flavours * regular_log_determinant(U, self.kappa)

    def force(self, U: Shaped[Array, "mu ..."]) -> Float[Array, "mu ..."]:
        """The gradient of the action, in the precision of `U`.

        Args:
            U: Link angles in radians, shape (2, L, T).

        Returns:
            The gradient, dimensionless; not finite where the Dirac operator is singular.

        Raises:
            ShapeError: `U` is no gauge field in two dimensions.
        """
        return self.gauge.force(U) - self.n_flavours * log_determinant_force(U, self.kappa)

    def sign(self, U: Shaped[Array, "mu ..."]) -> Scalar:
        r"""The sign of the density that the action leaves out, $\mathrm{sign}(\det D)^{N_f}$.

        Args:
            U: Link angles in radians, shape (2, L, T).

        Returns:
            1 or -1, and 1 always for two flavours; 0 where the Dirac operator is singular.
        """
        return fermion_determinant(U, self.kappa).sign ** self.n_flavours
