"""Settings of the benchmark and its presets."""

from dataclasses import dataclass

from diffhep.core.checks import require, require_counts, require_positive

MODELS = ("white", "grey", "black")


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        models: Which are identified: "white", the equation with its parameters unknown; "grey", an
            oscillator with a learned law of its force; "black", a neural differential equation.
        n_samples: Of a period of the multisine.
        n_warm: Samples before a period, for the transients.
        upsampling: Steps of the models between two samples; of the black one `black_upsampling`.
        black_upsampling: Likewise.
        width: Hidden units of the learned law.
        black_width: Hidden units of the neural differential equation.
        most_steps: Most steps of a search.
        sweep_Hz_min: Rate of the sweep.
        noise_m: Of the displacement.
    """

    models: tuple[str, ...] = MODELS
    n_samples: int = 8192
    n_warm: int = 2048
    upsampling: int = 2
    black_upsampling: int = 1
    width: int = 6
    black_width: int = 8
    most_steps: int = 120
    sweep_Hz_min: float = 10.0
    noise_m: float = 8e-6

    def __post_init__(self) -> None:
        names = ("n_samples", "upsampling", "black_upsampling", "width", "black_width")
        require_counts(self, 1, *names, "most_steps")
        require_counts(self, 0, "n_warm")
        require_positive(self, "sweep_Hz_min", "noise_m")
        known = ", ".join(MODELS)
        require(set(self.models) <= set(MODELS), "models", f"be of {known}", self.models)


PRESETS = {
    "smoke": Config(
        models=("white",), n_samples=1024, n_warm=512, most_steps=12, sweep_Hz_min=600.0
    ),
    "demo": Config(models=("white", "grey"), n_samples=2048, n_warm=1024, most_steps=40),
    "full": Config(),
}
