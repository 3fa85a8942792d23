r"""Muon pairs from $e^+e^-$: one angle, one asymmetry, and a helicity that nobody observes."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from diffhep.core.checks import require_real
from diffhep.core.typing import Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.simulator import Program

__citations__ = ("arXiv:hep-ex/0509008",)

Z_MASS_GEV = 91.1876
"""arXiv:hep-ex/0509008, as the width."""
Z_WIDTH_GEV = 2.4952
SIN2_THETA_W = 0.2312
"""Effective leptonic mixing angle, rounded."""

LARGEST_ASYMMETRY = 0.75
"""Beyond it the angular distribution is negative somewhere."""


class EeMuMu(AbstractProblem):
    r"""$p(c\mid A) = \frac38(1+c^2) + A\,c$ for the cosine c of the muon and $|A| \le 3/4$.

    It is a mixture of $\frac38(1\pm c)^2$ with the weights $\frac12\pm\frac23A$, the probabilities
    of equal and opposite helicities, which are the latent variable. A is the forward-backward
    asymmetry.
    """

    @property
    def simulator(self) -> Program:
        """Helicity, then the angle."""
        return Program(_program)

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The logarithm of the angular distribution."""
        c = x[0]
        return jnp.log(0.375 * (1.0 + c**2) + theta[0] * c)

    def information(self, theta: Float[Array, " param"]) -> Float[Array, "param param"]:
        r"""Fisher information of one event, $\int c^2/p\,dc$; $\frac83(2-\frac\pi2)$ at A = 0."""
        nodes, weights = np.polynomial.legendre.leggauss(400)
        density = 0.375 * (1.0 + nodes**2) + theta[0] * nodes
        return jnp.sum(weights * nodes**2 / density)[None, None]


def _program(theta: Float[Array, " param"]) -> Float[Array, " feature"]:
    equal = numpyro.sample("equal", dist.BernoulliProbs(0.5 + 2.0 * theta[0] / 3.0))
    # (1 + h c) / 2 has the density 3 t^2 of a beta distribution.
    t = jnp.asarray(numpyro.sample("t", dist.Beta(3.0, 1.0)))
    return (2.0 * jnp.asarray(equal) - 1.0)[None] * (2.0 * t - 1.0)


def forward_backward_asymmetry(energy_GeV: float) -> float:
    r"""$A_{FB} = \frac{3D}{8S}$ of muon pairs at tree level, photon and Z.

    $S = 1 + 2v^2\mathrm{Re}\chi + (v^2+a^2)^2|\chi|^2$,
    $D = 4a^2\mathrm{Re}\chi + 8v^2a^2|\chi|^2$, with $v = 2T_3 - 4Q\sin^2\theta_W$, $a = 2T_3$,
    $\chi = \frac{s}{16\sin^2\theta_W\cos^2\theta_W\,(s - m_Z^2 + i s\Gamma_Z/m_Z)}$.

    Args:
        energy_GeV: Energy in the centre of mass.

    Returns:
        The asymmetry.

    Raises:
        ConfigError: The energy is not positive.

    Reference:
        ALEPH, DELPHI, L3, OPAL, SLD, Phys. Rept. 427 (2006) 257, arXiv:hep-ex/0509008.
    """
    require_real(energy_GeV, "energy_GeV", "be finite and at least 1e-3", low=1e-3)
    s = energy_GeV**2
    vector, axial = -1.0 + 4.0 * SIN2_THETA_W, -1.0
    strength = 1.0 / (16.0 * SIN2_THETA_W * (1.0 - SIN2_THETA_W))
    chi = strength * s / (s - Z_MASS_GEV**2 + 1j * s * Z_WIDTH_GEV / Z_MASS_GEV)
    symmetric = 1.0 + 2.0 * vector**2 * chi.real + (vector**2 + axial**2) ** 2 * abs(chi) ** 2
    asymmetric = 4.0 * axial**2 * chi.real + 8.0 * vector**2 * axial**2 * abs(chi) ** 2
    return 3.0 * asymmetric / (8.0 * symmetric)
