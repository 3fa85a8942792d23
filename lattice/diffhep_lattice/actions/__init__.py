"""Lattice actions."""

from diffhep_lattice.actions.base import AbstractAction as AbstractAction
from diffhep_lattice.actions.wilson import WilsonAction as WilsonAction
