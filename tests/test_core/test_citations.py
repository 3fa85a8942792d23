"""Citations: collected from every part of an object, once, in order."""

import re
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from diffhep.core import citations
from diffhep.core.citations import REFERENCES, citation
from diffhep.core.errors import ConfigError

pytestmark = pytest.mark.instant


class Leaf(eqx.Module):
    __citations__: ClassVar[tuple[str, ...]] = ("arXiv:1904.12072", "arXiv:2003.06413")
    weight: jax.Array

    def act(self):
        return self.weight


class Pair(NamedTuple):
    one: object
    other: object


class Node(eqx.Module):
    __citations__: ClassVar[tuple[str, ...]] = ("arXiv:hep-lat/0306017",)
    children: dict
    function: object = eqx.field(static=True)


def labels(text):
    return re.findall(r"@article\{(\w+),", text)


def method(x):
    return x


method.__citations__ = ("arXiv:1412.6980",)


def test_every_part_is_cited_once_in_order():
    leaf = Leaf(jnp.zeros(2))
    node = Node({"a": [leaf, Pair(leaf, Leaf(jnp.ones(1)))]}, partial(method, leaf))
    assert labels(citation(node)) == ["wolff2004", "albergo2019", "kanwar2020", "kingma2015"]
    assert labels(citation(Leaf)) == labels(citation(leaf.act)) == ["albergo2019", "kanwar2020"]


def test_nothing_to_cite_and_cycles():
    assert citation(3) == citation(jnp.zeros(3)) == citation("arXiv") == ""
    loop = [method]
    loop.append(loop)
    assert labels(citation(loop)) == ["kingma2015"]


def test_unknown_source_is_named():
    class Odd(eqx.Module):
        __citations__: ClassVar[tuple[str, ...]] = ("arXiv:0000.00000",)

    with pytest.raises(ConfigError, match=r"arXiv:0000\.00000"):
        citation(Odd())


def test_table_is_well_formed():
    table = (Path(citations.__file__).parent / "references.bib").read_text("utf-8")
    assert len(labels(table)) == len(REFERENCES)  # no source stands twice
    names = [labels(entry) for entry in REFERENCES.values()]
    assert all(len(found) == 1 for found in names)
    assert len({found[0] for found in names}) == len(REFERENCES)
    for source, entry in REFERENCES.items():
        kind, number = source.split(":", 1)
        field = {"arXiv": "eprint", "doi": "doi"}[kind]
        assert f"{field} = {{{number}}}" in entry
        assert entry.count("{") == entry.count("}")
        assert re.search(r"year = \{(18|19|20)\d\d\}", entry)
