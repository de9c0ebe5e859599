#!/usr/bin/env bash
# Expected: DeformableAttention2D of lucidrains' deformable-attention lays its keys evenly over the feature map and
# shifts each by a learned offset, so that with offsets of 0 every part of the map has its keys, whatever its shape.
# What happens: so it is on square maps alone. A key's column is divided by the number of rows, its row by the number of
# columns, before grid_sample reads the map there. On a map twice as wide as high half of the keys lie beside the map
# and are zeros, the other half are crowded into its upper half; on a map twice as high as wide into its left half.
# Nothing is said; the softmax gives the zeros their share, and the offsets, four steps at most by default, would have
# to undo it. Two changes in the package's history were meant to set rectangular maps right.
# seen: deformable-attention 0.0.20, torch 2.13.0; keys of a new block whose offsets are 0
# seen: 32×32  keys beside the map   0 %  the others from rows 0 … 31 of 31, columns 0 … 31 of 31
# seen: 24×32  keys beside the map  25 %  the others from rows 0 … 17 of 23, columns 0 … 31 of 31
# seen: 32×64  keys beside the map  50 %  the others from rows 0 … 14 of 31, columns 0 … 63 of 63
# seen: 64×32  keys beside the map  50 %  the others from rows 0 … 63 of 63, columns 0 … 14 of 31
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 deformable-attention==0.0.20 einops==0.8.2
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from deformable_attention import DeformableAttention2D

SIZES, CHANNELS = [(32, 32), (24, 32), (32, 64), (64, 32)], 8
ROW, COLUMN, ONE = range(3)


@torch.no_grad()
def keys_of(features):
    """What a block whose offsets are 0 makes its keys and values from."""
    block = DeformableAttention2D(dim=CHANNELS, dim_head=4, heads=1).eval()
    block.to_offsets[2].weight.zero_()  # the last layer of the offsets, which has no bias
    kept = []
    block.to_k.register_forward_hook(lambda layer, given, output: kept.append(given[0]))
    _, places = block(features, return_vgrid=True)
    assert (places == places.round()).all()  # steps of a grid: no offsets
    return kept[0][0]


print(f"deformable-attention {version('deformable-attention')}, torch {torch.__version__.partition('+')[0]}", end="; ")
print("keys of a new block whose offsets are 0")
for height, width in SIZES:
    features = torch.zeros(1, CHANNELS, height, width)
    features[:, ROW], features[:, COLUMN] = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    features[:, ONE] = 1
    keys = keys_of(features)
    assert keys.shape == (CHANNELS, height // 4, width // 4)
    empty = keys[ONE] == 0
    rows, columns = ((keys[axis] / keys[ONE])[~empty] for axis in (ROW, COLUMN))
    words = f"{height}×{width}  keys beside the map {empty.float().mean():>4.0%}".replace("%", " %")
    words += f"  the others from rows {rows.min():.0f} … {rows.max():.0f} of {height - 1}"
    print(f"{words}, columns {columns.min():.0f} … {columns.max():.0f} of {width - 1}")
    if height == width:
        assert not empty.any() and min(rows.max(), columns.max()) == height - 1, words
    else:
        short = (rows, columns)[width < height]
        share = 1 - min(height, width) / max(height, width)
        assert abs(empty.float().mean() - share) < 1e-6 and short.max() < 0.75 * min(height, width), words
PYTHON
