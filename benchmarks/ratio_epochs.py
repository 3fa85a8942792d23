"""Epochs of `fit_ratio` on one core, timed without compilation; a process that answers rounds."""

import json
import os
import sys
import time

import jax
import numpy as np

from diffhep_sbi import Gold, fit_ratio, mlp, residual_mlp, training


def gold_of(file: str) -> Gold:
    """Pairs of parameters and events."""
    data = np.load(file)
    x, theta = data["x"], data["theta"]
    n = len(x)
    return Gold(
        x=x,
        log_ratio=None,
        score=None,
        weight=np.ones(n),
        event_id=np.arange(n),
        theta0=theta,
        theta1=np.zeros_like(theta),
        label=np.zeros(n, int),
    )


def main() -> None:
    """Answer each round with the processor and wall time of an epoch."""
    setting = json.loads(sys.argv[1])
    # Before JAX starts and counts the cores.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    gold, marks = gold_of(setting["file"]), []
    fit_ensemble = training.fit_ensemble

    def marked(*arguments, **options):
        def mark(_, __):
            marks.append((time.process_time(), time.perf_counter()))

        return fit_ensemble(*arguments, on_chunk=mark, **options)

    training.fit_ensemble = marked
    width = setting["width"]
    plain = setting["network"] == "mlp"
    network = mlp(width, 3) if plain else residual_mlp(width, 2, jax.nn.relu)
    for line in sys.stdin:
        request = json.loads(line)
        marks.clear()
        fit_ratio(
            gold,
            setting["method"],
            network=network,
            n_members=request["members"],
            # The first epoch ends the compilation.
            n_epochs=request["epochs"] + 1,
            batch=request["batch"],
            learning_rate=setting["learning_rate"],
            held_out=setting["held_out"],
            progress=False,
            key=jax.random.key(0),
        )
        epochs = len(marks) - 1
        cpu, wall = ((marks[-1][i] - marks[0][i]) / epochs for i in (0, 1))
        print(json.dumps({"cpu": cpu, "wall": wall, "epochs": epochs}), flush=True)


if __name__ == "__main__":
    main()
