"""Problems with exact answers."""

from diffhep_sbi.problems.signal_background import SignalBackground as SignalBackground
