"""Observables: loops, field strength and charge of gauge fields, correlators of scalars."""

from diffhep_lattice.observables.angles import plaquette_angles as plaquette_angles
from diffhep_lattice.observables.angles import (
    unwrapped_plaquette_angles as unwrapped_plaquette_angles,
)
from diffhep_lattice.observables.creutz import creutz_ratios as creutz_ratios
from diffhep_lattice.observables.loops import gauge_transform as gauge_transform
from diffhep_lattice.observables.loops import plane_plaquettes as plane_plaquettes
from diffhep_lattice.observables.loops import planes as planes
from diffhep_lattice.observables.loops import plaquette as plaquette
from diffhep_lattice.observables.loops import polyakov_lines as polyakov_lines
from diffhep_lattice.observables.loops import polyakov_loop as polyakov_loop
from diffhep_lattice.observables.loops import spatial_plaquette as spatial_plaquette
from diffhep_lattice.observables.loops import temporal_plaquette as temporal_plaquette
from diffhep_lattice.observables.loops import wilson_loop as wilson_loop
from diffhep_lattice.observables.mesons import MesonCorrelators as MesonCorrelators
from diffhep_lattice.observables.mesons import chiral_condensate as chiral_condensate
from diffhep_lattice.observables.mesons import meson_correlators as meson_correlators
from diffhep_lattice.observables.scalar import effective_mass as effective_mass
from diffhep_lattice.observables.scalar import two_point_function as two_point_function
from diffhep_lattice.observables.scalar import (
    two_point_susceptibility as two_point_susceptibility,
)
from diffhep_lattice.observables.scalar import (
    zero_momentum_correlator as zero_momentum_correlator,
)
from diffhep_lattice.observables.topology import charge_density as charge_density
from diffhep_lattice.observables.topology import energy_density as energy_density
from diffhep_lattice.observables.topology import field_strength as field_strength
from diffhep_lattice.observables.topology import susceptibility as susceptibility
from diffhep_lattice.observables.topology import topological_charge as topological_charge
