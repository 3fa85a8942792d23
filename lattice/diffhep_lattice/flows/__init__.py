"""Normalizing flows for lattice fields: densities with exact samples and exact log-densities."""

from diffhep_lattice.flows.base import AbstractBijection as AbstractBijection
from diffhep_lattice.flows.base import AbstractFlow as AbstractFlow
from diffhep_lattice.flows.checkerboard import CheckerboardCoupling as CheckerboardCoupling
from diffhep_lattice.flows.checkerboard import checkerboard_flow as checkerboard_flow
from diffhep_lattice.flows.compose import Chain as Chain
from diffhep_lattice.flows.compose import Repeat as Repeat
from diffhep_lattice.flows.continuous import ContinuousFlow as ContinuousFlow
from diffhep_lattice.flows.continuous import continuous_flow as continuous_flow
from diffhep_lattice.flows.continuous import with_steps as with_steps
from diffhep_lattice.flows.convolutions import FreeField as FreeField
from diffhep_lattice.flows.coupling import CouplingFlow as CouplingFlow
from diffhep_lattice.flows.coupling import GaugeCoupling as GaugeCoupling
from diffhep_lattice.flows.coupling import block_flow as block_flow
from diffhep_lattice.flows.coupling import stripe_flow as stripe_flow
from diffhep_lattice.flows.kernels import CircularSpline as CircularSpline
from diffhep_lattice.flows.kernels import NonCompactProjection as NonCompactProjection
from diffhep_lattice.flows.line_kernels import Dilation as Dilation
from diffhep_lattice.flows.line_kernels import LineSpline as LineSpline
from diffhep_lattice.flows.masks import Stripes as Stripes
from diffhep_lattice.flows.multiscale import MultiscaleFlow as MultiscaleFlow
from diffhep_lattice.flows.multiscale import multiscale_flow as multiscale_flow
from diffhep_lattice.flows.scalar import ScalarFlow as ScalarFlow
from diffhep_lattice.flows.stout import StoutLayer as StoutLayer
from diffhep_lattice.flows.stout import stout_layer as stout_layer
