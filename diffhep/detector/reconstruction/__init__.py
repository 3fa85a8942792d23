"""From hits to tracks and from tracks to vertices, differentiable."""

from diffhep.detector.reconstruction.perigee import perigee as perigee
from diffhep.detector.reconstruction.vertex import BeamSpot as BeamSpot
from diffhep.detector.reconstruction.vertex import VertexFit as VertexFit
from diffhep.detector.reconstruction.vertex import vertex_fit as vertex_fit
