"""Test set-up: four virtual devices, double precision, shape checks and one key per test."""

import gc
import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import jaxtyping
import pytest
from jaxtyping import install_import_hook

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ["diffhep", "diffhep_lattice", "diffhep_sbi"]
# Tests compile far more than they compute: machine code that is not optimised halves their time,
# and fusions lowered without MLIR, the older way, halve the compilation that is left.
_PLAIN_FUSIONS = "--xla_cpu_use_fusion_emitters=false"
_USER_FUSIONS = "--xla_cpu_use_fusion_emitters=true"
_FLAGS = {
    "--xla_force_host_platform_device_count": 4,
    "--xla_backend_optimization_level": 0,
    "--xla_cpu_use_fusion_emitters": "false",
}

# XLA reads its flags when the first array is made, not when jax is imported.
for _flag, _value in _FLAGS.items():
    if _flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}={_value}".strip()
os.environ.setdefault("MPLBACKEND", "Agg")

# Traces make many objects that live long: looking through them less often saves a twentieth.
gc.set_threshold(30_000, 10, 10)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(_ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# The packages are checked by jaxtyping and beartype under test only. An `int` is a good `float`.
_early = sorted(name for name in _PACKAGES if name in sys.modules)
if _early:
    raise RuntimeError(f"Imported before the shape checks were installed: {', '.join(_early)}.")
install_import_hook(
    _PACKAGES, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)


_MAPPINGS = Path("/proc/self/maps")
_MOST_MAPPINGS = 20_000
"""Of memory in a process. Every compiled program takes some, and Linux aborts one at 65,530."""


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Compiled programs are forgotten, after a module, where they have become too many."""
    yield
    if _MAPPINGS.exists() and len(_MAPPINGS.read_bytes().splitlines()) > _MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test marked `bits` runs in a process whose fusions are lowered as they are for a user."""
    flags = os.environ["XLA_FLAGS"]
    if pyfuncitem.get_closest_marker("bits") is None or _PLAIN_FUSIONS not in flags:
        return None
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "", "-q", pyfuncitem.nodeid]
    environment = os.environ | {"XLA_FLAGS": flags.replace(_PLAIN_FUSIONS, _USER_FUSIONS)}
    done = subprocess.run(
        command, env=environment, cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    return True


@pytest.fixture
def key(request):
    """A key seeded by the test's node id: the same in any order and on any worker."""
    return jax.random.key(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def without_shape_checks():
    """Functions get what they are given, as they do for a user, whatever their annotations say."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
