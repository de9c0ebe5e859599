"""The Cityscapes reader and writer, on small trees in the true layout."""

import fnmatch

import numpy as np
import pytest
from PIL import Image

from dnl.classes import CITYSCAPES
from dnl.datasets import Cityscapes, DatasetError, open_dataset
from dnl.datasets.cityscapes import write_prediction

FRAMES = ("aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019")

# Label ids of the 19 evaluated classes by name, from the benchmark's table of labels.
LABEL_ID_OF = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip


def save(root, split, name, label_ids):
    city = name.partition("_")[0]
    image_file = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
    label_file = root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
    for file in (image_file, label_file):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*label_ids.shape, 3), 7, np.uint8)).save(image_file)
    Image.fromarray(label_ids).save(label_file)
    label_file.with_name(label_file.name.replace("labelIds", "color")).write_bytes(b"not ours to read")
    return image_file, label_file


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in reversed(FRAMES):
            save(tmp_path, split, name, rng.integers(0, 34, (4, 6), np.uint8))
    return tmp_path


def test_label_ids_become_train_ids_and_all_others_are_ignored(root):
    stored = np.array([[*range(34), 255, 7]], np.uint8)
    save(root, "val", FRAMES[0], stored)
    labels = Cityscapes(root, "val")[0].labels
    index_of_id = {label_id: CITYSCAPES.class_names.index(name) for name, label_id in LABEL_ID_OF.items()}
    assert labels.tolist() == [[index_of_id.get(value, 255) for value in (*range(34), 255, 7)]]
    assert labels.dtype == np.uint8


def test_samples_come_in_the_order_of_cities_and_frames(root):
    dataset = open_dataset("cityscapes", root, "train")
    assert [sample.name for sample in dataset] == list(FRAMES)
    assert dataset.label_set is CITYSCAPES and len(dataset) == 3
    assert dataset[0].image.shape == (4, 6, 3)


def test_test_split_needs_no_labels(root):
    for file in (root / "gtFine" / "test" / "ulm").iterdir():
        file.unlink()
    samples = list(Cityscapes(root, "test"))
    assert (samples[2].labels == 255).all() and samples[2].labels.shape == (4, 6)
    assert not (samples[0].labels == 255).all()


def test_train_ids_in_the_place_of_label_ids_are_said(root):
    for name in FRAMES:
        save(root, "val", name, np.array([[0, 1, 2, 7, 8, 13, 255, 255]] * 3, np.uint8))
    with pytest.raises(
        DatasetError, match=r"values that fit class indices \(train ids\) better than Cityscapes label ids"
    ):
        Cityscapes(root, "val")[0]
    assert Cityscapes(root, "val", coding="indices")[0].labels[0].tolist() == [0, 1, 2, 7, 8, 13, 255, 255]


def test_label_id_out_of_range_names_file_and_value(root):
    save(root, "train", FRAMES[1], np.full((4, 6), 34, np.uint8))
    with pytest.raises(DatasetError, match=r"aachen_000001_000019_gtFine_labelIds\.png holds the value 34; .* 0 … 33"):
        Cityscapes(root)[1]


def test_missing_counterpart_folder_and_images(root):
    (root / "gtFine" / "val" / "ulm" / f"{FRAMES[2]}_gtFine_labelIds.png").unlink()
    with pytest.raises(DatasetError, match=r"lacks labels for 1 images, ulm/ulm_000000_000019_gtFine_labelIds\.png"):
        Cityscapes(root, "val")
    (root / "gtFine").rename(root / "gtCoarse")
    with pytest.raises(DatasetError, match="gtFine/train is missing"):
        Cityscapes(root)
    assert len(Cityscapes(root, "test")) == 3
    (root / "leftImg8bit" / "test").rename(root / "leftImg8bit" / "train_extra")
    with pytest.raises(DatasetError, match="leftImg8bit/test is missing"):
        Cityscapes(root, "test")
    (root / "leftImg8bit" / "test").mkdir()
    with pytest.raises(DatasetError, match="holds no file CITY"):
        Cityscapes(root, "test")
    with pytest.raises(DatasetError, match="no split 'train_extra'"):
        Cityscapes(root, "train_extra")


def test_written_predictions_hold_label_ids_under_the_name_the_server_looks_for(root, tmp_path):
    prediction = np.arange(20, dtype=np.int64).reshape(4, 5) % 19
    file = write_prediction(tmp_path / "results", "berlin_000123_000019", prediction)
    assert fnmatch.fnmatch(file.name, "berlin_000123_000019*.png")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with Image.open(file) as image:
        assert image.mode == "L"
        stored = np.array(image)
    expected = [LABEL_ID_OF[CITYSCAPES.class_names[index]] for index in prediction.ravel()]
    assert stored.ravel().tolist() == expected

    save(root, "val", FRAMES[0], stored)
    assert np.array_equal(Cityscapes(root, "val")[0].labels, prediction)


@pytest.mark.parametrize("name", ["../berlin_000000_000019", "berlin", "/tmp/berlin_000000_000019", ""])
def test_a_prediction_for_no_image_of_cityscapes_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="is no name of a Cityscapes image"):
        write_prediction(tmp_path, name, np.zeros((2, 2), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("prediction", "complaint"),
    [
        (np.full((2, 2), 19, np.uint8), "class indices 0 … 18"),
        (np.full((2, 2), -1), "class indices 0 … 18"),
        (np.zeros((0, 2), np.uint8), "class indices 0 … 18"),
        (np.zeros((1, 2, 2), np.uint8), "must be H×W integers"),
        (np.zeros((2, 2), np.float32), "must be H×W integers"),
    ],
)
def test_predictions_that_are_no_class_indices_are_refused(tmp_path, prediction, complaint):
    with pytest.raises(ValueError, match=complaint):
        write_prediction(tmp_path, FRAMES[0], prediction)
