"""A short training by the Cityscapes recipe on generated streets, and the same one gone on with from a copy of it."""

import csv
import json
import shutil
import statistics
import tempfile
import threading
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dnl import train
from dnl.classes import CAMVID
from dnl.datasets import Streets

# Cityscapes' own number of each class of the streets; 0 is "unlabeled".
CITYSCAPES_IDS = {
    **{"Sky": 23, "Building": 11, "Pole": 17, "Road": 7, "Pavement": 8, "Tree": 21},
    **{"SignSymbol": 20, "Fence": 13, "Car": 26, "Pedestrian": 24, "Bicyclist": 25},
}
EPOCHS, COPIED_AFTER = 10, 5
SETTINGS = (f"epochs={EPOCHS}", f"evaluate_every={EPOCHS}", "warmup_steps=10", "precision=bfloat16")
WHOLE = (80, (512, 1024), ())  # training images, their size, further settings
TINY_SETTINGS = (
    *("model.backbone=resnet18", "model.width=8", "model.deep_stem=false"),
    *("batch_size=2", "crop_height=64", "crop_width=64", "workers=0"),
)
TINY = (2, (64, 128), TINY_SETTINGS)
# Of the first loss after going on, which no atomic sum of a card has touched, and of the mean of the rest.
FIRST_TOLERANCE, MEAN_TOLERANCE = 1e-3, 0.1

Row = tuple[str, str, bool]


def write_streets(root: Path, count: int, size: tuple[int, int]) -> None:
    """`count` streets for training and two for validation as Cityscapes' files, of `size` = (height, width)."""
    numbers = np.zeros(256, np.uint8)
    numbers[: len(CAMVID.class_names)] = [CITYSCAPES_IDS[name] for name in CAMVID.class_names]
    for split, number in (("train", count), ("val", 2)):
        scenes = Streets(split, number)
        for index in range(number):
            name = f"town_{index:06d}_000000"
            pictures = {"leftImg8bit": scenes[index].image, "gtFine_labelIds": numbers[scenes[index].labels]}
            for kind, pixels in pictures.items():
                folder = root / kind.split("_")[0] / split / "town"
                folder.mkdir(parents=True, exist_ok=True)
                way = Image.Resampling.BILINEAR if kind == "leftImg8bit" else Image.Resampling.NEAREST
                Image.fromarray(pixels).resize(size[::-1], way).save(folder / f"{name}_{kind}.png")


class Copier(threading.Thread):
    """Copies a run's folder while it goes on, as soon as COPIED_AFTER epochs are finished."""

    def __init__(self, run: Path, copy: Path):
        super().__init__(daemon=True)
        self.run_folder, self.copy, self.over = run, copy, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            if len(records(self.run_folder)) >= COPIED_AFTER:
                shutil.copytree(self.run_folder, self.copy, ignore=shutil.ignore_patterns("*.tmp*", ".*"))
                return


def records(run: Path) -> list[dict]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def losses(run: Path) -> list[tuple[int, float]]:
    """Epoch and loss of every update."""
    with (run / "curves.csv").open(newline="") as file:
        return [(int(row["epoch"]), float(row["loss"])) for row in csv.DictReader(file)]


def rows(out: Path, tiny: bool) -> list[Row]:
    """What is seen, for the check's table; the runs stay in `out`."""
    count, size, more = TINY if tiny else WHOLE
    run, copy = out / "run", out / "gone-on"
    for folder in (run, copy):
        shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as data:
        write_streets(Path(data), count, size)
        common = ["--recipe", "cityscapes_dnl_r101", "--data", data]
        settings = [part for setting in (*SETTINGS, *more) for part in ("--set", setting)]
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        copier = Copier(run, copy)
        copier.start()
        status = train.main([*common, "--out", str(run), *settings])
        copier.over.set()
        copier.join()
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        begun = len(torch.load(copy / "state.pt", weights_only=True)["history"]) if copy.is_dir() else 0
        resumed = train.main([*common, "--out", str(copy), "--resume"]) if begun else 1
    if status or resumed:
        return [("training, and going on from a copy of its folder", f"exit {status}, {resumed}", False)]
    return compared(run, copy, begun, peak)


def compared(run: Path, copy: Path, begun: int, peak: int) -> list[Row]:
    """Speed, loss, and what the run and its copy, which was gone on with after `begun` epochs, differ in."""
    whole, again = losses(run), losses(copy)
    images = statistics.median(record["images_per_second"] for record in records(run)[1:])
    first, last = (statistics.mean(loss for epoch, loss in whole if epoch == number) for number in (1, EPOCHS))
    after = [[loss for epoch, loss in part if epoch > begun] for part in (whole, again)]
    at_once = abs(after[1][0] - after[0][0]) / after[0][0]
    in_all = abs(statistics.mean(after[1]) - statistics.mean(after[0])) / statistics.mean(after[0])
    exact = "to the last bit" if whole == again else f"the first to {at_once:.0e}, their mean to {in_all:.0e}"
    return [
        (f"training, {len(whole)} updates: images a second", f"{images:.2f}", len(whole) == len(again)),
        ("training: peak memory", f"{peak / 2**30:.1f} GiB", True),
        ("training: mean loss of the first and the last epoch", f"{first:.3f} → {last:.3f}", last < first),
        (
            f"training: the {len(after[0])} losses after --resume are the same",
            exact,
            at_once <= FIRST_TOLERANCE and in_all <= MEAN_TOLERANCE,
        ),
    ]
