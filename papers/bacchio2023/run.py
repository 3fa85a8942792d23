"""The gradient flow of a few Wilson loops, trained on a small lattice, on a large one."""

import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_lattice.flows import CouplingFlow
from papers.bacchio2023 import stages
from papers.bacchio2023.config import PRESETS, Config
from papers.bacchio2023.stages import Measured, Place

__all__ = ["PRESETS", "Config", "run"]

PUBLISHED_LENGTH = 16
"""The lattice of the published effective sample sizes."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train the flow of every theory on the small lattice and measure it on the large one.

    Args:
        config: The settings.
        directory: Where the run lives; training resumes from its checkpoints there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    made: list[Claim] = []
    arrays: dict = {}
    last: dict[int, Place] = {}
    flows: dict[int, CouplingFlow] = {}
    for index, point in enumerate(config.points):
        n, named = point.n_colors, key_for(key, f"SU({point.n_colors}) {point.beta}")
        place = Place(point, directory, named)
        start = stages.leading_order(place, config.training)
        if n in flows:
            start = stages.scaled(flows[n], point.beta / last[n].point.beta)
        flow = stages.trained(place, config.training, start)
        flows[n], last[n] = flow, place
        size = stages.n_parameters(flow)
        found = stages.measure(place, flow, config.length, config.n_samples)
        place.keep("flow", coefficients=np.asarray(stages.coefficients(flow)))
        place.keep("exact", bar=point.smallest_ess)
        made += _claims(place, config, found, size)
        if index == len(config.points) - 1:
            made += _scan(place, config, flow)
            if config.leading:
                made += _leading(place, config, found, size)
        arrays |= place.arrays
    directory.save_data(arrays, {"length": config.length})
    return made


def _claims(place: Place, config: Config, found: Measured, size: int) -> list[Claim]:
    """Effective sample size, log Z, parameters and loops of a theory."""
    source = "arXiv:2008.05456" if config.length == PUBLISHED_LENGTH else "target"
    bar, log_z = place.point.smallest_ess, place.log_z(config.length)
    name = f"{place.name} flow"
    made = [
        Claim(f"{name}: ESS", *found.ess, bar, source, ">="),
        Claim(f"{name}: log Z", *found.log_z, log_z, "exact", "pull<4"),
        Claim(f"{name}: parameters", size, None, config.most_parameters, "target", "<="),
    ]
    place.keep("flow", ess=found.ess, log_z=[*found.log_z, log_z], parameters=size)
    for observable, (mean, error) in found.loops.items():
        truth = place.truth(observable, config.length)
        place.keep("loops", **{observable: [mean, error, truth]})
        made.append(Claim(f"{name}: {observable}", mean, error, truth, "exact", "pull<4"))
    return made


def _scan(place: Place, config: Config, flow: CouplingFlow) -> list[Claim]:
    """The same parameters on other lattices: log Z there, and the effective sample size."""
    made = []
    rows = [[config.length, *place.arrays[f"{place.name}/flow/ess"]]]
    for length in config.scan_lengths:
        found = stages.measure(place, flow, length, config.n_samples)
        claim = f"{place.name} on {length}x{length}: log Z"
        made.append(Claim(claim, *found.log_z, place.log_z(length), "exact", "pull<4"))
        rows.append([length, *found.ess])
    place.keep("scan", table=np.array(sorted(rows)))
    return made


def _leading(place: Place, config: Config, found: Measured, size: int) -> list[Claim]:
    """The same without any training, at the leading order of the trivializing map."""
    start = stages.leading_order(place, config.training)
    none = stages.measure(place, start, config.length, config.n_samples)
    place.keep("leading", table=np.array([[0, *none.ess], [size, *found.ess]]))
    name = f"{place.name} with {size} parameters against none: ESS"
    return [Claim(name, *found.ess, none.ess.value, "leading order", ">=")]
