"""From hits to tracks and from tracks to vertices, differentiable."""

from diffhep.detector.reconstruction.helix import HelixFit as HelixFit
from diffhep.detector.reconstruction.helix import Layers as Layers
from diffhep.detector.reconstruction.helix import helix_covariance as helix_covariance
from diffhep.detector.reconstruction.helix import helix_fit as helix_fit
from diffhep.detector.reconstruction.helix import through_layers as through_layers
from diffhep.detector.reconstruction.kalman import KalmanFit as KalmanFit
from diffhep.detector.reconstruction.kalman import LinearModel as LinearModel
from diffhep.detector.reconstruction.kalman import States as States
from diffhep.detector.reconstruction.kalman import kalman_filter as kalman_filter
from diffhep.detector.reconstruction.kalman import kalman_smoother as kalman_smoother
from diffhep.detector.reconstruction.kalman import plane_model as plane_model
from diffhep.detector.reconstruction.perigee import at_radius as at_radius
from diffhep.detector.reconstruction.perigee import perigee as perigee
from diffhep.detector.reconstruction.vertex import BeamSpot as BeamSpot
from diffhep.detector.reconstruction.vertex import VertexFit as VertexFit
from diffhep.detector.reconstruction.vertex import vertex_fit as vertex_fit
