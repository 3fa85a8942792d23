r"""Transfer matrices between the rows of a periodic lattice.

The variables of a row are on the nodes of a quadrature, with a weight per site and a symmetric,
positive coupling per link. With D the square root of all weights and couplings within a row, and K
the couplings between two rows, one per site, $T = D\,(K\otimes\dots\otimes K)\,D$ is symmetric and
positive, and $Z = \mathrm{Tr}\,T^N$ for N rows. K is applied site by site.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, eigsh

__citations__ = ("doi:10.1103/PhysRev.60.252",)

_DENSE_STATES = 600
"""Up to so many states of a row all eigenvalues are found at once."""

_FIRST_STATES = 32
"""Eigenvectors tried first; doubled until the rest does not matter."""

_TRUNCATION = 1e-8
r"""What is left out of $\mathrm{Tr}\,T^{N/2}$ of the largest term.

Expectation values lose much less: of the trace the square of it, of correlators this times the
overlap of a high state with one field, squared.
"""


class Spectrum(NamedTuple):
    r"""The leading eigenvectors of a transfer matrix, and what expectation values need of them.

    Attributes:
        ratio: $\Lambda_k/\Lambda_0$.
        vector: Eigenvectors, one a column.
        n_rows: Number of rows N.
        log_z: $\log\mathrm{Tr}\,T^N$.
    """

    ratio: Float[np.ndarray, " k"]
    vector: Float[np.ndarray, "state k"]
    n_rows: int
    log_z: float

    def mean(self, observable: Float[np.ndarray, " state"]) -> float:
        """Expectation value of a function of one row."""
        power = self.ratio**self.n_rows
        return float(power @ (observable @ self.vector**2) / np.sum(power))

    def correlator(self, observable: Float[np.ndarray, " state"]) -> Float[np.ndarray, " row"]:
        """Expectation values of the product of the same function of two rows, by distance."""
        elements = (self.vector.T @ (observable[:, None] * self.vector)) ** 2
        values = np.empty(self.n_rows)
        values[0] = self.mean(observable**2)
        total = np.sum(self.ratio**self.n_rows)
        for t in range(1, self.n_rows):
            values[t] = self.ratio**t @ elements @ self.ratio ** (self.n_rows - t) / total
        return values


class RowTransfer:
    """The transfer matrix of one row.

    Attributes:
        n_sites: Sites of a row.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        log_weight: Float[np.ndarray, " node"],
        log_coupling: Float[np.ndarray, "node node"],
    ) -> None:
        """Tabulate the weights of a row.

        Args:
            shape: Sites of a row along each of its directions; empty for a single site.
            log_weight: Logarithm of the weight of a site at each node.
            log_coupling: Logarithm of the coupling of two neighbours at their nodes.
        """
        self.n_sites = int(np.prod(shape, dtype=int))
        self._n_nodes = len(log_weight)
        # Factored out, so that nothing overflows.
        self._log_scale = float(np.max(log_coupling))
        self._coupling = np.exp(log_coupling - self._log_scale)
        log_diagonal = self.total(0.5 * log_weight)
        for first, second in _links(shape):
            log_diagonal = log_diagonal + 0.5 * self._on_two_sites(log_coupling, first, second)
        self._log_highest = float(np.max(log_diagonal))
        self._diagonal = np.exp(log_diagonal - self._log_highest)

    def at_one_site(self, values: Float[np.ndarray, " node"]) -> Float[np.ndarray, " state"]:
        """A function of the first site as one of the row."""
        return self._spread(values, 0).ravel()

    def total(self, values: Float[np.ndarray, " node"]) -> Float[np.ndarray, " state"]:
        """The sum over all sites of a function of one, as a function of the row."""
        spread = [self._spread(values, site) for site in range(self.n_sites)]
        return np.sum(spread, axis=0).ravel()

    def spectrum(self, n_rows: int) -> Spectrum:
        """The eigenvectors that matter for a lattice of so many rows."""
        n_states = self._diagonal.size
        if n_states <= _DENSE_STATES:
            value, vector = np.linalg.eigh(self.apply(np.eye(n_states)))
        else:
            value, vector = self._leading(n_rows)
        highest = float(np.max(value))
        ratio = np.maximum(value / highest, 0.0)
        log_highest = np.log(highest) + 2 * self._log_highest + self.n_sites * self._log_scale
        log_z = float(n_rows * log_highest + np.log(np.sum(ratio**n_rows)))
        return Spectrum(ratio, vector, n_rows, log_z)

    def apply(self, vectors: Float[np.ndarray, "state *k"]) -> Float[np.ndarray, "state *k"]:
        """The transfer matrix times one vector or several columns, without the factored scales."""
        columns = vectors.reshape(self._diagonal.size, -1)
        moved = self._diagonal[:, None] * columns
        for _ in range(self.n_sites):
            # Contract the first site and put it last but for the columns: after all sites the
            # order is the old one.
            split = moved.reshape(self._n_nodes, -1, columns.shape[1])
            moved = np.einsum("ab,acd->cbd", self._coupling, split, optimize=True)
        moved = self._diagonal[:, None] * moved.reshape(columns.shape)
        return moved.reshape(vectors.shape)

    def _leading(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        n_states = self._diagonal.size
        # pyright reads the signature of an internal subclass.
        operator = LinearOperator(  # pyright: ignore[reportCallIssue]
            (n_states, n_states),
            matvec=self.apply,  # pyright: ignore[reportCallIssue]
            dtype=np.float64,  # pyright: ignore[reportCallIssue]
        )
        # A start of our own: the solver's would be random.
        start = self._diagonal.copy()
        start *= 1.0 + 0.5 * np.sin(np.arange(n_states))
        n_kept = _FIRST_STATES
        while True:
            value, vector = eigsh(operator, k=n_kept, which="LA", v0=start)
            if (np.min(value) / np.max(value)) ** (0.5 * n_rows) < _TRUNCATION:
                return value, vector
            n_kept = min(2 * n_kept, n_states - 1)

    def _spread(self, values: np.ndarray, site: int) -> np.ndarray:
        """A function of one site on the grid of all."""
        form = [1] * self.n_sites
        form[site] = self._n_nodes
        return np.broadcast_to(values.reshape(form), (self._n_nodes,) * self.n_sites)

    def _on_two_sites(self, values: np.ndarray, first: int, second: int) -> np.ndarray:
        form = [1] * self.n_sites
        form[first] = form[second] = self._n_nodes
        ordered = values if first < second else values.T
        grid = np.broadcast_to(ordered.reshape(form), (self._n_nodes,) * self.n_sites)
        return grid.ravel()


def _links(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of neighbours within a row; both pairs where a length of 2 doubles the link."""
    index = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
    return [
        (int(a), int(b))
        for axis in range(len(shape))
        for a, b in zip(index.ravel(), np.roll(index, -1, axis).ravel(), strict=True)
    ]
