"""Every operator names what to cite, in BibTeX."""

import re

import pytest

from diffhep.core.citations import citation
from diffhep.magnet import forecasters, operators

pytestmark = pytest.mark.instant


@pytest.mark.parametrize(
    "name", [n for n in vars(operators) if n[0].isupper() and not n.startswith("Abstract")]
)
def test_every_operator_is_cited(name):
    assert re.findall(r"@article\{(\w+),", citation(getattr(operators, name)))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("FourierForecaster", "li2020"),
        ("HybridPreisach", "brokate1996"),
        ("PatchTransformer", "nie2022"),
        ("TemporalFusionTransformer", "lim2019"),
        ("Transformer", "vaswani2017"),
    ],
)
def test_a_forecaster_cites_its_source(name, source):
    assert source in re.findall(r"@article\{(\w+),", citation(getattr(forecasters, name)))
