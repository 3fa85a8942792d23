"""Muon tomography by TomOpt: muons through panels and voxels, radiation lengths, and slopes."""

import json
import sys
import time

import torch
from tomopt.inference import PanelX0Inferrer, ScatterBatch
from tomopt.muon import MuonBatch, MuonGenerator2016
from tomopt.volume import PanelDetectorLayer, PassiveLayer, SigmoidDetectorPanel, Volume


def panels(setting, heights):
    """Panels above or below the middle of the box, all of one size."""
    middle = [0.5 * edge for edge in setting["lwh_m"][:2]]
    return torch.nn.ModuleList(
        [
            SigmoidDetectorPanel(
                smooth=0.1,
                res=1.0 / setting["resolution_m"],
                eff=0.9,
                init_xyz=(*middle, z),
                init_xy_span=(setting["span_m"],) * 2,
            )
            for z in heights
        ]
    )


def volume(setting):
    """Panels above, layers of voxels, panels below; iron in the middle and air around."""
    lwh, size, depth = setting["lwh_m"], setting["voxel_m"], setting["below_m"]
    lw = torch.tensor(lwh[:2])
    top = depth + lwh[2]

    def lengths(*, z, lw, size):
        found = torch.full([round(float(edge) / size) for edge in lw], 303.9)
        if abs(z - depth - 0.5 * lwh[2]) < 0.75 * size:
            found[3:7, 3:7] = 0.01757
        return found

    above = PanelDetectorLayer(
        pos="above",
        lw=lw,
        z=top + depth,
        size=depth,
        panels=panels(setting, [top + z for z in setting["heights_m"]]),
    )
    below = PanelDetectorLayer(
        pos="below",
        lw=lw,
        z=depth,
        size=depth,
        panels=panels(setting, [depth - z for z in setting["heights_m"]]),
    )
    passive = [
        PassiveLayer(lw=lw, z=top - i * size, size=size, step_sz=setting["step_m"])
        for i in range(round(lwh[2] / size))
    ]
    made = Volume(torch.nn.ModuleList([above, *passive, below]))
    made.load_rad_length(lengths)
    return made


def main():
    setting = json.loads(sys.argv[1])
    if setting["n_threads"] is not None:
        torch.set_num_threads(setting["n_threads"])
    torch.manual_seed(0)
    made = volume(setting).train()
    generator = MuonGenerator2016.from_volume(made, fixed_mom=5.0)
    parameters = [p for p in made.parameters() if p.requires_grad]
    for _ in sys.stdin:
        drawn = generator(setting["n_muons"])
        start = time.perf_counter()
        for parameter in parameters:
            parameter.grad = None
        muons = MuonBatch(drawn, init_z=made.h)
        made(muons)
        inferrer = PanelX0Inferrer(made)
        inferrer.add_scatters(ScatterBatch(mu=muons, volume=made))
        found = inferrer.get_prediction()
        torch.log(found).mean().backward()
        seconds = time.perf_counter() - start
        iron = found[found.shape[0] // 2, 3:7, 3:7].detach()
        slopes = sum(float(p.grad.abs().sum()) for p in parameters if p.grad is not None)
        answer = {"seconds": seconds, "iron_m": float(iron.median()), "slopes": slopes}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
