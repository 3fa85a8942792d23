"""Training of stripe couplings for 2D U(1) in PyTorch, eager and in single precision.

The same network as the library's `stripe_flow` with `CircularSpline`: one JSON answer per request,
either the image of given fields under given parameters, or the time of some optimiser steps of
reverse Kullback-Leibler training with the reparameterised gradient. Batch first and channels second
as PyTorch's convolutions like them; the bin of an angle by gathers, as published implementations
have it.
"""

import json
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional

PERIOD = 4
LEAST_SLOPE = 1e-3
SMALLEST = 1e-3
SOFTPLUS_ZERO = math.log(math.expm1(1.0 - LEAST_SLOPE))


def wrap(angle):
    return angle - 2 * math.pi * torch.floor((angle + math.pi) * (0.5 / math.pi))


def plaquette_angles(U):
    """Of fields (batch, 2, L, T)."""
    return U[:, 0] + torch.roll(U[:, 1], -1, 1) - torch.roll(U[:, 0], -1, 2) - U[:, 1]


def action(U, beta):
    return -beta * torch.cos(plaquette_angles(U.double())).sum((1, 2))


def knots(logits):
    """The n + 1 knots of n bins on [0, pi], the bins along axis 1."""
    free = 1.0 - logits.shape[1] * SMALLEST
    sizes = math.pi * (SMALLEST + free * torch.softmax(logits, 1))
    return functional.pad(torch.cumsum(sizes, 1), (0, 0, 0, 0, 1, 0)), sizes


def spline(angle, raw, n_bins):
    """Image and logarithm of the slope of an odd rational-quadratic spline of the circle."""
    x = torch.abs(angle)
    edges, widths = knots(raw[:, :n_bins])
    image_edges, heights = knots(raw[:, n_bins : 2 * n_bins])
    raw_slopes = raw[:, 2 * n_bins :]
    index = (x[:, None] >= edges[:, 1:-1]).sum(1, keepdim=True)

    def pick(values, at):
        return torch.gather(values, 1, at)[:, 0]

    start, width = pick(edges, index), pick(widths, index)
    start_image, height = pick(image_edges, index), pick(heights, index)
    slope = LEAST_SLOPE + functional.softplus(pick(raw_slopes, index) + SOFTPLUS_ZERO)
    next_slope = LEAST_SLOPE + functional.softplus(pick(raw_slopes, index + 1) + SOFTPLUS_ZERO)
    s = height / width
    xi = torch.clamp((x - start) / width, 0.0, 1.0)
    across = xi * (1 - xi)
    bottom = s + (slope + next_slope - 2 * s) * across
    y = start_image + height * (s * xi * xi + slope * across) / bottom
    top = s * s * (next_slope * xi * xi + 2 * s * across + slope * (1 - xi) ** 2)
    return torch.copysign(y, angle), torch.log(top / (bottom * bottom))


class Coupling(nn.Module):
    def __init__(self, direction, offset, hidden, width, n_bins):
        super().__init__()
        self.direction, self.offset, self.n_bins = direction, offset, n_bins
        self.reach = width // 2
        sizes = (1 + 2 * (2 * PERIOD - 4), *hidden, 3 * n_bins + 2)
        widths = (width, *[1] * len(hidden))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n_in, n_out, w)
            for n_in, n_out, w in zip(sizes[:-1], sizes[1:], widths, strict=True)
        )

    def network(self, x):
        x = functional.pad(x, (self.reach,) * 4, mode="circular")
        for convolution in self.convolutions[:-1]:
            x = functional.silu(convolution(x))
        return self.convolutions[-1](x)

    def forward(self, U):
        across = 2 - self.direction
        values = torch.roll(plaquette_angles(U), -self.offset, across)
        if across == 2:
            values = values.transpose(1, 2)
        rows = values.unflatten(1, (-1, PERIOD)).movedim(2, 1)
        active = wrap(rows[:, 0])
        parent = wrap(rows[:, 0] + torch.roll(rows[:, -1], 1, 1))
        frozen = wrap(rows[:, 1:-1])
        pairs = frozen[:, :-1] + frozen[:, 1:]
        angles = torch.cat([parent[:, None], frozen, pairs], 1)
        half = torch.cos(0.5 * parent)[:, None]
        out = self.network(torch.cat([half, torch.cos(angles), torch.sin(angles)], 1))
        image, log_slope = spline(active, out[:, :-1], self.n_bins)
        change = image - active + out[:, -1]
        if self.direction == 1:
            change = -change
        cells = functional.pad(change[:, :, None], (0, 0, 0, PERIOD - 1)).flatten(1, 2)
        if across == 2:
            cells = cells.transpose(1, 2)
        cells = torch.roll(cells, self.offset, across)
        links = list(U.unbind(1))
        links[self.direction] = links[self.direction] + cells
        return torch.stack(links, 1), log_slope.double().sum((1, 2))


class Flow(nn.Module):
    def __init__(self, n_layers, hidden, width, n_bins):
        super().__init__()
        self.layers = nn.ModuleList(
            Coupling(index % 2, (index // 2) % PERIOD, hidden, width, n_bins)
            for index in range(n_layers)
        )

    def forward(self, U):
        log_q = torch.zeros(U.shape[0], dtype=torch.float64)
        for layer in self.layers:
            U, log_det = layer(U)
            log_q = log_q - log_det
        return U, log_q

    def load(self, layers):
        """Parameters as lists: per layer and convolution a weight (out, in, A, B) and a bias."""
        for layer, convolutions in zip(self.layers, layers, strict=True):
            for convolution, (weight, bias) in zip(layer.convolutions, convolutions, strict=True):
                convolution.weight.data = torch.tensor(weight)
                convolution.bias.data = torch.tensor(bias)


def main():
    setting = json.loads(sys.argv[1])
    torch.manual_seed(0)
    if setting["n_threads"] is not None:
        torch.set_num_threads(setting["n_threads"])
    L, batch, beta = setting["L"], setting["batch"], setting["beta"]
    flow = Flow(setting["n_layers"], setting["hidden"], setting["width"], setting["n_bins"])
    optimizer = None
    for line in sys.stdin:
        request = json.loads(line)
        if "layers" in request:
            flow.load(request["layers"])
            optimizer = torch.optim.Adam(flow.parameters(), setting["learning_rate"], fused=True)
            with torch.no_grad():
                U, log_q = flow(torch.tensor(request["z"]))
            answer = {"U": U.tolist(), "log_q": log_q.tolist()}
        else:
            start = time.perf_counter()
            for _ in range(request["n_steps"]):
                z = (2 * torch.rand(batch, 2, L, L) - 1) * math.pi
                optimizer.zero_grad()
                U, log_q = flow(z)
                loss = (log_q + action(U, beta)).mean()
                loss.backward()
                optimizer.step()
            answer = {"seconds": time.perf_counter() - start, "loss": loss.item()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
