"""The Pascal VOC reader, on small trees in the true layout."""

import numpy as np
import pytest
from PIL import Image

from dnl.classes import VOC as VOC_CLASSES
from dnl.datasets import VOC, DatasetError, open_dataset

LISTS = {"train": ["2007_000032", "2011_003271"], "val": ["2007_000033"]}


def save_labels(base, name, values):
    """As VOC does it: a palette image whose index 255 is a cream-coloured border."""
    image = Image.fromarray(values).convert("P")
    image.putpalette([part for colour in VOC_CLASSES.palette for part in colour] + [0] * (234 * 3) + [224, 224, 192])
    image.putdata(values.ravel().tolist())
    image.save(base / "SegmentationClass" / f"{name}.png")


@pytest.fixture
def root(tmp_path):
    base = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (base / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, names in (*LISTS.items(), ("trainval", LISTS["train"] + LISTS["val"])):
        (base / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(base / "JPEGImages" / f"{name}.jpg")
            save_labels(base, name, rng.integers(0, 21, (5, 7), np.uint8))
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(base / "JPEGImages" / "2008_000001.jpg")  # in no list
    return tmp_path


@pytest.mark.parametrize("inner", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_any_of_its_folders_may_be_named(root, inner):
    assert [sample.name for sample in open_dataset("voc", root / inner, "train")] == LISTS["train"]


def test_splits_follow_their_lists(root):
    dataset = VOC(root, "trainval")
    assert [sample.name for sample in dataset] == LISTS["train"] + LISTS["val"]
    assert dataset.label_set is VOC_CLASSES
    with pytest.raises(DatasetError, match="no split 'test'; choose one of train, val, trainval"):
        VOC(root, "test")


def test_palette_images_are_read_by_index_and_the_border_is_ignored(root):
    values = np.array([[0, 1, 20, 255, 255, 15, 7]] * 5, np.uint8)
    save_labels(root / "VOCdevkit" / "VOC2012", "2007_000033", values)
    labels = VOC(root, "val")[0].labels
    assert np.array_equal(labels, values) and labels.dtype == np.uint8


def test_label_out_of_range_names_file_and_value(root):
    save_labels(root / "VOCdevkit" / "VOC2012", "2007_000033", np.full((5, 7), 21, np.uint8))
    with pytest.raises(DatasetError, match=r"2007_000033\.png holds the value 21; VOC's labels are 0 … 20"):
        VOC(root, "val")[0]


def test_sizes_that_differ(root):
    save_labels(root / "VOCdevkit" / "VOC2012", "2007_000033", np.zeros((5, 6), np.uint8))
    with pytest.raises(DatasetError, match=r"2007_000033\.png is \(5, 6\) but its image is \(5, 7\)"):
        VOC(root, "val")[0]


@pytest.mark.parametrize("entry", ["../../../secret", "/etc/passwd", "..\\secret", "..", "2007_000032.jpg"])
def test_list_entries_that_are_no_names_are_refused(root, entry):
    list_file = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "val.txt"
    list_file.write_text(f"2007_000033\n{entry}\n")
    with pytest.raises(DatasetError, match=r"val\.txt holds .*, which is no image name"):
        VOC(root, "val")


def test_lists_that_do_not_fit(root):
    lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    (lists / "val.txt").write_text("2007_000033\n2007_000033\n")
    with pytest.raises(DatasetError, match=r"2007_000033\.jpg is the second image named 2007_000033"):
        VOC(root, "val")
    (lists / "val.txt").write_text("\n")
    with pytest.raises(DatasetError, match=r"val\.txt is empty"):
        VOC(root, "val")
    (lists / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"val\.txt could not be read as UTF-8 text"):
        VOC(root, "val")
    (lists / "val.txt").unlink()
    (lists / "default.txt").write_text("2007_000033\n")
    with pytest.raises(DatasetError, match="no split 'val'; choose one of train, trainval, default"):
        VOC(root, "val")
    assert VOC(root, "default").names == ["2007_000033"]


def test_colour_images_are_read_by_the_classes_colours_and_the_borders(root):
    values = np.array([[0, 1, 20, 255, 255, 15, 7]] * 5, np.uint8)
    colours = np.array([*VOC_CLASSES.palette, *[(0, 0, 0)] * 234, (224, 224, 192)], np.uint8)[values]
    file = root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2007_000033.png"
    Image.fromarray(colours).save(file)
    assert np.array_equal(VOC(root, "val")[0].labels, values)
    colours[0, 0] = (1, 2, 3)
    Image.fromarray(colours).save(file)
    with pytest.raises(DatasetError, match=r"2007_000033\.png holds the colour \(1, 2, 3\), which is no class of voc"):
        VOC(root, "val")[0]


def test_images_of_any_ending(root):
    base = root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    (base / "2007_000033.jpg").rename(base / "2007_000033.JPEG")
    assert VOC(root, "val")[0].image.shape == (5, 7, 3)


def test_missing_files_and_folders(root):
    base = root / "VOCdevkit" / "VOC2012"
    (base / "SegmentationClass" / "2007_000033.png").unlink()
    with pytest.raises(DatasetError, match=r"lacks labels for 1 images, 2007_000033\.png"):
        VOC(root, "val")
    (base / "JPEGImages" / "2011_003271.jpg").unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 images of the split train, 2011_003271\.jpg"):
        VOC(root, "train")
    (base / "SegmentationClass").rename(base / "SegmentationObject")
    with pytest.raises(DatasetError, match="SegmentationClass is missing"):
        VOC(root, "val")
    with pytest.raises(DatasetError, match="holds no ImageSets/Segmentation/"):
        VOC(base / "JPEGImages", "val")
