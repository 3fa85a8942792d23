"""Configurations: strict both ways, hashes that depend on the settings alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from diffhep.core.config import config_difference, config_hash, from_json, load, to_json
from diffhep.core.errors import ConfigError, DataError

pytestmark = pytest.mark.instant


@dataclass(frozen=True)
class Flow:
    n_layers: int = 4
    rate: float = 1e-3
    kind: Literal["spline", "affine"] = "spline"


@dataclass(frozen=True)
class Config:
    beta: float
    shape: tuple[int, ...] = (8, 8)
    flow: Flow = field(default_factory=Flow)
    more: tuple[Flow, ...] = ()
    warm: bool = True
    name: str = "demo"
    limit: float | None = None
    out: Path = Path("here")


@dataclass(frozen=True)
class Checked:
    n: int = 1

    def __post_init__(self):
        if self.n < 0:
            raise ConfigError(f"Argument `n` must not be negative, but it is {self.n}.")


FULL = Config(
    beta=2.0, shape=(16, 4), flow=Flow(kind="affine"), more=(Flow(1), Flow(2)), warm=False,
    name="ü", limit=1e-300, out=Path("a/b"),
)  # fmt: skip


@pytest.mark.parametrize("config", [Config(1.0), FULL], ids=["defaults", "full"])
def test_round_trip(config):
    assert from_json(Config, to_json(config)) == config


def test_an_integer_is_a_float_where_one_is_declared():
    config = from_json(Config, '{"beta": 2, "limit": 3}')
    assert isinstance(config.beta, float)
    assert isinstance(config.limit, float)
    assert config_hash(Config(beta=2)) == config_hash(Config(beta=2.0)) == config_hash(Config(2.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"beta": 1, "shpe": [1]}', ["'shpe'", "beta, shape, flow", "Did you mean 'shape'?"]),
        ('{"beta": 1, "flow": {"layers": 2}}', ["in `flow`", "'layers'", "n_layers, rate, kind"]),
        ('{"beta": 1, "more": [{}, {"rte": 2}]}', ["more.1", "'rte'", "'rate'"]),
        ("{}", ["`beta` must be given"]),
        ('{"beta": "1"}', ["`beta` must be of type float", "'1'"]),
        ('{"beta": true}', ["`beta` must be of type float", "True"]),
        ('{"beta": NaN}', ["finite", "NaN"]),
        ('{"beta": 1, "warm": 0}', ["`warm` must be of type bool", "0"]),
        ('{"beta": 1, "warm": "false"}', ["`warm` must be of type bool"]),
        ('{"beta": 1, "name": 3}', ["`name` must be of type str"]),
        ('{"beta": 1, "shape": [4, 4.5]}', ["`shape.1` must be of type int", "4.5"]),
        ('{"beta": 1, "flow": {"n_layers": 3.0}}', ["`flow.n_layers` must be of type int"]),
        ('{"beta": 1, "flow": {"kind": "cubic"}}', ["`flow.kind`", "cubic"]),
        ('{"beta": 1, "flow": 3}', ["`flow` must be a JSON object"]),
        ('{"beta": 1, "beta": 2}', ["'beta' twice"]),
        ("[1]", ["must be a JSON object"]),
        ("{", ["must be JSON", "line 1"]),
    ],
)
def test_bad_json_is_one_line_that_names_the_key(text, words):
    with pytest.raises(ConfigError) as info:
        from_json(Config, text)
    message = str(info.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_error_of_a_class_itself_is_kept():
    with pytest.raises(ConfigError, match=r"^Argument `n` must not be negative, but it is -1\.$"):
        from_json(Checked, '{"n": -1}')


def test_load(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(to_json(FULL))
    assert load(Config, path) == FULL
    with pytest.raises(DataError, match=r"nowhere\.json: No such file"):
        load(Config, tmp_path / "nowhere.json")


def test_only_finite_dataclasses_are_written():
    with pytest.raises(ConfigError, match="finite"):
        to_json(Config(float("inf")))
    with pytest.raises(ConfigError, match="dataclass"):
        to_json({"beta": 1})
    with pytest.raises(ConfigError, match="dataclass"):
        to_json(Config)


def test_hash_is_that_of_the_settings():
    assert config_hash(FULL) == config_hash(from_json(Config, to_json(FULL)))
    # Fixed for ever: folders of old runs carry it.
    assert config_hash(Flow()) == "b34af01c9dad0b5d"
    others = [Config(1.0), Config(1.0 + 1e-15), Config(1.0, shape=(8, 9)), FULL]
    assert len({config_hash(config) for config in others}) == 4


def test_difference_names_every_key():
    assert config_difference(FULL, FULL) == []
    other = Config(beta=2.0, shape=(16, 5), flow=Flow(rate=0.1, kind="affine"), more=FULL.more)
    rows = config_difference(FULL, other)
    assert rows[:2] == [("shape", [16, 4], [16, 5]), ("flow.rate", 1e-3, 0.1)]
    assert [row[0] for row in rows] == ["shape", "flow.rate", "warm", "name", "limit", "out"]
    assert config_difference({"a": None}, {"b": {"c": 1}}) == [("a", None, None), ("b.c", None, 1)]
