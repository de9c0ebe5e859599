#!/usr/bin/env bash
# Expected: nystrom-attention takes any number of tokens; without a mask each attends to the others and to nothing else,
# as if mask were True everywhere, and return_attn=True gives tokens × tokens weights, in the order of the tokens.
# What happens: 600 tokens (20×30 cells) are filled up with zeros to the next multiple of the landmarks, 768, and
# without a mask the zeros are keys like any other, of score 0: a fifth of each token's weight is theirs, a third with
# 513 tokens. A mask that hides nothing changes the output. The weights that come back are 768 × 768, masked or not,
# though the output is cut to 600, and the zeros stand in front: a map cut from the start is that of other cells.
# seen: nystrom-attention 0.0.14, torch 2.13.0, 256 landmarks (default)
# seen: tokens  weights    on the padding  on it, mask of True   change of the output by that mask
# seen:    512  512 × 512           0.000                0.000   0.000
# seen:    513  768 × 768           0.329                0.000   0.080
# seen:    600  768 × 768           0.216                0.000   0.053
# seen:    768  768 × 768           0.000                0.000   0.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 nystrom-attention==0.0.14 einops==0.8.2
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from nystrom_attention import NystromAttention

CHANNELS, LANDMARKS = 64, 256
print(f"nystrom-attention {version('nystrom-attention')}, torch {torch.__version__.partition('+')[0]}", end=", ")
print(f"{LANDMARKS} landmarks (default)")
print("tokens  weights    on the padding  on it, mask of True   change of the output by that mask")
for count in (512, 513, 600, 768):
    torch.manual_seed(0)
    attention = NystromAttention(dim=CHANNELS, heads=1, residual=False).eval()
    assert attention.num_landmarks == LANDMARKS
    tokens, nothing_hidden = torch.randn(1, count, CHANNELS), torch.ones(1, count, dtype=torch.bool)
    with torch.no_grad():
        plain, weights = attention(tokens, return_attn=True)
        masked, masked_weights = attention(tokens, mask=nothing_hidden, return_attn=True)
    side = weights.shape[-1]
    padding = side - count
    assert weights.shape == masked_weights.shape == (1, 1, side, side) and plain.shape == masked.shape == tokens.shape
    rows = [kind[0, 0, padding:] for kind in (weights, masked_weights)]
    assert all((row.sum(dim=-1) - 1).abs().max() < 0.01 for row in rows)
    in_front = [row[:, :padding].sum(dim=-1).abs().mean().item() for row in rows]
    change = ((plain - masked).norm() / masked.norm()).item()
    print(f"{count:>6}  {side} × {side} {in_front[0]:>15.3f} {in_front[1]:>20.3f}   {change:.3f}")
    if count % LANDMARKS:
        assert side == -(-count // LANDMARKS) * LANDMARKS and padding
        assert in_front[0] > 0.9 * padding / side and in_front[1] < 0.01 and change > 0.03
    else:
        assert not padding and change < 1e-6
PYTHON
