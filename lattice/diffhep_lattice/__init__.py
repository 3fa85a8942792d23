"""Sampling lattice field theory with symmetry-equivariant flows and HMC."""
