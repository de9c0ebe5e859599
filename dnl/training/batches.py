"""Training batches whose content depends on (seed, epoch, position) alone, so that a resumed run repeats them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from dnl.datasets import Cached, LabelledDataset, Streets, open_dataset, open_training
from dnl.distributed import World
from dnl.training.config import TrainConfig
from dnl.training.runs import RunError
from dnl.transforms import OtherCamera, RandomCrop, normalise, paste

SMALL = 0.05  # share of a crop that a class covers at most to be laid over another one


class CropDataset(Dataset):
    """Random crops from several data sets that share one label set, laid end to end.

    An item is asked for by (epoch, position, index): `index` says which sample, the other two, with the seed, which
    random crop of it. With chance `paste_rate` what is small in a crop of any sample of the first data set is laid over
    it (`dnl.transforms.paste`). Returns image 3×h×w float32 and labels h×w int64.
    """

    def __init__(self, datasets: Sequence[LabelledDataset], crop: RandomCrop, seed: int, paste_rate: float = 0.0):
        self.datasets = datasets
        self.crop = crop
        self.seed = seed
        self.paste_rate = paste_rate

    def __getitem__(self, item: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        """Image and labels of an item. Raises DatasetError where its files do not fit."""
        epoch, position, index = item
        for dataset in self.datasets:
            if index < len(dataset):
                break
            index -= len(dataset)
        rng = np.random.default_rng((self.seed, epoch, position))
        image, labels = self._crop(dataset, index, rng)
        if self.paste_rate and rng.random() < self.paste_rate:
            other = self._crop(self.datasets[0], int(rng.integers(len(self.datasets[0]))), rng)
            image, labels = paste(image, labels, *other, largest=SMALL, ignored=self.crop.ignore_index)
        return normalise(image), torch.from_numpy(labels).long()

    def _crop(self, dataset: LabelledDataset, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        sample, ignored = dataset[index], self.crop.ignore_index
        labels = sample.labels
        if dataset.label_set.ignore_index != ignored:
            labels = np.where(labels == dataset.label_set.ignore_index, ignored, labels).astype(np.uint8)
        return self.crop(sample.image, labels, rng)


class EpochSampler(Sampler):
    """The items of one epoch: every sample of the first data set once and `drawn` random ones of the second.

    groups: of each sample of the first. With them an epoch has as many items of each group: some samples of a large
    group wait for another epoch, those of a small one come again. Each batch of `batch_size` is dealt out evenly to
    `processes`, of which this is number `rank`; an item is the same whoever gets it. Incomplete batches are left out.
    Call `start(epoch)` before each pass. Raises ValueError when a batch cannot be dealt out evenly.
    """

    def __init__(
        self,
        lengths: list[int],
        drawn: int,
        batch_size: int,
        seed: int,
        *,
        groups: Sequence[str] | None = None,
        rank: int = 0,
        processes: int = 1,
    ):
        if batch_size % processes:
            raise ValueError(f"a batch of {batch_size} cannot be dealt out evenly to {processes} processes")
        self.lengths = lengths
        self.drawn = drawn
        self.seed = seed
        self.groups = groups
        self.batches = (lengths[0] + drawn) // batch_size
        self.batch_size = batch_size
        self.share = batch_size // processes
        self.rank = rank
        self.epoch = 0

    def start(self, epoch: int) -> None:
        """What the next pass gives: the items of epoch `epoch`, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches * self.share

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        indices = np.arange(self.lengths[0]) if self.groups is None else of_groups_alike(self.groups, rng)
        if self.drawn:
            extra = rng.choice(self.lengths[1], self.drawn, replace=self.drawn > self.lengths[1])
            indices = np.concatenate([indices, self.lengths[0] + extra])
        order = rng.permutation(indices)[: self.batches * self.batch_size]
        for first in range(self.rank * self.share, len(order), self.batch_size):
            for position in range(first, first + self.share):
                yield self.epoch, position, int(order[position])


def of_groups_alike(groups: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """As many indices into `groups` as it has entries, each group's as often as any other's, to one.

    Within a group no index comes twice before all have come. The larger groups have one more where it does not come out
    even.
    """
    names, of_group, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    shares = np.full(len(names), len(groups) // len(names))
    shares[np.argsort(-sizes, kind="stable")[: len(groups) % len(names)]] += 1
    return np.concatenate(
        [np.resize(rng.permutation(np.flatnonzero(of_group == i)), share) for i, share in enumerate(shares)]
    )


class Batches:
    """The batches of a pass over `loader`, of which an error is raised as itself, wherever it occurred."""

    def __init__(self, loader: DataLoader, dataset: CropDataset):
        self.loader = loader
        self.dataset = dataset

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.loader:
            if isinstance(batch, Exception):
                raise batch
            yield batch


class _Caught(Dataset):
    """A data set that gives an error as an item: torch would raise it with another process's traceback in its text."""

    def __init__(self, dataset: CropDataset):
        self.dataset = dataset

    def __getitem__(self, item: tuple[int, int, int]) -> tuple[Tensor, Tensor] | Exception:
        try:
            return self.dataset[item]
        except (OSError, ValueError, MemoryError) as error:
            return error


def _collate(items: list) -> Any:
    return next((item for item in items if isinstance(item, Exception)), None) or default_collate(items)


def batch_loader(dataset: CropDataset, sampler: EpochSampler, workers: int) -> Batches:
    """This process's share of each batch: images B×3×h×w and labels B×h×w."""
    loader: DataLoader = DataLoader(
        _Caught(dataset),
        batch_size=sampler.share,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        collate_fn=_collate,
        generator=torch.Generator(),  # its own, so that loading never shifts the random state that dropout draws from
    )
    return Batches(loader, dataset)


def open_split(config: TrainConfig, data: str | None, split: str) -> LabelledDataset:
    """The data set of `config`, kept in memory if it says so. Raises DatasetError."""
    if split == "train":
        dataset = open_training(config.dataset, data, config.dev_group, config.coding or None)
    else:
        dataset = open_dataset(config.dataset, data, split, config.coding or None)
    return Cached(dataset) if config.keep_in_memory else dataset


def streets_among(config: TrainConfig, training: LabelledDataset) -> int:
    """How many streets are mixed into each epoch: none where the data set has other classes than they."""
    same = training.label_set.class_names == Streets.label_set.class_names
    return config.streets_per_epoch if same else 0


def groups_to_even_out(config: TrainConfig, training: LabelledDataset) -> list[str] | None:
    """The group of each training image if the recipe draws all groups alike. Raises RunError where images have none."""
    if not config.groups_alike:
        return None
    groups = [origin.group for origin in training.origins if origin.group is not None]
    if len(groups) < len(training):
        raise RunError(
            f"{len(training) - len(groups)} of {len(training)} training images of {config.dataset} are of no group; "
            "--set groups_alike=false draws every image once an epoch"
        )
    return groups


def other_camera(config: TrainConfig) -> OtherCamera | None:
    """How photos are changed beyond the jitter; None where the recipe changes nothing, so that nothing is drawn."""
    camera = OtherCamera(config.gamma_change, config.colour_cast, config.blur, config.sensor_noise)
    return None if camera == OtherCamera() else camera


def training_batches(config: TrainConfig, training: LabelledDataset, world: World) -> tuple[EpochSampler, Batches]:
    """Sampler and loader of this process's share of the training batches. Raises RunError without a whole batch."""
    crop = RandomCrop(
        config.crop_height,
        config.crop_width,
        config.min_scale,
        config.max_scale,
        camera=other_camera(config),
        ignore_index=training.label_set.ignore_index,
    )
    datasets: list[LabelledDataset] = [training]
    streets = streets_among(config, training)
    if streets:
        datasets.append(Cached(Streets("train", config.streets_pool)))
    sampler = EpochSampler(
        [len(dataset) for dataset in datasets],
        streets,
        config.batch_size,
        config.seed,
        groups=groups_to_even_out(config, training),
        rank=world.rank,
        processes=world.size,
    )
    if sampler.batches == 0:
        raise RunError(
            f"a batch of {config.batch_size} is more than the {len(training)} training images; set a smaller batch_size"
        )
    return sampler, batch_loader(CropDataset(datasets, crop, config.seed, config.paste_rate), sampler, config.workers)
