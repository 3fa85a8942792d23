"""Les Houches and HepMC files: features and weights read back, and what is damaged named."""

import gzip

import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError
from diffhep_sbi import Morpher
from diffhep_sbi.io import Features, read_hepmc, read_lhe
from diffhep_sbi.io.particles import charges

pytestmark = pytest.mark.instant


def muon_pz_and_charge(particles):
    is_muon = particles.pdg_id == 13
    return jnp.stack(
        [jnp.sum(is_muon * particles.four_momentum_GeV[:, 2]), jnp.sum(particles.charge**2)]
    )


FEATURES = Features(("pz", "charges"), muon_pz_and_charge)
NAMES = ("w0", "w1", "w2")


def weight(event, column):
    """Polynomials in a coupling, at its benchmarks -1, 0 and 1."""
    theta = column - 1.0
    return (1.0 + 0.1 * event * theta) ** 2


def lhe_event(event, names=NAMES, value=weight):
    pz = 10.0 + event
    rows = [
        f"  11 -1 0 0 0 0 0.0 0.0 {pz} {pz} 0.0 0.0 9.0",
        f"  -11 -1 0 0 0 0 0.0 0.0 -{pz} {pz} 0.0 0.0 9.0",
        f"  13 1 1 2 0 0 0.0 0.0 {pz} {pz} 0.0 0.0 9.0",
        f"  -13 1 1 2 0 0 0.0 0.0 -{pz} {pz} 0.0 0.0 9.0",
    ]
    weights = [f"<wgt id='{name}'> {value(event, i)} </wgt>" for i, name in enumerate(names)]
    head = f" 4 1 {0.5 + event} 91.2 0.0078 0.118"
    return "\n".join(
        ["<event>", head, *rows, "<rwgt>", *weights, "</rwgt>", "# a comment", "</event>"]
    )


def lhe_text(events):
    start = '<LesHouchesEvents version="3.0">\n<header>\n a < b & c\n</header>\n<init>\n</init>\n'
    return start + "\n".join(events) + "\n</LesHouchesEvents>\n"


@pytest.fixture
def lhe(tmp_path):
    def write(text, name="events.lhe"):
        path = tmp_path / name
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", ["events.lhe", "events.lhe.gz"])
def test_lhe_is_read(lhe, name):
    path = lhe(lhe_text([lhe_event(i) for i in range(5)]), name)
    table = read_lhe(path, weights=["w2", "nominal"], features=FEATURES)
    assert table.names == ("w2", "nominal")
    assert np.allclose(table.weights[:, 0], [weight(i, 2) for i in range(5)])
    assert np.array_equal(table.weights[:, 1], 0.5 + np.arange(5))
    assert np.array_equal(table.x, np.stack([10.0 + np.arange(5), np.full(5, 2.0)], axis=1))
    assert read_lhe(path, features=FEATURES).names == ("nominal", *NAMES)
    assert len(read_lhe(path, features=FEATURES, n_events=2).x) == 2


def test_weights_of_a_file_are_morphed(lhe):
    path = lhe(lhe_text([lhe_event(i) for i in range(8)]))
    table = read_lhe(path, weights=NAMES, features=FEATURES)
    morpher = Morpher(np.array([[-1.0], [0.0], [1.0]]), [[0], [1], [2]])
    found = morpher(jnp.asarray(table.weights), jnp.array([0.5]))
    assert np.allclose(found, [weight(i, 1.5) for i in range(8)])


def test_what_is_wrong_with_an_lhe_file_is_named(lhe, tmp_path):
    events = [lhe_event(i) for i in range(3)]

    def fails(text, match, error=DataError, **settings):
        with pytest.raises(error, match=match):
            read_lhe(lhe(text), features=FEATURES, **settings)

    fails(
        lhe_text(events),
        "events.lhe, but 'w7' is none of them; it has 'nominal', 'w0', 'w1', 'w2'",
        ConfigError,
        weights=["w1", "w7"],
    )
    odd = [*events[:2], lhe_event(2, value=lambda event, i: np.nan)]
    fails(lhe_text(odd), "event 2 has weight 'w0' = nan; 1 of 3 events")
    fails(lhe_text([*events, lhe_event(3, NAMES[:2])]), "event 3 has 3 weights and none .* 'w2'")
    whole = lhe_text(events)
    fails(whole[: whole.rindex("<rwgt>")], "cut off in event 2")
    fails(whole[: whole.rindex("</LesHouches")], "cut off after 3 whole events")
    fails(whole.replace(" 4 1 1.5", " 9 1 1.5"), "event 1 cannot be read")
    fails(whole.replace(" 4 1 1.5", " 3 1 one"), "event 1 cannot be read: could not convert")
    fails(lhe_text([]), "must hold events")
    fails("hello", "no such header")
    with pytest.raises(DataError, match="nowhere"):
        read_lhe(tmp_path / "nowhere.lhe", features=FEATURES)
    packed = lhe(whole, "events.lhe.gz")
    packed.write_bytes(packed.read_bytes()[:-60])
    with pytest.raises(DataError, match="past event"):
        read_lhe(packed, features=FEATURES)


HEPMC_START = "HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\n"
HEPMC_END = "HepMC::Asciiv3-END_EVENT_LISTING\n\n"


def hepmc_event(event, value=weight, unit="GEV", scale=1.0):
    pz = scale * (10.0 + event)
    return (
        f"E {event} 1 4\nU {unit} MM\nW {value(event, 0)} {value(event, 1)}\n"
        f"P 1 0 11 0 0 {pz} {pz} 0 4\nP 2 0 -11 0 0 -{pz} {pz} 0 4\nV -1 0 [1,2]\n"
        f"P 3 -1 13 0 0 {pz} {pz} 0 1\nP 4 -1 -13 0 0 -{pz} {pz} 0 1\n"
    )


def hepmc_text(events, names="W up\\|down\n"):
    return HEPMC_START + names + "".join(events) + HEPMC_END


@pytest.mark.parametrize("name", ["events.hepmc", "events.hepmc.gz"])
def test_hepmc_is_read(lhe, name):
    pytest.importorskip("pyhepmc", reason="the extra hep is not installed")
    path = lhe(hepmc_text([hepmc_event(0), hepmc_event(1, unit="MEV", scale=1e3)]), name)
    table = read_hepmc(path, weights=["down"], features=FEATURES)
    assert table.names == ("down",)
    assert np.allclose(table.weights[:, 0], [weight(0, 1), weight(1, 1)])
    assert np.allclose(table.x, [[10.0, 2.0], [11.0, 2.0]])
    assert read_hepmc(path, features=FEATURES, n_events=1).weights.shape == (1, 2)


def test_what_is_wrong_with_a_hepmc_file_is_named(lhe, tmp_path, monkeypatch):
    pytest.importorskip("pyhepmc", reason="the extra hep is not installed")
    events = [hepmc_event(i) for i in range(3)]

    def fails(text, match, error=DataError, **settings):
        with pytest.raises(error, match=match):
            read_hepmc(lhe(text, "e.hepmc"), features=FEATURES, **settings)

    whole = hepmc_text(events)
    fails(whole, "'left' is none of them; it has 'up', 'down'", ConfigError, weights=["left"])
    fails(whole[: whole.rindex("P 4")], "cut off in event 2")
    odd = [*events[:1], hepmc_event(1, value=lambda event, i: np.inf)]
    fails(hepmc_text(odd), "past event 1: .*weight")
    fails("hello", "must hold events")
    with pytest.raises(DataError, match="nowhere"):
        read_hepmc(tmp_path / "nowhere.hepmc", features=FEATURES)
    monkeypatch.setitem(__import__("sys").modules, "pyhepmc", None)
    fails(whole, "pyhepmc is not installed", ConfigError)


def test_charges_are_those_of_the_particles():
    known = {
        (11, 13, -211, -321, -2212, 3112, 3312, 3334, -411, -521, -24, 1, 3): None,
        (22, 12, 130, 310, 111, 2112, 3122, 3322, 421, 511, 531, 23, 21): 0.0,
        (-11, 211, 321, 411, 431, 521, 541, 2212, 3222, 4122, 24, 37, 1000024): 1.0,
    }
    for ids, value in known.items():
        expected = [-1.0] * 11 + [-1 / 3] * 2 if value is None else [value] * len(ids)
        assert np.allclose(charges(np.array(ids)), expected), ids
    assert np.allclose(
        charges(np.array([2, -2, 2203, 2224, 1000060120])), [2 / 3, -2 / 3, 4 / 3, 2, 6]
    )
