"""A hysteretic oscillator identified from force and displacement: white, grey and black box."""

from typing import Any

import jax
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key, PyTree
from papers.boucwen_benchmark.config import PRESETS, Config
from papers.boucwen_benchmark.stages import (
    linear_start,
    measured_period,
    models_of,
    searched,
    simulated,
)
from papers.boucwen_benchmark.system import (
    DELTA,
    GAMMA,
    ALPHA_N_m,
    BETA_1_m,
    DAMPING_Ns_m,
    MASS_kg,
    STIFFNESS_N_m,
    estimation_data,
    multisine_test,
    sweep_test,
)

__all__ = ["PRESETS", "Config", "run"]

BAR_m = 1.5e-5
"""Largest root mean square error on either test."""

TRUTH = {
    "mass": MASS_kg,
    "damping": DAMPING_Ns_m,
    "stiffness": STIFFNESS_N_m,
    "slope": ALPHA_N_m,
    "dissipation": BETA_1_m * GAMMA,
    "bend": BETA_1_m * DELTA,
}

LARGEST_DEVIATION = 0.02
"""Of a white box's parameter, relative."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Simulate, identify each model, simulate both tests with it.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    data = estimation_data(config.n_samples, key=key_for(key, "estimation"))
    period = measured_period(config, data, key=key_for(key, "noise"))
    tests = {
        "multisine": (multisine_test(config.n_samples, key=key_for(key, "test")), config.n_warm),
        "sweep": (sweep_test(config.sweep_Hz_min), 0),
    }
    arrays: dict[str, Any] = {
        "sigma_m": period.sigma_m,
        **{f"{name}/y_m": test.y_m for name, (test, _) in tests.items()},
    }
    made = []
    for name, (start, build) in models_of(config, period, key=key_for(key, "models")).items():
        upsampling = config.black_upsampling if name == "black" else config.upsampling
        fit = searched(config, start, build, period, upsampling)
        directory.log(name, fit.n_steps, rmse=fit.rmse)
        made.append(_fit_claim(name, fit.rmse / period.sigma_m, fit.parameters))
        for signal, (test, n_warm) in tests.items():
            found = simulated(fit.operator, test, n_warm, upsampling)
            error = float(np.sqrt(np.mean((found - test.y_m) ** 2)))
            label = f"{name} box: RMSE of the {signal} test / m"
            made.append(Claim(label, error, None, BAR_m, "target", "<="))
            arrays[f"{name}/{signal}"] = (found - test.y_m).astype(np.float32)
        if name == "white":
            made += _parameter_claims(fit.operator)
    arrays["linear"] = np.array(linear_start(period))
    directory.save_data(arrays)
    return made


def _fit_claim(name: str, ratio: float, parameters: PyTree) -> Claim:
    """How far the fit is above the noise; what each kind of model may leave."""
    n = sum(np.size(leaf) for leaf in jax.tree.leaves(parameters))
    bar = {"white": 1.5, "grey": 1.5, "black": 5.0}[name]
    label = f"{name} box, {n} parameters: residual of the fit / noise"
    return Claim(label, ratio, None, bar, "target", "<=")


def _parameter_claims(operator: Any) -> list[Claim]:
    """The parameters of the white box beside the true ones."""
    field = operator.field
    force = field.force
    found = (field.mass, field.damping, field.stiffness, force.slope, force.dissipation, force.bend)
    return [
        Claim(
            f"white box: |{name} / true - 1|",
            abs(float(value) / TRUTH[name] - 1.0),
            None,
            LARGEST_DEVIATION,
            "exact",
            "<=",
        )
        for name, value in zip(TRUTH, found, strict=True)
    ]
