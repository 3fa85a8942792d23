"""Electromagnetic showers in closed form: media, the law of Grindhammer and Peters, fits of it."""

from diffhep.detector.showers.fitting import FitResult, ShowerSample, fit_parameters
from diffhep.detector.showers.medium import Medium, homogeneous_medium, sampling_medium
from diffhep.detector.showers.parameters import GflashParameters
from diffhep.detector.showers.profiles import (
    RadialLaw,
    ShowerLaw,
    ShowerShape,
    draw_shape,
    longitudinal_cdf,
    mean_longitudinal_cdf,
    mean_radial_cdf,
    radial_cdf,
    radial_law,
    sample_radius,
    sampling_term,
    shower_law,
    visible_fraction,
)

__all__ = [
    "FitResult",
    "GflashParameters",
    "Medium",
    "RadialLaw",
    "ShowerLaw",
    "ShowerSample",
    "ShowerShape",
    "draw_shape",
    "fit_parameters",
    "homogeneous_medium",
    "longitudinal_cdf",
    "mean_longitudinal_cdf",
    "mean_radial_cdf",
    "radial_cdf",
    "radial_law",
    "sample_radius",
    "sampling_medium",
    "sampling_term",
    "shower_law",
    "visible_fraction",
]
