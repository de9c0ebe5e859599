"""Export a checkpoint for use without this package: python -m dnl.export --checkpoint NAME|FILE --out FILE

FILE ends in .pt2 (torch.export: loads with torch.export.load in any program that has PyTorch) or in .onnx (needs the
packages onnx and onnxscript). The program takes `images`, 1×3×H×W float32 as `dnl.transforms.normalise` makes them, of
one size, --height × --width, and gives `logits`, 1×classes×H×W. Its attention is dense: exported programs hold one
image's N×N map, N = H·W / stride². Before it is written, the program is run against the model (ONNX with onnxruntime,
where that is installed) and the largest difference is printed; beyond rounding it is an error, and nothing is written.
How many multiply-adds the program takes is printed as well.
"""

import argparse
import io
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dnl.checkpoints import load_checkpoint
from dnl.commands import exit_status, program, show_anything
from dnl.files import write_atomically
from dnl.network import MIN_SIDE, SegmentationNetwork

# Logits are of the order of ten; the programs add the same numbers in another order.
TOLERANCE = 1e-3
# Of an image: Cityscapes' size, whose map takes 4 GiB at stride 8.
MOST_PIXELS = 1024 * 2048


class ExportError(ValueError):
    """An export that cannot be made, or does not compute what the model does; the message says why."""


class _Logits(nn.Module):
    """The main prediction alone."""

    def __init__(self, model: SegmentationNetwork):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def export_model(model: SegmentationNetwork, path: Path, height: int, width: int) -> float | None:
    """Write the model as .pt2 or .onnx for images of height × width pixels, if it computes there what it does here.

    Returns the largest absolute difference of the logits on a random image, None where nothing can run the program
    (ONNX without onnxruntime). The model is left in evaluation mode. Raises ExportError, or OSError in writing.
    """
    _require_writable(path)
    return _write(model, *_program(model, height, width), path)


def _require_writable(path: Path) -> None:
    if path.suffix not in (".pt2", ".onnx"):
        raise ExportError(f"{path} ends in {path.suffix or 'nothing'!r}; give a file that ends in .pt2 or .onnx")
    if not path.parent.is_dir():
        raise ExportError(f"the folder {path.parent} of {path} does not exist; create it first")
    if path.suffix == ".onnx":
        _require("onnx", "onnxscript")


def _write(
    model: SegmentationNetwork, program: torch.export.ExportedProgram, images: Tensor, path: Path
) -> float | None:
    """`export_model` of a program and an image of its size."""
    with torch.no_grad():
        expected = model(images).logits
    if path.suffix == ".pt2":
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        content = buffer.getvalue()
        result: Tensor | None = _run_pt2(content, images)
    else:
        onnx_program = torch.onnx.export(program, input_names=["images"], output_names=["logits"], verbose=False)
        assert onnx_program is not None  # it is what an exported program becomes
        content = onnx_program.model_proto.SerializeToString()
        result = None if find_spec("onnxruntime") is None else _run_onnx(content, images)
    difference = None if result is None else (result - expected).abs().max().item()
    if difference is not None and not difference <= TOLERANCE:
        raise ExportError(f"the program's logits differ from the model's by {difference:.1e}; {path} was not written")
    write_atomically(path, lambda file: file.write_bytes(content))
    return difference


def multiply_adds(model: SegmentationNetwork, height: int, width: int) -> int:
    """Multiply-adds of the convolutions and matrix products for one image of height × width pixels.

    PyTorch's own counter counts them in the exported program: the model streams its attention, where no counter sees
    the products. What is done value by value is left out: normalising, resizing, the softmax, LR's windows. The model
    is left in evaluation mode. Raises ExportError for a size beyond reason.
    """
    return _counted(*_program(model, height, width))


@torch.no_grad()
def _counted(program: torch.export.ExportedProgram, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        program.module().to("meta")(images.to("meta"))  # sizes alone: a dense map may be large
    return counter.get_total_flops() // 2


@torch.no_grad()
def _program(model: SegmentationNetwork, height: int, width: int) -> tuple[torch.export.ExportedProgram, Tensor]:
    """The program for images of one size, and such an image, of noise."""
    if min(height, width) < MIN_SIDE or height * width > MOST_PIXELS:
        raise ExportError(
            f"the size is {height}×{width} pixels; both sides must be at least {MIN_SIDE}, and their product at most "
            f"{MOST_PIXELS:,}"
        )
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return torch.export.export(_Logits(model).eval(), (images,)), images


@torch.no_grad()
def _run_pt2(content: bytes, images: Tensor) -> Tensor:
    return torch.export.load(io.BytesIO(content)).module()(images)


def _run_onnx(content: bytes, images: Tensor) -> Tensor:
    import onnxruntime  # need not be installed

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _require(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ExportError(f"ONNX files need {' and '.join(missing)}; install with: pip install {' '.join(missing)}")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(prog=program("dnl.export"), description="Export a checkpoint to .pt2 or .onnx.")
    parser.add_argument("--checkpoint", required=True, help="name of a shipped checkpoint, or a file")
    parser.add_argument("--out", required=True, type=Path, help="file to write: .pt2 or .onnx")
    parser.add_argument("--height", type=int, default=360, help="pixels of the images (default 360)")
    parser.add_argument("--width", type=int, default=480, help="pixels of the images (default 480)")
    options = parser.parse_args(arguments)
    return exit_status(lambda: _export(options))


def _export(options: argparse.Namespace) -> None:
    model, _ = load_checkpoint(options.checkpoint)
    _require_writable(options.out)
    program, images = _program(model, options.height, options.width)
    difference = _write(model, program, images, options.out)
    checked = (
        "not checked: install onnxruntime to run it against PyTorch"
        if difference is None
        else f"largest difference from PyTorch {difference:.1e}"
    )
    counted = _counted(program, images) / 1e9
    size = f"1×3×{options.height}×{options.width}"
    print(f"{options.out}: images {size} -> logits; {checked}; {counted:,.1f} G multiply-adds")


if __name__ == "__main__":
    sys.exit(main())
