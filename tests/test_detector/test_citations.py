"""What has a publication behind it names it, in BibTeX."""

import re

import pytest

from diffhep import detector
from diffhep.core.citations import citation

pytestmark = pytest.mark.instant

CITED = ("Branching", "GumbelSoftmax", "LocalSurrogate", "MomentRegression", "ScoreFunction")


@pytest.mark.parametrize("name", CITED)
def test_every_method_is_cited(name):
    assert re.findall(r"@article\{(\w+),", citation(getattr(detector, name)))
