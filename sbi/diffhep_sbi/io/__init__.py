"""Readers of what other programs write, and PYTHIA."""

from diffhep_sbi.io.hepmc import read_hepmc as read_hepmc
from diffhep_sbi.io.histfactory import read_workspace as read_workspace
from diffhep_sbi.io.lhe import read_lhe as read_lhe
from diffhep_sbi.io.particles import EVENT_SHAPES as EVENT_SHAPES
from diffhep_sbi.io.particles import MUON_COSINE as MUON_COSINE
from diffhep_sbi.io.particles import Features as Features
from diffhep_sbi.io.particles import Particles as Particles
from diffhep_sbi.io.pythia import PythiaSimulator as PythiaSimulator
from diffhep_sbi.io.table import WeightTable as WeightTable
