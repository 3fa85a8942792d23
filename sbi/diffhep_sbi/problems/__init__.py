"""Problems with exact answers, to hold what is learned against."""

from diffhep_sbi.problems.base import AbstractProblem as AbstractProblem
from diffhep_sbi.problems.base import ExactRatio as ExactRatio
from diffhep_sbi.problems.bernoulli_glm import BernoulliGlm as BernoulliGlm
from diffhep_sbi.problems.drell_yan import DrellYan as DrellYan
from diffhep_sbi.problems.ee_mumu import EeMuMu as EeMuMu
from diffhep_sbi.problems.ee_mumu import forward_backward_asymmetry as forward_backward_asymmetry
from diffhep_sbi.problems.epidemic import Epidemic as Epidemic
from diffhep_sbi.problems.galton import GaltonBoard as GaltonBoard
from diffhep_sbi.problems.gaussian_mixture import GaussianMixture as GaussianMixture
from diffhep_sbi.problems.latent_gaussian import LatentGaussian as LatentGaussian
from diffhep_sbi.problems.signal_background import SignalBackground as SignalBackground
from diffhep_sbi.problems.slcp import Slcp as Slcp
from diffhep_sbi.problems.two_moons import TwoMoons as TwoMoons
