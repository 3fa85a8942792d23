"""Markov-chain samplers of lattice fields."""

from diffhep_lattice.samplers.adaptation import adapt_step_size as adapt_step_size
from diffhep_lattice.samplers.alternate import alternate as alternate
from diffhep_lattice.samplers.delayed_acceptance import delayed_acceptance as delayed_acceptance
from diffhep_lattice.samplers.heatbath import heatbath as heatbath
from diffhep_lattice.samplers.hmc import hmc as hmc
from diffhep_lattice.samplers.independence import (
    independence_metropolis as independence_metropolis,
)
from diffhep_lattice.samplers.instanton import instanton_hit as instanton_hit
from diffhep_lattice.samplers.integrators import force_gradient as force_gradient
from diffhep_lattice.samplers.integrators import leapfrog as leapfrog
from diffhep_lattice.samplers.integrators import nested as nested
from diffhep_lattice.samplers.integrators import omelyan2 as omelyan2
from diffhep_lattice.samplers.integrators import omelyan4 as omelyan4
from diffhep_lattice.samplers.latent_hmc import flow_hmc as flow_hmc
from diffhep_lattice.samplers.overrelaxation import overrelaxation as overrelaxation
from diffhep_lattice.samplers.pseudofermion_hmc import pseudofermion_hmc as pseudofermion_hmc
from diffhep_lattice.samplers.replica_exchange import replica_exchange as replica_exchange
from diffhep_lattice.samplers.replica_exchange import round_trips as round_trips
from diffhep_lattice.samplers.sequential import (
    sequential_monte_carlo as sequential_monte_carlo,
)
from diffhep_lattice.samplers.stochastic_flow import StepwiseWork as StepwiseWork
from diffhep_lattice.samplers.stochastic_flow import StochasticFlow as StochasticFlow
from diffhep_lattice.samplers.stochastic_flow import crooks as crooks
from diffhep_lattice.samplers.stochastic_flow import jarzynski as jarzynski
from diffhep_lattice.samplers.stochastic_flow import stochastic_flow as stochastic_flow
from diffhep_lattice.samplers.translation import translation as translation
