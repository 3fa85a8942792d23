"""NRE-B and NPE of PyTorch's sbi on given simulations: draws from posteriors of observations."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sbi.inference import NPE, NRE_B
from sbi.utils import BoxUniform


def main() -> None:
    """Answer each round with the file of the draws and the processor time of the training."""
    setting = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    # Sbi writes logs where it runs.
    os.chdir(Path(setting["file"]).parent)
    data = np.load(setting["file"])
    theta, x, observed = (
        torch.tensor(data[name], dtype=torch.float32) for name in ("theta", "x", "observed")
    )
    for line in sys.stdin:
        request = json.loads(line)
        # Answers go to the standard output, and messages of sbi must not.
        with contextlib.redirect_stdout(sys.stderr):
            answer = posteriors(request, theta, x, observed, setting["draws"])
        print(json.dumps(answer), flush=True)


def posteriors(request, theta, x, observed, n_draws):
    """Train, draw, and write the draws."""
    torch.manual_seed(0)
    prior = BoxUniform(torch.full((2,), -1.0), torch.full((2,), 1.0))
    if request["method"] == "nre":
        inference = NRE_B(prior, classifier="resnet", show_progress_bars=False)
        sampling = {"sample_with": "rejection"}
    else:
        inference = NPE(prior, density_estimator="nsf", show_progress_bars=False)
        sampling = {}
    start = time.process_time()
    inference.append_simulations(theta, x).train()
    cpu = time.process_time() - start
    posterior = inference.build_posterior(**sampling)
    draws = [
        posterior.sample((n_draws,), x=one[None], show_progress_bars=False).numpy()
        for one in observed
    ]
    np.savez(request["file"], draws=np.stack(draws))
    return {"cpu": cpu, "epochs": len(inference.summary["training_loss"])}


if __name__ == "__main__":
    main()
