"""Exact results in finite volume: gauge theory and the Schwinger model in 2D, scalar fields.

All functions take and return plain floats and NumPy arrays in double precision.
"""

from diffhep_lattice.exact.gauge import ChargeDistribution as ChargeDistribution
from diffhep_lattice.exact.gauge import sun_log_partition as sun_log_partition
from diffhep_lattice.exact.gauge import sun_plaquette as sun_plaquette
from diffhep_lattice.exact.gauge import sun_wilson_loop as sun_wilson_loop
from diffhep_lattice.exact.gauge import u1_charge_distribution as u1_charge_distribution
from diffhep_lattice.exact.gauge import u1_charge_squared as u1_charge_squared
from diffhep_lattice.exact.gauge import u1_log_partition as u1_log_partition
from diffhep_lattice.exact.gauge import u1_plaquette as u1_plaquette
from diffhep_lattice.exact.gauge import u1_wilson_loop as u1_wilson_loop
from diffhep_lattice.exact.scalar import XY as XY
from diffhep_lattice.exact.scalar import FreeScalar as FreeScalar
from diffhep_lattice.exact.scalar import Phi4 as Phi4
from diffhep_lattice.exact.scalar import free_scalar as free_scalar
from diffhep_lattice.exact.scalar import phi4 as phi4
from diffhep_lattice.exact.scalar import xy as xy
from diffhep_lattice.exact.schwinger import SchwingerExact as SchwingerExact
from diffhep_lattice.exact.schwinger import schwinger_2x2 as schwinger_2x2
