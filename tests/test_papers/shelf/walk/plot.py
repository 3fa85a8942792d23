"""The walk as a line."""

from diffhep.core import plotting


def plot(data, directory):
    """Draw the position against the step."""
    fig, axes = plotting.figure(width="column")
    axes.plot(data["walk/stride"].cumsum())
    return plotting.save(fig, directory / "walk", {"Title": "walk"})
