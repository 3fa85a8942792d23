"""Meshes, the start of several processes, and chains spread over two of them."""

import os
import socket
import subprocess
import sys
import textwrap

import jax
import pytest

from diffhep.core import distributed
from diffhep.core.errors import ConfigError

VARIABLES = (distributed.ADDRESS, distributed.COUNT, distributed.INDEX)


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in (*VARIABLES, "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.instant
def test_mesh_over_some_or_all_devices():
    assert distributed.mesh().shape == {"chain": 4}
    assert distributed.mesh(2, axis="batch").shape == {"batch": 2}
    assert list(distributed.mesh(2).devices) == jax.devices()[:2]
    for n in (0, 5):
        with pytest.raises(ConfigError, match="`n` must lie between 1 and the 4 devices"):
            distributed.mesh(n)


@pytest.mark.instant
def test_one_process_alone_starts_nothing():
    assert distributed.initialise() is False
    assert distributed.is_main()
    assert not jax.distributed.is_initialized()


@pytest.mark.instant
def test_a_half_given_start_is_refused(monkeypatch):
    monkeypatch.setenv(distributed.COUNT, "2")
    with pytest.raises(ConfigError, match="must come with"):
        distributed.initialise()
    monkeypatch.setenv(distributed.ADDRESS, "localhost:1")
    monkeypatch.setenv(distributed.INDEX, "one")
    with pytest.raises(ConfigError, match=f"{distributed.INDEX}. must be a whole number"):
        distributed.initialise()


@pytest.mark.instant
@pytest.mark.parametrize(
    ("environment", "arguments"),
    [
        (dict(zip(VARIABLES, ("host:12", "4", "3"), strict=True)), ("host:12", 4, 3)),
        ({"SLURM_NTASKS": "2"}, ()),
        ({"SLURM_NTASKS": "1"}, None),
    ],
)
def test_start_is_explicit_or_from_slurm(environment, arguments, monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *words: calls.append(words))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    distributed.initialise()
    assert calls == ([] if arguments is None else [arguments])


SCRIPT = """
    import hashlib, jax, jax.numpy as jnp, numpy as np
    jax.config.update("jax_enable_x64", True)
    from typing import NamedTuple
    from diffhep.core.distributed import initialise, is_main, mesh
    from diffhep.core.sampling import AbstractSamplingAlgorithm, sample

    many = initialise()
    initialise()

    class State(NamedTuple):
        position: jax.Array

    class Walk(AbstractSamplingAlgorithm):
        def init(self, position):
            return State(position)

        def step(self, key, state):
            return State(jnp.sin(state.position) + jax.random.normal(key, (3,))), None

    result = sample(Walk(), np.zeros((4, 3)), 20, observe={"x": lambda x: x},
                    key=jax.random.key(1), mesh=mesh())
    digest = hashlib.sha256(result.observables["x"].tobytes()).hexdigest()
    print(many, is_main(), len(jax.devices()), digest)
"""


@pytest.mark.multihost
def test_two_processes_sample_the_same_bits_as_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"

    def start(**extra):
        flags = "--xla_force_host_platform_device_count=2"
        environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **extra}
        return subprocess.Popen(
            [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
        )

    started = [
        start(**dict(zip(VARIABLES, (address, "2", str(index)), strict=True))) for index in (0, 1)
    ]
    first, second, alone = (
        process.communicate(timeout=120)[0].splitlines()[-1].split()
        for process in [*started, start()]
    )
    assert first[:3] == ["True", "True", "4"]
    assert second[:3] == ["True", "False", "4"]
    assert alone[:3] == ["False", "True", "2"]
    assert first[3:] == second[3:] == alone[3:]
