"""Design problems whose optima are known."""

from diffhep.detector.problems.benchmark import rosenbrock as rosenbrock
from diffhep.detector.problems.benchmark import three_hump as three_hump
from diffhep.detector.problems.closed_form import ClosedForm as ClosedForm
from diffhep.detector.problems.closed_form import branching as branching
from diffhep.detector.problems.closed_form import budget_split as budget_split
from diffhep.detector.problems.closed_form import gluckstern as gluckstern
from diffhep.detector.problems.closed_form import squared_distance as squared_distance
from diffhep.detector.problems.closed_form import thickness as thickness
from diffhep.detector.problems.closed_form import vertex_radius as vertex_radius
