"""NRE-B of PyTorch's sbi on given simulations: time of an epoch, validation included."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sbi.inference import NRE_B
from sbi.neural_nets import classifier_nn
from sbi.utils import BoxUniform


def main() -> None:
    """Answer each round with the processor and wall time of an epoch."""
    setting = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    # Sbi writes logs where it runs.
    os.chdir(Path(setting["file"]).parent)
    data = np.load(setting["file"])
    theta, x = (torch.tensor(data[name], dtype=torch.float32) for name in ("theta", "x"))
    for line in sys.stdin:
        request = json.loads(line)
        torch.manual_seed(0)
        prior = BoxUniform(torch.full((2,), -1.0), torch.full((2,), 1.0))
        network = classifier_nn("resnet", hidden_features=setting["width"], num_blocks=2)
        inference = NRE_B(prior, classifier=network, show_progress_bars=False)
        inference.append_simulations(theta, x)
        start, clock = time.process_time(), time.perf_counter()
        inference.train(
            num_atoms=setting["contrasts"],
            training_batch_size=request["batch"],
            learning_rate=setting["learning_rate"],
            validation_fraction=setting["held_out"],
            max_num_epochs=request["epochs"],
            stop_after_epochs=10**6,
        )
        seconds, wall = time.process_time() - start, time.perf_counter() - clock
        epochs = len(inference.summary["training_loss"])
        answer = {"cpu": seconds / epochs, "wall": wall / epochs, "epochs": epochs}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
