"""The test statistic of toys by pyhf with iminuit, one after the other.

The setting holds a workspace, the tested value and toys as lists of main and auxiliary data. One
JSON answer per request: the statistics of all toys and the seconds they took.
"""

import json
import sys
import time

import pyhf

setting = json.loads(sys.argv[1])
pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer())
model = pyhf.Workspace(setting["workspace"]).model()
suggested = (
    model.config.suggested_init(),
    model.config.suggested_bounds(),
    model.config.suggested_fixed(),
)

for _ in sys.stdin:
    start = time.perf_counter()
    found = [
        float(pyhf.infer.test_statistics.qmu_tilde(setting["value"], toy, model, *suggested))
        for toy in setting["toys"]
    ]
    answer = {"statistics": found, "seconds": time.perf_counter() - start}
    print(json.dumps(answer), flush=True)
