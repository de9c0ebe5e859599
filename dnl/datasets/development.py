"""Development splits: groups of train that a network does not learn from, so that it can be chosen on them.

    dev:GROUP    dev:GROUP,GROUP       the images of these groups of the split train
    dev                                asks which; of a checkpoint, the groups that it was trained without

A split of the data set's own that is called dev comes first.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dnl.datasets.base import DatasetError
from dnl.datasets.groups import group_sizes
from dnl.datasets.pairs import LabelledFiles

DEV = "dev"
BASE = "train"
MOST_NAMED = 20


def is_development(split: str) -> bool:
    """Whether a split is written as one of groups of train, or asks for one."""
    return split == DEV or split.startswith(f"{DEV}:")


def has_own(name: str, root: str | Path | None, split: str) -> bool:
    """Whether the data set has a split of that very name itself."""
    inner = {"folder": ("images", split), "voc": ("ImageSets", "Segmentation", f"{split}.txt")}.get(name)
    return root is not None and inner is not None and os.path.exists(Path(root, *inner))


def held_out(train: LabelledFiles, split: str) -> LabelledFiles:
    """The images of a split `dev:…` of the groups of `train`. Raises DatasetError, naming the groups there are."""
    return train.only(_groups_in(train, split.removeprefix(DEV).removeprefix(":")))


def without(train: LabelledFiles, groups: str) -> LabelledFiles:
    """`train` without the groups that are written as in `dev:…`. Raises DatasetError where no image is left."""
    part = train.only(_groups_in(train, groups), without=True)
    if not len(part):
        raise DatasetError(f"without {groups} there is no image left to learn from; leave out fewer groups")
    return part


def split_to_measure(split: str, recipes: Iterable[Mapping], name: str, root: str | Path | None) -> str:
    """The split as it was named; for dev alone that of the groups that all networks were trained without.

    recipes: of the checkpoints' cards, with `dev_group` where one has it. Those for other data sets say nothing here.
    """
    if split != DEV or has_own(name, root, DEV):
        return split
    groups = {_left_out(recipe) for recipe in recipes if recipe.get("dataset", name) == name}
    return f"{DEV}:{groups.pop()}" if len(groups) == 1 and "" not in groups else DEV


def learnt_from(recipes: Iterable[Mapping], name: str, split: str) -> bool:
    """Whether a network that was trained by these recipes, one after another, has learnt from images of the split of
    the data set `name`."""
    return any(_learnt_from(recipe, name, split) for recipe in recipes)


def _learnt_from(recipe: Mapping, name: str, split: str) -> bool:
    if recipe.get("dataset") != name:
        return False
    if not split.startswith(f"{DEV}:"):
        return split in (BASE, "trainval")
    left_out, groups = _left_out(recipe), split.removeprefix(f"{DEV}:")
    return groups != left_out and not set(groups.split(",")) <= set(left_out.split(","))


def _left_out(recipe: Mapping) -> str:
    """The groups that a recipe leaves out; a card may come from anywhere."""
    groups = recipe.get("dev_group", "")
    return groups if isinstance(groups, str) else ""


def _groups_in(train: LabelledFiles, text: str) -> set[str]:
    """The groups that a text names: one name, or several with commas."""
    sizes = group_sizes(train.origins)
    if not sizes:
        raise DatasetError(f"the images of {BASE} have no groups, of which some could be left out for {DEV}")
    named = {text} if text in sizes else set(text.split(","))
    listed = ", ".join(f"{name} ({count} images)" for name, count in list(sizes.items())[:MOST_NAMED])
    listed += f" and {len(sizes) - MOST_NAMED} more" if len(sizes) > MOST_NAMED else ""
    if not text:
        raise DatasetError(f"{DEV} needs groups of {BASE} to stand for; write {DEV}:GROUP with one of {listed}")
    if unknown := sorted(named - sizes.keys()):
        raise DatasetError(f"{BASE} has no group {unknown[0][:80]!r}; it has {listed}")
    return named
