"""Gates: limits are refused where the ratio behind them failed its report."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from diffhep.core.errors import ConfigError
from diffhep_sbi.likelihood import Likelihood
from diffhep_sbi.unbinned import UnbinnedChannel

__citations__ = ("arXiv:2412.01600",)


@runtime_checkable
class Verdict(Protocol):
    """What a limit asks of a report."""

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        ...

    @property
    def failures(self) -> tuple[str, ...]:
        """What failed, one line each."""
        ...


def require_gates(
    likelihood: Likelihood,
    values: Mapping[str, np.ndarray],
    report: Verdict | None,
    allow_failed: bool,
) -> None:
    """Raise unless the report passed and the parameters are within the trained range.

    Args:
        likelihood: The likelihood, whose channels know where their ratio was trained.
        values: Values that a limit will look at, by parameter.
        report: The verdict on the ratio, or None where it is exact.
        allow_failed: Go on all the same.

    Raises:
        ConfigError: A gate failed or a value is outside, and `allow_failed` is false.
    """
    if allow_failed:
        return
    if report is not None and not report.passed:
        failed = "; ".join(report.failures)
        raise ConfigError(
            f"Argument `report` must have passed, but it failed: {failed}; "
            "allow_failed=True goes on all the same."
        )
    for channel in likelihood.channels:
        if isinstance(channel, UnbinnedChannel):
            channel.require_trained(dict(values))
