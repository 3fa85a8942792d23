"""Everything public of the package names what to cite, in BibTeX."""

import re
from types import ModuleType

import pytest

import diffhep_sbi
from diffhep.core.citations import citation
from diffhep_sbi import diagnostics, io, problems

pytestmark = pytest.mark.instant

PUBLIC = {
    f"{package.__name__}.{name}": member
    for package in (diffhep_sbi, diagnostics, io, problems)
    for name, member in vars(package).items()
    if not name.startswith("_") and not isinstance(member, ModuleType)
}


def labels(thing):
    return re.findall(r"@article\{(\w+),", citation(thing))


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_is_cited(name):
    assert labels(PUBLIC[name])


def test_an_object_cites_its_parts():
    likelihood = problems.SignalBackground().likelihood()
    assert {"cowan2011", "heinrich2021", "atlas2024method"} < set(labels(likelihood))
