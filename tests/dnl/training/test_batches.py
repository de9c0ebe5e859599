"""What a batch holds: every image once an epoch, the same whoever gets it, by (seed, epoch, position) alone."""

import dataclasses

import numpy as np
import pytest
import torch

from dnl.classes import LabelSet
from dnl.datasets import Sample
from dnl.distributed import World
from dnl.training import RECIPES, RunError
from dnl.training.batches import CropDataset, EpochSampler, open_split, training_batches
from dnl.transforms import RandomCrop


def test_an_epoch_draws_every_image_once_and_fresh_streets():
    sampler = EpochSampler([10, 50], drawn=5, batch_size=5, seed=0)
    sampler.start(0)
    first = [index for _, _, index in sampler]
    sampler.start(1)
    second = [index for _, _, index in sampler]
    assert sorted(index for index in first if index < 10) == list(range(10))
    assert sum(index >= 10 for index in first) == 5
    assert first != second
    sampler.start(0)
    assert [index for _, _, index in sampler] == first
    assert len(EpochSampler([11], 0, 4, 0)) == 8


def test_groups_drawn_alike_share_an_epoch():
    """5 of one drive, 2 of another, 3 of a third: 10 items are 4, 3 and 3, and what an epoch leaves out comes later."""
    groups = ["long"] * 5 + ["short"] * 2 + ["third"] * 3
    sampler = EpochSampler([10, 7], drawn=2, batch_size=4, seed=0, groups=groups)
    epochs = []
    for epoch in range(8):
        sampler.start(epoch)
        epochs.append([index for _, _, index in sampler])
    for indices in epochs:
        times = [indices.count(index) for index in range(10)]
        assert sum(times[:5]) == 4 and max(times[:5]) == 1
        assert sorted(times[5:7]) == [1, 2]
        assert times[7:] == [1, 1, 1]
        assert sum(index >= 10 for index in indices) == 2
    assert set().union(*epochs) >= set(range(10)) and len({tuple(sorted(indices)) for indices in epochs}) > 1
    sampler.start(3)
    assert [index for _, _, index in sampler] == epochs[3]


def test_a_training_draws_drives_alike_only_where_every_image_has_one(camvid):
    config = dataclasses.replace(RECIPES["camvid_dnl"], groups_alike=True, streets_per_epoch=0, batch_size=2)
    alone = World(0, 1, torch.device("cpu"))
    streets = dataclasses.replace(config, dataset="streets")
    with pytest.raises(RunError, match="training images of streets are of no group; --set groups_alike=false"):
        training_batches(streets, open_split(streets, None, "train"), alone)
    for folder in (camvid / "train", camvid / "trainannot"):
        for index, name in enumerate(["0016E5_00390", "0016E5_00420", "0016E5_00450", "0001TP_006690"]):
            (folder / f"{index}.png").rename(folder / f"{name}.png")
    training = open_split(config, str(camvid), "train")
    sampler, _ = training_batches(config, training, alone)
    drives = [training.origins[index].group for _, _, index in sampler]
    assert sorted(drives) == ["0001TP", "0001TP", "0016E5", "0016E5"]
    sampler, _ = training_batches(dataclasses.replace(config, groups_alike=False), training, alone)
    assert sorted(index for _, _, index in sampler) == [0, 1, 2, 3]


def test_processes_share_the_batches_of_one():
    def batches(rank, processes):
        sampler = EpochSampler([10, 50], 2, batch_size=6, seed=1, rank=rank, processes=processes)
        items = list(sampler)
        assert len(items) == len(sampler)
        return [items[start : start + sampler.share] for start in range(0, len(items), sampler.share)]

    together = [first + second for first, second in zip(batches(0, 2), batches(1, 2), strict=True)]
    assert together == batches(0, 1)
    with pytest.raises(ValueError, match="6 cannot be dealt out evenly to 4 processes"):
        EpochSampler([10], 0, 6, 0, processes=4)


def test_items_depend_on_seed_epoch_and_position_alone(camvid):
    from dnl.datasets import CamVid

    crop = RandomCrop(32, 48, ignore_index=11)
    one, two = (CropDataset([CamVid(camvid), CamVid(camvid, "val")], crop, seed=3) for _ in range(2))
    two[(0, 0, 1)]
    assert torch.equal(one[(2, 5, 6)][0], two[(2, 5, 6)][0])
    assert not torch.equal(one[(2, 5, 6)][0], one[(2, 4, 6)][0])
    assert one[(0, 0, 0)][1].dtype == torch.int64


class Plain:
    """Photos of one grey level and class each, the first with a post of class 1 in one column of 40."""

    label_set = LabelSet("plain", ("ground", "post", "sky"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), ignore_index=255)

    def __init__(self, classes):
        self.classes = classes

    def __len__(self):
        return len(self.classes)

    def __getitem__(self, index):
        labels = np.full((30, 40), self.classes[index], np.uint8)
        if index == 0:
            labels[:, 20] = 1
        return Sample(np.repeat(labels[..., None] * 100, 3, axis=2), labels, str(index))


def test_what_is_small_in_photos_is_laid_over_others_and_over_streets_as_often_as_asked():
    crop = RandomCrop(30, 40, 1.0, 1.0, jitter=0.0)
    photos, streets = Plain([0]), Plain([0, 2, 2])
    pasted = {}
    for rate in (0.0, 0.5, 1.0):
        items = CropDataset([photos, streets], crop, seed=0, paste_rate=rate)
        pasted[rate] = [(items[(0, position, 2)][1] == 1).sum().item() for position in range(60)]
    assert pasted[0.0] == [0] * 60 and pasted[1.0] == [30] * 60
    assert 18 <= sum(count == 30 for count in pasted[0.5]) <= 42 and set(pasted[0.5]) == {0, 30}
    items = CropDataset([photos, streets], crop, seed=0, paste_rate=1.0)
    image, labels = items[(0, 0, 2)]
    assert (image[0][labels == 1] < image[0][labels == 2].min()).all()  # the photo's grey with its class
