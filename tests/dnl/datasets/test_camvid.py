"""The CamVid reader, on small trees in its true layout."""

import numpy as np
import pytest
from PIL import Image

from dnl.classes import CAMVID, VOC
from dnl.datasets import CamVid, DatasetError, camvid_labels, open_dataset


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}annot").mkdir()
        for name in ("b_2", "a_1"):
            Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).save(tmp_path / split / f"{name}.png")
            Image.fromarray(rng.integers(0, 12, (6, 9), np.uint8)).save(tmp_path / f"{split}annot" / f"{name}.png")
    return tmp_path


def test_samples_come_in_the_order_of_names_with_their_labels(root):
    dataset = CamVid(root, "val")
    assert [sample.name for sample in dataset] == ["a_1", "b_2"]
    expected = np.array(Image.open(root / "valannot" / "a_1.png"))
    assert np.array_equal(dataset[0].labels, expected)
    assert dataset[0].image.shape == (6, 9, 3) and dataset[0].image.dtype == np.uint8


def test_pictures_of_every_ending_are_used(root):
    for folder in ("val", "valannot"):
        for file in (root / folder).iterdir():
            file.unlink()
    for index, name in enumerate(("0.png", "1.PNG", "2.jpg", "3.JPG", "4.jpeg")):
        Image.new("RGB", (9, 6)).save(root / "val" / name)
        Image.fromarray(np.full((6, 9), index, np.uint8)).save(root / "valannot" / f"{index}.png")
    (root / "val" / "notes.txt").write_text("spare")
    dataset = CamVid(root, "val")
    assert [sample.labels[0, 0] for sample in dataset] == [0, 1, 2, 3, 4]
    assert [file.name for file in dataset.unused] == ["notes.txt"]
    (root / "val" / "5.gif").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"5\.gif is no picture that can be read here; convert it to PNG, JPEG"):
        CamVid(root, "val")


def test_other_names_of_label_files_and_folders(root):
    (root / "valannot").rename(root / "val_labels")
    for file in (root / "val_labels").iterdir():
        file.rename(file.with_name(f"{file.stem}_L.PNG"))
    assert [file.name for file in CamVid(root, "val").label_files] == ["a_1_L.PNG", "b_2_L.PNG"]
    Image.new("L", (9, 6)).save(root / "val_labels" / "a_1.png")
    with pytest.raises(DatasetError, match=r"a_1_L\.PNG is the second label file of a_1, after a_1\.png; remove one"):
        CamVid(root, "val")


def test_a_label_file_that_blends_is_named(root):
    (root / "valannot" / "a_1.png").rename(root / "valannot" / "a_1.jpg")
    with pytest.raises(
        DatasetError, match=r"lacks labels .*, a_1\.png the first; a_1\.jpg there is no PNG, TIFF or BMP file, save"
    ):
        CamVid(root, "val")


def test_the_labels_are_for_models_of_the_same_classes_alone(root):
    sample = CamVid(root, "val")[0]
    assert camvid_labels(sample, CAMVID) is sample.labels
    assert camvid_labels(sample, VOC) is None


def test_folder_that_lacks_its_labels(root):
    (root / "valannot").rename(root / "elsewhere")
    with pytest.raises(DatasetError, match="valannot is missing"):
        CamVid(root, "val")


def test_image_without_label_file_is_named(root):
    (root / "trainannot" / "a_1.png").unlink()
    with pytest.raises(DatasetError, match=r"lacks labels for 1 images, a_1\.png"):
        CamVid(root)


def test_label_out_of_range_names_file_and_value(root):
    Image.fromarray(np.full((6, 9), 12, np.uint8)).save(root / "trainannot" / "a_1.png")
    with pytest.raises(DatasetError, match=r"a_1\.png holds the value 12"):
        CamVid(root)[0]


def test_label_of_another_size(root):
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "trainannot" / "a_1.png")
    with pytest.raises(DatasetError, match=r"a_1\.png is \(6, 8\) but its image is \(6, 9\)"):
        CamVid(root)[0]


def test_file_that_is_no_image(root):
    (root / "train" / "a_1.png").write_bytes(b"not a picture")
    with pytest.raises(DatasetError, match=r"a_1\.png could not be read"):
        CamVid(root)[0]


def test_empty_folder_unknown_split_and_unknown_data_set(root):
    for file in (root / "train").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="holds no PNG file"):
        CamVid(root)
    with pytest.raises(DatasetError, match="no split 'night'"):
        CamVid(root, "night")
    with pytest.raises(DatasetError, match="no data set 'mars'"):
        open_dataset("mars", root, "train")
    with pytest.raises(DatasetError, match="needs its folder"):
        open_dataset("camvid", None, "train")
