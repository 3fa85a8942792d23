"""Lattice actions."""

from diffhep_lattice.actions.base import AbstractAction as AbstractAction
from diffhep_lattice.actions.defect import DefectAction as DefectAction
from diffhep_lattice.actions.improved import ImprovedAction as ImprovedAction
from diffhep_lattice.actions.improved import dbw2 as dbw2
from diffhep_lattice.actions.improved import iwasaki as iwasaki
from diffhep_lattice.actions.improved import symanzik as symanzik
from diffhep_lattice.actions.phi4 import Phi4Action as Phi4Action
from diffhep_lattice.actions.schwinger import SchwingerAction as SchwingerAction
from diffhep_lattice.actions.sum import SumAction as SumAction
from diffhep_lattice.actions.wilson import WilsonAction as WilsonAction
from diffhep_lattice.actions.wilson import wilson_force as wilson_force
from diffhep_lattice.actions.xy import XYAction as XYAction
