"""Whether posteriors are right: two-sample tests, ranks, coverage, and unlikely data."""

from diffhep_sbi.diagnostics.c2st import c2st as c2st
from diffhep_sbi.diagnostics.expected_coverage import expected_coverage as expected_coverage
from diffhep_sbi.diagnostics.misspecification import misspecification as misspecification
from diffhep_sbi.diagnostics.plots import draw_c2st as draw_c2st
from diffhep_sbi.diagnostics.plots import draw_coverage as draw_coverage
from diffhep_sbi.diagnostics.plots import draw_misspecification as draw_misspecification
from diffhep_sbi.diagnostics.plots import draw_neyman as draw_neyman
from diffhep_sbi.diagnostics.plots import draw_profile as draw_profile
from diffhep_sbi.diagnostics.plots import draw_ranks as draw_ranks
from diffhep_sbi.diagnostics.sbc import sbc as sbc
from diffhep_sbi.diagnostics.tarp import tarp as tarp
