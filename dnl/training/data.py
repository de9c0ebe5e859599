"""What a run is given to learn from: the look at both splits before its first update, and what is recorded of them."""

import hashlib
from collections.abc import Mapping
from functools import partial

import torch.distributed as dist
from tqdm import tqdm

from dnl.classes import LabelSet
from dnl.datasets import Cached, LabelledDataset, Look, look_at, look_at_splits
from dnl.distributed import World
from dnl.training.batches import streets_among
from dnl.training.config import TrainConfig

GIB = 2**30


def look_before(
    config: TrainConfig, training: LabelledDataset, validation: LabelledDataset, world: World
) -> tuple[tuple[Look, Look], list[str]]:
    """What both splits hold, and what is to be said of them. Raises DatasetError for what cannot be meant.

    The main process looks first, so that the others find what it remembers.
    """
    if not world.is_main:
        dist.barrier()
    bar = partial(tqdm, leave=False, delay=1, disable=not world.is_main)
    looks = (look_at(training, progress=bar).require(), look_at(validation, progress=bar).require())
    if world.size > 1 and world.is_main:
        dist.barrier()
    notes = [f"{split}: {note}" for split, look in zip(("train", "val"), looks, strict=True) for note in look.sentences]
    notes += [finding.sentence for finding in look_at_splits(*looks, training.label_set)]
    if config.streets_per_epoch and not streets_among(config, training):
        notes.append(f"the built-in streets are left out: {config.dataset} has other classes than they")
    if config.keep_in_memory and (kept := memory_kept(config, *looks)) >= GIB:
        notes.append(
            f"keep_in_memory takes up to {kept / GIB:.1f} GiB in each process; "
            "--set keep_in_memory=false reads each image when its turn comes"
        )
    return looks, notes


def memory_kept(config: TrainConfig, training: Look, validation: Look) -> int:
    """Bytes of the decoded samples that all loading processes of one training process keep together."""
    return max(1, config.workers) * training.bytes_in_memory + validation.bytes_in_memory


def about_data(label_set: LabelSet, splits: Mapping[str, LabelledDataset], world: World) -> dict:
    """What config.json says of the data: classes, number and digest of the images' names in each split, processes."""
    about: dict = {"classes": list(label_set.class_names), "ignore_index": label_set.ignore_index}
    for split, dataset in splits.items():
        files = dataset.dataset if isinstance(dataset, Cached) else dataset
        names = "\n".join(getattr(files, "names", ()))  # drawn ones have none
        about[split] = {"images": len(dataset), "names": hashlib.sha256(names.encode()).hexdigest()[:16]}
    return {**about, "processes": world.size}
