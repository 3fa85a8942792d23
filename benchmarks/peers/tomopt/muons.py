"""Muon tomography by TomOpt: muons through panels and voxels, radiation lengths, and slopes."""

import json
import sys
import time

import torch
from tomopt.inference import PanelX0Inferrer, ScatterBatch
from tomopt.muon import MuonBatch, MuonGenerator2016
from tomopt.volume import PanelDetectorLayer, PassiveLayer, SigmoidDetectorPanel, Volume

AIR_m, IRON_m = 303.9, 0.01757


def panels(setting, heights):
    """Panels above or below the middle of the box, all of one size."""
    middle = [0.5 * edge for edge in setting["lwh_m"][:2]]
    return torch.nn.ModuleList(
        [
            SigmoidDetectorPanel(
                smooth=0.1,
                res=1.0 / setting["resolution_m"],
                eff=setting["efficiency"],
                init_xyz=(*middle, z),
                init_xy_span=(setting["span_m"],) * 2,
            )
            for z in heights
        ]
    )


def volume(setting):
    """Panels above, layers of voxels, panels below; iron in the fourth layer and air around."""
    lwh, size, depth = setting["lwh_m"], setting["voxel_m"], setting["depth_m"]
    lw = torch.tensor(lwh[:2])
    top = depth + lwh[2]

    def lengths(*, z, lw, size):
        # Heights are those of the layers' tops.
        found = torch.full([round(float(edge) / size) for edge in lw], AIR_m)
        if round((float(z) - depth) / size) == 4:
            found[3:7, 3:7] = IRON_m
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
    torch.manual_seed(0)
    made = volume(setting).train()
    generator = MuonGenerator2016.from_volume(made, fixed_mom=5.0)
    parameters = [p for p in made.parameters() if p.requires_grad]
    for _ in sys.stdin:
        drawn = generator(setting["n_muons"])
        start = time.process_time()
        for parameter in parameters:
            parameter.grad = None
        muons = MuonBatch(drawn, init_z=made.h)
        made(muons)
        inferrer = PanelX0Inferrer(made)
        inferrer.add_scatters(ScatterBatch(mu=muons, volume=made))
        found = inferrer.get_prediction()
        torch.log(found).mean().backward()
        seconds = time.process_time() - start
        # Layers are counted from the bottom.
        iron = found[3, 3:7, 3:7].detach()
        slopes = sum(float(p.grad.abs().sum()) for p in parameters if p.grad is not None)
        answer = {"seconds": seconds, "iron_m": float(iron.median()), "slopes": slopes}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
