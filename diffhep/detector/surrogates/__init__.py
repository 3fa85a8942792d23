"""Surrogates of simulators."""

from diffhep.detector.surrogates.base import AbstractSurrogate as AbstractSurrogate
from diffhep.detector.surrogates.base import Domain as Domain
from diffhep.detector.surrogates.base import ExtrapolationWarning as ExtrapolationWarning
from diffhep.detector.surrogates.moments import MomentRegression as MomentRegression
