"""The settings of albergo2022, the flow it takes from a small lattice, and what it promises."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import pytest

import papers
from diffhep.core.errors import ConfigError
from diffhep_lattice import exact
from diffhep_lattice.flows import multiscale_flow
from diffhep_lattice.geometry import Lattice
from papers.albergo2022.config import PRESETS, Chains
from papers.albergo2022.stages import transferred

pytestmark = pytest.mark.instant

EXPECTED = Path(papers.__file__).parent / "albergo2022" / "expected.json"
SMALL = PRESETS["smoke"].points[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Chains("heatbath", 100), "sampler.*be one of.*heatbath"),
        (lambda: Chains("hmc", 3), "rows.*at least 16"),
        (lambda: Chains("hmc", 100, thin=0), "thin.*at least 1"),
        (lambda: replace(SMALL, length=6), "length.*power of two.*6"),
        (lambda: replace(SMALL, tuning_steps=10), "tuning_length.*at most the length 2.*4"),
        (lambda: replace(SMALL, chains=SMALL.chains[:1]), "chains.*hold .hmc.instanton"),
        (lambda: replace(SMALL, chains=SMALL.chains * 2), "chains.*every sampler once"),
        (lambda: replace(SMALL, tuning_rate=0.0), "tuning_rate.*positive"),
        (lambda: replace(PRESETS["smoke"], points=()), "points.*at least one"),
        (lambda: replace(PRESETS["smoke"], points=(SMALL, SMALL)), "points.*differ"),
        (lambda: replace(PRESETS["smoke"], kappa=-0.1), "kappa.*at least 0"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_transferred_levels_are_those_of_the_same_loops(key):
    small, large = (
        multiscale_flow(Lattice((n, n)), key=jax.random.fold_in(key, n), n_bins=1, width=1)
        for n in (4, 8)
    )
    flow = transferred(small, large)
    assert flow.lattice == large.lattice
    # Four levels on 4x4, of which the first two know the size of the torus; six on 8x8.
    assert flow.splits[:4] == large.splits[:4]
    assert flow.splits[4:] == small.splits[2:]
    assert transferred(large, large) is large


@pytest.mark.parametrize("preset", PRESETS)
def test_two_by_two_is_held_against_exact_values(preset):
    config = PRESETS[preset]
    truth = exact.schwinger_2x2(config.beta, config.kappa, 2)
    rows = {row["name"]: row for row in json.loads(EXPECTED.read_text())[preset]}
    point = config.points[0]
    assert point.length == 2
    assert truth.plaquette == pytest.approx(0.81275165, abs=1e-8)
    for chains in point.chains:
        for observable in ("plaquette", "condensate"):
            row = rows[f"2x2 {chains.sampler}: {observable}"]
            assert row["reference"] == pytest.approx(getattr(truth, observable), rel=1e-9)
            assert row["rule"] == "pull<4"
