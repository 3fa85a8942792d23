r"""Networks of LSTMs that obey an equation of motion with a hidden force.

Reference:
    arXiv:2002.10253.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.forecasters.base import (
    LEVELS,
    AbstractNeuralForecaster,
    WindowForm,
    as_levels,
)
from diffhep.magnet.forecasters.lstm_layer import LSTMLayer, LSTMState
from diffhep.magnet.forecasters.scaling import Scaling
from diffhep.magnet.forecasters.training import Example, data_loss_of
from diffhep.magnet.windows import Window

__citations__ = ("arXiv:2002.10253", "arXiv:1705.07115")

_STENCIL = (1.0 / 12.0, -8.0 / 12.0, 0.0, 8.0 / 12.0, -1.0 / 12.0)
"""Central difference of fourth order, per sample."""

_REACH = len(_STENCIL) // 2


class Motion(NamedTuple):
    """What a PhyLSTM says of the motion along context and horizon.

    Attributes:
        y: The output.
        rate: Its rate, per second.
        force: The hidden force g, in units of the output per square second.
        memory: The internal variable, of order one.
    """

    y: Float[Array, " time"]
    rate: Float[Array, " time"]
    force: Float[Array, " time"]
    memory: Float[Array, " time"]


class PhyLSTM(AbstractNeuralForecaster):
    r"""An LSTM for the response to an input, and networks that hold it to $\ddot y + g = \Gamma u$.

    Three kinds, arXiv:2002.10253. Each has a stack of LSTMs from the input, and the output measured
    along the context, to $y$ and $v$.

    1. $v = \dot y$ alone.
    2. $\dot v + g = \Gamma u$, where g is an LSTM of $(y, v)$.
    3. $g(y, v, r)$ has no memory but the internal variable r, a further output of the first stack,
       and $\dot r = f$, an LSTM of $(v, r)$. Remanence is in r.

    The networks of g and f see no input, so that what they learn where y was measured binds the
    response where only the input is known; see `physics_loss`. A forecast needs the first stack
    alone. Derivatives are central differences of fourth order over samples.

    $\Gamma$ should be known. Where it is learned, g may become $-\dot v$ of the samples before and
    $\Gamma$ nothing, which says nothing of the motion.

    Attributes:
        response: LSTMs on top of one another.
        readout: To mean, quantiles, $v$ and r.
        force: Of the second kind an LSTM and its readout, of the third a network.
        change: Of the third kind an LSTM and its readout.
        learned_gain: $\Gamma$ in units of the scaled motion, where it is learned.
        log_variances: Of the terms of the loss: data, $v=\dot y$, motion, $\dot r=f$.
        scaling: To and from physical units.
        levels: Probabilities of the quantiles.
        form: Of the windows it takes.
        kind: 1, 2 or 3.
        gain: $\Gamma$ in output per square second and input; None where it is learned.
    """

    response: tuple[LSTMLayer, ...]
    readout: eqx.nn.Linear
    force: "_Remembering | eqx.nn.MLP | None"
    change: "_Remembering | None"
    learned_gain: Scalar
    log_variances: Float[Array, " term"]
    scaling: Scaling
    levels: tuple[float, ...] = eqx.field(static=True)
    form: WindowForm = eqx.field(static=True)
    kind: int = eqx.field(static=True)
    gain: float | None = eqx.field(static=True)

    def __init__(
        self,
        kind: int = 3,
        width: int = 32,
        *,
        key: Key,
        depth: int = 1,
        gain: float | None = None,
        n_covariates: int = 0,
        levels: Sequence[float] = LEVELS,
        dtype: Any = jnp.float32,
    ) -> None:
        r"""An untrained network.

        Args:
            kind: 1, 2 or 3.
            width: Of all its LSTMs.
            key: Random key of the weights.
            depth: LSTMs in the stack of the response.
            gain: $\Gamma$ in output per square second and input, -1 for a moving ground; None has
                it learned.
            n_covariates: Covariates of a window.
            levels: Probabilities of the quantiles.
            dtype: Of the networks.

        Raises:
            ConfigError: A setting is out of its range.
        """
        require(kind in (1, 2, 3), "kind", "be 1, 2 or 3", kind)
        width, depth = as_integer(width, "width", low=1), as_integer(depth, "depth", low=1)
        # Input, its rate, covariates; the output where it is known, and whether it is.
        n_covariates = as_integer(n_covariates, "n_covariates", low=0)
        found = as_levels(levels)
        keys = jax.random.split(key, depth + 3)
        sizes = [4 + n_covariates] + [width] * (depth - 1)
        self.response = tuple(
            LSTMLayer(size, width, key=one, dtype=dtype)
            for size, one in zip(sizes, keys[3:], strict=True)
        )
        n_outputs = 1 + len(found) + (2 if kind == 3 else 1)
        self.readout = eqx.nn.Linear(width, n_outputs, key=keys[0], dtype=dtype)
        self.force, self.change = None, None
        if kind == 2:
            self.force = _Remembering(2, width, keys[1], dtype)
        if kind == 3:
            self.force = eqx.nn.MLP(3, 1, width, 1, jnp.tanh, key=keys[1], dtype=dtype)
            self.change = _Remembering(2, width, keys[2], dtype)
        self.gain, self.learned_gain = gain, jnp.ones((), dtype)
        self.log_variances = jnp.zeros(kind + 1, dtype)
        self.scaling, self.levels, self.kind = Scaling(), found, kind
        self.form = WindowForm(n_covariates)

    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], tuple[LSTMState, ...]]:
        """See `AbstractNeuralForecaster.forward`."""
        outputs, state = self._respond(inputs, past, state)
        return outputs[past.shape[0] :, : 1 + len(self.levels)], state

    def motion(self, window: Window) -> Motion:
        """What the networks say of the motion, in physical units.

        Args:
            window: What is known.

        Returns:
            It; zeros in place of what this kind does not have. Where there is a calibration it is
            the motion of the residual.
        """
        scaling, dtype = self.scaling, self.learned_gain.dtype
        past = scaling.past(window).astype(dtype)
        outputs, _ = self._respond(scaling.inputs(window).astype(dtype), past, None)
        y, v, r, force = (series.astype(float) for series in self._motion(outputs))
        # The networks see the input without its mean.
        force = force + self._scaled_gain() * scaling.u_mean / scaling.u_scale
        return Motion(
            scaling.y_mean + scaling.y_scale * y,
            scaling.y_scale * scaling.y_step / scaling.dt * v,
            self._acceleration() * force * (self.kind > 1),
            r,
        )

    def physics(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        outputs: Float[Array, "context_and_horizon everything"],
    ) -> Float[Array, " term"]:
        r"""Mean squares of the residuals $v-\dot y$, $\dot v + g - \Gamma u$ and $\dot r - f$.

        Args:
            inputs: Channels of the networks.
            outputs: Of the stack of the response.

        Returns:
            As many as the kind has, in units in which rate and acceleration are of order one.

        Raises:
            ShapeError: There are fewer samples than a derivative needs.
        """
        n = inputs.shape[0]
        require_shape(n > 2 * _REACH, "inputs", f"hold more than {2 * _REACH} samples", n)
        y, v, r, force = self._motion(outputs)
        step, bend = (size.astype(y.dtype) for size in (self.scaling.y_step, self.scaling.y_bend))
        inside = slice(_REACH, y.shape[0] - _REACH)
        residuals = [_derivative(y) / step - v[inside]]
        if self.kind > 1:
            pushed = self._scaled_gain().astype(v.dtype) * inputs[:, 0]
            residuals.append(_derivative(v) * step / bend + (force - pushed)[inside])
        if self.change is not None:
            change = self.change(jnp.stack([v, r], axis=1))
            residuals.append(_derivative(r) * step / bend - change[inside])
        return jnp.stack([jnp.mean(one**2) for one in residuals])

    def _acceleration(self) -> Scalar:
        """Output per square second of one in units of the scaled motion."""
        return self.scaling.y_scale * self.scaling.y_bend / self.scaling.dt**2

    def _scaled_gain(self) -> Scalar:
        if self.gain is None:
            return self.learned_gain
        return self.gain * self.scaling.u_scale / self._acceleration()

    def _respond(self, inputs: Array, past: Array, state: Any) -> tuple[Array, Any]:
        """All outputs along context and horizon; the states at the context's end."""
        n, n_more = past.shape[0], inputs.shape[0] - past.shape[0]
        known = jnp.pad(jnp.stack([past, jnp.ones_like(past)], axis=1), ((0, n_more), (0, 0)))
        series = jnp.concatenate([inputs, known], axis=1)
        before = tuple(layer.rest() for layer in self.response) if state is None else state
        after = []
        for layer, start in zip(self.response, before, strict=True):
            series, cells = layer(series, start)
            after.append((series[n - 1], cells[n - 1]) if n else start)
        return jax.vmap(self.readout)(series), tuple(after)

    def _motion(self, outputs: Array) -> tuple[Array, Array, Array, Array]:
        """Output, rate, memory and force, of order one."""
        n = 1 + len(self.levels)
        y, v = outputs[:, 0], outputs[:, n]
        if self.force is None:
            return y, v, jnp.zeros_like(y), jnp.zeros_like(y)
        if isinstance(self.force, _Remembering):
            return y, v, jnp.zeros_like(y), self.force(jnp.stack([y, v], axis=1))
        r = outputs[:, n + 1]
        return y, v, r, jax.vmap(self.force)(jnp.stack([y, v, r], axis=1))[:, 0]


def physics_loss(model: PhyLSTM, example: Example) -> Scalar:
    r"""Data and residuals of the physics, each over its variance, which is learned.

    $\sum_k e^{-s_k} L_k + s_k$, arXiv:1705.07115: at its minimum every term weighs the more the
    smaller it can be made. The data, `data_loss`, count where the horizon was measured; the
    residuals of `PhyLSTM.physics` everywhere.

    Args:
        model: The forecaster.
        example: A window.

    Returns:
        The loss.
    """
    outputs, _ = model._respond(example.inputs, example.past, None)
    raw = outputs[example.past.shape[0] :, : 1 + len(model.levels)]
    data = data_loss_of(raw, example, model.levels)
    terms = jnp.concatenate([data[None], model.physics(example.inputs, outputs)])
    counts = jnp.ones_like(terms).at[0].set(example.labelled)
    s = model.log_variances
    return jnp.sum(counts * (jnp.exp(-s) * terms + s))


class _Remembering(eqx.Module):
    """An LSTM from a few series to one."""

    layer: LSTMLayer
    readout: eqx.nn.Linear

    def __init__(self, n_channels: int, width: int, key: Key, dtype: Any) -> None:
        keys = jax.random.split(key)
        self.layer = LSTMLayer(n_channels, width, key=keys[0], dtype=dtype)
        self.readout = eqx.nn.Linear(width, 1, key=keys[1], dtype=dtype)

    def __call__(self, series: Float[Array, "time channel"]) -> Float[Array, " time"]:
        return jax.vmap(self.readout)(self.layer(series)[0])[:, 0]


def _derivative(series: Float[Array, " time"]) -> Float[Array, " inside"]:
    """Per sample, without two samples at either end."""
    n = series.shape[0] - 2 * _REACH
    shifted = [weight * series[k : k + n] for k, weight in enumerate(_STENCIL)]
    return jnp.sum(jnp.stack(shifted), axis=0)
