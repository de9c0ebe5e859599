#!/usr/bin/env bash
# Expected: on a CPU, where every operation gives the same bits each time, the gradients of an attention block do too,
# whichever threads have computed its query, key and value.
# What happens: autograd goes back through ready operations by a number that each thread counts for itself. Where query,
# key and value come from threads of one's own, the gradients of what they share are added up in an order that depends
# on how the threads happened to take turns, and its last digits change from run to run; built in one thread, never.
# seen: torch 2.13.0+cpu, 300 passes each
# seen: one thread        1 gradients, up to 0.0e+00 apart
# seen: several threads  6 gradients, up to 1.2e-04 apart
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cat > "$folder/passes.py" <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor

import torch

PASSES = 300
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
features = torch.randn(64, 8, generator=generator)
weights = [torch.randn(8, 8, generator=generator) for _ in range(3)]
pool = ThreadPoolExecutor(3, initializer=torch.set_num_threads, initargs=(1,))


def gradient(mapped):
    shared = features.clone().requires_grad_()
    query, key, value = mapped(lambda weight: shared @ weight, weights)
    attention = (query @ key.T).softmax(-1)
    (attention @ value + shared).square().sum().backward()
    return shared.grad


print(f"torch {torch.__version__}, {PASSES} passes each")
different = {}
for name, mapped in (("one thread", map), ("several threads", pool.map)):
    found = [gradient(mapped) for _ in range(PASSES)]
    different[name] = len({tuple(one.flatten().tolist()) for one in found})
    apart = max(float((one - found[0]).abs().max()) for one in found)
    print(f"{name:<16} {different[name]:2} gradients, up to {apart:.1e} apart")
assert different["one thread"] == 1
assert different["several threads"] > 1
PYTHON
"$folder/env/bin/python" "$folder/passes.py"
