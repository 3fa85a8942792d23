"""Gradient descent on the density of a Preisach model of relays, in the way of arXiv:2202.07747."""

import json
import sys
import time

import torch


def triangle(n_relays):
    """Thresholds of about so many relays on a triangular mesh of [0, 1]."""
    n = round((2 * n_relays) ** 0.5)
    up, down = torch.meshgrid(torch.linspace(0, 1, n), torch.linspace(0, 1, n), indexing="ij")
    kept = up >= down
    return up[kept], down[kept]


def outputs(u, up, down, width, density, scale, offset):
    """One pass through the inputs; relays switch along a hyperbolic tangent."""
    state = -torch.ones_like(up)
    found, before = [], torch.zeros(())
    for at in u:
        if at >= before:
            state = torch.maximum(state, torch.tanh((at - up) / width))
        else:
            state = torch.minimum(state, torch.tanh((at - down) / width))
        before = at
        found.append((density * state).sum() / density.sum())
    return scale * torch.stack(found) + offset


def main():
    setting = json.loads(sys.argv[1])
    torch.set_default_dtype(torch.float64)
    if setting["n_threads"] is not None:
        torch.set_num_threads(setting["n_threads"])
    u, y = (torch.tensor(setting[name]) for name in ("u", "y"))
    up, down = triangle(setting["n_relays"])
    raw = torch.zeros_like(up, requires_grad=True)
    scale, offset = (torch.ones((), requires_grad=True) for _ in range(2))
    optimiser = torch.optim.Adam([raw, scale, offset], lr=0.01)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(json.loads(line)["n_steps"]):
            optimiser.zero_grad()
            density = torch.nn.functional.softplus(raw)
            found = outputs(u, up, down, 0.01, density, scale, offset)
            loss = ((found - y) ** 2).mean()
            loss.backward()
            optimiser.step()
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds, "loss": float(loss), "n_relays": up.numel()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
