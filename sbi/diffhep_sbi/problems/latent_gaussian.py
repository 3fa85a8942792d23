"""A linear Gaussian with a latent layer: ratio, score, information and posterior are closed."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.typing import Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.simulator import Program

__citations__ = ("arXiv:1805.00020",)


class LatentGaussian(AbstractProblem):
    r"""$z\sim N(A\theta, S_z)$, $x\sim N(z, S_x)$, so that $x\sim N(A\theta, S_z+S_x)$.

    Attributes:
        design: The matrix A.
        latent_covariance: $S_z$.
        noise_covariance: $S_x$.
    """

    design: Float[Array, "feature param"] = eqx.field(converter=jnp.asarray)
    latent_covariance: Float[Array, "feature feature"] = eqx.field(converter=jnp.asarray)
    noise_covariance: Float[Array, "feature feature"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        n = self.design.shape[0]
        for name in ("latent_covariance", "noise_covariance"):
            matrix = getattr(self, name)
            require_shape(matrix.shape == (n, n), name, f"be {n} by {n}", matrix.shape)
            values = concrete(matrix)
            least = 1.0 if values is None else float(np.linalg.eigvalsh(values).min())
            require(least > 0.0, name, "be positive definite", f"of least eigenvalue {least:g}")

    @property
    def covariance(self) -> Float[Array, "feature feature"]:
        """That of x at given theta."""
        return self.latent_covariance + self.noise_covariance

    @property
    def simulator(self) -> Program:
        """The two layers as a numpyro program."""
        return Program(_TwoLayers(self))

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        r"""$\log N(x; A\theta, S)$."""
        return dist.MultivariateNormal(self.design @ theta, self.covariance).log_prob(x)

    def joint_score(
        self, latents: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, "event param"]:
        r"""$A^T S_z^{-1}(z - A\theta)$ of given latent variables."""
        deviation = latents - self.design @ theta
        return jnp.linalg.solve(self.latent_covariance, deviation.T).T @ self.design

    def information(self, theta: Float[Array, " param"]) -> Float[Array, "param param"]:
        r"""Fisher information of one event, $A^T S^{-1} A$, the same at every theta."""
        return self.design.T @ jnp.linalg.solve(self.covariance, self.design)

    def posterior(
        self,
        x: Float[Array, "event feature"],
        prior_mean: Float[Array, " param"],
        prior_covariance: Float[Array, "param param"],
    ) -> tuple[Float[Array, " param"], Float[Array, "param param"]]:
        """Mean and covariance of the normal posterior of theta after some events."""
        precision = jnp.linalg.inv(prior_covariance)
        covariance = jnp.linalg.inv(precision + x.shape[0] * self.information(prior_mean))
        pull = self.design.T @ jnp.linalg.solve(self.covariance, jnp.sum(x, axis=0))
        return covariance @ (precision @ prior_mean + pull), covariance


class _TwoLayers(eqx.Module):
    problem: LatentGaussian

    def __call__(self, theta: Float[Array, " param"]) -> Float[Array, " feature"]:
        mean = self.problem.design @ theta
        latent = dist.MultivariateNormal(mean, self.problem.latent_covariance)
        z = jnp.asarray(numpyro.sample("z", latent))
        noisy = dist.MultivariateNormal(z, self.problem.noise_covariance)
        return jnp.asarray(numpyro.sample("x", noisy))
