"""Magnets with memory: operators, their identification, measured data."""

from diffhep.magnet import datasets as datasets
from diffhep.magnet.fitting import PreisachFit as PreisachFit
from diffhep.magnet.fitting import PreisachSettings as PreisachSettings
from diffhep.magnet.fitting import fit_preisach as fit_preisach
from diffhep.magnet.operator_fit import OperatorFit as OperatorFit
from diffhep.magnet.operator_fit import fit_operator as fit_operator
from diffhep.magnet.operators import AbstractOperator as AbstractOperator
from diffhep.magnet.operators import BoucWen as BoucWen
from diffhep.magnet.operators import Calibration as Calibration
from diffhep.magnet.operators import CellEverett as CellEverett
from diffhep.magnet.operators import ColemanHodgdon as ColemanHodgdon
from diffhep.magnet.operators import EddyCascade as EddyCascade
from diffhep.magnet.operators import JilesAtherton as JilesAtherton
from diffhep.magnet.operators import Parallel as Parallel
from diffhep.magnet.operators import Play as Play
from diffhep.magnet.operators import PlayPreisach as PlayPreisach
from diffhep.magnet.operators import Polynomial as Polynomial
from diffhep.magnet.operators import PrandtlIshlinskii as PrandtlIshlinskii
from diffhep.magnet.operators import Preisach as Preisach
from diffhep.magnet.operators import RelayPreisach as RelayPreisach
from diffhep.magnet.operators import Series as Series
from diffhep.magnet.operators import Stop as Stop
from diffhep.magnet.operators import UniformEverett as UniformEverett
from diffhep.magnet.operators import cell_everett as cell_everett
from diffhep.magnet.operators import lamination as lamination
from diffhep.magnet.operators import relay_mesh as relay_mesh
