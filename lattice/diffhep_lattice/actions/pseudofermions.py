r"""Fermions as complex scalar fields: the action of pseudofermions, and their heatbath.

With $Q = \gamma_5 D$, $Q^2 = D^\dagger D$ and $\phi$ a spinor field,

$$ (\det D)^2 = \int d\phi\,e^{-\phi^\dagger Q^{-2}\phi}, \qquad
   |\det D| = \int d\phi\,e^{-\phi^\dagger r(Q^2)\phi}, \quad r(x) \approx x^{-1/2}, $$

up to constants. Both are $\phi^\dagger(c + \sum_j\rho_j(Q^2+b_j)^{-1})\phi$, whose solves are
conjugate gradients from lineax.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Complex, Float, Shaped

from diffhep.core.checks import require_x64
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.fermions.dirac import Spinor, WilsonDirac
from diffhep_lattice.fermions.rational import InverseSquareRoot, residues_of
from diffhep_lattice.groups import U1

__citations__ = ("doi:10.1103/PhysRevD.10.2445", "arXiv:2202.11712")

_STEPS_PER_DIMENSION = 20
"""Most steps of a solve, in dimensions of the space; without rounding one would do."""

_LEAST_EPSILONS = 10.0
"""Tolerances below so many rounding errors are out of reach."""


class Poles(eqx.Module):
    r"""A rational function $c + \sum_j\rho_j/(x + b_j)$.

    Attributes:
        constant: $c$.
        residues: $\rho_j$.
        shifts: $b_j$, not negative.
    """

    constant: Scalar
    residues: Float[Array, " pole"]
    shifts: Float[Array, " pole"]


class PseudofermionAction(AbstractAction):
    r"""The action $\phi^\dagger(c + \sum_j\rho_j(D^\dagger D+b_j)^{-1})\phi$ of a gauge field.

    Where a solve does not converge, as for a singular operator, the action is not a number:
    proposals are refused there.

    Attributes:
        phi: The pseudofermion field.
        kappa: Hopping parameter.
        poles: The rational function.
        tolerance: Relative tolerance of the solves for the action.
        force_tolerance: The same for the force. Trajectories are reversible whatever it is, as
            every solve starts from zero.
        group: `U1()`.
    """

    phi: Complex[Array, "spin L T"]
    kappa: Scalar
    poles: Poles
    tolerance: float = eqx.field(static=True)
    force_tolerance: float = eqx.field(static=True)
    group: U1 = eqx.field(default_factory=U1)

    def __call__(self, U: Shaped[Array, "mu ..."]) -> Scalar:
        """The action of one configuration, in double precision whatever its dtype.

        Args:
            U: Link angles in radians, shape (2, L, T).

        Returns:
            The action, dimensionless, float64.

        Raises:
            ConfigError: `jax_enable_x64` is off.
        """
        require_x64("the action of pseudofermions")
        phi = self.phi.astype(jnp.complex128)
        dirac = WilsonDirac(U.astype(jnp.float64), self.kappa)
        solved = solve_shifted(dirac, phi, self.poles.shifts, self.tolerance)
        products = jnp.sum((jnp.conj(phi) * solved).real, axis=(1, 2, 3))
        return self.poles.constant * _square(phi) + jnp.sum(self.poles.residues * products)

    def force(self, U: Shaped[Array, "mu ..."]) -> Float[Array, "mu ..."]:
        r"""$-\sum_j\rho_j\,\partial|D X_j|^2$ at fixed $X_j = (D^\dagger D+b_j)^{-1}\phi$.

        Args:
            U: Link angles in radians, shape (2, L, T).

        Returns:
            The gradient in the precision of `U`, dimensionless.
        """
        phi = self.phi.astype(jnp.result_type(U.dtype, 1j))
        X = solve_shifted(WilsonDirac(U, self.kappa), phi, self.poles.shifts, self.force_tolerance)
        residues = self.poles.residues.astype(U.dtype)

        def energy(V: Array) -> Scalar:
            dirac = WilsonDirac(V, self.kappa)
            return -jnp.sum(residues * jax.vmap(lambda x: _square(dirac(x)))(X))

        return jax.grad(energy)(U)


def _square(psi: Spinor) -> Scalar:
    return jnp.sum(psi.real**2 + psi.imag**2)


def solve_shifted(
    dirac: WilsonDirac, phi: Spinor, shifts: Float[Array, " pole"], tolerance: float
) -> Complex[Array, "pole spin L T"]:
    r"""The solutions of $(D^\dagger D + b_j)X_j = \phi$ by conjugate gradients from zero.

    Args:
        dirac: The operator $D$.
        phi: The right-hand side.
        shifts: $b_j$.
        tolerance: Residual allowed, relative to each entry of $\phi$ or one.

    Returns:
        One field a shift; not numbers where the residual was not reached.
    """
    reachable = max(tolerance, _LEAST_EPSILONS * float(jnp.finfo(phi.dtype).eps))
    solver = lx.CG(rtol=reachable, atol=reachable, max_steps=_STEPS_PER_DIMENSION * phi.size)
    structure = jax.ShapeDtypeStruct(phi.shape, phi.dtype)

    def solve(shift: Scalar) -> Spinor:
        operator = lx.FunctionLinearOperator(
            lambda psi: dirac.normal(psi) + shift.astype(psi.real.dtype) * psi,
            structure,
            lx.positive_semidefinite_tag,
        )
        solution = lx.linear_solve(operator, phi, solver, throw=False)
        return jnp.where(solution.result == lx.RESULTS.successful, solution.value, jnp.nan)

    return eqx.filter_vmap(solve)(shifts)


def normal_spinor(U: Float[Array, "mu L T"], *, key: Key) -> Spinor:
    r"""Normal variables $\eta$ on the sites of a gauge field, $\langle|\eta|^2\rangle = 1$ each.

    Args:
        U: Link angles in radians.
        key: Random key.

    Returns:
        The spinor field in double precision.
    """
    return jax.random.normal(key, (2, *U.shape[1:]), jnp.complex128)


class Roots(eqx.Module):
    r"""The function $c\,(1 + i\sum_j w_j/(Q - i m_j))$ that makes pseudofermions of normal fields.

    Attributes:
        constant: $c$.
        weights: $w_j$.
        masses: $m_j$.
    """

    constant: Scalar
    weights: Float[Array, " pole"]
    masses: Float[Array, " pole"]

    def __call__(self, dirac: WilsonDirac, eta: Spinor, tolerance: float) -> Spinor:
        """The function of the Hermitian operator, applied to a field."""
        X = solve_shifted(dirac, eta, self.masses**2, tolerance)
        # 1 / (Q - i m) = (Q + i m) / (Q^2 + m^2)
        terms = jax.vmap(dirac.hermitian)(X) + 1j * self.masses[:, None, None, None] * X
        return self.constant * (eta + 1j * jnp.tensordot(self.weights, terms, axes=1))


class Pseudofermions(eqx.Module):
    r"""The distribution of pseudofermions on a gauge field, and how they act back on it.

    With $\eta$ normal, $\langle|\eta|^2\rangle = 1$, two flavours have $\phi = Q\eta$. For one,
    $r(Q^2) = BB^\dagger$ with $B = \sqrt A\prod_j(Q+i\sqrt{a_j})/(Q+i\sqrt{b_j})$, and
    $\phi = (B^\dagger)^{-1}\eta$: exact for $r$, without a rational function of its own.

    Attributes:
        kappa: Hopping parameter.
        poles: The rational function of the action.
        roots: The function of the heatbath for one flavour; None for two.
        tolerance: Of the solves for actions and fields drawn.
        force_tolerance: Of the solves for forces.
    """

    kappa: Scalar
    poles: Poles
    roots: Roots | None
    tolerance: float = eqx.field(static=True)
    force_tolerance: float = eqx.field(static=True)

    def draw(self, U: Float[Array, "mu L T"], *, key: Key) -> PseudofermionAction:
        r"""Pseudofermions with the density $e^{-S(\phi)}$ on one gauge field.

        Args:
            U: Link angles in radians.
            key: Random key.

        Returns:
            The action of the gauge field, these pseudofermions given; on the field they were
            drawn at it is the square of `normal_spinor` with the same key.
        """
        dirac = WilsonDirac(U.astype(jnp.float64), self.kappa)
        eta = normal_spinor(U, key=key)
        phi = dirac.hermitian(eta) if self.roots is None else self.roots(dirac, eta, self.tolerance)
        return PseudofermionAction(
            phi=phi,
            kappa=self.kappa,
            poles=self.poles,
            tolerance=self.tolerance,
            force_tolerance=self.force_tolerance,
        )


def two_flavours() -> tuple[Poles, None]:
    """Action and heatbath of two flavours: one pole at zero, and no solve."""
    return Poles(jnp.zeros(()), jnp.ones(1), jnp.zeros(1)), None


def one_flavour(rational: InverseSquareRoot) -> tuple[Poles, Roots]:
    """Action and heatbath of one flavour by an approximation of the inverse square root."""
    amplitude = rational.amplitude
    poles = Poles(
        jnp.asarray(amplitude),
        jnp.asarray(amplitude * rational.residues()),
        jnp.asarray(rational.denominator),
    )
    masses, others = np.sqrt(rational.numerator), np.sqrt(rational.denominator)
    weights = residues_of(masses, others)
    return poles, Roots(
        jnp.asarray(1.0 / np.sqrt(amplitude)), jnp.asarray(weights), jnp.asarray(masses)
    )
