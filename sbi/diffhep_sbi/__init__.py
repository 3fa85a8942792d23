"""Likelihood ratios learned from simulators."""

from diffhep_sbi import problems as problems
from diffhep_sbi.calibration import CalibratedRatio as CalibratedRatio
from diffhep_sbi.calibration import calibrate as calibrate
from diffhep_sbi.gates import Report as Report
from diffhep_sbi.gates import report as report
from diffhep_sbi.gold import Gold as Gold
from diffhep_sbi.gold import join as join
from diffhep_sbi.mining import mine as mine
from diffhep_sbi.mining import simulate as simulate
from diffhep_sbi.morphing import Morpher as Morpher
from diffhep_sbi.morphing import choose_basis as choose_basis
from diffhep_sbi.networks import deep_set as deep_set
from diffhep_sbi.networks import mlp as mlp
from diffhep_sbi.networks import residual_mlp as residual_mlp
from diffhep_sbi.networks import transformer as transformer
from diffhep_sbi.problems import ExactRatio as ExactRatio
from diffhep_sbi.ratio import RatioEnsemble as RatioEnsemble
from diffhep_sbi.ratio import fit_ratio as fit_ratio
from diffhep_sbi.simulator import AbstractSimulator as AbstractSimulator
from diffhep_sbi.simulator import Density as Density
from diffhep_sbi.simulator import Program as Program
from diffhep_sbi.weighted import gold_from_weights as gold_from_weights
