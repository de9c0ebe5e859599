"""Cost of watching one attention of a large vision transformer, against the same model unwatched and written out.

    python -m benchmarks.catch [--side 1024] [--blocks 2] [--repeats 5] [--threads 2]

A ViT-B with DINOv3's rotary positions, one class and four register tokens on one image: 4101 tokens at 1024×1024, 12
heads of 64 channels, fused attention. `eager` computes its attention as softmax(q·k) written out and returns the
weights of every block, which is what libraries do when weights are asked for. Times are medians of repeats in which
the three take turns: of the clock, and of the processor, which tells more where a machine is busy with other things.
Extra memory is how far a second run, watched or eager, lifts the peak of a fresh process above that of an unwatched
first run; it is compared with the bytes of the watched block's queries and keys.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import analysis
from benchmarks.measure import machine, peak_memory

CHANNELS, HEADS, PATCH, EXTRA = 768, 12, 16, 5
DEPTH = CHANNELS // HEADS
TIME_LIMIT, MEMORY_LIMIT, EAGER_TIME, EAGER_MEMORY = 1.10, 1.3, 0.6, 1 / 20


class Attention(nn.Module):
    """Attention with rotary positions on the patches. eager: written out, and its weights are returned."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.eager = False

    def forward(self, x: Tensor, sine: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor | None]:
        """x: B×N×C. sine, cosine: patches×d."""
        batch, tokens, _ = x.shape
        query, key, value = self.qkv(x).reshape(batch, tokens, 3, HEADS, DEPTH).permute(2, 0, 3, 1, 4)  # B×heads×N×d
        query, key = (rotated(one, sine, cosine) for one in (query, key))
        weights = None
        if self.eager:
            weights = torch.softmax(query @ key.transpose(-2, -1) * DEPTH**-0.5, dim=-1)
            gathered = weights @ value
        else:
            gathered = F.scaled_dot_product_attention(query, key, value)
        return self.proj(gathered.transpose(1, 2).reshape(x.shape)), weights


def rotated(tokens: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """Patches turned by their position; class and register tokens as they are."""
    extra, patches = tokens.split([EXTRA, tokens.shape[2] - EXTRA], dim=2)
    first, second = patches.chunk(2, dim=-1)
    return torch.cat([extra, patches * cosine + torch.cat([-second, first], -1) * sine], dim=2)


class Block(nn.Module):
    """Attention and a layer of four times as many channels, each with a norm before and a residual."""

    def __init__(self):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(CHANNELS), Attention(), nn.LayerNorm(CHANNELS)
        self.mlp = nn.Sequential(nn.Linear(CHANNELS, 4 * CHANNELS), nn.GELU(), nn.Linear(4 * CHANNELS, CHANNELS))

    def forward(self, x: Tensor, sine: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor | None]:
        """x: B×N×C -> the same, and the attention's weights where it gives them."""
        gathered, weights = self.attn(self.norm1(x), sine, cosine)
        x = x + gathered
        return x + self.mlp(self.norm2(x)), weights


class VisionTransformer(nn.Module):
    """Patches of 16 pixels, one class and four register tokens, and some blocks."""

    def __init__(self, blocks: int):
        super().__init__()
        self.patches = nn.Conv2d(3, CHANNELS, PATCH, PATCH)
        self.extra = nn.Parameter(torch.randn(1, EXTRA, CHANNELS))
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """images: B×3×H×W -> tokens B×N×C, and each block's weights B×heads×N×N or None."""
        x = self.patches(images)
        sine, cosine = positions(*x.shape[2:])
        x = torch.cat([self.extra.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        kept = []
        for block in self.blocks:
            x, weights = block(x, sine, cosine)
            kept.append(weights)
        return x, kept

    def set_eager(self, eager: bool) -> None:
        """Written out with weights, or fused."""
        for block in self.blocks:
            block.attn.eager = eager


def positions(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Sine and cosine of the angles of each patch, patches×d."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    periods = 100 ** torch.linspace(0, 1, DEPTH // 4)
    angles = torch.stack([rows.flatten(), columns.flatten()], 1)[:, :, None] * torch.pi * 2 / periods
    angles = angles.flatten(1).repeat(1, 2)
    return angles.sin(), angles.cos()


WAYS = ("unwatched", "watched", "eager")


def run(model: VisionTransformer, images: Tensor, way: str) -> object:
    """One forward pass, and what somebody who looks at the attention would hold."""
    model.set_eager(way == "eager")
    watching = analysis.hook(model, "blocks.0.attn") if way == "watched" else contextlib.nullcontext()
    with torch.inference_mode(), watching as caught:
        output = model(images)
    return output, caught


def made(side: int, blocks: int) -> tuple[VisionTransformer, Tensor]:
    """The model and an image."""
    torch.manual_seed(0)
    return VisionTransformer(blocks).eval(), torch.randn(1, 3, side, side)


def times(model: VisionTransformer, images: Tensor, repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds of the clock and of the processor of each way, all taking turns, after a round that is not counted."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for repeat in range(repeats + 1):
        for way in WAYS:
            began = time.perf_counter(), time.process_time()
            run(model, images, way)
            if repeat:
                found[way].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return {way: tuple(map(statistics.median, zip(*pairs, strict=True))) for way, pairs in found.items()}


def extra_memory(way: str, options: argparse.Namespace) -> int:
    """Of a fresh process, in which large pieces of memory are given back as soon as they are free."""
    size = [f"--side={options.side}", f"--blocks={options.blocks}", f"--threads={options.threads}"]
    command = [sys.executable, "-m", "benchmarks.catch", "--memory", way, *size]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def own_extra_memory(way: str, side: int, blocks: int) -> int:
    """Bytes that this way adds to the peak of this fresh process over an unwatched run."""
    model, images = made(side, blocks)
    small = images[:, :, : 2 * PATCH, : 2 * PATCH].clone()
    for other in WAYS:
        run(model, small, other)  # what is loaded at first use
    run(model, images, "unwatched")
    baseline = peak_memory()
    kept = run(model, images, way)
    peak = peak_memory() - baseline
    del kept
    return peak


def main(arguments: list[str] | None = None) -> None:
    """Print the two tables and whether the limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=1024, help="of the image in pixels, a multiple of 16")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.memory:
        print(own_extra_memory(options.memory, options.side, options.blocks))
        return
    # First, since a process begins with the peak of the one that starts it.
    extra = {way: extra_memory(way, options) for way in WAYS}
    model, images = made(options.side, options.blocks)
    tokens = (options.side // PATCH) ** 2 + EXTRA
    print(f"{tokens} tokens, {HEADS} heads, {options.blocks} blocks; {machine(options.threads)}")
    seconds = times(model, images, options.repeats)
    operands = 2 * 4 * HEADS * tokens * DEPTH
    print("\n| way | seconds | of unwatched | of the processor | of unwatched | extra MiB | of q and k |")
    print("|---|---|---|---|---|---|---|")
    for way in WAYS:
        pairs = zip(seconds[way], seconds["unwatched"], strict=True)
        columns = [f"{own:.3f} | {own / plain:.3f}" for own, plain in pairs]
        print(f"| {way} | {' | '.join(columns)} | {extra[way] / 2**20:.1f} | {extra[way] / operands:.2f} |")
    ratios = [
        [own / other for own, other in zip(seconds["watched"], seconds[way], strict=True)]
        for way in ("unwatched", "eager")
    ]
    facts = (
        ("time, watched over unwatched (clock)", ratios[0][0], TIME_LIMIT),
        ("time, watched over unwatched (processor)", ratios[0][1], TIME_LIMIT),
        ("extra bytes over those of q and k", extra["watched"] / operands, MEMORY_LIMIT),
        ("time, watched over eager (clock)", ratios[1][0], EAGER_TIME),
        ("time, watched over eager (processor)", ratios[1][1], EAGER_TIME),
        ("extra bytes, watched over eager", extra["watched"] / extra["eager"], EAGER_MEMORY),
    )
    print("\n| | measured | at most |\n|---|---|---|")
    for words, value, most in facts:
        print(f"| {words} | {value:.3f}{'' if value <= most else ' (too much)'} | {most:g} |")


if __name__ == "__main__":
    main()
