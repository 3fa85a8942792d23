"""One run of PYTHIA in one process: settings in, particles and weights out."""

import importlib
from typing import Any, NamedTuple

import numpy as np

from diffhep.core.errors import ConfigError, DataError
from diffhep_sbi.io.particles import Event

__citations__ = ("arXiv:2203.11601",)

_MOST_FAILURES = 100
"""Events in a row that PYTHIA may give up on before the run is ended."""


class Job(NamedTuple):
    """What a run does.

    Attributes:
        settings: Lines as PYTHIA reads them; later ones win.
        groups: Names of the groups of variations whose weights are multiplied, by weight.
        n_events: Events.
        seed: From 1 to 900,000,000.
    """

    settings: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    n_events: int
    seed: int


class Output(NamedTuple):
    """Final particles of all events one after another, their number by event, and weights."""

    lengths: np.ndarray
    particles: np.ndarray
    weights: np.ndarray

    def events(self) -> list[Event]:
        """The events by themselves."""
        parts = np.split(self.particles, np.cumsum(self.lengths)[:-1])
        return [(part[:, 0].astype(int), part[:, 1], part[:, 2:]) for part in parts]


def load_pythia() -> Any:
    """The module pythia8mc.

    Raises:
        ConfigError: It is not installed; the message says how.
    """
    try:
        return importlib.import_module("pythia8mc")
    except ImportError as error:
        raise ConfigError(
            "PYTHIA is not installed: pip install --only-binary :all: pythia8mc==8.317.2"
        ) from error


def start(job: Job) -> Any:
    """PYTHIA, initialised.

    Raises:
        ConfigError: PYTHIA does not know a setting, or refuses them together.
    """
    pythia = load_pythia().Pythia("", False)
    seed = ("Random:setSeed = on", f"Random:seed = {job.seed}")
    for line in ("Print:quiet = on", *job.settings, *seed):
        if not pythia.readString(line, False):
            raise ConfigError(
                f"Argument `settings` must hold settings of PYTHIA, but it does not know {line!r}."
            )
    if not pythia.init():
        raise ConfigError(
            "Argument `settings` must be a process that PYTHIA can start, but it refuses: "
            f"{'; '.join(job.settings)[:300]}."
        )
    return pythia


def generate(job: Job) -> Output:
    """Run a job.

    Args:
        job: What to run.

    Returns:
        Its events.

    Raises:
        ConfigError: PYTHIA refuses the settings.
        DataError: It gives up on too many events in a row, or its events have weights themselves.
    """
    pythia = start(job)
    info, event = pythia.infoPython(), pythia.event
    names = list(info.weightNameVector())
    columns = [[names.index(group) for group in groups] for groups in job.groups]
    lengths, particles = np.zeros(job.n_events, int), []
    weights = np.ones((job.n_events, len(columns)))
    for row in range(job.n_events):
        _next(pythia, row)
        final = [(p.id(), p.charge(), p.px(), p.py(), p.pz(), p.e()) for p in event if p.isFinal()]
        lengths[row] = len(final)
        particles.append(np.array(final).reshape(-1, 6))
        values = np.asarray(info.weightValueVector())
        if values[0] != 1.0:
            raise DataError(
                "Argument `settings` must give unweighted events, but event "
                f"{row} has weight {values[0]:g}."
            )
        for column, members in enumerate(columns):
            weights[row, column] = np.prod(values[members])
    return Output(lengths, np.concatenate(particles), weights)


def _next(pythia: Any, row: int) -> None:
    """The next event that PYTHIA does not give up on."""
    for _ in range(_MOST_FAILURES):
        if pythia.next():
            return
    raise DataError(f"PYTHIA gave up on {_MOST_FAILURES} events in a row, after event {row}.")
