"""Modules under `jax.jit` and `equinox.filter_jit`, as the README of the package says."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import diffhep_lattice
from diffhep_lattice import WilsonAction, hmc

pytestmark = pytest.mark.instant

README = Path(diffhep_lattice.__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_runs():
    section = README.read_text().split("## Compiling")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {}
    exec(compile(code, str(README), "exec"), names)
    assert bool(names["info"].is_finite)
    assert float(names["energy"]) == pytest.approx(float(names["state"].action), rel=1e-12)
    assert float(names["same"]) == pytest.approx(float(names["energy"]), rel=1e-12)


def test_modules_have_no_hash():
    action = WilsonAction(2.0)
    for function in (action, hmc(action).init):
        with pytest.raises(TypeError, match="unhashable"):
            jax.jit(function)(jnp.zeros((2, 4, 4)))


def test_what_the_readme_names_is_exported():
    """Every call and name in the table of rooms."""
    section = README.read_text().split("## Rooms")[1].split("## Compiling")[0]
    names = re.findall(r"`([A-Za-z_0-9.]+)(?:\([^`]*\))?`", section)
    names = [name for name in names if name not in {"init", "step", "diffhep_lattice"}]
    assert len(names) > 50
    for name in names:
        owner = diffhep_lattice
        for part in name.removeprefix("diffhep.core.sampling.").split("."):
            if part != "sample":
                owner = getattr(owner, part)
