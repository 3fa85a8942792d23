"""HMC of 2D U(1) in PyTorch, eager and in double precision; one JSON answer per request.

The same algorithm as the library's: leapfrog in its position version with joined half-steps, the
analytic force, the action kept from one trajectory to the next.
"""

import json
import math
import sys
import time

import torch


def plaquette_angles(U):
    return U[0] + torch.roll(U[1], -1, 0) - torch.roll(U[0], -1, 1) - U[1]


def action(U, beta):
    return -beta * torch.cos(plaquette_angles(U)).sum()


def force(U, beta):
    sines = beta * torch.sin(plaquette_angles(U))
    return torch.stack([sines - torch.roll(sines, 1, 1), torch.roll(sines, 1, 0) - sines])


def trajectory(U, S, beta, step_size, n_steps):
    p = torch.randn_like(U)
    start = S + 0.5 * (p * p).sum()
    V = U + 0.5 * step_size * p
    for step in range(n_steps):
        p = p - step_size * force(V, beta)
        V = V + (step_size if step + 1 < n_steps else 0.5 * step_size) * p
    new = action(V, beta)
    change = new + 0.5 * (p * p).sum() - start
    if torch.rand(()) < torch.exp(-change):
        return torch.remainder(V + math.pi, 2 * math.pi) - math.pi, new, True
    return U, S, False


def main():
    setting = json.loads(sys.argv[1])
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    if setting["n_threads"] is not None:
        torch.set_num_threads(setting["n_threads"])
    beta, n_steps = setting["beta"], setting["n_steps"]
    step_size = setting["trajectory_length"] / n_steps
    U = torch.zeros(2, setting["L"], setting["L"])
    S = action(U, beta)
    with torch.no_grad():
        for line in sys.stdin:
            n = json.loads(line)["n_trajectories"]
            accepted = 0
            start = time.perf_counter()
            for _ in range(n):
                U, S, moved = trajectory(U, S, beta, step_size, n_steps)
                accepted += moved
            seconds = time.perf_counter() - start
            plaquette = float(torch.cos(plaquette_angles(U)).mean())
            answer = {"seconds": seconds, "acceptance": accepted / n, "plaquette": plaquette}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
