"""Operators with memory: exact models of hysteresis and of eddy currents."""

from diffhep.magnet.operators.base import AbstractOperator as AbstractOperator
from diffhep.magnet.operators.bouc_wen import BoucWen as BoucWen
from diffhep.magnet.operators.calibration import Calibration as Calibration
from diffhep.magnet.operators.coleman_hodgdon import ColemanHodgdon as ColemanHodgdon
from diffhep.magnet.operators.combine import Parallel as Parallel
from diffhep.magnet.operators.combine import Series as Series
from diffhep.magnet.operators.eddy import EddyCascade as EddyCascade
from diffhep.magnet.operators.eddy import lamination as lamination
from diffhep.magnet.operators.everett import AbstractEverett as AbstractEverett
from diffhep.magnet.operators.everett import CellEverett as CellEverett
from diffhep.magnet.operators.everett import UniformEverett as UniformEverett
from diffhep.magnet.operators.everett import cell_everett as cell_everett
from diffhep.magnet.operators.jiles_atherton import JilesAtherton as JilesAtherton
from diffhep.magnet.operators.play import Play as Play
from diffhep.magnet.operators.play import Stop as Stop
from diffhep.magnet.operators.play_preisach import PlayPreisach as PlayPreisach
from diffhep.magnet.operators.polynomial import Polynomial as Polynomial
from diffhep.magnet.operators.prandtl_ishlinskii import PrandtlIshlinskii as PrandtlIshlinskii
from diffhep.magnet.operators.preisach import Preisach as Preisach
from diffhep.magnet.operators.relays import RelayPreisach as RelayPreisach
from diffhep.magnet.operators.relays import relay_mesh as relay_mesh
