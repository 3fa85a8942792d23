"""Every public builder names what to cite, in BibTeX, and an object names that of its parts."""

import re
from functools import partial
from types import ModuleType

import pytest

import diffhep_lattice
from diffhep.core import stats
from diffhep.core.citations import citation
from diffhep_lattice import (
    U1,
    SumAction,
    WilsonAction,
    actions,
    exact,
    flows,
    groups,
    hmc,
    nested,
    observables,
    omelyan2,
    omelyan4,
    samplers,
)

pytestmark = pytest.mark.instant

PACKAGES = (diffhep_lattice, actions, exact, flows, groups, observables, samplers)
# Settings, which nobody has published.
UNPUBLISHED = {"Schedule"}
PUBLIC = {
    f"{package.__name__}.{name}": member
    for package in PACKAGES
    for name, member in vars(package).items()
    if name not in UNPUBLISHED and not name.startswith("_") and not isinstance(member, ModuleType)
}
ENTRY = re.compile(r"@article\{(\w+),\n((?:  \w+ = \{.*\},?\n)+)\}")


def labels(thing):
    """The labels of a citation, every entry of which is whole BibTeX."""
    text = citation(thing)
    assert text.count("{") == text.count("}")
    for entry in text.split("\n\n") if text else ():
        fields = re.findall(r"^  (\w+) = ", ENTRY.fullmatch(entry)[2], flags=re.M)
        assert {"author", "title", "year"} < set(fields)
        assert {"doi", "eprint"} & set(fields)
    return re.findall(r"@article\{(\w+),", text)


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_is_cited(name):
    assert labels(PUBLIC[name])


def test_an_object_cites_its_parts():
    scheme = nested(omelyan4(), omelyan2(), n_inner=2)
    action = SumAction(WilsonAction(1.0), WilsonAction(2.0))
    algorithm = hmc(action, step_size=0.1, n_steps=2, integrator=scheme)
    assert labels(algorithm) == [
        "duane1987",
        "sexton1992",
        "wilson1974",
        "omelyan2003",
        "takaishi2006",
    ]
    assert labels([U1(), algorithm.step, partial(stats.gamma_method, s_tau=2.0)]) == [
        "wilson1974",
        "duane1987",
        "sexton1992",
        "omelyan2003",
        "takaishi2006",
        "wolff2004",
    ]


def test_functions_and_modules_are_cited():
    assert labels(stats.gamma_method) == ["wolff2004"]
    assert labels(exact.u1_plaquette) == ["bonati2019", "drouffe1983"]
    assert labels(exact) == ["bonati2019", "drouffe1983", "kramers1941", "albergo2022"]
    assert {"bonati2019", "duane1987", "kanwar2020"} < set(labels(diffhep_lattice))
    # What a module only imports is not its own.
    assert labels(re) == labels(pytest.raises) == []
