#!/usr/bin/env bash
# Expected: with TRITON_INTERPRET=1, which runs a kernel on a CPU to see whether it is right, tl.dot of bfloat16 tensors
# gives their product: 2 · 3 summed over 16 is 96.
# What happens: the interpreter keeps bfloat16 as 16-bit integers and multiplies those: bits 0x4000 · 0x4040, 16 times.
# No error, no warning; float16 and float32 are right.
# seen: triton 3.9.0, float16: 96.0
# seen: triton 3.9.0, bfloat16: 4311744512.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 triton==3.9.0 numpy==2.4.6
cat > "$folder/kernel.py" <<'PYTHON'
import torch
import triton
import triton.language as tl


@triton.jit
def product(left, right, out):
    rows = tl.arange(0, 16)
    place = rows[:, None] * 16 + rows[None, :]
    tl.store(out + place, tl.dot(tl.load(left + place), tl.load(right + place)))


def first(dtype):
    out = torch.zeros(16, 16)
    product[(1,)](torch.full((16, 16), 2.0, dtype=dtype), torch.full((16, 16), 3.0, dtype=dtype), out)
    return out[0, 0].item()


seen = {name: first(getattr(torch, name)) for name in ("float16", "bfloat16")}
for name, value in seen.items():
    print(f"triton {triton.__version__}, {name}: {value}")
assert seen["float16"] == 96 and seen["bfloat16"] == 16 * 0x4000 * 0x4040
PYTHON
TRITON_INTERPRET=1 "$folder/env/bin/python" "$folder/kernel.py"
