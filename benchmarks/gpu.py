"""The check of all that is for GPUs, in one command: python -m benchmarks.gpu [--out runs/gpu] [--rehearse]

At most eight minutes on one card, without a network; PyTorch 2.11 and Triton 3.6 or newer. It writes one table to
--out/gpu.md, prints it, and exits with 1 where something is not as it should be.

    kernels   outputs and gradients of the fused kernels against the formula in float64, in float32 and bfloat16
    speed     the block in bfloat16 at N = 8192 and 32768, against plain attention by the fastest backend of
              scaled_dot_product_attention and against the published formula
    training  100 updates of the Cityscapes recipe on generated streets: images a second, memory, the loss, and the
              same run gone on with from a copy of its folder

--rehearse runs everything on a CPU at tiny sizes, the kernels in Triton's interpreter: it shows that the command works,
and nothing about a card. The kernels are left out in bfloat16 there, which the interpreter multiplies as integers.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import gpu_training
from benchmarks.measure import median_times
from benchmarks.variants import DEPTH, PASSES, Inputs, denoised, make_inputs, plain_streamed, published
from dnl.attention import GATES, gate_rows
from dnl.files import write_atomically

BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH)
# The largest error of an output or gradient over its largest value.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
KERNEL_SHAPES = ((1, 64, 512, 19, 4096), (2, 32, 96, 11, 1037))  # images, d, C, classes, N
TINY_SHAPES = ((2, 16, 40, 5, 77),)
CELLS, TINY_CELLS = (8192, 32768), (96,)
REPEATS = 10

Row = tuple[str, str, bool]  # what, the figure, whether it is as it should be


# --- kernels ---------------------------------------------------------------------------------------------------------


def formula(query: Tensor, key: Tensor, value: Tensor, probs: Tensor, gate: str | None) -> Tensor:
    """(softmax(qᵀk) ⊙ G) V as it stands, on B×size×N."""
    attention = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
    if gate is not None:
        attention = attention * gate_rows(probs, probs, gate)
    return value @ attention.transpose(1, 2)


def kernel_error(shape: tuple[int, ...], dtype: torch.dtype, gate: str | None, device: torch.device) -> float:
    """Of output and gradients, the largest error over the largest value; the inputs are rounded to `dtype` for both."""
    from dnl.attention.fused import fused_attention  # Triton is not on every machine

    batch, depth, channels, classes, cells = shape
    generator = torch.Generator().manual_seed(0)

    def normal(size: int) -> Tensor:
        return torch.randn(batch, size, cells, generator=generator)

    probs = torch.softmax(2 * normal(classes), 1)
    inputs = [0.5 * normal(depth), 0.5 * normal(depth), normal(channels), probs]
    weights = normal(channels).to(device)

    def results(function: Callable, precision: torch.dtype) -> list[Tensor]:
        leaves = [tensor.to(device).to(dtype).to(precision).requires_grad_() for tensor in inputs]
        output = function(*leaves, gate)
        counting = leaves if gate in ("sigmoid", "similarity") else leaves[:3]
        return [output, *torch.autograd.grad((output * weights.to(precision)).sum(), counting)]

    pairs = zip(results(fused_attention, dtype), results(formula, torch.float64), strict=True)
    return max(((ours.double() - exact).abs().max() / exact.abs().max()).item() for ours, exact in pairs)


def kernel_rows(device: torch.device, shapes: tuple) -> list[Row]:
    rows = []
    for dtype, tolerance in TOLERANCES.items():
        if device.type == "cpu" and dtype == torch.bfloat16:
            continue  # Triton's interpreter takes its bits for those of integers
        for gate in (None, *GATES):
            error = max(kernel_error(shape, dtype, gate, device) for shape in shapes)
            name = f"kernels, {str(dtype).removeprefix('torch.')}, gate {gate}: largest error against float64"
            rows.append((name, f"{error:.1e} (at most {tolerance:.0e})", error <= tolerance))
    return rows


# --- speed -----------------------------------------------------------------------------------------------------------


def plain_in_heads(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    """Plain attention whose values are cut into heads as deep as the keys, as the fused backends need them."""
    heads = value.shape[1] // DEPTH
    rows = [tensor.flatten(2).transpose(1, 2)[:, None].expand(-1, heads, -1, -1) for tensor in (query, key)]
    values = value.flatten(2).unflatten(1, (heads, DEPTH)).transpose(2, 3)
    return F.scaled_dot_product_attention(*rows, values, scale=1.0).transpose(2, 3).reshape_as(value)


def plain_whole(query: Tensor, key: Tensor, value: Tensor, class_probs: Tensor) -> Tensor:
    """Plain attention in one head whose values are deeper than its keys."""
    rows = [tensor.flatten(2).transpose(1, 2)[:, None] for tensor in (query, key, value)]
    return F.scaled_dot_product_attention(*rows, scale=1.0)[:, 0].transpose(1, 2).reshape_as(value)


def by_backend(backend: SDPBackend, run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def attend(*inputs: Tensor) -> Tensor:
        with sdpa_kernel([backend]):
            return run(*inputs)

    return attend


def contenders() -> dict[str, Callable[..., Tensor]]:
    """What is timed: ours, and every way to plain attention."""
    plain = {
        f"plain, {backend.name.lower()}{form}": by_backend(backend, run)
        for backend in BACKENDS
        for form, run in ((" in heads", plain_in_heads), ("", plain_whole))
    }
    ours = {"denoised_attention": denoised, "without GR and LR": plain_streamed}
    return ours | {"published formula": published} | plain


def timed(passes: str, inputs: Inputs, repeats: int) -> tuple[dict[str, float], dict[str, int], list[str]]:
    """Median seconds and extra bytes of all that runs on these inputs, and the names of what does not."""
    device, calls, extra, left_out = inputs.query.device, {}, {}, []
    for name, run in contenders().items():

        def call(run: Callable = run) -> None:
            PASSES[passes](run, inputs)
            synchronise(device)

        try:
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
                before = torch.cuda.memory_allocated(device)
            call()
            extra[name] = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else 0
            calls[name] = call
        except RuntimeError:  # a backend that has no kernel for these shapes, or maps that do not fit the memory
            left_out.append(name)
    return median_times(calls, repeats), extra, left_out


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def speed_rows(device: torch.device, sizes: tuple[int, ...], repeats: int) -> list[Row]:
    rows = []
    for cells in sizes:
        inputs = Inputs(*(tensor.to(device, torch.bfloat16) for tensor in make_inputs(cells)))
        for passes, words in (("forward", "forward"), ("backward", "forward and backward")):
            seconds, extra, left_out = timed(passes, inputs, repeats)
            fastest = min((name for name in seconds if name.startswith("plain")), key=lambda name: seconds[name])
            for name in ("denoised_attention", "without GR and LR", "published formula", fastest):
                figure = "does not fit"
                if name in seconds:
                    ratio = seconds[name] / seconds[fastest]
                    figure = f"{1000 * seconds[name]:.2f} ms, {ratio:.2f}×, {extra[name] / 2**20:.0f} MiB"
                rows.append((f"N = {cells}, {words}, {name}", figure, name in seconds or name == "published formula"))
            rows.append((f"N = {cells}, {words}, not run", ", ".join(left_out) or "–", True))
    return rows


# --- the command -----------------------------------------------------------------------------------------------------


def table(rows: list[Row], facts: str) -> str:
    lines = ["# GPU check", "", facts, "", "| | | |", "|---|---|---|"]
    lines += [
        f"| {what} | {figure} | {'as it should be' if right else '**NOT AS IT SHOULD BE**'} |"
        for what, figure, right in rows
    ]
    return "\n".join(lines) + "\n"


def facts(device: torch.device, seconds: float) -> str:
    """What it ran on."""
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else "a rehearsal on a CPU: no figure is a card's"
    )
    return f"{name}; PyTorch {torch.__version__}, Triton {version('triton')}; {seconds:.0f} s in all"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="The check on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the table")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, at tiny sizes")
    options = parser.parse_args(arguments)
    if not (options.rehearse or torch.cuda.is_available()):
        print("error: there is no GPU here; add --rehearse to see that the command works", file=sys.stderr)
        return 1
    if options.rehearse:
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported
    device = torch.device("cpu" if options.rehearse else "cuda")
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    rows = kernel_rows(device, TINY_SHAPES if options.rehearse else KERNEL_SHAPES)
    rows += speed_rows(device, TINY_CELLS if options.rehearse else CELLS, 2 if options.rehearse else REPEATS)
    rows += gpu_training.rows(options.out, options.rehearse)
    text = table(rows, facts(device, time.perf_counter() - start))
    write_atomically(options.out / "gpu.md", lambda path: path.write_text(text, encoding="utf-8"))
    print(text)
    return 0 if all(right for *_, right in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
