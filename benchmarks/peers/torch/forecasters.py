"""Transformer and temporal fusion transformer in PyTorch: one forecast of one window, no gradient.

The networks of the library's `Transformer` and `TemporalFusionTransformer`, written as published
implementations are: fused attention, `nn.LSTM`, one gated residual network for each variable. One
JSON answer per request: the outputs under given parameters, or seconds of some forecasts.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional

SLOWEST = 1e4


def rotation(positions, n):
    angles = torch.outer(positions, SLOWEST ** (-torch.arange(n, dtype=torch.float64) / n))
    return torch.cos(angles).float(), torch.sin(angles).float()


def rotate(x, table):
    (cos, sin), (a, b) = table, x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Attention(nn.Module):
    def __init__(self, width, n_heads):
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.n_heads = n_heads

    def heads(self, x):
        return x.unflatten(-1, (self.n_heads, -1)).transpose(0, 1)

    def forward(self, asking, asked, tables, causal=False):
        keys, values = self.key_value(asked).chunk(2, -1)
        q = rotate(self.heads(self.query(asking)), tables[0])
        k = rotate(self.heads(keys), tables[1])
        found = functional.scaled_dot_product_attention(q, k, self.heads(values), is_causal=causal)
        return self.out(found.transpose(0, 1).flatten(1))


class FeedForward(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        return self.down(functional.gelu(self.up(x), approximate="tanh"))


class EncoderLayer(nn.Module):
    def __init__(self, width, n_heads, inner):
        super().__init__()
        self.attention = Attention(width, n_heads)
        self.feed_forward = FeedForward(width, inner)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x, table):
        own = self.norms[0](x)
        x = x + self.attention(own, own, (table, table))
        return x + self.feed_forward(self.norms[1](x))


class DecoderLayer(nn.Module):
    def __init__(self, width, n_heads, inner):
        super().__init__()
        self.among, self.cross = Attention(width, n_heads), Attention(width, n_heads)
        self.feed_forward = FeedForward(width, inner)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, past, tables):
        own = self.norms[0](x)
        x = x + self.among(own, own, (tables[0], tables[0]), causal=True)
        x = x + self.cross(self.norms[1](x), past, tables)
        return x + self.feed_forward(self.norms[2](x))


class Transformer(nn.Module):
    def __init__(self, n_context, n_horizon, n_outputs, width, n_heads, n_layers, inner):
        super().__init__()
        self.embed_past, self.embed_future = nn.Linear(3, width), nn.Linear(2, width)
        self.encoder = nn.ModuleList(EncoderLayer(width, n_heads, inner) for _ in range(n_layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, n_heads, inner) for _ in range(n_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.readout = nn.Linear(width, n_outputs)
        n = width // n_heads // 2
        times = torch.arange(n_context + n_horizon, dtype=torch.float64)
        self.tables = rotation(times[n_context:], n), rotation(times[:n_context], n)

    def forward(self, inputs, past):
        n = past.shape[0]
        x = self.embed_past(torch.cat([inputs[:n], past[:, None]], 1))
        for layer in self.encoder:
            x = layer(x, self.tables[1])
        x, steps = self.norms[0](x), self.embed_future(inputs[n:])
        for layer in self.decoder:
            steps = layer(steps, x, self.tables)
        return self.readout(self.norms[1](steps))


class GatedAddition(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.gate, self.norm = nn.Linear(inner, 2 * width), nn.LayerNorm(width)

    def forward(self, x, gamma):
        opening, value = self.gate(gamma).chunk(2, -1)
        return self.norm(x + torch.sigmoid(opening) * value)


class GatedResidual(nn.Module):
    def __init__(self, n_in, width, n_out):
        super().__init__()
        self.first, self.second = nn.Linear(n_in, width), nn.Linear(width, width)
        self.skip = None if n_in == n_out else nn.Linear(n_in, n_out)
        self.addition = GatedAddition(n_out, width)

    def forward(self, a):
        kept = a if self.skip is None else self.skip(a)
        return self.addition(kept, self.second(functional.elu(self.first(a))))


class VariableSelection(nn.Module):
    def __init__(self, n_variables, width):
        super().__init__()
        self.embedding = nn.ModuleList(nn.Linear(1, width) for _ in range(n_variables))
        self.networks = nn.ModuleList(
            GatedResidual(width, width, width) for _ in range(n_variables)
        )
        self.weighting = GatedResidual(n_variables * width, width, n_variables)

    def forward(self, x):
        tokens = [embed(x[:, i : i + 1]) for i, embed in enumerate(self.embedding)]
        weights = torch.softmax(self.weighting(torch.cat(tokens, -1)), -1)
        mapped = [network(token) for network, token in zip(self.networks, tokens, strict=True)]
        return (torch.stack(mapped, -1) * weights[:, None]).sum(-1)


class InterpretableAttention(nn.Module):
    def __init__(self, width, n_heads, n_context, n_horizon):
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width // n_heads, bias=False)
        self.out = nn.Linear(width // n_heads, width, bias=False)
        self.n_heads = n_heads
        n = n_context + n_horizon
        self.ahead = torch.arange(n) > torch.arange(n_context, n)[:, None]

    def forward(self, tokens, n_context):
        q = self.query(tokens[n_context:]).unflatten(-1, (self.n_heads, -1)).transpose(0, 1)
        k = self.keys(tokens).unflatten(-1, (self.n_heads, -1)).transpose(0, 1)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(self.ahead, float("-inf"))
        return self.out(torch.softmax(scores, -1).mean(0) @ self.value(tokens))


class TemporalFusionTransformer(nn.Module):
    def __init__(self, n_context, n_horizon, n_outputs, width, n_heads):
        super().__init__()
        self.select_past = VariableSelection(3, width)
        self.select_future = VariableSelection(2, width)
        self.cells = nn.ModuleList(nn.LSTM(width, width) for _ in range(2))
        self.after_cells = GatedAddition(width, width)
        self.enrichment = GatedResidual(width, width, width)
        self.attention = InterpretableAttention(width, n_heads, n_context, n_horizon)
        self.after_attention = GatedAddition(width, width)
        self.mapping = GatedResidual(width, width, width)
        self.after_mapping = GatedAddition(width, width)
        self.readout = nn.Linear(width, n_outputs)

    def forward(self, inputs, past):
        n = past.shape[0]
        begin = self.select_past(torch.cat([inputs[:n], past[:, None]], 1))
        ahead = self.select_future(inputs[n:])
        told, state = self.cells[0](begin)
        telling, _ = self.cells[1](ahead, state)
        temporal = self.after_cells(torch.cat([begin, ahead]), torch.cat([told, telling]))
        enriched = self.enrichment(temporal)
        attended = self.after_attention(enriched[n:], self.attention(enriched, n))
        return self.readout(self.after_mapping(temporal[n:], self.mapping(attended)))


class Forecaster(nn.Module):
    """A network and what its outputs mean: mean and quantiles that do not cross."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, inputs, past):
        raw = self.network(inputs, past)
        mean = raw[:, 0] + past[-1]
        lowest = mean[:, None] + raw[:, 1:2]
        rising = lowest + torch.cumsum(functional.softplus(raw[:, 2:]), 1)
        return mean, torch.cat([lowest, rising], 1).mT


def state_dict(network, parameters):
    """Parameters under the names that PyTorch gives them; members of a stack apart."""
    expected, found = network.state_dict(), {}
    for name, value in parameters.items():
        value = torch.tensor(value)
        stacked = [part for part in ("embedding.", "networks.") if part in name]
        if name.startswith("cells."):
            if name.endswith(".bias"):
                found[f"{name}_ih_l0"] = value
                found[f"{name}_hh_l0"] = torch.zeros_like(value)
            else:
                found[f"{name}_l0"] = value
        elif stacked:
            head, _, tail = name.partition(stacked[0])
            for index, one in enumerate(value):
                found[f"{head}{stacked[0]}{index}.{tail}"] = one
        else:
            found[name] = value
    return {name: found[name].reshape(leaf.shape) for name, leaf in expected.items()}


def main():
    setting = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    kinds = {"transformer": Transformer, "temporal_fusion": TemporalFusionTransformer}
    network = kinds[setting["kind"]](**setting["sizes"]).eval()
    forecaster = Forecaster(network)
    predict = torch.compile(forecaster) if setting["compiled"] else forecaster
    with torch.inference_mode():
        for line in sys.stdin:
            request = json.loads(line)
            if "parameters" in request:
                network.load_state_dict(state_dict(network, request["parameters"]))
                inputs, past = (torch.tensor(request[name]) for name in ("inputs", "past"))
                start = time.perf_counter()
                mean, quantiles = predict(inputs, past)
                compiling = time.perf_counter() - start
                answer = {
                    "mean": mean.tolist(),
                    "quantiles": quantiles.tolist(),
                    "first": compiling,
                }
            else:
                walls, start = [], time.process_time()
                for _ in range(request["n"]):
                    begin = time.perf_counter()
                    predict(inputs, past)
                    walls.append(time.perf_counter() - begin)
                cpu = (time.process_time() - start) / request["n"]
                answer = {"cpu": cpu, "wall": sorted(walls)[len(walls) // 2], "least": min(walls)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
