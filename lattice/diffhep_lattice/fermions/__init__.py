"""Wilson fermions in two dimensions."""

from diffhep_lattice.fermions.determinant import FermionDeterminant as FermionDeterminant
from diffhep_lattice.fermions.determinant import fermion_determinant as fermion_determinant
from diffhep_lattice.fermions.dirac import WilsonDirac as WilsonDirac
from diffhep_lattice.fermions.dirac import free_spectrum as free_spectrum
