"""Bayesian optimisation by the package bayesian-optimization, as a baseline."""

import warnings
from collections.abc import Iterator
from functools import partial

import equinox as eqx
import numpy as np

from diffhep.core.checks import require_counts, require_positive
from diffhep.core.errors import ConfigError
from diffhep.detector.optimisers.base import AbstractOptimiser, Step, new_seed
from diffhep.detector.problem import DesignProblem, value_and_error
from diffhep.detector.simulations import Simulations


class BayesianOptimisation(AbstractOptimiser):
    """A Gaussian process (Matern 5/2 and noise) with expected improvement, in a box.

    Needs the extra `bayes`. Cost: cubic in the designs tried. A constraint is held by a penalty on
    its violation.

    Attributes:
        n_events: Simulated at every design.
        half_width: Of the box around the start, in free coordinates.
        n_first: Designs drawn at random before the process is asked.
        n_steps: Designs at most.
        n_climbs: Searches for the best of the acquisition, from the best of random designs; they
            cost most of the time in many dimensions.
        price: Of a unit of violation of the constraint.
    """

    n_events: int = eqx.field(static=True, default=20)
    half_width: float = 2.0
    n_first: int = eqx.field(static=True, default=10)
    n_steps: int = eqx.field(static=True, default=300)
    n_climbs: int = eqx.field(static=True, default=2)
    price: float = 10.0

    def __check_init__(self) -> None:
        require_counts(self, 2, "n_events", "n_first", "n_steps")
        require_counts(self, 1, "n_climbs")
        require_positive(self, "half_width", "price")

    def search(
        self, problem: DesignProblem, simulations: Simulations, rng: np.random.Generator
    ) -> Iterator[Step]:
        """See `AbstractOptimiser.search`.

        Raises:
            ConfigError: The package is not installed.
        """
        library, kernels = _library()
        centre = np.asarray(problem.start.to_free())
        names = [f"x{i:04d}" for i in range(centre.size)]
        box = {
            name: (c - self.half_width, c + self.half_width)
            for name, c in zip(names, centre, strict=True)
        }
        acquisition = library.acquisition.ExpectedImprovement(xi=0.0)
        # The package has no other way to say how its acquisition is searched.
        acquisition.suggest = partial(acquisition.suggest, n_smart=self.n_climbs)
        process = library.BayesianOptimization(
            None, box, acquisition_function=acquisition, random_state=new_seed(rng), verbose=0,
            allow_duplicate_points=True,
        )  # fmt: skip
        kernel = kernels.ConstantKernel() * kernels.Matern(nu=2.5) + kernels.WhiteKernel()
        process.set_gp_params(kernel=kernel, n_restarts_optimizer=1, alpha=1e-8)
        for step in range(self.n_steps):
            free = self._suggest(process, centre, names, step, rng)
            outcomes = simulations(free, self.n_events, new_seed(rng))
            value, error = value_and_error(problem.objective, outcomes)
            yield Step(free, value, error)
            point = dict(zip(names, free.tolist(), strict=True))
            target = -value - self.price * problem.violation(free)
            process.register(params=point, target=target)

    def _suggest(
        self, process: object, centre: np.ndarray, names: list[str], step: int,
        rng: np.random.Generator,
    ) -> np.ndarray:  # fmt: skip
        if step == 0:
            return centre
        if step < self.n_first:
            return centre + self.half_width * rng.uniform(-1.0, 1.0, centre.size)
        with warnings.catch_warnings():
            # Length scales at their bounds, and an optimiser that gives up early, are no news.
            warnings.simplefilter("ignore")
            point = process.suggest()  # pyright: ignore[reportAttributeAccessIssue]
        return np.asarray([point[name] for name in names])


def _library() -> tuple:
    try:
        import bayes_opt
        from sklearn.gaussian_process import kernels
    except ImportError as error:
        raise ConfigError(
            "Bayesian optimisation needs the package bayesian-optimization: install "
            "`diffhep[bayes]`. The other optimisers work without it."
        ) from error
    return bayes_opt, kernels
