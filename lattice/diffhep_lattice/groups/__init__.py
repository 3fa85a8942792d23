"""Groups: the real numbers, U(1) as angles, SU(N) as matrices."""

from diffhep_lattice.groups.base import AbstractGroup as AbstractGroup
from diffhep_lattice.groups.base import AbstractLieGroup as AbstractLieGroup
from diffhep_lattice.groups.base import inner_product as inner_product
from diffhep_lattice.groups.base import kinetic_energy as kinetic_energy
from diffhep_lattice.groups.base import random_momentum as random_momentum
from diffhep_lattice.groups.reals import Reals as Reals
from diffhep_lattice.groups.sun import SU2 as SU2
from diffhep_lattice.groups.sun import SU3 as SU3
from diffhep_lattice.groups.sun import SUN as SUN
from diffhep_lattice.groups.u1 import U1 as U1
from diffhep_lattice.groups.u1 import wrap as wrap
