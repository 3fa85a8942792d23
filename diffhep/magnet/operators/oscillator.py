"""An oscillator whose restoring force remembers, and laws of that force."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Key, Scalar
from diffhep.magnet.operators.dynamic import AbstractField

__citations__ = ("doi:10.1061/JMCEA3.0002106", "doi:10.1016/j.ifacol.2017.08.071")


class AbstractForceLaw(eqx.Module):
    """How a hysteretic force changes."""

    @abc.abstractmethod
    def __call__(self, velocity: Scalar, force: Scalar) -> Scalar:
        """The rate of the force.

        Args:
            velocity: Of the displacement.
            force: Now.

        Returns:
            Its derivative with respect to time.
        """


class BoucWenForce(AbstractForceLaw):
    r"""$\dot z = \alpha v - a\,|v|\,|z|^{\nu-1}z - b\,v\,|z|^\nu$.

    Attributes:
        slope: $\alpha$, force per displacement from no force on.
        dissipation: $a$ ($\beta\gamma$ of the benchmark), in units of force to the $1-\nu$ per
            displacement.
        bend: $b$ ($\beta\delta$), likewise.
        exponent: $\nu\ge1$.
    """

    slope: Scalar = eqx.field(converter=jnp.asarray)
    dissipation: Scalar = eqx.field(converter=jnp.asarray)
    bend: Scalar = eqx.field(converter=jnp.asarray)
    exponent: Scalar = eqx.field(converter=jnp.asarray, default=1.0)

    def __call__(self, velocity: Scalar, force: Scalar) -> Scalar:
        """See `AbstractForceLaw`."""
        # A power with a traced exponent has no derivative at 0.
        size = jnp.abs(force)
        power = jnp.where(size > 0.0, jnp.where(size > 0.0, size, 1.0) ** self.exponent, 0.0)
        lost = self.dissipation * jnp.abs(velocity) * jnp.sign(force)
        return self.slope * velocity - power * (lost + self.bend * velocity)


class LearnedForce(AbstractForceLaw):
    r"""$\dot z = v\,\alpha\,[1 + N(s z/z_0)]$ with $s = \mathrm{sgn}\,v$ and a network N.

    The most general law that knows no rate, treats both directions alike and whose rate depends on
    nothing but velocity and force; Bouc and Wen's is the one whose N is linear on either side of 0.

    Attributes:
        slope: $\alpha$, force per displacement.
        scale: $z_0$, a typical force.
        inner: Weights and biases of the hidden units.
        outer: Weights of the output, which is 0 at no force.
    """

    slope: Scalar = eqx.field(converter=jnp.asarray)
    scale: Scalar = eqx.field(converter=jnp.asarray)
    inner: Float[Array, "2 hidden"] = eqx.field(converter=jnp.asarray)
    outer: Float[Array, " hidden"] = eqx.field(converter=jnp.asarray)

    def __call__(self, velocity: Scalar, force: Scalar) -> Scalar:
        """See `AbstractForceLaw`."""
        x = jnp.where(velocity < 0.0, -force, force) / self.scale
        hidden = jnp.tanh(self.inner[0] * x + self.inner[1]) - jnp.tanh(self.inner[1])
        return velocity * self.slope * (1.0 + self.outer @ hidden)


def learned_force(slope: float, scale: float, width: int = 6, *, key: Key) -> LearnedForce:
    """A force law without hysteresis yet, to be learned.

    Args:
        slope: Force per displacement.
        scale: A typical force.
        width: Hidden units.
        key: Random key.

    Returns:
        The law.
    """
    inner = jax.random.normal(key, (2, width))
    return LearnedForce(slope, scale, inner, jnp.zeros(width))


class HystereticOscillator(AbstractField):
    r"""$m\ddot x + c\,\dot x + k x + z = u$ with a hysteretic force z; x is read.

    Attributes:
        mass: m.
        damping: c.
        stiffness: k.
        force: The law of z.
    """

    mass: Scalar = eqx.field(converter=jnp.asarray)
    damping: Scalar = eqx.field(converter=jnp.asarray)
    stiffness: Scalar = eqx.field(converter=jnp.asarray)
    force: AbstractForceLaw

    @property
    def n_states(self) -> int:
        """Displacement, velocity and force."""
        return 3

    def __call__(self, x: Float[Array, " state"], u: Scalar) -> Float[Array, " state"]:
        """Rates of displacement, velocity and force."""
        displacement, velocity, force = x
        pull = u - self.damping * velocity - self.stiffness * displacement - force
        return jnp.stack([velocity, pull / self.mass, self.force(velocity, force)])

    def read(self, x: Float[Array, " state"]) -> Scalar:
        """The displacement."""
        return x[0]
