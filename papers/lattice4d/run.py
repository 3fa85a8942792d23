"""SU(3) gauge theory in four dimensions: plaquette, gradient flow and a stochastic flow."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.stats import Estimate, ess_fraction_with_error, gamma_method
from diffhep.core.typing import Key
from diffhep_lattice.gradient_flow import scale_t0
from diffhep_lattice.samplers.stochastic_flow import crooks, jarzynski
from papers.lattice4d import claims, stages, theory, transport
from papers.lattice4d.config import PRESETS, Config, Flowed
from papers.lattice4d.stages import Stage
from papers.lattice4d.transport import Work

__all__ = ["PRESETS", "Config", "run"]


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Measure the plaquette, HMC, the flow and the transport, and hold them against theory.

    Args:
        config: The settings.
        directory: Where the run lives; every stage resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    stage = Stage(directory, key)
    made, series, last = _curve(stage, config)
    made += _hmc(stage, config, series, last)
    made += _fixed_steps(stage, config, last[config.hmc.betas[-1]][0])
    for settings in config.flows:
        made += _flow(stage, settings)
    made += _transport(stage, config)
    directory.save_data(stage.arrays, {"length": config.curve.length})
    return made


def _curve(
    stage: Stage, config: Config
) -> tuple[list[Claim], dict[float, np.ndarray], dict[float, Array]]:
    """Plaquettes on one lattice, and on the larger one where there is one."""
    series, last = stages.plaquette_curve(stage, config.curve, "curve")
    rows = claims.compare(config.curve.length, series)
    _keep_curve(stage, "curve", config.curve.length, series)
    if config.large is not None:
        more, _ = stages.plaquette_curve(stage, config.large, "large")
        rows += claims.compare(config.large.length, more)
        _keep_curve(stage, "large", config.large.length, more)
    stage.keep("comparison", table=np.array([row[:-1] for row in rows]))
    return claims.of_plaquettes(rows), series, last


def _keep_curve(stage: Stage, name: str, length: int, series: dict[float, np.ndarray]) -> None:
    found = [gamma_method(values) for values in series.values()]
    published = np.array([[b, p, theory.PUBLISHED_ERROR[b]] for b, p in theory.PUBLISHED.items()])
    stage.keep(
        name,
        length=length,
        beta=list(series),
        mean=[row.mean for row in found],
        error=[row.error for row in found],
        tau=[row.tau_int for row in found],
        published=published,
        strong=_strong_curve(),
        weak=_weak_curve(length),
    )


def _strong_curve() -> np.ndarray:
    beta = np.linspace(0.1, 5.0, 50)
    return np.stack([beta, [theory.strong_coupling(float(b)) for b in beta]])


def _weak_curve(length: int) -> np.ndarray:
    beta = np.geomspace(4.0, 30.0, 50)
    return np.stack([beta, theory.weak_coupling(beta, length**4)])


def _hmc(
    stage: Stage, config: Config, series: dict[float, np.ndarray], last: dict[float, Array]
) -> list[Claim]:
    """HMC beside the heatbath; reversibility and order on one field in equilibrium."""
    settings, made = config.hmc, []
    found = stages.hmc_series(stage, settings, last)
    for beta, ours in found.items():
        made += claims.of_hmc(beta, series[beta], ours)
    means = [gamma_method(ours.plaquette) for ours in found.values()]
    stage.keep(
        "hmc",
        beta=list(found),
        mean=[row.mean for row in means],
        error=[row.error for row in means],
        tau=[row.tau_int for row in means],
        acceptance=[ours.acceptance for ours in found.values()],
    )
    return made + _integrators(stage, config, last[settings.betas[-1]][0])


def _integrators(stage: Stage, config: Config, U: Array) -> list[Claim]:
    """The order of every integrator's energy error, and its reversibility."""
    settings, made, largest = config.hmc, [], 0.0
    for name, (_, order) in stages.INTEGRATORS.items():
        counts = settings.order_steps[0 if order == 2 else 1]
        found = stages.integrator_errors(
            settings.betas[-1],
            name,
            counts,
            U,
            settings.order_momenta,
            key=key_for(stage.key, "order"),
        )
        slope = float(np.log(found.energy[0] / found.energy[1]) / np.log(counts[1] / counts[0]))
        largest = max(largest, found.reversal)
        stage.keep(f"order/{name}", steps=counts, error=found.energy, order=slope)
        made.append(claims.of_order(name, order, slope))
    name = "reversibility of every integrator"
    return [*made, Claim(name, largest, None, 1e-10, "exact", "<=")]


def _fixed_steps(stage: Stage, config: Config, U: Array) -> list[Claim]:
    """The adaptive integration of the flow against fixed steps of another scheme."""
    times = config.fixed_time / 5 * jnp.arange(1, 6)
    each = config.fixed_steps // 5
    fixed = stages.fixed_step_flow(U, times, jnp.asarray(each))
    halved = stages.fixed_step_flow(U, times, jnp.asarray(2 * each))
    # Extrapolated in the fourth power of the step.
    reference = halved + (halved - fixed) / 15
    adaptive = stages.adaptive_flow(U, times)
    difference = float(jnp.max(jnp.abs(adaptive - reference)))
    stage.keep(
        "fixed_steps", time=times, adaptive=adaptive, fixed=reference, step_error=halved - fixed
    )
    name = "t^2 <E>: adaptive - fixed steps"
    return [Claim(name, difference, None, 1e-8, "exact", "<=")]


def _flow(stage: Stage, settings: Flowed) -> list[Claim]:
    """Energy density and charge of flowed configurations, and the scale t0 where it is known."""
    energy, charge = stages.flowed_series(stage, settings)
    times = stages.flow_times(settings)
    values = [gamma_method(row) for row in (times**2 * energy).T]
    stage.keep(
        f"flow/{settings.name}",
        t2e=[row.mean for row in values],
        t2e_error=[row.error for row in values],
    )
    tau = max(gamma_method(energy[:, -1]).tau_int, 0.5)
    stage.keep(f"flow/{settings.name}", tau=tau, tau_charge=gamma_method(charge).tau_int)
    if values[0].mean > 0.3 or values[-1].mean < 0.3:
        return []
    found = scale_t0(times, energy)
    # The jackknife of single configurations takes them to be independent.
    found = found._replace(error=found.error * np.sqrt(2 * tau))
    stage.keep(f"flow/{settings.name}", t0=[found.value, found.error])
    if settings.t0 is None:
        return []
    return [claims.of_scale(found, settings.length, settings.beta, settings.t0, settings.t0_error)]


def _transport(stage: Stage, config: Config) -> list[Claim]:
    """Stochastic flow and annealing: free energies both ways, effective sample sizes, seconds."""
    settings = config.transport
    fields, integral = transport.equilibrium(stage, settings)
    rates = transport.trained_rates(stage, settings, fields.training)
    stage.keep("transport", integral=integral, beta=[settings.beta_0, settings.beta_1])
    made: list[Claim] = []
    table: dict[str, list[list[float]]] = {"annealing": [], "stout": []}
    works: dict[str, Work] = {}
    for kind, counts in (("annealing", settings.annealing), ("stout", settings.stout)):
        for n_steps in counts:
            flow = (
                transport.annealing(settings, n_steps)
                if kind == "annealing"
                else transport.with_stout(settings, rates, n_steps)
            )
            name = f"{kind}-{n_steps}"
            found = works[name] = transport.work_of(stage, name, flow, fields.starts)
            ess = _ess(stage, name, found)
            free = jarzynski(found.work)
            table[kind].append([n_steps, ess.value, ess.error, found.seconds, *free])
            if n_steps == max(counts):
                made.append(claims.of_free_energy(f"{kind}, {n_steps} steps", free, integral))
            if n_steps == settings.both_ways:
                back = transport.work_of(stage, f"{name}-back", flow, fields.ends, back=True)
                both = crooks(found.work, back.work)
                label = f"{kind}, {n_steps} steps both ways"
                made.append(claims.of_free_energy(label, both, integral))
        stage.keep(f"transport/{kind}", table=np.array(table[kind]))
    return made + _gain(config, works, table)


def _ess(stage: Stage, name: str, found: Work) -> Estimate:
    key = key_for(stage.key, f"{name} resampling")
    return ess_fraction_with_error(-found.work, key=key)


def _gain(config: Config, works: dict[str, Work], table: dict[str, Any]) -> list[Claim]:
    """What trained maps bring at equal steps, and at equal seconds where that is judged."""
    settings = config.transport
    if settings.training_steps == 0:
        return []
    common = max(set(settings.annealing) & set(settings.stout))
    plain, mapped = works[f"annealing-{common}"].work, works[f"stout-{common}"].work
    n_steps = f"{common} steps"
    gain = float(np.mean(plain) - np.mean(mapped))
    # The same starts: pairs.
    error = float(np.std(plain - mapped, ddof=1) / np.sqrt(plain.size))
    made = [Claim(f"mean work that stout saves, {n_steps}", gain, error, 0.0, "target", ">")]
    if config.judge_cost:
        rows, best = np.array(table["annealing"]), np.array(table["stout"])[-1]
        ess = np.interp(np.log(best[3]), np.log(rows[:, 3]), rows[:, 1])
        ratio = best[1] / ess
        name = "ESS at equal seconds, stout / annealing"
        made.append(Claim(name, float(ratio), None, 1.0, "target", ">="))
    return made
