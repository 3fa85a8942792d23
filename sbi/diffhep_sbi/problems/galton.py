"""A board of nails that push to one side: a ratio of histories that varies wildly."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffhep.core.checks import as_integer
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.simulator import Density

__citations__ = ("arXiv:1805.12244",)

_STEEPNESS = 10.0
"""How fast the push rises from the left edge of the board to the right one."""


class GaltonBoard(AbstractProblem):
    r"""A ball falls through rows of nails; the event is the bin it ends in.

    At relative height v and relative position h in [-1, 1] it goes left with the probability
    $\frac12(1-\sin\pi v) + \sin(\pi v)\,\sigma(10\,\theta h)$, so that $\theta$ is felt in the
    middle rows alone. Even rows are shifted by half a nail; a ball at an edge stays on the board.
    The path is the latent variable; summed over paths row by row, $p(x|\theta)$ is exact.

    Attributes:
        n_rows: Rows of nails.
        n_bins: Places in a row, and bins.

    Reference:
        J. Brehmer, G. Louppe, J. Pavez, K. Cranmer, arXiv:1805.12244.
    """

    n_rows: int = eqx.field(
        static=True, converter=partial(as_integer, name="n_rows", low=2), default=20
    )
    n_bins: int = eqx.field(
        static=True, converter=partial(as_integer, name="n_bins", low=3), default=31
    )

    @property
    def simulator(self) -> Density:
        """Paths, step by step."""
        return Density(_Fall(self), _PathDensity(self))

    def left(
        self, theta: Float[Array, " param"], row: Int[Array, ""], place: Int[Array, "*place"]
    ) -> Float[Array, "*place"]:
        """Probability of going left at a nail."""
        height = jnp.sin(np.pi * row / (self.n_rows - 1))
        position = 2.0 * place / (self.n_bins - 1) - 1.0
        return 0.5 * (1.0 - height) + height * jax.nn.sigmoid(_STEEPNESS * theta[0] * position)

    def step(
        self, row: Int[Array, ""], place: Int[Array, "*place"], went_left: Array
    ) -> Int[Array, "*place"]:
        """The place in the next row."""
        move = jnp.where(row % 2 == 0, jnp.where(went_left, 0, 1), jnp.where(went_left, -1, 0))
        return jnp.clip(place + move, 0, self.n_bins - 1)

    def bin_probabilities(self, theta: Float[Array, " param"]) -> Float[Array, " bin"]:
        """Probability of every bin, by one sum over the places of each row."""
        places = jnp.arange(self.n_bins)

        def fall(probability: Float[Array, " bin"], row: Int[Array, ""]) -> tuple[Array, None]:
            left = self.left(theta, row, places)
            after = jnp.zeros_like(probability)
            for went_left, share in ((True, left), (False, 1.0 - left)):
                target = self.step(row, places, jnp.asarray(went_left))
                after = after.at[target].add(probability * share)
            return after, None

        start = jnp.zeros(self.n_bins).at[self.n_bins // 2].set(1.0)
        return jax.lax.scan(fall, start, jnp.arange(self.n_rows))[0]

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The logarithm of the bin's probability."""
        return jnp.log(self.bin_probabilities(theta)[x[0].astype(int)])


class _Fall(eqx.Module):
    """One ball from the middle of the first row."""

    board: GaltonBoard

    def __call__(self, theta: Float[Array, " param"], key: Key) -> tuple[Array, Array]:
        board = self.board
        thrown = jax.random.uniform(key, (board.n_rows,))

        def fall(place: Array, row_and_throw: tuple[Array, Array]) -> tuple[Array, Array]:
            row, throw = row_and_throw
            went_left = throw < board.left(theta, row, place)
            return board.step(row, place, went_left), went_left

        rows = jnp.arange(board.n_rows)
        place, path = jax.lax.scan(fall, jnp.asarray(board.n_bins // 2), (rows, thrown))
        return place[None].astype(float), path


class _PathDensity(eqx.Module):
    """The product of the probabilities of every turn."""

    board: GaltonBoard

    def __call__(self, theta: Float[Array, " param"], x: Array, path: Array) -> Scalar:
        board = self.board

        def fall(place: Array, row_and_turn: tuple[Array, Array]) -> tuple[Array, Array]:
            row, went_left = row_and_turn
            left = board.left(theta, row, place)
            return board.step(row, place, went_left), jnp.where(went_left, left, 1.0 - left)

        rows = jnp.arange(board.n_rows)
        _, shares = jax.lax.scan(fall, jnp.asarray(board.n_bins // 2), (rows, path))
        return jnp.sum(jnp.log(shares))
