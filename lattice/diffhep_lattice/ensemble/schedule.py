"""When an ensemble measures and stores."""

from dataclasses import dataclass

from diffhep.core.checks import as_integer, require


@dataclass(frozen=True)
class Schedule:
    """Which trajectories are measured and which configurations are stored.

    Trajectories are counted from 1. Those of the warm-up are measured too, but neither stored nor
    part of the table.

    Args:
        n_warmup: Trajectories before the first stored configuration's; a multiple of `save_every`.
        measure_every: Trajectories from one measurement to the next.
        save_every: Trajectories from one stored configuration to the next; a multiple of
            `measure_every`.
        chunk: Trajectories that run without a look at the host, where Ctrl-C is heard and the state
            saved: a multiple of `measure_every` that divides `save_every`. 0 is `measure_every`;
            more pays where a trajectory takes less than some milliseconds.

    Raises:
        ConfigError: A number is out of its range.
    """

    n_warmup: int = 0
    measure_every: int = 1
    save_every: int = 10
    chunk: int = 0

    def __post_init__(self) -> None:
        for name in ("n_warmup", "measure_every", "save_every", "chunk"):
            as_integer(getattr(self, name), name, low=0)
        every = self.measure_every
        require(every >= 1, "measure_every", "be at least 1", every)
        rule = f"be a positive multiple of measure_every = {every}"
        good = self.save_every >= 1 and self.save_every % every == 0
        require(good, "save_every", rule, self.save_every)
        rule = f"be 0 or a multiple of save_every = {self.save_every}"
        good = self.n_warmup >= 0 and self.n_warmup % self.save_every == 0
        require(good, "n_warmup", rule, self.n_warmup)
        rule = f"be 0 or a multiple of {every} that divides {self.save_every}"
        visit = self.visit_every
        good = visit >= 1 and visit % every == 0 and self.save_every % visit == 0
        require(good, "chunk", rule, self.chunk)

    @property
    def visit_every(self) -> int:
        """Trajectories per host visit."""
        return self.chunk or self.measure_every

    def stores(self, trajectory: int) -> bool:
        """Whether the configuration of a trajectory is stored.

        Args:
            trajectory: Its number, from 1.

        Returns:
            Whether it is.
        """
        return trajectory > self.n_warmup and trajectory % self.save_every == 0

    def last(self, n_configurations: int) -> int:
        """The trajectory with which the last configuration is made.

        Args:
            n_configurations: How many there are.

        Returns:
            Its number; the length of the run.
        """
        return self.n_warmup + n_configurations * self.save_every

    def stored_until(self, trajectory: int) -> list[int]:
        """The stored trajectories up to one.

        Args:
            trajectory: The last one done.

        Returns:
            Their numbers.
        """
        first = self.n_warmup + self.save_every
        return list(range(first, trajectory + 1, self.save_every))
