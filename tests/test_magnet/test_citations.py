"""Every operator names what to cite, in BibTeX."""

import re

import pytest

from diffhep.core.citations import citation
from diffhep.magnet import operators

pytestmark = pytest.mark.instant


@pytest.mark.parametrize(
    "name", [n for n in vars(operators) if n[0].isupper() and not n.startswith("Abstract")]
)
def test_every_operator_is_cited(name):
    assert re.findall(r"@article\{(\w+),", citation(getattr(operators, name)))
