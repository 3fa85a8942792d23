"""Differentiable detector simulation and design."""

from diffhep.detector import materials as materials
from diffhep.detector import objectives as objectives
from diffhep.detector import particles as particles
from diffhep.detector.base import AbstractDetector as AbstractDetector
from diffhep.detector.base import Beam as Beam
from diffhep.detector.base import Hits as Hits
from diffhep.detector.calorimeter import GflashCalorimeter as GflashCalorimeter
from diffhep.detector.calorimeter import LayerEnergy as LayerEnergy
from diffhep.detector.calorimeter import energy_in_layers as energy_in_layers
from diffhep.detector.design import Design as Design
from diffhep.detector.design import LinearCost as LinearCost
from diffhep.detector.design import Parameter as Parameter
from diffhep.detector.estimators import AbstractGradientEstimator as AbstractGradientEstimator
from diffhep.detector.estimators import AbstractScoredObjective as AbstractScoredObjective
from diffhep.detector.estimators import Branching as Branching
from diffhep.detector.estimators import CommonRandomNumbers as CommonRandomNumbers
from diffhep.detector.estimators import GradientEstimate as GradientEstimate
from diffhep.detector.estimators import GumbelSoftmax as GumbelSoftmax
from diffhep.detector.estimators import Hybrid as Hybrid
from diffhep.detector.estimators import Pathwise as Pathwise
from diffhep.detector.estimators import ScoreFunction as ScoreFunction
from diffhep.detector.estimators import decide as decide
from diffhep.detector.reconstruction import BeamSpot as BeamSpot
from diffhep.detector.reconstruction import VertexFit as VertexFit
from diffhep.detector.reconstruction import vertex_fit as vertex_fit
