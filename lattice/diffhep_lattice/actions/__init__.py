"""Lattice actions."""

from diffhep_lattice.actions.base import AbstractAction as AbstractAction
from diffhep_lattice.actions.sum import SumAction as SumAction
from diffhep_lattice.actions.wilson import WilsonAction as WilsonAction
from diffhep_lattice.actions.wilson import wilson_force as wilson_force
