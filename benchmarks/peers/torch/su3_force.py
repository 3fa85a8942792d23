"""The Wilson force of SU(3) in four dimensions in PyTorch, as one writes it down: 13 `@` a link.

Matrices come last. One JSON answer per request: the force on a given field, or seconds.
"""

import json
import sys
import time

import torch


def force(U, beta):
    """The traceless anti-Hermitian parts of the loops that start with each link, times beta / 6."""
    loops = []
    for mu in range(4):
        total = 0.0
        for nu in range(4):
            if nu == mu:
                continue
            X, Y = U[mu], U[nu]
            Y_ahead = torch.roll(Y, -1, mu)
            total = total + Y_ahead @ torch.roll(X, -1, nu).mH @ Y.mH
            total = total + torch.roll(Y_ahead.mH @ X.mH @ Y, 1, nu)
        loops.append(U[mu] @ total)
    loops = torch.stack(loops)
    parts = beta / 12 * (loops - loops.mH)
    trace = parts.diagonal(dim1=-2, dim2=-1).mean(-1)
    return parts - trace[..., None, None] * torch.eye(3, dtype=U.dtype)


def main():
    setting = json.loads(sys.argv[1])
    torch.manual_seed(0)
    L, beta = setting["L"], setting["beta"]
    U = torch.linalg.qr(torch.randn(4, L, L, L, L, 3, 3, dtype=torch.complex128))[0].contiguous()
    with torch.no_grad():
        for line in sys.stdin:
            request = json.loads(line)
            if "U" in request:
                given = torch.complex(*(torch.tensor(x, dtype=torch.float64) for x in request["U"]))
                found = force(given, beta)
                answer = {"force": [found.real.tolist(), found.imag.tolist()]}
            else:
                start = time.perf_counter()
                force(U, beta)
                answer = {"seconds": time.perf_counter() - start}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
