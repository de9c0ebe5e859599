#!/usr/bin/env bash
# Expected: tools that count a network's multiply-adds agree on an attention block, as they do on convolutions, however
# its two N×N products are written.
# What happens: which products are seen depends on the tool and on the spelling. Of one non-local block on 20×30 cells,
# 96 % of whose work is these products, thop and torchinfo count the three convolutions alone, ptflops by itself misses
# `@` and einsum, and all but PyTorch's own counter and ptflops' aten backend miss scaled_dot_product_attention. A network
# rewritten from matmul to scaled_dot_product_attention "gets" 26 times cheaper.
# seen: torch 2.13.0, thop 0.1.1-2209072238, torchinfo 1.8.0, fvcore 0.1.5.post20221221, ptflops 0.7.5
# seen: share that is counted  matmul     @     einsum   sdpa
# seen: thop                    0.04    0.04    0.04    0.04
# seen: torchinfo               0.04    0.04    0.04    0.04
# seen: ptflops                 1.00    0.04    0.04    0.04
# seen: fvcore                  1.00    1.00    1.00    0.04
# seen: ptflops, aten           1.00    1.00    1.00    1.00
# seen: torch                   1.00    1.00    1.00    1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 thop==0.1.1.post2209072238 torchinfo==1.8.0 \
    fvcore==0.1.5.post20221221 ptflops==0.7.5
"$folder/env/bin/python" - <<'PYTHON'
import logging
import warnings
from importlib.metadata import version

import ptflops
import thop
import torch
import torchinfo
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

warnings.simplefilter("ignore")
logging.disable()
CHANNELS, HEIGHT, WIDTH = 16, 20, 30
CELLS = HEIGHT * WIDTH
WORK = 3 * CHANNELS**2 * CELLS + 2 * CELLS**2 * CHANNELS

# rows of queries, keys and values, B×N×C, to what is gathered
SPELLINGS = {
    "matmul": lambda q, k, v: torch.matmul(torch.matmul(q, k.transpose(1, 2)).softmax(-1), v),
    "@": lambda q, k, v: (q @ k.transpose(1, 2)).softmax(-1) @ v,
    "einsum": lambda q, k, v: torch.einsum("bnm,bmc->bnc", torch.einsum("bnc,bmc->bnm", q, k).softmax(-1), v),
    "sdpa": lambda q, k, v: nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0),
}


class NonLocal(nn.Module):
    def __init__(self, gather):
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False) for _ in range(3))
        self.gather = gather

    def forward(self, features):
        rows = (layer(features).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return self.gather(*rows).transpose(1, 2).reshape_as(features)


def by_ptflops(model, features, backend):
    size = tuple(features.shape[1:])
    options = {"as_strings": False, "print_per_layer_stat": False, "backend": backend}
    return ptflops.get_model_complexity_info(model, size, **options)[0]


def by_torch(model, features):
    with FlopCounterMode(display=False) as counter:
        model(features)
    return counter.get_total_flops() / 2


COUNTERS = {
    "thop": lambda model, features: thop.profile(model, (features,), verbose=False)[0],
    "torchinfo": lambda model, features: torchinfo.summary(model, input_data=features, verbose=0).total_mult_adds,
    "ptflops": lambda model, features: by_ptflops(model, features, "pytorch"),
    "fvcore": lambda model, features: FlopCountAnalysis(model, features).total(),
    "ptflops, aten": lambda model, features: by_ptflops(model, features, "aten"),
    "torch": by_torch,
}
torch.manual_seed(0)
features = torch.randn(1, CHANNELS, HEIGHT, WIDTH)
expected = SPELLINGS["matmul"](*torch.randn(3, 1, 5, 4, generator=torch.Generator().manual_seed(0)))
for gather in SPELLINGS.values():  # they compute the same
    result = gather(*torch.randn(3, 1, 5, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(result, expected, atol=1e-5)
print(", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torch", "thop", "torchinfo", "fvcore", "ptflops")))
print(f"{'share that is counted':<24}" + "".join(f"{spelling:^8}" for spelling in SPELLINGS))
counted = {}
for name, count in COUNTERS.items():
    with torch.no_grad():
        counted[name] = [count(NonLocal(gather).eval(), features) / WORK for gather in SPELLINGS.values()]
    print(f"{name:<24}" + "".join(f"{share:^8.2f}" for share in counted[name]))
rounded = {name: "".join("1" if share > 0.99 else "0" for share in shares) for name, shares in counted.items()}
assert all(share > 0.99 or share < 0.05 for shares in counted.values() for share in shares)
assert list(rounded.values()) == ["0000", "0000", "1000", "1110", "1111", "1111"], rounded
PYTHON
