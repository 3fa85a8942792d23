"""Forecasters: learned maps of programme and measured past to the field to come."""

from diffhep.magnet.forecasters.adaptive_basis import AdaptiveBasis as AdaptiveBasis
from diffhep.magnet.forecasters.adaptive_basis import adaptive_basis as adaptive_basis
from diffhep.magnet.forecasters.base import LEVELS as LEVELS
from diffhep.magnet.forecasters.base import AbstractForecaster as AbstractForecaster
from diffhep.magnet.forecasters.base import AbstractNeuralForecaster as AbstractNeuralForecaster
from diffhep.magnet.forecasters.base import Forecast as Forecast
from diffhep.magnet.forecasters.base import WindowForm as WindowForm
from diffhep.magnet.forecasters.base import quantiles_from as quantiles_from
from diffhep.magnet.forecasters.fourier import FourierForecaster as FourierForecaster
from diffhep.magnet.forecasters.hybrid import HybridPreisach as HybridPreisach
from diffhep.magnet.forecasters.losses import loop_energy_error as loop_energy_error
from diffhep.magnet.forecasters.losses import pinball as pinball
from diffhep.magnet.forecasters.losses import squared_error as squared_error
from diffhep.magnet.forecasters.lstm_layer import LSTMLayer as LSTMLayer
from diffhep.magnet.forecasters.memory_features import Memory as Memory
from diffhep.magnet.forecasters.memory_features import memory_features as memory_features
from diffhep.magnet.forecasters.neural_ode import LearnedField as LearnedField
from diffhep.magnet.forecasters.neural_ode import learned_field as learned_field
from diffhep.magnet.forecasters.operator import OperatorForecaster as OperatorForecaster
from diffhep.magnet.forecasters.patch_transformer import PatchTransformer as PatchTransformer
from diffhep.magnet.forecasters.phylstm import Motion as Motion
from diffhep.magnet.forecasters.phylstm import PhyLSTM as PhyLSTM
from diffhep.magnet.forecasters.phylstm import physics_loss as physics_loss
from diffhep.magnet.forecasters.recurrent import Recurrent as Recurrent
from diffhep.magnet.forecasters.recurrent import gru as gru
from diffhep.magnet.forecasters.recurrent import lstm as lstm
from diffhep.magnet.forecasters.scaling import Scaling as Scaling
from diffhep.magnet.forecasters.scaling import scaling_of as scaling_of
from diffhep.magnet.forecasters.temporal_fusion import Explanation as Explanation
from diffhep.magnet.forecasters.temporal_fusion import (
    TemporalFusionTransformer as TemporalFusionTransformer,
)
from diffhep.magnet.forecasters.training import Example as Example
from diffhep.magnet.forecasters.training import ForecasterFit as ForecasterFit
from diffhep.magnet.forecasters.training import data_loss as data_loss
from diffhep.magnet.forecasters.training import fit_forecaster as fit_forecaster
from diffhep.magnet.forecasters.transformer import Transformer as Transformer
