"""A Fourier neural operator along the window: one network for every sampling of it."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require_real, require_shape
from diffhep.core.typing import Key
from diffhep.magnet.forecasters.base import (
    LEVELS,
    AbstractNeuralForecaster,
    WindowForm,
    as_levels,
)
from diffhep.magnet.forecasters.scaling import Scaling, unit_scaling

__citations__ = ("arXiv:2010.08895",)


class SpectralConvolution(eqx.Module):
    r"""$\hat v_k = W_k\hat u_k$ for the slowest Fourier modes, 0 for the others.

    Coefficients are those of the function, not of its samples: where it is band-limited, more
    samples change nothing.

    Attributes:
        real: $\mathrm{Re}\,W_k$.
        imaginary: $\mathrm{Im}\,W_k$; real arrays, for optimisers that know no complex ones.
    """

    real: Float[Array, "mode input output"]
    imaginary: Float[Array, "mode input output"]

    def __call__(self, x: Float[Array, "time input"]) -> Float[Array, "time output"]:
        """The function at the same times.

        Args:
            x: Of one period, at equal steps; at least twice as many samples as modes.

        Returns:
            It.
        """
        n_modes = self.real.shape[0]
        modes = jnp.fft.rfft(x, axis=0, norm="forward")[:n_modes]
        weight = jax.lax.complex(self.real, self.imaginary)
        return jnp.fft.irfft(
            jnp.einsum("ki,kio->ko", modes, weight), n=x.shape[0], axis=0, norm="forward"
        )


class FourierLayer(eqx.Module):
    """A convolution over the window and a linear map of each sample.

    Attributes:
        convolution: Over the window.
        pointwise: Of each sample.
    """

    convolution: SpectralConvolution
    pointwise: eqx.nn.Linear

    def __call__(self, x: Float[Array, "time width"]) -> Float[Array, "time width"]:
        """Their sum."""
        return self.convolution(x) + jax.vmap(self.pointwise)(x)


class FourierForecaster(AbstractNeuralForecaster):
    """A Fourier neural operator from programme and measured past to the field.

    Each sample of the window has its channels, the output less the last one measured (0 along the
    horizon), that last one, whether it is known, and its place in the window. The window is
    lengthened by zeros, for it is no period. Windows that last as long as those of the training
    may be sampled at another rate: results agree to first order in the time step, that of the
    input's rate and of the end of the context. The forecast depends on the whole programme, also
    on that after it. Its memory is the context: it carries no state.

    Attributes:
        lift: From what a sample has to the operator's numbers.
        layers: With GELUs between.
        project: To mean and quantiles, in two maps with a GELU between.
        scaling: To and from physical units.
        padding: Zeros at the end, over the samples of the window.
        levels: Probabilities of the quantiles.
        form: Of the windows it takes.
    """

    lift: eqx.nn.Linear
    layers: tuple[FourierLayer, ...]
    project: tuple[eqx.nn.Linear, eqx.nn.Linear]
    scaling: Scaling
    padding: float = eqx.field(static=True)
    levels: tuple[float, ...] = eqx.field(static=True)
    form: WindowForm = eqx.field(static=True)

    def __init__(
        self,
        *,
        key: Key,
        width: int = 22,
        n_modes: int = 24,
        n_layers: int = 3,
        padding: float = 0.25,
        n_covariates: int = 0,
        levels: Sequence[float] = LEVELS,
        dtype: Any = jnp.float32,
    ) -> None:
        """Build one with random weights; as it stands it has 73,000 of them.

        Args:
            key: Random key of the weights.
            width: The operator's numbers at each sample.
            n_modes: Fourier modes, at most half of the samples of a window.
            n_layers: Layers.
            padding: Zeros at the end, over the samples of the window; not negative.
            n_covariates: Covariates of a window.
            levels: Probabilities of the quantiles.
            dtype: Of the network.

        Raises:
            ConfigError: A setting is out of its range.
        """
        n_covariates = as_integer(n_covariates, "n_covariates", low=0)
        self.form = WindowForm(n_covariates, least_context=1)
        width, n_modes = as_integer(width, "width", low=1), as_integer(n_modes, "n_modes", low=1)
        n_layers = as_integer(n_layers, "n_layers", low=1)
        require_real(padding, "padding", "be finite and not negative", low=0.0)
        self.padding, self.levels, self.scaling = (
            float(padding),
            as_levels(levels),
            unit_scaling(n_covariates),
        )
        lift, first, last, *rest = jax.random.split(key, 3 + n_layers)
        self.lift = eqx.nn.Linear(2 + n_covariates + 4, width, key=lift, dtype=dtype)
        self.layers = tuple(_layer(width, n_modes, part, dtype) for part in rest)
        self.project = (
            eqx.nn.Linear(width, 2 * width, key=first, dtype=dtype),
            eqx.nn.Linear(2 * width, 1 + len(self.levels), key=last, dtype=dtype),
        )

    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], tuple[()]]:
        """See `AbstractNeuralForecaster.forward`."""
        n, n_all = past.shape[0], inputs.shape[0]
        n_modes = self.layers[0].convolution.real.shape[0]
        rule = f"hold at least {2 * n_modes} samples, twice the network's modes"
        require_shape(n_all >= 2 * n_modes, "window", rule, n_all)
        x = jnp.concatenate([inputs, _own_channels(past, n_all)], axis=1)
        x = jax.vmap(self.lift)(x)
        x = jnp.pad(x, ((0, round(self.padding * n_all)), (0, 0)))
        for layer in self.layers[:-1]:
            x = jax.nn.gelu(layer(x))
        ahead = self.layers[-1](x)[n:n_all]
        raw = jax.vmap(self.project[1])(jax.nn.gelu(jax.vmap(self.project[0])(ahead)))
        return raw.at[:, 0].add(past[-1]), ()


def _own_channels(past: Float[Array, " context"], n_all: int) -> Float[Array, "time 4"]:
    """Past output, the last of it, whether it is known, place in the window."""
    n, dtype = past.shape[0], past.dtype
    known = jnp.arange(n_all) < n
    return jnp.stack(
        [
            jnp.pad(past - past[-1], (0, n_all - n)),
            jnp.full(n_all, past[-1]),
            known.astype(dtype),
            (jnp.arange(n_all) / n_all).astype(dtype),
        ],
        axis=1,
    )


def _layer(width: int, n_modes: int, key: Key, dtype: Any) -> FourierLayer:
    real, imaginary, pointwise = jax.random.split(key, 3)
    shape, bound = (n_modes, width, width), width**-0.5
    # A mode other than the mean counts twice, once for each sign of its frequency.
    parts = (0.5 * bound * jax.random.normal(part, shape, dtype) for part in (real, imaginary))
    linear = eqx.nn.Linear(width, width, key=pointwise, dtype=dtype)
    return FourierLayer(SpectralConvolution(*parts), linear)
