"""Simulators: programs that draw an event and know the density of everything they drew."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro import handlers

from diffhep.core.checks import require, require_shape, require_type
from diffhep.core.typing import Key, Scalar

__citations__ = ("arXiv:1912.11554", "arXiv:1805.12244")

Latents = Any
"""Everything a simulator drew for one event: a pytree of arrays."""


class AbstractSimulator(eqx.Module):
    r"""A joint density $p(x, z\mid\theta)$ of an event x and latent variables z, with a sampler.

    Both methods are written for one event; `mine` maps them over many. The density need not be
    integrable in closed form over z: that is why one learns ratios from it.
    """

    @abc.abstractmethod
    def sample(
        self, theta: Float[Array, " param"], *, key: Key
    ) -> tuple[Float[Array, "*feature"], Latents]:
        """Draw an event and keep the latent variables it came from."""

    @abc.abstractmethod
    def log_joint(
        self, theta: Float[Array, " param"], x: Float[Array, "*feature"], latents: Latents
    ) -> Scalar:
        r"""$\log p(x, z\mid\theta)$ of a simulated event, up to a constant in $\theta$."""


class Program(AbstractSimulator):
    r"""A numpyro program `program(theta) -> x`, its density read off its trace.

    Every `numpyro.sample` site is a latent variable; the return value is the event. It must be a
    function of the sites alone: given them, nothing may depend on $\theta$ any more, or the joint
    density is a delta function whose ratio does not exist. `mine` checks that.

    Attributes:
        program: The numpyro program of one event.

    Reference:
        D. Phan, N. Pradhan, M. Jankowiak, arXiv:1912.11554.
    """

    program: Callable[[Float[Array, " param"]], Float[Array, "*feature"]]

    def __check_init__(self) -> None:
        require(callable(self.program), "program", "be callable", self.program)

    def sample(
        self, theta: Float[Array, " param"], *, key: Key
    ) -> tuple[Float[Array, "*feature"], Latents]:
        """Run the program and record its sites.

        Raises:
            ConfigError: A site is observed, or there is none.
        """
        with handlers.trace() as trace, handlers.seed(rng_seed=key):
            x = self.program(theta)
        sites = {name: site for name, site in trace.items() if site["type"] == "sample"}
        observed = [name for name, site in sites.items() if site["is_observed"]]
        require(not observed, "program", "have no observed site, it returns the event", observed)
        require(bool(sites), "program", "have a numpyro.sample site", tuple(trace))
        return jnp.asarray(x, float), {name: site["value"] for name, site in sites.items()}

    def log_joint(
        self, theta: Float[Array, " param"], x: Float[Array, "*feature"], latents: Latents
    ) -> Scalar:
        """The sum of the sites' log-densities, minus infinity outside a support."""
        with (
            handlers.trace() as trace,
            handlers.seed(rng_seed=0),
            handlers.substitute(data=latents),
        ):
            self.program(theta)
        return sum((_log_prob(trace[name]) for name in latents), jnp.zeros((), float))

    def replay(self, theta: Float[Array, " param"], latents: Latents) -> Float[Array, "*feature"]:
        r"""The event of given latent variables, which must not depend on $\theta$."""
        with handlers.seed(rng_seed=0), handlers.substitute(data=latents):
            return jnp.asarray(self.program(theta), float)


def _log_prob(site: dict[str, Any]) -> Scalar:
    """Summed in double precision; numpyro itself does not look at the support."""
    distribution, value = site["fn"], site["value"]
    log_prob = distribution.log_prob(value)
    inside = distribution.support.check(value)
    log_prob = jnp.where(inside, log_prob, -jnp.inf)
    return jnp.sum(log_prob.astype(float))


class Density(AbstractSimulator):
    r"""A sampler and a log-density, for simulators that are no numpyro program.

    Attributes:
        draw: `draw(theta, key) -> (x, latents)` of one event.
        density: `density(theta, x, latents)`, $\log p(x, z\mid\theta)$ up to a constant in
            $\theta$.
    """

    draw: Callable[[Float[Array, " param"], Key], tuple[Float[Array, "*feature"], Latents]]
    density: Callable[[Float[Array, " param"], Float[Array, "*feature"], Latents], Scalar]

    def sample(
        self, theta: Float[Array, " param"], *, key: Key
    ) -> tuple[Float[Array, "*feature"], Latents]:
        """Draw an event."""
        x, latents = self.draw(theta, key)
        return jnp.asarray(x, float), latents

    def log_joint(
        self, theta: Float[Array, " param"], x: Float[Array, "*feature"], latents: Latents
    ) -> Scalar:
        """The density, as a number.

        Raises:
            ShapeError: `density` returns an array.
        """
        value = self.density(theta, x, latents)
        require_shape(jnp.shape(value) == (), "density", "return a scalar", jnp.shape(value))
        return jnp.asarray(value, float)


def as_simulator(simulator: Any) -> AbstractSimulator:
    """A simulator as it is, a numpyro program wrapped.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(simulator, AbstractSimulator):
        return simulator
    rule = "be a simulator or a numpyro program, a function of theta"
    require_type(simulator, Callable, "simulator", rule)  # pyright: ignore[reportArgumentType]
    return Program(simulator)


def dependence(
    simulator: AbstractSimulator,
    theta: Float[Array, " param"],
    x: Float[Array, "*feature"],
    latents: Latents,
) -> Scalar:
    r"""Largest $|\partial x/\partial\theta|$ of a replayed event at fixed latent variables."""
    if not isinstance(simulator, Program):
        return jnp.zeros(())
    slope = jax.jacfwd(simulator.replay)(theta, latents)
    return jnp.max(jnp.abs(slope), initial=0.0)
