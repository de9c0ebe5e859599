"""Predictions as files against bare forward passes: python -m benchmarks.predict [--photos 100] [--rounds 3]

Photos (JPEG) are drawn as streets. `dnl.predict` reads them and writes labels, colours and overlays into a fresh
folder; against it stand the forward passes of the same network on the same photos, decoded and normalised before. The
two take turns, so that whatever else the machine does falls on both: trust the ratio more than the seconds. The ratio
is that of the median times.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image

from dnl.checkpoints import load_checkpoint
from dnl.datasets import Streets
from dnl.distributed import World
from dnl.inference import WHOLE_IMAGE
from dnl.network import SegmentationNetwork
from dnl.predict import Photos, Pictures, PredictionFolder, label_format, predict_images
from dnl.training import interleaved_times
from dnl.transforms import normalise

JPEG_QUALITY = 92


def draw_photos(folder: Path, count: int, scale: float) -> None:
    """Streets as JPEG files, resized by a factor."""
    for scene in Streets("val", count):
        picture = Image.fromarray(scene.image)
        size = round(scale * picture.width), round(scale * picture.height)
        picture.resize(size, Image.Resampling.BICUBIC).save(folder / f"{scene.name}.jpg", quality=JPEG_QUALITY)


def forward_passes(model: SegmentationNetwork, photos: Photos, device: torch.device) -> Callable[[], None]:
    """A function that runs the network on each photo, and nothing else; it waits for the device."""
    batches = [
        normalise(sample.image)[None].to(device, memory_format=torch.channels_last)
        for sample in (photos[index] for index in range(len(photos)))
    ]

    @torch.inference_mode()
    def run() -> None:
        for batch in batches:
            model(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def predictions(model: SegmentationNetwork, photos: Photos, folder: Path, device: torch.device) -> Callable[[], None]:
    """A function that predicts the photos into a new folder in `folder` each time."""
    assert model.label_set is not None  # of a checkpoint
    pictures = Pictures(label_format("indices", model.label_set))

    def run() -> None:
        there = PredictionFolder(Path(tempfile.mkdtemp(dir=folder)), {"inference": {}}, pictures)
        there.open()
        outcome = predict_images(model, photos, WHOLE_IMAGE, there, world=World(0, 1, device))
        assert outcome.made == len(photos)

    return run


def report(seconds: dict[str, list[float]], count: int) -> str:
    """Milliseconds a photo by the median times, and their ratio."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    lines = [f"{name:>14}  {1000 * median / count:8.1f} ms a photo" for name, median in medians.items()]
    return "\n".join(
        [*lines, f"predictions / forward passes  {medians['predictions'] / medians['forward passes']:.3f}"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict", description="Cost of predictions as files.")
    parser.add_argument("--checkpoint", default="camvid-dnl")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--scale", type=float, default=1.0, help="of the photos' sides, 360×480 at 1")
    parser.add_argument("--rounds", type=int, default=3, help="times that each of the two is measured")
    parser.add_argument("--threads", type=int, help="CPU threads of the network")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_checkpoint(options.checkpoint)[0].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        draw_photos(folder / "photos", options.photos, options.scale)
        photos = Photos([str(folder / "photos")])
        calls = {
            "forward passes": forward_passes(model, photos, device),
            "predictions": predictions(model, photos, folder, device),
        }
        seconds = interleaved_times(calls, options.rounds, warm_up=1)
    height, width = (round(options.scale * side) for side in (360, 480))
    print(f"{options.checkpoint}, {options.photos} photos of {height}×{width}; {options.rounds} rounds; {device}")
    print(report(seconds, options.photos))
    return 0


if __name__ == "__main__":
    sys.exit(main())
