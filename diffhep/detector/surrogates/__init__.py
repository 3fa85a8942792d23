"""Surrogates of simulators."""

from diffhep.detector.surrogates.base import AbstractSurrogate as AbstractSurrogate
from diffhep.detector.surrogates.base import Domain as Domain
from diffhep.detector.surrogates.base import ExtrapolationWarning as ExtrapolationWarning
from diffhep.detector.surrogates.ensemble import Ensemble as Ensemble
from diffhep.detector.surrogates.ensemble import next_designs as next_designs
from diffhep.detector.surrogates.ensemble import spread as spread
from diffhep.detector.surrogates.flow_matching import FlowMatching as FlowMatching
from diffhep.detector.surrogates.metrics import Area as Area
from diffhep.detector.surrogates.metrics import Fidelity as Fidelity
from diffhep.detector.surrogates.metrics import area_under_curve as area_under_curve
from diffhep.detector.surrogates.metrics import classifier_auc as classifier_auc
from diffhep.detector.surrogates.metrics import compare as compare
from diffhep.detector.surrogates.metrics import frechet_distance as frechet_distance
from diffhep.detector.surrogates.metrics import separation_power as separation_power
from diffhep.detector.surrogates.moments import MomentRegression as MomentRegression
from diffhep.detector.surrogates.spline_flow import SplineFlow as SplineFlow
