"""The additive group of the real numbers, in which a scalar field takes its values."""

from jaxtyping import Array, Float

from diffhep_lattice.groups.base import AbstractLieGroup

__citations__ = ("arXiv:1904.12072",)


class Reals(AbstractLieGroup):
    """The real numbers under addition: the exponential is the identity, nothing is projected."""

    @property
    def element_shape(self) -> tuple[int, ...]:
        """A number has no axes."""
        return ()

    @property
    def algebra_shape(self) -> tuple[int, ...]:
        """A velocity has no axes."""
        return ()

    def multiply(self, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
        """Sums."""
        return a + b

    def inverse(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """Negatives."""
        return -a

    def exponential(self, velocity: Float[Array, "..."]) -> Float[Array, "..."]:
        """The numbers themselves."""
        return velocity

    def logarithm(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """The numbers themselves."""
        return a

    def move(self, a: Float[Array, "..."], velocity: Float[Array, "..."]) -> Float[Array, "..."]:
        """Numbers advanced by `velocity`."""
        return a + velocity

    def project(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """The numbers as they are."""
        return a
