"""Training batches whose content depends on (seed, epoch, position) alone, so that a resumed run repeats them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dnl.transforms import RandomCrop, normalise


class CropDataset(Dataset):
    """Random crops from several data sets that share one label set, laid end to end.

    An item is asked for by (epoch, position, index): `index` says which sample, the other two, with the seed, which
    random crop of it. Returns image 3×h×w float32 and labels h×w int64.
    """

    def __init__(self, datasets: list, crop: RandomCrop, seed: int):
        self.datasets = datasets
        self.crop = crop
        self.seed = seed

    def __getitem__(self, item: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        epoch, position, index = item
        for dataset in self.datasets:
            if index < len(dataset):
                break
            index -= len(dataset)
        image, labels = self.crop(dataset[index], np.random.default_rng((self.seed, epoch, position)))
        return normalise(image), torch.from_numpy(labels).long()


class EpochSampler(Sampler):
    """The items of one epoch: every sample of the first data set once and `drawn` random ones of the second.

    Each batch of `batch_size` is dealt out evenly to `processes`, of which this is number `rank`; an item is the same
    whoever gets it. Incomplete batches are left out. Call `start(epoch)` before each pass. Raises ValueError when a
    batch cannot be dealt out evenly.
    """

    def __init__(
        self, lengths: list[int], drawn: int, batch_size: int, seed: int, *, rank: int = 0, processes: int = 1
    ):
        if batch_size % processes:
            raise ValueError(f"a batch of {batch_size} cannot be dealt out evenly to {processes} processes")
        self.lengths = lengths
        self.drawn = drawn
        self.seed = seed
        self.batches = (lengths[0] + drawn) // batch_size
        self.batch_size = batch_size
        self.share = batch_size // processes
        self.rank = rank
        self.epoch = 0

    def start(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches * self.share

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        indices = np.arange(self.lengths[0])
        if self.drawn:
            extra = rng.choice(self.lengths[1], self.drawn, replace=self.drawn > self.lengths[1])
            indices = np.concatenate([indices, self.lengths[0] + extra])
        order = rng.permutation(indices)[: self.batches * self.batch_size]
        for first in range(self.rank * self.share, len(order), self.batch_size):
            for position in range(first, first + self.share):
                yield self.epoch, position, int(order[position])


def batch_loader(dataset: CropDataset, sampler: EpochSampler, workers: int) -> DataLoader:
    """This process's share of each batch: images B×3×h×w and labels B×h×w."""
    return DataLoader(
        dataset,
        batch_size=sampler.share,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own, so that loading never shifts the random state that dropout draws from
    )
