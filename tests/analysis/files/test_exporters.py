"""Label images as tools export them, made from what their documentation says: read right, or refused in one sentence.

Each is read by the Explorer's reader and in a folder of one image, and both must agree.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image

from analysis.files.photos import UploadError, read_label_image
from dnl.classes import ADE20K, CAMVID, CITYSCAPES, VOC, LabelSet
from dnl.datasets import DatasetError, Folder
from dnl.datasets.look import look_at
from tests.png import grey_png

SIZE = (40, 48)
INDICES = np.zeros(SIZE, np.uint8)
INDICES[10:, :24], INDICES[10:, 24:], INDICES[30:, 12:] = 1, 2, 0
NONE = np.where(INDICES == 0, 255, INDICES - 1).astype(np.uint8)  # of classes without the background
BINARY = (INDICES > 0).astype(np.uint8)

VOC_COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
CVAT_COLOURS = [(0, 0, 0), (61, 61, 245), (250, 50, 83)]
BASIC = ("background", "cat", "dog")


def classes(*colours, names=BASIC):
    return LabelSet("folder", tuple(names[-len(colours) :]), tuple(colours), 255)


WITH_GROUND, WITHOUT_GROUND = classes(*CVAT_COLOURS), classes(*CVAT_COLOURS[1:])
VOC_WITH, VOC_WITHOUT = classes(*VOC_COLOURS), classes(*VOC_COLOURS[1:])
GREYS = classes((7, 7, 7), (10, 90, 10), (90, 10, 10))
MASK_CLASSES = classes((30, 30, 30), (90, 10, 10), names=("ground", "thing"))


def encoded(picture, format="PNG", **options):
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def grey(values, format="PNG", **options):
    return encoded(Image.fromarray(values), format, **options)


def painted(values, colours, format="PNG"):
    return encoded(Image.fromarray(np.array(colours, np.uint8)[values]), format)


def palette(values, colours, **options):
    picture = Image.fromarray(values)
    picture.putpalette([part for colour in colours for part in colour])
    return encoded(picture, **options)


def voc_palette():
    """The colours that labelme, Datumaro and the VOC kit give to the values 0 … 255."""
    colours = []
    for value in range(256):
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= (value >> channel & 1) << (7 - bit)
            value >>= 3
        colours.append(tuple(channels))
    return colours


def smooth(values, way=Image.Resampling.BILINEAR):
    """Values as they come from drawing with smooth edges or resizing."""
    small = Image.fromarray(values).resize((SIZE[1] // 3, SIZE[0] // 3), Image.Resampling.NEAREST)
    return np.asarray(small.resize((SIZE[1], SIZE[0]), way))


def rgba(values, colours, alpha):
    return encoded(Image.fromarray(np.dstack([np.array(colours, np.uint8)[values], alpha])))


IGNORED = np.where(INDICES == 2, 255, INDICES).astype(np.uint8)
CITY_IDS = np.array([4, 7, 26], np.uint8)[INDICES]
CITY_CLASSES = np.array([255, 0, 13], np.uint8)[INDICES]
CAMVID_NAMES = np.array([11, 3, 4], np.uint8)[INDICES]  # void, road, sidewalk
CAMVID_32 = np.array([30, 17, 19], np.uint8)[INDICES]
CAMVID_COLOURS = [(0, 0, 0), (128, 64, 128), (0, 0, 192)]
ADE_RAW = np.array([0, 1, 150], np.uint8)[INDICES]
ADE_CLASSES = np.array([255, 0, 149], np.uint8)[INDICES]
RAMP = [(value, value, value) for value in range(256)]
MACHINE = RAMP[:3]
TRUNCATED = grey(INDICES)[:60]

# Each: tool and file, the classes, the file, and the right classes or a part of the sentence.
CASES = {
    # CVAT: "Segmentation mask", colours of labelmap.txt, black the background; VOC, CamVid, Cityscapes, ADE20K, KITTI
    "cvat mask": (WITH_GROUND, painted(INDICES, CVAT_COLOURS), INDICES),
    "cvat mask, background no class": (WITHOUT_GROUND, painted(INDICES, CVAT_COLOURS), NONE),
    "cvat mask of one channel": (WITH_GROUND, grey(INDICES), INDICES),
    "cvat mask of one channel, background no class": (WITHOUT_GROUND, grey(INDICES), 'name the coding "one-based"'),
    "cvat mask with VOC's colours": (VOC_WITH, painted(INDICES, VOC_COLOURS), INDICES),
    "cvat mask, colours of another project": (
        WITH_GROUND,
        painted(INDICES, VOC_COLOURS),
        r"colours \(0, 128, 0\), \(128",
    ),
    "cvat mask of 16 bits": (WITH_GROUND, grey(INDICES.astype(np.uint16)), INDICES),
    "cvat instances": (WITH_GROUND, painted(INDICES, [(0, 0, 0), (128, 0, 0), (0, 128, 0)]), "no class of folder"),
    "cvat pascal voc": (VOC, palette(INDICES, voc_palette()), INDICES),
    "cvat pascal voc in colours": (VOC, painted(INDICES, VOC_COLOURS), INDICES),
    "cvat camvid": (CAMVID, painted(INDICES, CAMVID_COLOURS), CAMVID_NAMES),
    "cvat camvid of own classes": (WITHOUT_GROUND, painted(INDICES, CVAT_COLOURS), NONE),
    "cvat cityscapes label ids": (CITYSCAPES, grey(CITY_IDS), CITY_CLASSES),
    "cvat cityscapes colours": (
        CITYSCAPES,
        painted(INDICES, [(0, 0, 0), (128, 64, 128), (0, 0, 142)]),
        CITY_CLASSES,
    ),
    "cvat cityscapes colours with alpha": (
        CITYSCAPES,
        rgba(INDICES, [(0, 0, 0), (128, 64, 128), (0, 0, 142)], np.full(SIZE, 255, np.uint8)),
        CITY_CLASSES,
    ),
    "cvat cityscapes instance ids": (
        CITYSCAPES,
        grey(np.array([4, 7, 26003], np.uint16)[INDICES]),
        CITY_CLASSES,
    ),
    "cvat ade20k seg": (ADE20K, painted(INDICES, [(0, 0, 0), (10, 44, 1), (20, 5, 2)]), "which are no class of ade20k"),
    "cvat kitti instances": (WITH_GROUND, grey(INDICES.astype(np.uint16) * 256), "the values 256, 512"),
    # Label Studio: one PNG a label, the brush's alpha channel
    "label studio brush": (
        MASK_CLASSES,
        grey(BINARY * 255),
        "0 and 255 only, and 255 means ignored",
    ),
    "label studio brush, three classes": (GREYS, grey(BINARY * 255), "0 and 255 only"),
    "label studio brush, black and white classes": (
        classes((0, 0, 0), (255, 255, 255), names=("ground", "thing")),
        grey(BINARY * 255),
        BINARY,
    ),
    "label studio brush with smooth edges": (MASK_CLASSES, grey(smooth(BINARY * 255)), "smooth borders"),
    "label studio brush as 1 bit": (MASK_CLASSES, encoded(Image.fromarray(BINARY > 0)), BINARY),
    "label studio brush as RGB": (
        MASK_CLASSES,
        painted(BINARY * 255, RAMP),
        "0 and 255 only",
    ),
    "label studio brush as RGBA": (
        MASK_CLASSES,
        rgba(BINARY * 255, RAMP, BINARY * 255),
        "0 and 255 only",
    ),
    "label studio brush, white below transparent": (
        MASK_CLASSES,
        rgba(np.full(SIZE, 255, np.uint8), RAMP, BINARY * 255),
        "labels below transparent pixels",
    ),
    "label studio merged": (GREYS, grey(INDICES), INDICES),
    # Roboflow: NAME_mask.png, values of _classes.csv, 0 the background
    "roboflow mask": (GREYS, grey(INDICES), INDICES),
    "roboflow mask, background no class": (classes(*GREYS.palette[1:]), grey(INDICES), 'coding "one-based"'),
    "roboflow mask of one class": (MASK_CLASSES, grey(BINARY), BINARY),
    "roboflow mask of 2 bits": (GREYS, grey_png(INDICES, 2), INDICES),
    "roboflow mask of 4 bits": (GREYS, grey_png(INDICES, 4), INDICES),
    "roboflow mask resized smoothly": (
        classes(*[(v, 0, 9) for v in range(7)], names=[f"class {v}" for v in range(7)]),
        grey(smooth(INDICES * 3)),
        "note: seems to have been resized smoothly",
    ),
    "roboflow mask as JPEG": (GREYS, encoded(Image.fromarray(INDICES), "JPEG"), "PNG"),
    "roboflow mask, a class more": (GREYS, grey(INDICES + 1), "no class of folder|one-based"),
    # labelme: labelme2voc and json_to_dataset, values with VOC's palette, -1 as 255
    "labelme voc": (GREYS, palette(INDICES, voc_palette()), INDICES),
    "labelme voc with ignored": (GREYS, palette(IGNORED, voc_palette()), IGNORED),
    "labelme voc, VOC's colours as the classes'": (VOC_WITH, palette(INDICES, voc_palette()), INDICES),
    "labelme voc, background no class": (VOC_WITHOUT, palette(INDICES, voc_palette()), NONE),
    "labelme voc, colours and values differ": (
        VOC_WITHOUT,
        palette(BINARY, voc_palette()),
        'may be class indices or the colours of folder: name the coding "indices" or "colours"',
    ),
    "labelme voc of a short palette": (GREYS, palette(INDICES, voc_palette()[:3]), INDICES),
    "labelme visualisation": (
        GREYS,
        encoded(Image.fromarray(np.array(CVAT_COLOURS, np.uint8)[INDICES]), "JPEG"),
        "PNG",
    ),
    "labelme label.png opened as RGB": (VOC_WITH, painted(INDICES, voc_palette()), INDICES),
    "labelme of two classes, one of them drawn": (
        classes((9, 0, 0), (9, 9, 0), names=("ground", "thing")),
        palette(BINARY, voc_palette()),
        BINARY,
    ),
    "labelme voc saved again by an editor": (
        VOC_WITH,
        palette(np.array([2, 0, 1], np.uint8)[INDICES], [(128, 0, 0), (0, 128, 0), (0, 0, 0)]),
        INDICES,
    ),
    # Supervisely: masks_machine (1, 1, 1), (2, 2, 2), …; masks_human in the classes' colours
    "supervisely machine mask": (GREYS, painted(INDICES, MACHINE), INDICES),
    "supervisely machine mask, background no class": (
        classes(*GREYS.palette[1:]),
        painted(INDICES, MACHINE),
        'name the coding "one-based"',
    ),
    "supervisely human mask": (WITHOUT_GROUND, painted(INDICES, CVAT_COLOURS), NONE),
    "supervisely human mask with alpha": (
        WITHOUT_GROUND,
        rgba(INDICES, CVAT_COLOURS, np.where(INDICES == 0, 0, 255).astype(np.uint8)),
        NONE,
    ),
    "supervisely human mask, half transparent": (
        WITHOUT_GROUND,
        rgba(INDICES, CVAT_COLOURS, np.full(SIZE, 128, np.uint8)),
        NONE,
    ),
    "supervisely pascal voc": (VOC, palette(IGNORED, voc_palette()), IGNORED),
    "supervisely machine mask as TIFF": (
        GREYS,
        painted(INDICES, MACHINE, format="TIFF"),
        INDICES,
    ),
    "supervisely machine mask as BMP": (GREYS, grey(INDICES, format="BMP"), INDICES),
    # VIA and COCO: masks made by scripts; COCO-Stuff pixel maps 0 … 181 with 255; panoptic ids in colours
    "via mask": (MASK_CLASSES, grey(BINARY * 255), "0 and 255 only"),
    "via mask inverted": (MASK_CLASSES, grey((1 - BINARY) * 255), "0 and 255 only"),
    "via mask as TIFF": (GREYS, grey(INDICES, format="TIFF"), INDICES),
    "via mask of floating-point numbers": (
        GREYS,
        encoded(Image.fromarray(INDICES.astype(np.float32)), "TIFF"),
        "floating-p",
    ),
    "via mask of 32 bits": (GREYS, grey(INDICES.astype(np.int32), format="TIFF"), "pixels of signed or 32-bit numbers"),
    "via mask as TIFF compressed as a photo": (
        GREYS,
        encoded(Image.fromarray(INDICES), "TIFF", compression="jpeg"),
        "compressed like a photo",
    ),
    "coco-stuff pixel map": (GREYS, grey(IGNORED), IGNORED),
    "coco-stuff pixel map of more classes": (
        GREYS,
        grey(np.array([0, 91, 181], np.uint8)[INDICES]),
        "the values 91, 181",
    ),
    "coco panoptic": (GREYS, painted(INDICES, [(0, 0, 0), (17, 3, 0), (200, 12, 1)]), r"colours \(17, 3, 0\), \(200"),
    # Data sets as their publishers write them
    "ade20k annotation": (ADE20K, grey(ADE_RAW), ADE_CLASSES),
    "ade20k annotation, few classes": (ADE20K, grey(INDICES), 'name the coding "indices" or "annotation"'),
    "ade20k reduced labels": (ADE20K, grey(NONE), NONE),
    "ade20k colours": (ADE20K, painted(INDICES, [(0, 0, 0), ADE20K.palette[0], ADE20K.palette[149]]), ADE_CLASSES),
    "cityscapes train ids": (CITYSCAPES, grey(IGNORED), IGNORED),
    "cityscapes, a few values": (CITYSCAPES, grey(INDICES), 'name the coding "indices" or "label-ids"'),
    "camvid of 11 classes": (CAMVID, grey(INDICES), INDICES),
    "camvid of 32 classes by number": (
        CAMVID,
        grey(np.array([30, 17, 19], np.uint8)[INDICES]),
        'name the coding "32-ind',
    ),
    "camvid in SegNet's colours": (
        CAMVID,
        painted(INDICES, [(0, 0, 0), (255, 69, 0), (60, 40, 222)]),
        CAMVID_NAMES,
    ),
    "voc in colours with borders": (VOC, painted(INDICES, [(0, 0, 0), (128, 0, 0), (224, 224, 192)]), IGNORED),
    # Files that are none
    "cut off": (GREYS, TRUNCATED, "cut off or damaged|not a readable"),
    "a photo": (
        GREYS,
        encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8))),
        "more than 1024 colours",
    ),
    "nothing at all": (GREYS, b"", "empty file|not a readable"),
}


def folder(root, label_set, data):
    for part in ("images", "labels"):
        (root / part).mkdir()
    Image.new("RGB", (SIZE[1], SIZE[0]), "green").save(root / "images" / "a.png")
    (root / "labels" / "a.png").write_bytes(data)
    twins = len(set(label_set.palette)) < len(label_set.palette)
    palette = [[index, 1, 2] for index in range(150)] if twins else [list(colour) for colour in label_set.palette]
    entries = [{"name": n, "colour": c} for n, c in zip(label_set.class_names, palette, strict=True)]
    content = {"classes": entries, "ignore_index": label_set.ignore_index, "name": label_set.name}
    (root / "classes.json").write_text(json.dumps(content))
    return root, not twins


@pytest.mark.parametrize("case", CASES)
def test_a_tools_file(case, tmp_path):
    label_set, data, wanted = CASES[case]
    root, same_classes = folder(tmp_path, label_set, data)
    if isinstance(wanted, str) and not wanted.startswith("note: "):
        with pytest.raises(UploadError, match=wanted) as said:
            read_label_image(data, SIZE, label_set)
        assert "\n" not in str(said.value) and len(str(said.value)) < 400
        if same_classes:
            for look in (lambda: Folder(root)[0], lambda: look_at(Folder(root), remember=False).require()):
                with pytest.raises(DatasetError, match=wanted.replace("empty file|", "")):
                    look()
        return
    found = read_label_image(data, SIZE, label_set)
    if isinstance(wanted, str):
        assert wanted.removeprefix("note: ") in found.notes[0]
        assert wanted.removeprefix("note: ") in look_at(Folder(root), remember=False).sentences[0]
        return
    assert np.array_equal(found.labels, np.where(wanted == 255, label_set.ignore_index, wanted))
    assert found.notes == () and found.coding in found.choices
    if same_classes:
        sample = Folder(root)[0]
        assert np.array_equal(sample.labels, found.labels) and sample.labels.dtype == found.labels.dtype
        look = look_at(Folder(root), remember=False).require()
        assert look.findings == () and sum(look.class_pixels) == (found.labels != label_set.ignore_index).sum()
        assert look.read_as == found.coding.words


def test_there_are_enough_of_them():
    assert len(CASES) >= 60
