#!/usr/bin/env bash
# Expected: a transformers model asked for its attentions (output_attentions=True) returns one map a layer, or falls back
# to the attention that can, as releases 4.x did with a warning.
# What happens: with the attention that it chooses by itself (sdpa) it logs a line and returns an empty tuple, which a loop
# over layers takes for a network without any; only a model built with attn_implementation="eager" returns the maps.
# seen: transformers 5.19.0, torch 2.13.0
# seen: chosen by itself: sdpa, a tuple of 0 maps for 2 layers
# seen: eager: a tuple of 2 maps for 2 layers, rows sum to 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.19.0
"$folder/env/bin/python" - <<'PYTHON'
import copy

import torch
import transformers
from transformers import ViTConfig, ViTModel

print(f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}")
config = ViTConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
)
image = torch.rand(1, 3, 32, 32)
own = ViTModel(copy.deepcopy(config)).eval()
eager = ViTModel._from_config(copy.deepcopy(config), attn_implementation="eager").eval()
with torch.no_grad():
    maps, eager_maps = (model(image, output_attentions=True).attentions for model in (own, eager))
chosen = own.config._attn_implementation
print(f"chosen by itself: {chosen}, a {type(maps).__name__} of {len(maps)} maps for 2 layers")
sums = torch.allclose(eager_maps[0].sum(dim=-1), torch.ones(()))
print(f"eager: a {type(eager_maps).__name__} of {len(eager_maps)} maps for 2 layers, rows sum to {1 if sums else 'else'}")
assert chosen == "sdpa" and maps == () and len(eager_maps) == 2 and sums
PYTHON
