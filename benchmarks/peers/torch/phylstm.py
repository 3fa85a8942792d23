"""A training step of PhyLSTM 3, arXiv:2002.10253: the loss and its gradient, in PyTorch's LSTM."""

import json
import sys
import time

import torch


class Remembering(torch.nn.Module):
    """An LSTM and its readout."""

    def __init__(self, n_channels, width, depth, n_outputs):
        super().__init__()
        self.lstm = torch.nn.LSTM(n_channels, width, depth, batch_first=True)
        self.readout = torch.nn.Linear(width, n_outputs)

    def forward(self, series):
        return self.readout(self.lstm(series)[0])


def derivative(series):
    """Central differences of fourth order."""
    near = series[:, 3:-1] - series[:, 1:-3]
    return (8.0 * near - (series[:, 4:] - series[:, :-4])) / 12.0


def physics_loss(response, force, change, gain, log_variances, inputs, target, levels):
    """Data, v = dy/dt, motion and dr/dt = f, each over its variance."""
    known = torch.zeros(*inputs.shape[:2], 2)
    outputs = response(torch.cat([inputs, known], dim=2))
    n = 1 + len(levels)
    mean, v, r = outputs[..., 0], outputs[..., n], outputs[..., n + 1]
    lowest = mean[..., None] + outputs[..., 1:2]
    gaps = torch.nn.functional.softplus(outputs[..., 2:n])
    quantiles = torch.cat([lowest, lowest + torch.cumsum(gaps, dim=2)], dim=2)
    error = target[..., None] - quantiles
    pinball = torch.maximum(levels * error, (levels - 1.0) * error).mean(dim=(1, 2))
    data = ((mean - target) ** 2).mean(dim=1) + pinball
    g = force(torch.stack([mean, v, r], dim=2))[..., 0]
    f = change(torch.stack([v, r], dim=2))[..., 0]
    inside = slice(2, -2)
    residuals = [
        derivative(mean) - v[:, inside],
        derivative(v) + (g - gain * inputs[..., 0])[:, inside],
        derivative(r) - f[:, inside],
    ]
    terms = torch.stack([data, *((one**2).mean(dim=1) for one in residuals)], dim=1)
    return (torch.exp(-log_variances) * terms + log_variances).sum(dim=1).mean()


def load(module, weights):
    """Weights of the other side; its one bias a gate is the sum of two here."""
    for index, layer in enumerate(weights["layers"]):
        tensors = {name: torch.tensor(value) for name, value in layer.items()}
        for name in ("weight_ih", "weight_hh", "bias_ih"):
            getattr(module.lstm, f"{name}_l{index}").data[:] = tensors[name]
        getattr(module.lstm, f"bias_hh_l{index}").data.zero_()
    load_linear(module.readout, weights["readout"])


def load_linear(linear, weights):
    """Weight and bias."""
    linear.weight.data[:] = torch.tensor(weights["weight"])
    linear.bias.data[:] = torch.tensor(weights["bias"])


def main():
    setting = json.loads(sys.argv[1])
    if setting["n_threads"] is not None:
        torch.set_num_threads(setting["n_threads"])
    torch.backends.mkldnn.enabled = setting["onednn"]
    first = json.loads(sys.stdin.readline())
    levels = torch.tensor(first["levels"])
    width = setting["width"]
    response = Remembering(4, width, setting["depth"], len(levels) + 3)
    change = Remembering(2, width, 1, 1)
    hidden, out = torch.nn.Linear(3, width), torch.nn.Linear(width, 1)
    load(response, first["response"])
    load(change, first["change"])
    load_linear(hidden, first["force"][0])
    load_linear(out, first["force"][1])
    force = torch.nn.Sequential(hidden, torch.nn.Tanh(), out)
    gain = torch.ones((), requires_grad=True)
    log_variances = torch.zeros(4, requires_grad=True)
    inputs, target = torch.tensor(first["inputs"]), torch.tensor(first["target"])
    parameters = [gain, log_variances]
    for module in (response, force, change):
        parameters += module.parameters()
    print(json.dumps({"n_parameters": sum(p.numel() for p in parameters)}), flush=True)
    networks, batch = (response, force, change), (inputs, target)
    for line in sys.stdin:
        n_steps = json.loads(line)["n_steps"]
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(n_steps):
            for parameter in parameters:
                parameter.grad = None
            loss = physics_loss(*networks, gain, log_variances, *batch, levels)
            loss.backward()
        answer = {
            "wall": (time.perf_counter() - wall) / n_steps,
            "cpu": (time.process_time() - cpu) / n_steps,
            "loss": loss.item(),
            "slope": float(gain.grad),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
