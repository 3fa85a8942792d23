"""Settings of the papers: every preset is good, and a bad value is named as the user wrote it."""

import json

import pytest

from diffhep.core.config import from_json, to_json
from diffhep.core.errors import ConfigError
from papers.harness import merged
from papers.kanwar2020.config import PRESETS, Config

pytestmark = pytest.mark.instant


def settled(preset, settings):
    return from_json(Config, json.dumps(merged(json.loads(to_json(PRESETS[preset])), settings)))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_good(preset):
    assert settled(preset, {}) == PRESETS[preset]


BAD = [
    ("smoke", {"main": {"n_chains": 0}}, "main.n_chains"),
    ("smoke", {"main": {"length": 6}}, "main.length"),
    ("smoke", {"main": {"length": 2}}, "main.length"),
    ("smoke", {"check": {"beta": -1}}, "check.beta"),
    ("smoke", {"main": {"latent_length": 0}}, "main.latent_length"),
    ("smoke", {"main": {"level_steps": -1}}, "main.level_steps"),
    ("smoke", {"main": {"hmc_leapfrog_steps": 0}}, "main.hmc_leapfrog_steps"),
    ("smoke", {"main": {"independence_steps": 0}}, "main.independence_steps"),
    ("smoke", {"main": {"heatbath_steps": 7}}, "main.heatbath_steps"),
    ("smoke", {"main": {"hmc_steps": 0}}, "main.hmc_steps"),
    ("smoke", {"main": {"mixture_steps": 0}}, "main.mixture_steps"),
    ("smoke", {"main": {"level_steps": 0}}, "main.level_steps"),
    ("smoke", {"local": {"batch": 0}}, "local.batch"),
    ("smoke", {"local": {"learning_rate": -0.1}}, "local.learning_rate"),
    ("smoke", {"local": {"stripe_layers": 12}}, "local.stripe_layers"),
    ("smoke", {"local": {"largest_block": 64}}, "local.largest_block"),
    ("smoke", {"n_samples": 8}, "n_samples"),
    ("smoke", {"scan_betas": [1.0, -1.0]}, "scan_betas"),
    ("smoke", {"scan_betas": 3}, "scan_betas"),
    ("full", {"scan": {"level_steps": 0}}, "scan.level_steps"),
    ("full", {"check": {"hmc_steps": 0, "flow_hmc_steps": 0}}, "check.hmc_steps"),
    ("full", {"main": {"flow_hmc_steps": 0}}, "main.flow_hmc_steps"),
]


@pytest.mark.parametrize(("preset", "settings", "name"), BAD, ids=range(len(BAD)))
def test_bad_values_are_named_as_written(preset, settings, name):
    with pytest.raises(ConfigError, match=f"^Argument `{name}` must ") as caught:
        settled(preset, settings)
    assert "\n" not in str(caught.value)
