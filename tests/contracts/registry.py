"""Every implementation that must obey the laws of its kind: a new one adds one entry here.

A case builds its implementation from one tunable number, so that the law "three values, one
compilation" can be checked, and names a few values that are good.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffhep_lattice.actions.phi4 import Phi4Action
from diffhep_lattice.actions.schwinger import SchwingerAction
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.actions.xy import XYAction
from diffhep_lattice.flows.checkerboard import checkerboard_flow
from diffhep_lattice.flows.comb import comb_flow
from diffhep_lattice.flows.continuous import continuous_flow
from diffhep_lattice.flows.convolutions import FreeField
from diffhep_lattice.flows.coupling import block_flow, stripe_flow
from diffhep_lattice.flows.kernels import CircularSpline, NonCompactProjection
from diffhep_lattice.flows.line_kernels import Dilation, LineSpline
from diffhep_lattice.flows.multiscale import multiscale_flow
from diffhep_lattice.flows.scalar import ScalarFlow
from diffhep_lattice.flows.trivializing import trivializing_flow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SU2, SU3, SUN, U1
from diffhep_lattice.samplers.alternate import alternate
from diffhep_lattice.samplers.delayed_acceptance import delayed_acceptance
from diffhep_lattice.samplers.heatbath import heatbath
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.independence import independence_metropolis
from diffhep_lattice.samplers.instanton import instanton_hit
from diffhep_lattice.samplers.integrators import (
    force_gradient,
    leapfrog,
    omelyan2,
    omelyan4,
)
from diffhep_lattice.samplers.latent_hmc import flow_hmc
from diffhep_lattice.samplers.pseudofermion_hmc import pseudofermion_hmc
from diffhep_lattice.samplers.replica_exchange import replica_exchange
from tests.systems.circle_flow import CircleFlow
from tests.systems.perturbed import perturb
from tests.systems.plaquette_flow import PlaquetteFlow

SHAPE = (4, 6)
"""The lattice of the laws: two lengths, so that mixed-up axes show."""


def u1_field(key: jax.Array, dtype: Any = jnp.float64) -> jax.Array:
    """Link angles around zero and beyond one turn."""
    return 2.0 * jax.random.normal(key, (2, *SHAPE), dtype)


def links(group: Any, shape: tuple[int, ...] = SHAPE) -> Callable[..., jax.Array]:
    """Haar distributed links of a group."""

    def draw(key: jax.Array, dtype: Any = jnp.float64) -> jax.Array:
        return group.haar((len(shape), *shape), key=key, dtype=dtype)

    return draw


def scalars(shape: tuple[int, ...] = SHAPE, width: float = 2.0) -> Callable[..., jax.Array]:
    """Real numbers around zero; a sampler starts from narrow ones, or is lost up the potential."""

    def draw(key: jax.Array, dtype: Any = jnp.float64) -> jax.Array:
        return width * jax.random.normal(key, shape, dtype)

    return draw


def stacked(field: Callable[..., jax.Array], n: int) -> Callable[..., jax.Array]:
    """The fields of so many replicas."""

    def draw(key: jax.Array, dtype: Any = jnp.float64) -> jax.Array:
        return jnp.stack([field(k, dtype) for k in jax.random.split(key, n)])

    return draw


class GroupCase(NamedTuple):
    group: Any


class ActionCase(NamedTuple):
    build: Callable[[Any], Any]
    values: tuple[float, ...]
    field: Callable[..., jax.Array] = u1_field


class SamplerCase(NamedTuple):
    """A sampler; where it compiles long, its laws are left to the slow tier."""

    build: Callable[[Any], Any]
    values: tuple[float, ...]
    position: Callable[..., jax.Array] = u1_field
    keeps_float32: bool = True
    is_slow: bool = False


class FlowCase(NamedTuple):
    """A flow, how exact it claims to be, and its symmetries.

    `translation` is a shift of the lattice under which a gauge-invariant density stays the same.
    """

    build: Callable[[Any], Any]
    values: tuple[float, ...]
    round_trip: float = 1e-9
    log_det: float = 1e-8
    translation: tuple[int, int] | None = None
    keeps_float32: bool = True


GROUPS = {
    "u1": GroupCase(U1()),
    "su2": GroupCase(SU2()),
    "su3": GroupCase(SU3()),
    "su4": GroupCase(SUN(4)),
}

SHAPE_3D = (2, 4, 6)
"""The lattice of the laws in more than two dimensions; a length of 2 doubles the links."""

ACTIONS = {
    "wilson_u1": ActionCase(WilsonAction, (0.5, 2.0, 7.0)),
    "wilson_su2": ActionCase(lambda beta: WilsonAction(beta, SU2()), (0.5, 2.0, 7.0), links(SU2())),
    "wilson_su3_3d": ActionCase(
        lambda beta: WilsonAction(beta, SU3()), (0.5, 2.0, 7.0), links(SU3(), SHAPE_3D)
    ),
    "schwinger": ActionCase(lambda beta: SchwingerAction(beta, 0.276), (0.5, 2.0, 7.0)),
    "schwinger_one_flavour": ActionCase(
        lambda kappa: SchwingerAction(2.0, kappa, n_flavours=1), (0.1, 0.2, 0.24)
    ),
    "phi4": ActionCase(lambda coupling: Phi4Action(-4.0, coupling), (0.5, 2.0, 7.0), scalars()),
    "free_3d": ActionCase(lambda m2: Phi4Action(m2, 0.0), (0.5, 2.0, 7.0), scalars(SHAPE_3D)),
    "phi4_o3_3d": ActionCase(
        lambda coupling: Phi4Action(-4.0, coupling, n_components=3),
        (0.5, 2.0, 7.0),
        scalars((3, *SHAPE_3D)),
    ),
    "xy": ActionCase(XYAction, (0.5, 2.0, 7.0), scalars()),
    "xy_3d": ActionCase(XYAction, (0.5, 2.0, 7.0), scalars(SHAPE_3D)),
}

INTEGRATORS = {
    "leapfrog": leapfrog(),
    "omelyan2": omelyan2(),
    "omelyan4": omelyan4(),
    "force_gradient": force_gradient(),
}

FLOW_SHAPE = (4, 8)
"""The same for flows whose masks need lengths divisible by 4."""


def _noisy(build: Callable[..., Any], **settings: Any) -> Callable[[Any], Any]:
    """A small flow as a function of the noise on its parameters, which starts at nothing."""

    @functools.cache
    def noisy(scale: float) -> Any:
        key = jax.random.key(0)
        return perturb(build(Lattice(FLOW_SHAPE), key=key, **settings), scale, key=key)

    return noisy


_SPLINE = CircularSpline(2)
_SCALES = (0.05, 0.1, 0.2)

FLOWS = {
    "circle": FlowCase(
        lambda a: CircleFlow(Lattice(SHAPE), a), (0.1, 0.3, 0.5), keeps_float32=False
    ),
    "stripes": FlowCase(
        _noisy(stripe_flow, n_layers=8, kernel=_SPLINE, hidden=(2,)), _SCALES, translation=(0, 4)
    ),
    "stripes_projection": FlowCase(
        _noisy(stripe_flow, n_layers=8, kernel=NonCompactProjection(2), hidden=(2,)),
        _SCALES,
        translation=(0, 4),
    ),
    "blocks": FlowCase(
        _noisy(block_flow, largest=2, n_polish=0, kernel=_SPLINE, hidden=(2,)),
        _SCALES,
        translation=(0, 4),
    ),
    "blocks_polished": FlowCase(
        _noisy(block_flow, largest=1, n_polish=8, kernel=_SPLINE, hidden=(2,)),
        _SCALES,
        translation=(0, 4),
    ),
    "multiscale": FlowCase(_noisy(multiscale_flow, n_bins=2, width=2), _SCALES, translation=(2, 4)),
    "checkerboard_affine": FlowCase(
        _noisy(checkerboard_flow, n_layers=4, kernel=Dilation(), hidden=(2,), is_odd=False), _SCALES
    ),
    "checkerboard_spline": FlowCase(
        _noisy(checkerboard_flow, n_layers=4, kernel=LineSpline(2), hidden=(2,)), _SCALES
    ),
    "continuous": FlowCase(_noisy(continuous_flow, n_sines=2, n_modes=2, reach=1), _SCALES),
}


class MatrixFlowCase(NamedTuple):
    """A flow of SU(N) links, and how exact it claims to be."""

    build: Callable[[Any], Any]
    values: tuple[float, ...]
    round_trip: float = 1e-9
    log_det: float = 1e-8


def _noisy_comb(n_colors: int, shape: tuple[int, int]) -> Callable[[Any], Any]:
    """A comb on a lattice so small that the Jacobian of all links is cheap."""

    @functools.cache
    def noisy(scale: float) -> Any:
        key = jax.random.key(0)
        settings = {"n_constrained": 2, "n_bins": 2, "hidden": (2,)}
        flow = comb_flow(Lattice(shape), n_colors, key=key, **settings)
        return perturb(flow, scale, key=key)

    return noisy


@functools.cache
def _noisy_loops(scale: float) -> Any:
    """The flow of all loops of three colours on the smallest lattice that they fit."""
    flow = trivializing_flow(Lattice((4, 4)), 3, beta=1.0, n_steps=2)
    return perturb(flow, scale, key=jax.random.key(0))


MATRIX_FLOWS = {
    "comb_su2": MatrixFlowCase(_noisy_comb(2, (3, 2)), _SCALES),
    "comb_su3": MatrixFlowCase(_noisy_comb(3, (2, 2)), _SCALES),
    "trivializing_su3": MatrixFlowCase(_noisy_loops, _SCALES),
}

_ACTION = WilsonAction(2.0)
_SCHWINGER = SchwingerAction(2.0, 0.276)
_STEPS = (0.05, 0.1, 0.2)
_BETAS = (0.5, 2.0, 7.0)


def _circle_flow() -> CircleFlow:
    return CircleFlow(Lattice(SHAPE), 0.3)


def _free_flow() -> ScalarFlow:
    return ScalarFlow(Lattice(SHAPE), FreeField(0.0))


def _plaquette_flow() -> PlaquetteFlow:
    return PlaquetteFlow(Lattice(SHAPE), 2.0)


SAMPLERS = {
    "hmc": SamplerCase(lambda step: hmc(_ACTION, step_size=step, n_steps=5), _STEPS),
    "hmc_omelyan4": SamplerCase(
        lambda step: hmc(_ACTION, step_size=step, n_steps=2, integrator=omelyan4()), _STEPS
    ),
    "independence_metropolis": SamplerCase(
        lambda beta: independence_metropolis(
            PlaquetteFlow(Lattice(SHAPE), 2.0), WilsonAction(beta)
        ),
        _BETAS,
        keeps_float32=False,
    ),
    "flow_hmc": SamplerCase(
        lambda step: flow_hmc(_circle_flow(), _ACTION, step_size=step, n_steps=5),
        _STEPS,
        keeps_float32=False,
    ),
    "hmc_phi4": SamplerCase(
        lambda step: hmc(Phi4Action(-4.0, 8.0), step_size=step, n_steps=5),
        (0.02, 0.05, 0.1),
        scalars(width=0.3),
    ),
    "independence_phi4": SamplerCase(
        lambda coupling: independence_metropolis(_free_flow(), Phi4Action(-2.0, coupling)),
        (0.5, 1.0, 2.0),
        scalars(width=0.3),
        keeps_float32=False,
    ),
    "flow_hmc_phi4": SamplerCase(
        lambda step: flow_hmc(_free_flow(), Phi4Action(-4.0, 8.0), step_size=step, n_steps=5),
        (0.02, 0.05, 0.1),
        scalars(width=0.3),
        keeps_float32=False,
    ),
    "hmc_xy": SamplerCase(
        lambda step: hmc(XYAction(1.0), step_size=step, n_steps=5), _STEPS, scalars()
    ),
    "hmc_schwinger": SamplerCase(
        lambda step: hmc(_SCHWINGER, step_size=step, n_steps=2),
        _STEPS,
        links(U1(), (2, 2)),
        is_slow=True,
    ),
    "pseudofermion_hmc": SamplerCase(
        lambda step: pseudofermion_hmc(_SCHWINGER, step_size=step, n_steps=2),
        _STEPS,
        links(U1(), (2, 2)),
        is_slow=True,
    ),
    "heatbath": SamplerCase(lambda beta: heatbath(WilsonAction(beta), n_overrelaxation=1), _BETAS),
    "instanton_hit": SamplerCase(lambda beta: instanton_hit(WilsonAction(beta)), _BETAS),
    "alternate": SamplerCase(
        lambda step: alternate(
            hmc(_ACTION, step_size=step, n_steps=2),
            instanton_hit(_ACTION),
            hmc(_ACTION, step_size=step, n_steps=3),
        ),
        _STEPS,
    ),
    "delayed_acceptance": SamplerCase(
        lambda step: delayed_acceptance(
            hmc(WilsonAction(1.8), step_size=step, n_steps=1), _ACTION, n_steps=1
        ),
        _STEPS,
    ),
    "replica_exchange": SamplerCase(
        lambda beta: replica_exchange(
            [hmc(WilsonAction(scale * beta), n_steps=1) for scale in (0.8, 1.0)]
        ),
        _BETAS,
        stacked(u1_field, 2),
    ),
}
