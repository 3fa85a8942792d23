"""A surrogate beside Geant4, event by event, and what the gradient of a calorimeter costs.

Everything is in processor time, so that other programs on the machine change both sides alike.
"""

import resource
import time
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.conftest import Row
from diffhep.detector import Beam, GflashCalorimeter, materials, particles
from diffhep.detector.geant4 import Geant4Simulator, SamplingStack
from diffhep.detector.objectives import resolution, soft_excess
from papers.calo_design.fidelity import blank_surrogate, known
from papers.calo_design.stack import BUDGET, LAYER, N_SEGMENTS, n_layers, stack

_LEAST_RATIO, _MOST_GRADIENT = 1000.0, 4.0
_ROUNDS = 5
_BATCH = 10_000
_FEW, _MANY = 40, 340
"""Events of two Geant4 processes; their difference leaves out what a start costs."""

BUDGETED_LAYERS = 26


def geant4_seconds(design, n_events, cache):
    """Processor time of a Geant4 process."""
    thicknesses = float(design["absorber_mm"]), float(design["gap_mm"])
    target = SamplingStack(("Pb", "polystyrene"), thicknesses, n_layers(design))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    Geant4Simulator(target, cache=cache)(Beam(particles.get("e-"), 1000.0, n_events), seed=n_events)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds(run, *given):
    """The shortest of some rounds."""
    jax.block_until_ready(run(*given))
    times = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        jax.block_until_ready(run(*given))
        times.append(time.process_time() - start)
    return min(times)


def test_surrogate_beside_geant4(report, tmp_path):
    """Weights do not change the time of a draw: the surrogate learns from noise, and briefly."""
    if find_spec("geant4_pybind") is None:
        pytest.skip("Geant4 is not installed: pip install 'diffhep[geant4]'.")
    design = stack(2.3, 5.5)
    few = geant4_seconds(design, _FEW, tmp_path)
    geant4 = (geant4_seconds(design, _MANY, tmp_path) - few) / (_MANY - _FEW)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, 2)), rng.normal(size=(2000, N_SEGMENTS))
    surrogate = blank_surrogate(n_steps=10).fit(*noise, key=jax.random.key(0))
    at = jnp.zeros(2)

    def draw(key):
        return surrogate.sample(at, _BATCH, key=key)

    ours = seconds(draw, jax.random.key(1)) / _BATCH
    detail = f"{1e6 * ours:.3g} us an event against {1e3 * geant4:.3g} ms"
    what = "calorimeter at 1 GeV: Geant4's time over the surrogate's"
    report(Row(what, geant4 / ours, "", _LEAST_RATIO, detail=detail))


def _price(design):
    """For exceeding the budget."""
    return soft_excess(BUDGETED_LAYERS * LAYER(design), BUDGET, 1.0)


def test_gradient_of_the_surrogate(report):
    """sigma/E of 4000 events by the flow, as `papers/calo_design` descends on it, and a price."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, 2)), 10.0 + rng.normal(size=(2000, N_SEGMENTS))
    surrogate = blank_surrogate(n_steps=10).fit(*noise, key=jax.random.key(0))
    normal = jnp.asarray(rng.normal(size=(4000, N_SEGMENTS)))

    def figure(design):
        features = jax.vmap(lambda z: surrogate.draw(known(design), z))(normal)
        return resolution(features[:, 0]) + _price(design)

    _compare(report, "sigma/E by the surrogate", figure)


def test_gradient_of_the_parametrised_calorimeter(report):
    """The same of 400 showers, layer by layer."""
    calorimeter = GflashCalorimeter(
        materials.get("Pb"), materials.get("polystyrene"), BUDGETED_LAYERS
    )
    beam = Beam(particles.get("e-"), 1000.0, 400)

    def figure(design):
        energy = calorimeter.sample_energy(design, beam, key=jax.random.key(0)).visible_MeV
        return resolution(energy.sum(axis=1)) + _price(design)

    _compare(report, "sigma/E by parametrised showers", figure)


def _compare(report, name, figure):
    design = stack(2.3, 5.5)
    value = seconds(jax.jit(figure), design)
    gradient = seconds(jax.jit(jax.value_and_grad(figure)), design)
    what = f"{name}: time of value and gradient over the value's"
    detail = f"{1e3 * gradient:.3g} ms against {1e3 * value:.3g} ms"
    report(Row(what, gradient / value, "", _MOST_GRADIENT, True, detail))
