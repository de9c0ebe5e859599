"""What a batch holds: every image once an epoch, the same whoever gets it, by (seed, epoch, position) alone."""

import pytest
import torch

from dnl.training.batches import CropDataset, EpochSampler
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
