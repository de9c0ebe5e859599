"""The ADE20K reader, on small trees in the true layout."""

import numpy as np
import pytest
from PIL import Image

from dnl.classes import ADE20K as ADE20K_CLASSES
from dnl.datasets import ADE20K, DatasetError, open_dataset


@pytest.fixture
def root(tmp_path):
    base = tmp_path / "ADEChallengeData2016"
    rng = np.random.default_rng(0)
    for split, prefix in (("training", "train"), ("validation", "val")):
        for part in ("images", "annotations"):
            (base / part / split).mkdir(parents=True)
        for number, (height, width) in ((2, (5, 8)), (1, (6, 4))):
            name = f"ADE_{prefix}_{number:08d}"
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(image).save(base / "images" / split / f"{name}.jpg")
            values = rng.integers(0, 151, (height, width), np.uint8)
            Image.fromarray(values).save(base / "annotations" / split / f"{name}.png")
    return tmp_path


def test_labels_are_one_less_and_zero_is_ignored(root):
    values = np.array([[0, 1, 2, 149, 150]], np.uint8)
    base = root / "ADEChallengeData2016"
    Image.fromarray(values).save(base / "annotations" / "validation" / "ADE_val_00000001.png")
    Image.fromarray(np.zeros((1, 5, 3), np.uint8)).save(base / "images" / "validation" / "ADE_val_00000001.jpg")
    assert ADE20K(root, "val")[0].labels.tolist() == [[255, 0, 1, 148, 149]]


@pytest.mark.parametrize("inner", ["", "ADEChallengeData2016"])
def test_both_folders_may_be_named_and_samples_keep_their_sizes(root, inner):
    dataset = open_dataset("ade20k", root / inner, "train")
    assert [sample.name for sample in dataset] == ["ADE_train_00000001", "ADE_train_00000002"]
    assert [sample.image.shape for sample in dataset] == [(6, 4, 3), (5, 8, 3)]
    assert dataset.label_set is ADE20K_CLASSES


def test_grey_jpeg_becomes_rgb(root):
    grey = np.tile(np.array([[40, 200]], np.uint8), (8, 4))
    base = root / "ADEChallengeData2016"
    Image.fromarray(grey).save(base / "images" / "training" / "ADE_train_00000001.jpg", quality=100)
    Image.fromarray(np.ones((8, 8), np.uint8)).save(base / "annotations" / "training" / "ADE_train_00000001.png")
    image = ADE20K(root)[0].image
    assert image.shape == (8, 8, 3)
    assert np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2])
    assert np.abs(image[..., 0].astype(int) - grey).max() <= 3


def test_label_out_of_range_names_file_and_value(root):
    file = root / "ADEChallengeData2016" / "annotations" / "training" / "ADE_train_00000002.png"
    Image.fromarray(np.full((5, 8), 151, np.uint8)).save(file)
    with pytest.raises(DatasetError, match=r"ADE_train_00000002\.png holds the value 151; ADE20K's labels are 1 … 150"):
        ADE20K(root)[1]


def test_label_in_sixteen_bits_is_read_by_value(root):
    file = root / "ADEChallengeData2016" / "annotations" / "training" / "ADE_train_00000001.png"
    Image.fromarray(np.full((6, 4), 150, np.uint16)).save(file)
    assert (ADE20K(root)[0].labels == 149).all()
    Image.fromarray(np.full((6, 4), 3000, np.uint16)).save(file)
    with pytest.raises(DatasetError, match="holds the value 3000"):
        ADE20K(root)[0]


def test_colour_images_are_read_by_the_classes_colours(root):
    file = root / "ADEChallengeData2016" / "annotations" / "training" / "ADE_train_00000001.png"
    wall, building = ADE20K_CLASSES.palette[:2]
    pixels = np.zeros((6, 4, 3), np.uint8)
    pixels[0], pixels[1] = wall, building
    Image.fromarray(pixels).save(file)
    assert ADE20K(root)[0].labels[:, 0].tolist() == [0, 1, 255, 255, 255, 255]
    pixels[2] = (140, 140, 140)
    Image.fromarray(pixels).save(file)
    with pytest.raises(DatasetError, match=r"colour \(140, 140, 140\), which ade20k has for road and for skyscraper"):
        ADE20K(root)[0]


def test_class_indices_in_the_place_of_annotations_are_not_guessed(root):
    base = root / "ADEChallengeData2016" / "annotations" / "training"
    for number, (height, width) in ((2, (5, 8)), (1, (6, 4))):
        values = np.full((height, width), 255, np.uint8)
        values[:3, :2] = [[0, 1], [12, 149], [0, 0]]
        Image.fromarray(values).save(base / f"ADE_train_{number:08d}.png")
    with pytest.raises(DatasetError, match=r'holds the value 255; .* may be class indices: name the coding "indices"'):
        ADE20K(root)[0]
    labels = ADE20K(root, coding="indices")[0].labels
    assert labels[:2, :2].tolist() == [[0, 1], [12, 149]] and labels[5, 3] == 255
    with pytest.raises(DatasetError, match="ade20k has no coding 'raw'; choose one of indices, colours, annotation"):
        ADE20K(root, coding="raw")


def test_damaged_image_is_named(root):
    file = root / "ADEChallengeData2016" / "images" / "training" / "ADE_train_00000001.jpg"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"ADE_train_00000001\.jpg could not be read: it is not a readable"):
        ADE20K(root)[0]


def test_missing_folders_counterparts_and_splits(root, tmp_path):
    base = root / "ADEChallengeData2016"
    with pytest.raises(DatasetError, match=r"holds no annotations/, nor does ADEChallengeData2016/ in it"):
        ADE20K(base / "images")
    with pytest.raises(DatasetError, match="no split 'test'; choose one of train, val"):
        ADE20K(root, "test")
    (base / "annotations" / "validation" / "ADE_val_00000002.png").unlink()
    with pytest.raises(DatasetError, match=r"lacks labels for 1 images, ADE_val_00000002\.png"):
        ADE20K(root, "val")
    (base / "images" / "validation").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="images/validation is missing"):
        ADE20K(root, "val")
    (base / "images" / "validation").mkdir()
    with pytest.raises(DatasetError, match="holds no JPG file"):
        ADE20K(root, "val")
