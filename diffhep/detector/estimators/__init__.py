"""Estimators of the derivative of an expectation with respect to a design."""

from diffhep.detector.estimators.base import AbstractGradientEstimator as AbstractGradientEstimator
from diffhep.detector.estimators.base import GradientEstimate as GradientEstimate
from diffhep.detector.estimators.branching import Branching as Branching
from diffhep.detector.estimators.branching import decide as decide
from diffhep.detector.estimators.choice import GumbelSoftmax as GumbelSoftmax
from diffhep.detector.estimators.finite_difference import CommonRandomNumbers as CommonRandomNumbers
from diffhep.detector.estimators.hybrid import Hybrid as Hybrid
from diffhep.detector.estimators.pathwise import Pathwise as Pathwise
from diffhep.detector.estimators.score_function import (
    AbstractScoredObjective as AbstractScoredObjective,
)
from diffhep.detector.estimators.score_function import ScoreFunction as ScoreFunction
from diffhep.detector.estimators.surrogate import SurrogateGradient as SurrogateGradient
