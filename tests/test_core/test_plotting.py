"""Figures: the same bytes every time, metadata inside, no global state touched."""

import matplotlib as mpl
import pytest

from diffhep.core import plotting
from diffhep.core.errors import ConfigError, DataError

pytestmark = pytest.mark.instant


def draw():
    fig, axes = plotting.figure()
    axes.plot([0, 1, 2], [0, 1, 4], label="$x^2$")
    axes.legend()
    return fig


def test_files_are_the_same_bytes_every_time(tmp_path):
    metadata = {"Title": "A parabola", "Keywords": "seed 1"}
    first = plotting.save(draw(), tmp_path / "a.v1", metadata)
    second = plotting.save(draw(), tmp_path / "b.v1", metadata)
    assert [path.name for path in first] == ["a.v1.png", "a.v1.pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert b"A parabola" in one.read_bytes()
        assert b"seed 1" in one.read_bytes()
    assert first[0].stat().st_size < 300_000


@pytest.mark.parametrize(("width", "inches"), [("column", 3.375), ("page", 6.75)])
def test_sizes(width, inches):
    fig, axes = plotting.figure(width, rows=2, columns=3, sharex=True)
    assert axes.shape == (2, 3)
    assert fig.get_size_inches()[0] == inches
    tall, _ = plotting.figure(width, height_inch=9.0)
    assert tall.get_size_inches()[1] == 9.0


def test_global_state_is_left_alone(tmp_path):
    before = dict(mpl.rcParams)
    plotting.save(draw(), tmp_path / "a")
    assert dict(mpl.rcParams) == before


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ConfigError, match="`rows, columns`"):
        plotting.figure(rows=0)
    with pytest.raises(ConfigError, match="`metadata` must have keys among Title"):
        plotting.save(draw(), tmp_path / "a", {"Colour": "red"})
    with pytest.raises(DataError, match="nowhere"):
        plotting.save(draw(), tmp_path / "nowhere" / "a")


def test_panels_are_drawn_in_order_and_labelled(tmp_path):
    seen = []

    def draw_panel(panel, data):
        seen.append((data, panel.get_subplotspec().num1))

    png, pdf = plotting.save_panels([draw_panel] * 4, "data", tmp_path / "a", title="Four", rows=2)
    assert seen == [("data", index) for index in range(4)]
    assert png.exists()
    assert b"Four" in pdf.read_bytes()
    with pytest.raises(ConfigError, match="`rows` must divide the number of panels, 3"):
        plotting.save_panels([draw_panel] * 3, "data", tmp_path / "b", title="Three", rows=2)
