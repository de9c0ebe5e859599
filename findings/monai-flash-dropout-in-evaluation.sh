#!/usr/bin/env bash
# Expected: dropout is off once a model is in evaluation, so that the same input gives the same output; choosing flash
# attention changes the speed alone.
# What happens: MONAI's attention blocks hand their dropout rate to scaled_dot_product_attention whatever the mode. Built
# with use_flash_attention=True and a dropout rate above 0 they drop weights in evaluation too, and each call gives
# another result; the same blocks without flash attention do not.
# seen: monai 1.6.1, torch 2.13.0; largest difference of two calls after eval(), dropout rate 0.2
# seen: SABlock              plain 0.000  flash 0.185
# seen: CrossAttentionBlock  plain 0.000  flash 0.185
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 monai==1.6.1 einops==0.8.2
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.blocks.selfattention import SABlock

RATE = 0.2
tokens = torch.randn(1, 12, 16, generator=torch.Generator().manual_seed(0))
versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("monai", "torch"))
print(f"{versions}; largest difference of two calls after eval(), dropout rate {RATE}")


@torch.no_grad()
def difference(kind, inputs, flash):
    torch.manual_seed(0)
    block = kind(16, 2, dropout_rate=RATE, use_flash_attention=flash).eval()
    return (block(*inputs) - block(*inputs)).abs().max().item()


for kind, inputs in ((SABlock, (tokens,)), (CrossAttentionBlock, (tokens, tokens))):
    plain, flash = (difference(kind, inputs, flash) for flash in (False, True))
    print(f"{kind.__name__:<20} plain {plain:.3f}  flash {flash:.3f}")
    assert plain == 0 and flash > 0.01
PYTHON
