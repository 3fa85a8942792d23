"""Runs that generate ensembles of gauge configurations, on one device or many."""

from diffhep_lattice.ensemble.ensemble import Ensemble as Ensemble
from diffhep_lattice.ensemble.ensemble import EnsembleResult as EnsembleResult
from diffhep_lattice.ensemble.schedule import Schedule as Schedule
from diffhep_lattice.ensemble.table import TableRow as TableRow
from diffhep_lattice.ensemble.table import format_table as format_table
from diffhep_lattice.ensemble.table import tabulate as tabulate
