"""What to cite for what was run: objects name their sources, and one table holds the entries."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from diffhep.core.errors import ConfigError


def _article(
    label: str, authors: str, title: str, year: str, source: str, journal: str = ""
) -> str:
    """One BibTeX entry; `source` is an arXiv number or a DOI with its prefix."""
    kind, _, number = source.partition(":")
    lines = [f"author = {{{authors}}}", f"title = {{{{{title}}}}}"]
    if journal:
        lines.append(f"journal = {{{journal}}}")
    lines.append(f"year = {{{year}}}")
    if kind == "arXiv":
        lines += [f"eprint = {{{number}}}", "archivePrefix = {arXiv}"]
    else:
        lines.append(f"doi = {{{number}}}")
    body = ",\n".join(f"  {line}" for line in lines)
    return f"@article{{{label},\n{body}\n}}"


_ENTRIES = (
    (
        "kanwar2020",
        "G. Kanwar and M. S. Albergo and D. Boyda and K. Cranmer and D. C. Hackett and "
        "S. Racani\\`ere and D. J. Rezende and P. E. Shanahan",
        "Equivariant flow-based sampling for lattice gauge theory",
        "2020",
        "arXiv:2003.06413",
        "Phys. Rev. Lett. 125, 121601",
    ),
    (
        "albergo2019",
        "M. S. Albergo and G. Kanwar and P. E. Shanahan",
        "Flow-based generative models for Markov chain Monte Carlo in lattice field theory",
        "2019",
        "arXiv:1904.12072",
        "Phys. Rev. D 100, 034515",
    ),
    (
        "albergo2021",
        "M. S. Albergo and D. Boyda and D. C. Hackett and G. Kanwar and K. Cranmer and "
        "S. Racani\\`ere and D. J. Rezende and P. E. Shanahan",
        "Introduction to Normalizing Flows for Lattice Field Theory",
        "2021",
        "arXiv:2101.08176",
    ),
    (
        "boyda2021",
        "D. Boyda and G. Kanwar and S. Racani\\`ere and D. J. Rezende and M. S. Albergo and "
        "K. Cranmer and D. C. Hackett and P. E. Shanahan",
        "Sampling using SU(N) gauge equivariant flows",
        "2021",
        "arXiv:2008.05456",
        "Phys. Rev. D 103, 074504",
    ),
    (
        "rezende2020",
        "D. J. Rezende and G. Papamakarios and S. Racani\\`ere and M. S. Albergo and G. Kanwar and "
        "P. E. Shanahan and K. Cranmer",
        "Normalizing Flows on Tori and Spheres",
        "2020",
        "arXiv:2002.02428",
    ),
    (
        "durkan2019",
        "C. Durkan and A. Bekasov and I. Murray and G. Papamakarios",
        "Neural Spline Flows",
        "2019",
        "arXiv:1906.04032",
    ),
    (
        "vaitl2022",
        "L. Vaitl and K. A. Nicoli and S. Nakajima and P. Kessel",
        "Gradients should stay on Path: Better Estimators of the Reverse- and Forward KL "
        "Divergence for Normalizing Flows",
        "2022",
        "arXiv:2207.08219",
    ),
    (
        "nicoli2021",
        "K. A. Nicoli and C. J. Anders and L. Funcke and T. Hartung and K. Jansen and P. Kessel "
        "and S. Nakajima and P. Stornati",
        "Estimation of Thermodynamic Observables in Lattice Field Theories with Deep Generative "
        "Models",
        "2021",
        "arXiv:2007.07115",
        "Phys. Rev. Lett. 126, 032001",
    ),
    (
        "luscher2010",
        'M. L{\\"u}scher',
        "Trivializing maps, the Wilson flow and the HMC algorithm",
        "2010",
        "arXiv:0907.5491",
        "Commun. Math. Phys. 293, 899",
    ),
    (
        "jin2022",
        "X.-Y. Jin",
        "Neural Network Field Transformation and Its Application in HMC",
        "2022",
        "arXiv:2201.01862",
        "PoS LATTICE2021, 600",
    ),
    (
        "duane1987",
        "S. Duane and A. D. Kennedy and B. J. Pendleton and D. Roweth",
        "Hybrid Monte Carlo",
        "1987",
        "doi:10.1016/0370-2693(87)91197-X",
        "Phys. Lett. B 195, 216",
    ),
    (
        "omelyan2003",
        "I. P. Omelyan and I. M. Mryglod and R. Folk",
        "Symplectic analytically integrable decomposition algorithms: classification, derivation, "
        "and application to molecular dynamics, quantum and celestial mechanics simulations",
        "2003",
        "doi:10.1016/S0010-4655(02)00754-3",
        "Comput. Phys. Commun. 151, 272",
    ),
    (
        "takaishi2006",
        "T. Takaishi and P. de Forcrand",
        "Testing and tuning symplectic integrators for the hybrid Monte Carlo algorithm in "
        "lattice QCD",
        "2006",
        "arXiv:hep-lat/0505020",
        "Phys. Rev. E 73, 036706",
    ),
    (
        "hoffman2014",
        "M. D. Hoffman and A. Gelman",
        "The No-U-Turn Sampler: Adaptively Setting Path Lengths in Hamiltonian Monte Carlo",
        "2014",
        "arXiv:1111.4246",
        "J. Mach. Learn. Res. 15, 1593",
    ),
    (
        "wolff2004",
        "U. Wolff",
        "Monte Carlo errors with less errors",
        "2004",
        "arXiv:hep-lat/0306017",
        "Comput. Phys. Commun. 156, 143",
    ),
    (
        "kingma2015",
        "D. P. Kingma and J. Ba",
        "Adam: A Method for Stochastic Optimization",
        "2015",
        "arXiv:1412.6980",
    ),
    (
        "kidger2021",
        "P. Kidger and C. Garcia",
        "Equinox: neural networks in JAX via callable PyTrees and filtered transformations",
        "2021",
        "arXiv:2111.00254",
    ),
)

REFERENCES: Mapping[str, str] = MappingProxyType({entry[4]: _article(*entry) for entry in _ENTRIES})
"""BibTeX by source: "arXiv:number" or "doi:number"."""


def _parts(thing: Any) -> Iterator[Any]:
    """What an object is directly made of."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        for field in dataclasses.fields(thing):
            yield getattr(thing, field.name, None)
    elif isinstance(thing, Mapping):
        yield from thing.values()
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from thing
    elif isinstance(thing, partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    else:
        yield getattr(thing, "__self__", None)


def _keys(thing: Any, seen: set[int]) -> Iterator[str]:
    """The sources of an object and of all its parts, in the order they are met."""
    if id(thing) in seen or isinstance(thing, (str, bytes, int, float, np.ndarray, jax.Array)):
        return
    seen.add(id(thing))
    yield from getattr(thing, "__citations__", ())
    for part in _parts(thing):
        yield from _keys(part, seen)


def citation(thing: Any) -> str:
    """BibTeX of everything an object is made of.

    Args:
        thing: A module, function or container. Classes and functions name their sources in
            `__citations__`, a tuple of keys of `REFERENCES`.

    Returns:
        The entries, each once, an empty line between them; empty text where nothing is named.

    Raises:
        ConfigError: A source is not in the table.
    """
    keys = list(dict.fromkeys(_keys(thing, set())))
    for key in keys:
        if key not in REFERENCES:
            raise ConfigError(f"Argument `thing` must cite entries of REFERENCES, but has {key!r}.")
    return "\n\n".join(REFERENCES[key] for key in keys)
