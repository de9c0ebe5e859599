#!/usr/bin/env bash
# Expected: what softmax attention costs on a CPU depends on its sizes alone, not on how far its scores spread.
# What happens: with scores of standard deviation 30 a fifth of the softmax are subnormal numbers (below 1.2e-38),
# which Intel's processors multiply by a slow path: softmax(q kᵀ) v takes nine times as long, with its backward nineteen
# times. scaled_dot_product_attention is as fast as ever forward, and thirteen times as slow with its backward.
# torch.set_flush_denormal(True), for each thread by itself, brings all of it back.
# seen: on an Intel Xeon with AMX, one thread, milliseconds of the processor
# seen: subnormal share of the softmax, std 30: 0.200
# seen: plain                std 2:    17.9 ms   std 30:   169.1 ms   flushed:    18.2 ms
# seen: plain with backward  std 2:    55.7 ms   std 30:  1077.1 ms   flushed:    58.8 ms
# seen: sdpa                 std 2:     9.6 ms   std 30:    10.4 ms   flushed:     9.1 ms
# seen: sdpa with backward   std 2:    32.8 ms   std 30:   426.9 ms   flushed:    33.4 ms
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cat > "$folder/clock.py" <<'PYTHON'
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

CELLS, CHANNELS, NARROW, WIDE = 2048, 64, 2, 30
torch.set_num_threads(1)


def plain(query, key, value):
    return (query @ key.transpose(-1, -2)).softmax(-1) @ value


def sdpa(query, key, value):
    return scaled_dot_product_attention(query, key, value, scale=1.0)


def operands(std, gradients):
    generator = torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(1, 1, CELLS, CHANNELS, generator=generator)  # noqa: E731
    scale = (std / CHANNELS**0.5) ** 0.5
    return [tensor.requires_grad_(gradients) for tensor in (draw() * scale, draw() * scale, draw())]


def milliseconds(attend, std, backward, flushed):
    torch.set_flush_denormal(flushed)
    given, least = operands(std, backward), float("inf")
    for _ in range(5):
        start = time.process_time()
        output = attend(*given)
        if backward:
            output.sum().backward()
        least = min(least, time.process_time() - start)
    torch.set_flush_denormal(False)
    return 1000 * least


print(f"torch {torch.__version__}")
query, key, value = operands(WIDE, False)
weights = (query @ key.transpose(-1, -2)).softmax(-1)
share = ((weights > 0) & (weights < torch.finfo(torch.float32).tiny)).float().mean().item()
print(f"subnormal share of the softmax, std {WIDE}: {share:.3f}")
slower = {}
for attend in (plain, sdpa):
    for backward in (False, True):
        name = attend.__name__ + (" with backward" if backward else "")
        narrow, wide = (milliseconds(attend, std, backward, False) for std in (NARROW, WIDE))
        flushed = milliseconds(attend, WIDE, backward, True)
        slower[name] = wide / narrow
        print(f"{name:<20} std {NARROW}: {narrow:7.1f} ms   std {WIDE}: {wide:7.1f} ms   flushed: {flushed:7.1f} ms")
assert share > 0.05
assert slower["plain"] > 3 and slower["plain with backward"] > 3 and slower["sdpa with backward"] > 3
assert slower["sdpa"] < 2
PYTHON
"$folder/env/bin/python" "$folder/clock.py"
