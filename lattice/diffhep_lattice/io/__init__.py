"""Reading and writing gauge configurations in the formats that the community exchanges."""

from diffhep_lattice.io.hdf5 import EnsembleFile as EnsembleFile
from diffhep_lattice.io.hdf5 import StoredConfiguration as StoredConfiguration
from diffhep_lattice.io.ildg import write_ildg as write_ildg
from diffhep_lattice.io.links import UNITARITY_TOLERANCE as UNITARITY_TOLERANCE
from diffhep_lattice.io.metadata import ConfigurationMetadata as ConfigurationMetadata
from diffhep_lattice.io.nersc import write_nersc as write_nersc
from diffhep_lattice.io.reading import read as read
