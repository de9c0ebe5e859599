"""Label sets: class names, palette and ignore index of each data set."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelSet:
    """Names and colours of the classes 0 … num_classes − 1, and the label value that means "no class".

    `palette` holds one (red, green, blue) triple in 0 … 255 per class. Raises ValueError where the parts do not fit,
    and for an ignore index beyond 64 bits, which no array of labels can hold.
    """

    name: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int

    def __post_init__(self):
        if len(self.class_names) != len(self.palette):
            raise ValueError(
                f"label set {self.name!r}: {len(self.class_names)} class names but {len(self.palette)} colours; "
                "give one colour per class"
            )
        if 0 <= self.ignore_index < self.num_classes:
            raise ValueError(
                f"label set {self.name!r}: ignore index {self.ignore_index} is also the index of class "
                f"{self.class_names[self.ignore_index]!r}; choose one outside 0 … {self.num_classes - 1}"
            )

        if not -(2**63) <= self.ignore_index < 2**63:
            raise ValueError(
                f"label set {self.name!r}: the ignore index takes {self.ignore_index.bit_length() + 1} bits; choose "
                "one that fits into 64, such as 255"
            )

    @property
    def num_classes(self) -> int:
        """How many classes there are, without the ignored pixels."""
        return len(self.class_names)

    def colour(self, labels: np.ndarray) -> np.ndarray:
        """Paint class indices: labels H×W integer -> H×W×3 uint8; anything that is no class becomes black."""
        lookup = np.zeros((256, 3), np.uint8)
        lookup[: self.num_classes] = np.reshape(self.palette, (-1, 3))  # there may be no class at all
        return lookup[np.where((labels >= 0) & (labels < self.num_classes), labels, 255)]


# Brostow, Fauqueur, Cipolla 2009, in the 11-class reduction used by SegNet and its successors.
CAMVID = LabelSet(
    name="camvid",
    class_names=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore_index=11,
)


def _label_set(name: str, table: str) -> LabelSet:
    """The label set of a table with one class per line, "red green blue name", and 255 for ignored pixels."""
    rows = [line.split(maxsplit=3) for line in table.strip().splitlines()]
    return LabelSet(
        name=name,
        class_names=tuple(row[3] for row in rows),
        palette=tuple((int(row[0]), int(row[1]), int(row[2])) for row in rows),
        ignore_index=255,
    )


# Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", 2016: the 19 evaluated classes.
CITYSCAPES = _label_set(
    "cityscapes",
    """
128  64 128 road
244  35 232 sidewalk
 70  70  70 building
102 102 156 wall
190 153 153 fence
153 153 153 pole
250 170  30 traffic light
220 220   0 traffic sign
107 142  35 vegetation
152 251 152 terrain
 70 130 180 sky
220  20  60 person
255   0   0 rider
  0   0 142 car
  0   0  70 truck
  0  60 100 bus
  0  80 100 train
  0   0 230 motorcycle
119  11  32 bicycle
""",
)

# Everingham et al., "The Pascal visual object classes challenge", 2012.
VOC = _label_set(
    "voc",
    """
  0   0   0 background
128   0   0 aeroplane
  0 128   0 bicycle
128 128   0 bird
  0   0 128 boat
128   0 128 bottle
  0 128 128 bus
128 128 128 car
 64   0   0 cat
192   0   0 chair
 64 128   0 cow
192 128   0 diningtable
 64   0 128 dog
192   0 128 horse
 64 128 128 motorbike
192 128 128 person
  0  64   0 pottedplant
128  64   0 sheep
  0 192   0 sofa
128 192   0 train
  0  64 128 tvmonitor
""",
)

# Zhou et al., "Scene parsing through ADE20K dataset", 2017: the 150 classes of the benchmark, by the first or the usual
# one of their names. The palette is the benchmark's own, in which road and skyscraper share a colour.
ADE20K = _label_set(
    "ade20k",
    """
120 120 120 wall
180 120 120 building
  6 230 230 sky
 80  50  50 floor
  4 200   3 tree
120 120  80 ceiling
140 140 140 road
204   5 255 bed
230 230 230 windowpane
  4 250   7 grass
224   5 255 cabinet
235 255   7 sidewalk
150   5  61 person
120 120  70 earth
  8 255  51 door
255   6  82 table
143 255 140 mountain
204 255   4 plant
255  51   7 curtain
204  70   3 chair
  0 102 200 car
 61 230 250 water
255   6  51 painting
 11 102 255 sofa
255   7  71 shelf
255   9 224 house
  9   7 230 sea
220 220 220 mirror
255   9  92 rug
112   9 255 field
  8 255 214 armchair
  7 255 224 seat
255 184   6 fence
 10 255  71 desk
255  41  10 rock
  7 255 255 wardrobe
224 255   8 lamp
102   8 255 bathtub
255  61   6 railing
255 194   7 cushion
255 122   8 base
  0 255  20 box
255   8  41 column
255   5 153 signboard
  6  51 255 chest of drawers
235  12 255 counter
160 150  20 sand
  0 163 255 sink
140 140 140 skyscraper
250  10  15 fireplace
 20 255   0 refrigerator
 31 255   0 grandstand
255  31   0 path
255 224   0 stairs
153 255   0 runway
  0   0 255 case
255  71   0 pool table
  0 235 255 pillow
  0 173 255 screen door
 31   0 255 stairway
 11 200 200 river
255  82   0 bridge
  0 255 245 bookcase
  0  61 255 blind
  0 255 112 coffee table
  0 255 133 toilet
255   0   0 flower
255 163   0 book
255 102   0 hill
194 255   0 bench
  0 143 255 countertop
 51 255   0 stove
  0  82 255 palm
  0 255  41 kitchen island
  0 255 173 computer
 10   0 255 swivel chair
173 255   0 boat
  0 255 153 bar
255  92   0 arcade machine
255   0 255 hovel
255   0 245 bus
255   0 102 towel
255 173   0 light
255   0  20 truck
255 184 184 tower
  0  31 255 chandelier
  0 255  61 awning
  0  71 255 streetlight
255   0 204 booth
  0 255 194 television receiver
  0 255  82 airplane
  0  10 255 dirt track
  0 112 255 apparel
 51   0 255 pole
  0 194 255 land
  0 122 255 bannister
  0 255 163 escalator
255 153   0 ottoman
  0 255  10 bottle
255 112   0 buffet
143 255   0 poster
 82   0 255 stage
163 255   0 van
255 235   0 ship
  8 184 170 fountain
133   0 255 conveyer belt
  0 255  92 canopy
184   0 255 washer
255   0  31 plaything
  0 184 255 swimming pool
  0 214 255 stool
255   0 112 barrel
 92 255   0 basket
  0 224 255 waterfall
112 224 255 tent
 70 184 160 bag
163   0 255 minibike
153   0 255 cradle
 71 255   0 oven
255   0 163 ball
255 204   0 food
255   0 143 step
  0 255 235 tank
133 255   0 trade name
255   0 235 microwave
245   0 255 pot
255   0 122 animal
255 245   0 bicycle
 10 190 212 lake
214 255   0 dishwasher
  0 204 255 screen
 20   0 255 blanket
255 255   0 sculpture
  0 153 255 hood
  0  41 255 sconce
  0 255 204 vase
 41   0 255 traffic light
 41 255   0 tray
173   0 255 ashcan
  0 245 255 fan
 71   0 255 pier
122   0 255 crt screen
  0 255 184 plate
  0  92 255 monitor
184 255   0 bulletin board
  0 133 255 shower
255 214   0 radiator
 25 194 194 glass
102 255   0 clock
 92   0 255 flag
""",
)
