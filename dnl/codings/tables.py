"""The codings of each label set: which value or colour in a file stands for which class.

Every label set has class indices and its own colours. The public data sets come in other codings as well: raw ids, the
colours of their publishers, indices before classes were merged.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dnl.classes import ADE20K, CAMVID, CITYSCAPES, VOC, LabelSet

Colour = tuple[int, int, int]

# In an image of indices 255 means "no class" whatever the label set says, as it does in most data sets.
COMMON_IGNORE_INDEX = 255
BLACK = (0, 0, 0)
# Other spellings of a public data set's classes; a list of other classes shares none or a few of its names.
LEAST_SAME_NAMES = 0.8


@dataclass(frozen=True, eq=False)
class Coding:
    """One way in which label images store the classes of a label set.

    key: its name where one is to be chosen. words: what it is called after "read as". values, colours: the class index,
    or the label set's ignore index, of each legal value or colour; the other of the two is None. shared: colours that
    two classes have, with these classes' names. rare: legal values that files of this coding hardly ever hold.
    asked: whether it is taken only when somebody names it, because a file that fits may well mean something else.
    """

    key: str
    words: str
    values: Mapping[int, int] | None = None
    colours: Mapping[Colour, int] | None = None
    shared: Mapping[Colour, tuple[str, str]] = field(default_factory=dict)
    rare: frozenset[int] = frozenset()
    asked: bool = False


def codings_of(label_set: LabelSet) -> tuple[Coding, ...]:
    """All codings of a label set, class indices and its colours first; keys are unique."""
    palette = tuple((int(red), int(green), int(blue)) for red, green, blue in label_set.palette)
    return _codings_of(LabelSet(label_set.name, tuple(label_set.class_names), palette, label_set.ignore_index))


@functools.lru_cache(maxsize=32)
def _codings_of(label_set: LabelSet) -> tuple[Coding, ...]:
    found = [_indices(label_set), _colours(label_set)]
    if same_classes(label_set, CAMVID):
        found += _camvid(label_set)
    if same_classes(label_set, CITYSCAPES):
        found += _cityscapes(label_set)
    if same_classes(label_set, ADE20K):
        found.append(_ade20k(label_set))
    elif label_set.num_classes < COMMON_IGNORE_INDEX:
        found.append(_one_based(label_set, "one-based", "indices from 1, 0 = none", asked=True))
    if label_set.num_classes == 2:
        second = label_set.class_names[1]
        found.append(Coding("mask", f"a mask, 255 = {second}", values={0: 0, 255: 1}, asked=True))
    return tuple(found)


def same_classes(label_set: LabelSet, public: LabelSet) -> bool:
    """Whether a label set is the public one, whose names may be spelt or cased differently here and there."""
    if label_set.num_classes != public.num_classes:
        return False
    pairs = zip(map(_plain, label_set.class_names), map(_plain, public.class_names), strict=True)
    return sum(name == other for name, other in pairs) >= LEAST_SAME_NAMES * public.num_classes


def _plain(name: str) -> str:
    """The first of a class's names, letters and digits alone."""
    return re.sub(r"[\W_]+", "", re.split(r"[,;]", name)[0]).lower()


def _indices(label_set: LabelSet) -> Coding:
    none = {COMMON_IGNORE_INDEX: label_set.ignore_index, label_set.ignore_index: label_set.ignore_index}
    words = "class indices (train ids)" if same_classes(label_set, CITYSCAPES) else "class indices"
    return Coding("indices", words, values=none | {index: index for index in range(label_set.num_classes)})


def _one_based(label_set: LabelSet, key: str, words: str, *, asked: bool) -> Coding:
    values = {0: label_set.ignore_index} | {index + 1: index for index in range(label_set.num_classes)}
    return Coding(key, words, values=values, asked=asked)


def _colours(label_set: LabelSet) -> Coding:
    """The palette's own colours; black means "no class" where no class has it."""
    first: dict[Colour, int] = {}
    shared: dict[Colour, tuple[str, str]] = {}
    for index, colour in enumerate(label_set.palette):
        if colour in first:
            shared[colour] = (label_set.class_names[first[colour]], label_set.class_names[index])
        first.setdefault(colour, index)
    if same_classes(label_set, VOC):
        first.setdefault(VOC_BORDER, label_set.ignore_index)
    if same_classes(label_set, CITYSCAPES):
        for colour in CITYSCAPES_VOID_COLOURS:
            first.setdefault(colour, label_set.ignore_index)
    colours = {BLACK: label_set.ignore_index} | {
        colour: index for colour, index in first.items() if colour not in shared
    }
    return Coding("colours", f"the colours of {label_set.name}", colours=colours, shared=shared)


# --- the public data sets' own ---------------------------------------------------------------------------------------

# How VOC's development kit paints the border between objects.
VOC_BORDER = (224, 224, 192)

# Cityscapes' label ids of the classes 0 … 18.
CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
# What its colour images show of the labels that are not evaluated. A polegroup has the colour of a pole, a licence
# plate that of a car.
CITYSCAPES_VOID_COLOURS = (
    (111, 74, 0),
    (81, 0, 81),
    (250, 170, 160),
    (230, 150, 140),
    (180, 165, 180),
    (150, 100, 100),
    (150, 120, 90),
    (0, 0, 90),
    (0, 0, 110),
)

# Of CamVid's 32 classes, in the order of their names (the order in which they are numbered where they are): colour,
# name, and the class among the 11 that SegNet and its successors put it into.
CAMVID_32 = """
 64 128  64 Animal Pedestrian
192   0 128 Archway Building
  0 128 192 Bicyclist Bicyclist
  0 128  64 Bridge Building
128   0   0 Building Building
 64   0 128 Car Car
 64   0 192 CartLuggagePram Pedestrian
192 128  64 Child Pedestrian
192 192 128 Column_Pole Pole
 64  64 128 Fence Fence
128   0 192 LaneMkgsDriv Road
192   0  64 LaneMkgsNonDriv Road
128 128  64 Misc_Text SignSymbol
192   0 192 MotorcycleScooter Bicyclist
128  64  64 OtherMoving Car
 64 192 128 ParkingBlock Pavement
 64  64   0 Pedestrian Pedestrian
128  64 128 Road Road
128 128 192 RoadShoulder Pavement
  0   0 192 Sidewalk Pavement
192 128 128 SignSymbol SignSymbol
128 128 128 Sky Sky
 64 128 192 SUVPickupTruck Car
  0   0  64 TrafficCone Pole
  0  64  64 TrafficLight SignSymbol
192  64 128 Train Car
128 128   0 Tree Tree
192 128 192 Truck_Bus Car
 64   0  64 Tunnel Building
192 192   0 VegetationMisc Tree
  0   0   0 Void -
 64 192   0 Wall Building
"""
# SegNet's own palette has one colour more than its 11 classes.
SEGNET_ROAD_MARKING = (255, 69, 0)


def _camvid(label_set: LabelSet) -> list[Coding]:
    index_of = {name: index for index, name in enumerate(CAMVID.class_names)} | {"-": label_set.ignore_index}
    rows = [line.split() for line in CAMVID_32.strip().splitlines()]
    classes = [index_of[row[4]] for row in rows]
    colours = {(int(row[0]), int(row[1]), int(row[2])): index for row, index in zip(rows, classes, strict=True)}
    variant = {SEGNET_ROAD_MARKING: index_of["Road"], CAMVID.palette[4]: index_of["Pavement"]}
    return [
        Coding("official-colours", "CamVid's official colours, 32 classes", colours=colours | variant),
        Coding("32-indices", "indices of CamVid's 32 classes", values=dict(enumerate(classes)), asked=True),
    ]


def _cityscapes(label_set: LabelSet) -> list[Coding]:
    none = label_set.ignore_index
    ids = dict.fromkeys(range(34), none) | {label_id: index for index, label_id in enumerate(CITYSCAPES_LABEL_IDS)}
    # 255: a licence plate's −1 in a byte, which the published files do not have.
    label_ids = ids | {255: none}
    # A stuff region has its label id, an object 1000 times that and its number.
    instances = {1000 * label_id + n: ids[label_id] for label_id in range(24, 34) for n in range(1000)}
    return [
        Coding("label-ids", "Cityscapes label ids", values=label_ids, rare=frozenset({255})),
        Coding("instance-ids", "Cityscapes instance ids", values=ids | instances),
    ]


def _ade20k(label_set: LabelSet) -> Coding:
    return _one_based(label_set, "annotation", "ADE20K annotation, 0 = other", asked=False)
