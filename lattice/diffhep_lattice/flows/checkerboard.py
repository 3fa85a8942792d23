r"""Checkerboard couplings of a real scalar field in two dimensions.

The sites of one parity move by a kernel whose parameters a network computes from the sites of the
other parity, which stay: the Jacobian is triangular. A network shared by all sites makes a layer
commute with translations by an even number of steps.

Reference:
    M. S. Albergo, G. Kanwar, P. E. Shanahan, arXiv:1904.12072; spline kernels after
    C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, arXiv:1906.04032.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffhep.core.checks import require
from diffhep.core.rng import key_for
from diffhep.core.typing import Key
from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.compose import Chain, Repeat, stack
from diffhep_lattice.flows.kernels import AbstractKernel
from diffhep_lattice.flows.line_kernels import LineSpline
from diffhep_lattice.flows.networks import ConvolutionalNet
from diffhep_lattice.flows.scalar import ScalarFlow, site_sum
from diffhep_lattice.geometry import Lattice

__citations__ = ("arXiv:1904.12072", "arXiv:1906.04032")


class CheckerboardCoupling(AbstractBijection):
    r"""One coupling layer, $\phi'(x) = k(\phi(x)) + t$ on the sites of one parity.

    With `is_odd` the layer commutes exactly with $\phi\to-\phi$: kernels are odd, the network's
    parameters of the kernel are made even and the shift odd in the field, by evaluating the
    network at both signs.

    Attributes:
        parity: 0 or 1, that of the coordinate sum of the sites that move.
        kernel: The map of a site that moves.
        network: From the sites that stay to the kernel's parameters and the shift.
        is_odd: Whether the layer commutes with the change of sign.
    """

    parity: Int[Array, ""] = eqx.field(converter=jnp.asarray)
    kernel: AbstractKernel
    network: ConvolutionalNet
    is_odd: bool = eqx.field(static=True)

    def forward_and_log_det(
        self, phi: Float[Array, "L T *batch"]
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        """The field after the move, and the log-determinant."""
        moves, raw, shift = self._parameters(phi)
        image, log_slope = self.kernel.forward_and_log_slope(phi, raw)
        return self._result(moves, image + shift, phi, log_slope)

    def inverse_and_log_det(
        self, phi: Float[Array, "L T *batch"]
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        """The field before the move, and the log-determinant of the inverse."""
        moves, raw, shift = self._parameters(phi)
        preimage, log_slope = self.kernel.inverse_and_log_slope(phi - shift, raw)
        return self._result(moves, preimage, phi, log_slope)

    def _parameters(
        self, phi: Float[Array, "L T *batch"]
    ) -> tuple[
        Bool[Array, "L T *ones"], Float[Array, "raw L T *batch"], Float[Array, "L T *batch"]
    ]:
        """Which sites move, the raw kernel parameters and the shift."""
        parity = np.indices(phi.shape[:2]).sum(axis=0) % 2
        moves = (jnp.asarray(parity) == self.parity).reshape(*parity.shape, *[1] * (phi.ndim - 2))
        frozen = jnp.where(moves, 0.0, phi)[None]
        n_raw = self.kernel.n_raw
        if not self.is_odd:
            out = self.network(frozen)
            return moves, out[:n_raw], out[n_raw]
        both = self.network(jnp.stack([frozen, -frozen], axis=-1))
        plus, minus = both[..., 0], both[..., 1]
        return moves, 0.5 * (plus + minus)[:n_raw], 0.5 * (plus - minus)[n_raw]

    def _result(
        self,
        moves: Bool[Array, "L T *ones"],
        image: Float[Array, "L T *batch"],
        phi: Float[Array, "L T *batch"],
        log_slope: Float[Array, "L T *batch"],
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        log_det = site_sum(jnp.where(moves, log_slope, 0.0), 2)
        return jnp.where(moves, image, phi), log_det


def checkerboard_flow(
    lattice: Lattice,
    *,
    key: Key,
    n_layers: int = 16,
    kernel: AbstractKernel | None = None,
    hidden: tuple[int, ...] = (16, 16),
    width: int = 3,
    is_odd: bool = True,
    rematerialise: bool = True,
) -> ScalarFlow:
    """Couplings that move the even and the odd sites in turn.

    Args:
        lattice: A two-dimensional lattice with even lengths.
        key: Random key.
        n_layers: Number of couplings, even.
        kernel: `LineSpline()` if left out, `Dilation()` for affine couplings, or
            `SinhArcsinh()`, which is between them in power and cost.
        hidden: Channels of the networks' hidden layers.
        width: Sites across the networks' first kernels, odd.
        is_odd: Whether the map commutes exactly with the change of sign of the field.
        rematerialise: Recompute each pair of layers in the backward pass; the memory of training
            is then flat in the number of layers.

    Returns:
        The flow, near the identity.

    Raises:
        ConfigError: The lattice does not fit the mask, or `n_layers` is not even and positive.
    """
    require(n_layers >= 2 and n_layers % 2 == 0, "n_layers", "be even and positive", n_layers)
    require(lattice.dimension == 2, "shape", "have two lengths for this flow", lattice.shape)
    lattice.require_divisible(2, "a checkerboard")
    kernel = kernel or LineSpline()

    def coupling(index: int) -> CheckerboardCoupling:
        network = ConvolutionalNet(
            1, hidden, kernel.n_raw + 1, width, key=key_for(key, f"checkerboard {index}")
        )
        return CheckerboardCoupling(jnp.asarray(index % 2), kernel, network, is_odd)

    pairs = [Chain((coupling(2 * i), coupling(2 * i + 1))) for i in range(n_layers // 2)]
    return ScalarFlow(lattice, Repeat(stack(pairs), rematerialise))
