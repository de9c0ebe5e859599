#!/usr/bin/env bash
# Expected: on a processor with bfloat16 instructions a depthwise convolution trains about as fast in bfloat16 as in
# float32, or faster, whatever the side of its kernel; its weights' gradient costs a few times the forward pass.
# What happens: so it is for 3×3. For 5×5, as in EfficientNet and MobileNetV3, the gradient of the weights takes in
# bfloat16 several times as long as in float32, and some fifty times as long as the forward pass.
# seen: on an Intel Xeon with AMX, one thread, milliseconds of the processor, 4×672×18×24, channels last
# seen: 3×3  float32   forward   1.8  with input's gradient   9.0  with weights' too  11.2
# seen: 3×3  bfloat16  forward   0.6  with input's gradient   4.6  with weights' too   9.6
# seen: 5×5  float32   forward   4.9  with input's gradient  10.8  with weights' too  42.7
# seen: 5×5  bfloat16  forward   3.8  with input's gradient  14.5  with weights' too 193.6
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cat > "$folder/clock.py" <<'PYTHON'
import time

import torch
from torch.nn.functional import conv2d

torch.set_num_threads(1)
SHAPE = (4, 672, 18, 24)


def least(run):
    """Milliseconds of the processor, the best of several."""
    best = float("inf")
    for _ in range(6):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best * 1000


def clock(side, dtype):
    maps, upstream = (torch.randn(SHAPE, dtype=dtype).contiguous(memory_format=torch.channels_last) for _ in range(2))
    weight = torch.randn(SHAPE[1], 1, side, side, dtype=dtype)

    def forward(needed):
        for tensor in (maps, weight):
            tensor.requires_grad_(any(tensor is other for other in needed))
        return conv2d(maps, weight, padding=side // 2, groups=SHAPE[1])

    def with_gradients(*needed):
        torch.autograd.grad(forward(needed), needed, upstream)

    seconds = least(lambda: forward(())), least(lambda: with_gradients(maps)), least(lambda: with_gradients(maps, weight))
    name = str(dtype).removeprefix("torch.")
    words = "{:5.1f}  with input's gradient {:5.1f}  with weights' too {:5.1f}".format(*seconds)
    print(f"{side}×{side}  {name:8}  forward {words}")
    return seconds[2]


print("torch", torch.__version__)
taken = {(side, dtype): clock(side, dtype) for side in (3, 5) for dtype in (torch.float32, torch.bfloat16)}
assert taken[5, torch.bfloat16] > 2 * taken[5, torch.float32]
assert taken[3, torch.bfloat16] < 2 * taken[3, torch.float32]
PYTHON
"$folder/env/bin/python" "$folder/clock.py"
