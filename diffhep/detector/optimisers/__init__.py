"""Searches for the best design."""

from diffhep.detector.optimisers.augmented import Minimum as Minimum
from diffhep.detector.optimisers.augmented import minimise as minimise
from diffhep.detector.optimisers.base import AbstractOptimiser as AbstractOptimiser
from diffhep.detector.optimisers.base import Step as Step
from diffhep.detector.optimisers.base import Trace as Trace
from diffhep.detector.optimisers.base import optimise as optimise
from diffhep.detector.optimisers.bayesian import BayesianOptimisation as BayesianOptimisation
from diffhep.detector.optimisers.front import Front as Front
from diffhep.detector.optimisers.front import trade_off as trade_off
from diffhep.detector.optimisers.gradient import GradientDescent as GradientDescent
from diffhep.detector.optimisers.local_surrogate import LocalSurrogate as LocalSurrogate
from diffhep.detector.optimisers.score_descent import ScoreDescent as ScoreDescent
from diffhep.detector.optimisers.trust_region import TrustRegion as TrustRegion
