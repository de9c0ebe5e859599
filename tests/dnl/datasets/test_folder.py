"""The reader for a user's own images."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from dnl.datasets import NAMES, DatasetError, Folder, open_dataset
from tests.png import grey_png, sixteen_bit_png
from tests.tiff import BLACK_IS_ZERO, RGB, tiff

CLASSES = [{"name": "leaf", "colour": [0, 160, 60]}, {"name": "soil", "colour": [120, 80, 40]}]


def write_classes(root, content):
    (root / "classes.json").write_text(json.dumps(content), encoding="utf-8")


def save(root, place, values, ending="png"):
    """An image and its labels at `place`, such as train/a."""
    image_file, label_file = root / "images" / f"{place}.{ending}", root / "labels" / f"{place}.png"
    for file in (image_file, label_file):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*values.shape[:2], 3), 90, np.uint8)).save(image_file)
    Image.fromarray(values).save(label_file)


@pytest.fixture
def root(tmp_path):
    save(tmp_path, "b", np.array([[0, 1, 255]], np.uint8), "jpg")
    save(tmp_path, "a", np.array([[1, 1], [0, 255]], np.uint8))
    (tmp_path / "images" / ".DS_Store").write_bytes(b"")
    write_classes(tmp_path, {"classes": CLASSES})
    return tmp_path


@pytest.fixture
def root_with_splits(tmp_path):
    for place in ("train/a", "train/b", "val/a"):
        save(tmp_path, place, np.zeros((2, 3), np.uint8))
    write_classes(tmp_path, {"classes": CLASSES, "ignore_index": 2, "name": "my plants"})
    return tmp_path


def test_flat_folder_has_the_one_split_all(root):
    dataset = open_dataset("folder", root, "all")
    assert [sample.name for sample in dataset] == ["a", "b"]
    assert dataset[0].labels.tolist() == [[1, 1], [0, 255]]
    assert dataset[1].image.shape == (1, 3, 3)
    with pytest.raises(DatasetError, match="no split 'train'; choose one of all"):
        Folder(root, "train")


def test_what_systems_leave_in_folders_is_passed_over(root):
    for folder in ("images", "labels"):
        for name in ("Thumbs.db", "desktop.ini"):
            (root / folder / name).write_bytes(b"x")
    dataset = Folder(root, "all")
    assert [sample.name for sample in dataset] == ["a", "b"]


def test_classes_json_becomes_the_label_set(root_with_splits):
    label_set = Folder(root_with_splits, "train").label_set
    assert (label_set.name, label_set.class_names, label_set.ignore_index) == ("my plants", ("leaf", "soil"), 2)
    assert label_set.palette == ((0, 160, 60), (120, 80, 40))


def test_defaults_of_classes_json(root):
    label_set = Folder(root).label_set
    assert (label_set.name, label_set.ignore_index) == ("folder", 255)


def test_folders_in_images_are_the_splits(root_with_splits):
    assert [len(Folder(root_with_splits, split)) for split in ("train", "val")] == [2, 1]
    for split in ("all", "../images/train", "images"):
        with pytest.raises(DatasetError, match="choose one of train, val"):
            Folder(root_with_splits, split)


def test_image_beside_the_splits_is_named(root_with_splits):
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(root_with_splits / "images" / "stray.png")
    with pytest.raises(DatasetError, match=r"stray\.png belongs to no split"):
        Folder(root_with_splits, "train")


def test_label_out_of_range_names_file_and_value(root):
    save(root, "a", np.array([[0, 2]], np.uint8))
    with pytest.raises(DatasetError, match=r"labels/a\.png holds the value 2; .* 0 … 1, and 255 for ignored pixels"):
        Folder(root)[0]


def test_labels_of_one_bit_per_pixel(root):
    mask = np.array([[True, False], [False, True]])
    save(root, "a", np.zeros((2, 2), np.uint8))
    Image.fromarray(mask).save(root / "labels" / "a.png")
    labels = Folder(root)[0].labels
    assert labels.tolist() == [[1, 0], [0, 1]] and labels.dtype == np.uint8


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_of_few_bits_per_pixel(root, bits):
    write_classes(root, {"classes": [{"name": str(index), "colour": [index, 0, 0]} for index in range(16)]})
    values = np.arange(4, dtype=np.uint8).reshape(2, 2) * ((1 << bits) // 4)
    save(root, "a", values)
    (root / "labels" / "a.png").write_bytes(grey_png(values, bits))
    assert Folder(root)[0].labels.tolist() == values.tolist()


LEAF_SOIL = np.array([[0, 1, 1], [1, 0, 0]])
COLOURS_OF_16_BITS = np.array([entry["colour"] for entry in CLASSES], np.uint16)[LEAF_SOIL]
OPAQUE = np.full((2, 3, 1), 65535)


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("png", sixteen_bit_png(COLOURS_OF_16_BITS)),
        ("png", sixteen_bit_png(COLOURS_OF_16_BITS * 256)),
        ("png", sixteen_bit_png(np.dstack([LEAF_SOIL] * 3))),
        ("png", sixteen_bit_png(np.dstack([*[LEAF_SOIL] * 3, OPAQUE]))),
        ("png", sixteen_bit_png(np.dstack([LEAF_SOIL, OPAQUE]))),
        ("tif", tiff(COLOURS_OF_16_BITS, RGB)),
    ],
    ids=["colours", "in upper bytes", "equal channels", "with alpha", "grey with alpha", "TIFF"],
)
def test_label_colours_of_16_bits_are_not_cut_to_8(root, ending, content):
    classes = [{"name": "ground", "colour": [0, 0, 0]}, *CLASSES]  # as which the upper 8 bits would be read
    write_classes(root, {"classes": classes})
    save(root, "a", np.zeros((2, 3), np.uint8))
    (root / "labels" / "a.png").rename(root / "labels" / f"a.{ending}")
    (root / "labels" / f"a.{ending}").write_bytes(content)
    with pytest.raises(
        DatasetError, match=rf"a\.{ending} has colours of 16 bits per channel, of which 8 would be lost"
    ):
        Folder(root)[0]


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("png", sixteen_bit_png(COLOURS_OF_16_BITS * 257)),
        ("png", sixteen_bit_png(np.dstack([COLOURS_OF_16_BITS * 257, OPAQUE]))),
        ("tif", tiff(COLOURS_OF_16_BITS * 257, RGB)),
    ],
    ids=["PNG", "with alpha", "TIFF"],
)
def test_label_colours_of_8_bits_spread_over_16_lose_nothing(root, ending, content):
    save(root, "a", np.zeros((2, 3), np.uint8))
    (root / "labels" / "a.png").rename(root / "labels" / f"a.{ending}")
    (root / "labels" / f"a.{ending}").write_bytes(content)
    assert np.array_equal(Folder(root)[0].labels, LEAF_SOIL)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_labels_of_several_pages_are_refused(root, ending):
    pages = [Image.fromarray((LEAF_SOIL == index).astype(np.uint8)) for index in range(3)]
    save(root, "a", np.zeros((2, 3), np.uint8))
    (root / "labels" / "a.png").unlink()
    pages[0].save(root / "labels" / f"a.{ending}", save_all=True, append_images=pages[1:])
    words = rf"a\.{ending} has 3 pages or frames, .*: save one picture of class indices \(the pages' numbers"
    with pytest.raises(DatasetError, match=words):
        Folder(root)[0]


def test_pages_that_are_the_first_made_smaller_are_no_others(root):
    save(root, "a", np.zeros((2, 3), np.uint8))
    (root / "labels" / "a.png").unlink()
    small = Image.fromarray(np.ones((1, 2), np.uint8))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    labels = Image.fromarray(LEAF_SOIL.astype(np.uint8))
    labels.save(root / "labels" / "a.tif", save_all=True, append_images=[small, small])
    assert np.array_equal(Folder(root)[0].labels, LEAF_SOIL)


def test_images_and_labels_are_upright(root):
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its left side
    upright = np.array([[0, 1, 1], [0, 0, 255]], np.uint8)
    for folder, values in (("images", np.repeat(upright[..., None], 3, 2)), ("labels", upright)):
        Image.fromarray(np.ascontiguousarray(np.rot90(values))).save(root / folder / "a.png", exif=turned)
    image, labels, _ = Folder(root)[0]
    assert (image[..., 0] == upright).all() and (labels == upright).all()
    Image.fromarray(upright).save(root / "labels" / "a.png")
    assert (Folder(root)[0].labels == upright).all()


def test_of_sixteen_bits_the_upper_eight_are_used(root):
    values = np.array([[0, 1000], [40000, 65535]], np.uint16)
    Image.fromarray(values).save(root / "images" / "a.png")
    assert (Folder(root)[0].image == (values >> 8)[..., None]).all()


def test_transparent_pixels_are_white(root):
    Image.fromarray(np.full((2, 2, 4), (10, 20, 30, 0), np.uint8)).save(root / "images" / "a.png")
    assert (Folder(root)[0].image == 255).all()


def test_pictures_of_every_kind_and_case_are_used(root):
    picture = Image.fromarray(np.full((2, 2, 3), 90, np.uint8))
    for name in ("c.PNG", "d.JPG", "e.jpeg", "f.JFIF", "g.tif", "h.BMP", "i.webp", "j.avif"):
        picture.save(root / "images" / name, format=None if not name.endswith("JFIF") else "JPEG")
        save_as = Image.fromarray(np.zeros((2, 2), np.uint8))
        save_as.save(root / "labels" / f"{name[0]}.{'TIFF' if name[0] in 'ce' else 'png'}")
    dataset = Folder(root)
    assert dataset.names == list("abcdefghij")
    assert all((sample.image > 80).all() and (sample.image < 100).all() for sample in list(dataset)[2:])
    (root / "labels" / "notes.txt").write_text("spare")
    assert [file.name for file in Folder(root).unused] == ["notes.txt"]


def test_two_images_of_one_name_and_files_of_another_kind(root):
    save(root, "a", np.zeros((2, 2), np.uint8), "jpeg")
    with pytest.raises(DatasetError, match=r"a\.png is the second image named a"):
        Folder(root)
    (root / "images" / "a.jpeg").rename(root / "images" / "a.gif")
    with pytest.raises(DatasetError, match=r"a\.gif is no picture that can be read here; convert it to PNG, JPEG"):
        Folder(root)
    (root / "images" / "a.gif").rename(root / "images" / "a.txt")
    with pytest.raises(DatasetError, match=r"a\.txt is no PNG, JPEG, .* file; convert it, or move it out of images/"):
        Folder(root)


def test_missing_labels_folders_and_images(root, tmp_path):
    (root / "labels" / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"labels lacks labels for 1 images, b\.png"):
        Folder(root)
    (root / "labels").rename(root / "masks")
    with pytest.raises(DatasetError, match="labels is missing"):
        Folder(root)
    (root / "labels").mkdir()
    for file in (root / "images").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="images is empty"):
        Folder(root)


@pytest.mark.parametrize("ending", ["npy", "json", "webp", "jpg"])
def test_labels_of_other_kinds_are_named(root, ending):
    (root / "labels" / "b.png").rename(root / "labels" / f"b.{ending}")
    words = rf"lacks labels for 1 images, b\.png the first; b\.{ending} there is no PNG, TIFF or BMP file, save the lab"
    with pytest.raises(DatasetError, match=words):
        Folder(root)


def test_labels_of_signed_numbers_are_refused_as_such(root):
    (root / "labels" / "b.png").unlink()
    (root / "labels" / "b.tif").write_bytes(tiff(np.array([[0, 1, -1]], np.int16), BLACK_IS_ZERO))
    with pytest.raises(
        DatasetError, match=r"b\.tif has pixels of signed or 32-bit numbers: save unsigned whole numbers"
    ):
        Folder(root)[1]


def test_names_are_the_same_however_their_letters_are_composed(tmp_path):
    """Of a split, of its group and of an image: é as one letter in images/, as e and an accent in labels/."""
    one, apart = (unicodedata.normalize(form, "bé") for form in ("NFC", "NFD"))
    assert (len(one), len(apart)) == (2, 3)
    save(tmp_path, f"{one}/{one}/{one}", np.array([[0, 1, 255]], np.uint8))
    (tmp_path / "labels").rename(tmp_path / "old")
    (tmp_path / "labels" / apart / apart).mkdir(parents=True)
    (tmp_path / "old" / one / one / f"{one}.png").rename(tmp_path / "labels" / apart / apart / f"{apart}.png")
    write_classes(tmp_path, {"classes": CLASSES})
    for split in (one, apart):
        dataset = Folder(tmp_path, split)
        assert dataset[0].labels.tolist() == [[0, 1, 255]]
        assert (dataset.names, dataset.unused) == ([f"{one}/{one}"], ())


def test_what_systems_leave_in_folders_is_no_split(root):
    for folder in ("images/__MACOSX", "labels/__MACOSX", "images/@eaDir"):
        (root / folder).mkdir()
    assert len(Folder(root)) == 2 and not Folder(root).unused


def test_a_folder_among_images_without_splits_is_named(root):
    (root / "images" / "c.png").mkdir()
    words = r"images/a\.png belongs to no split; move it into one of the folders beside it \(c\.png\), or take these aw"
    with pytest.raises(DatasetError, match=words):
        Folder(root)


def test_split_without_labels_folder(root_with_splits):
    (root_with_splits / "labels" / "val").rename(root_with_splits / "labels" / "validation")
    with pytest.raises(DatasetError, match="labels/val is missing"):
        Folder(root_with_splits, "val")


@pytest.mark.parametrize(
    ("folder", "split"), [("valid", "val"), ("validation", "val"), ("Val", "val"), ("Training", "train")]
)
def test_other_names_of_a_split(root_with_splits, folder, split):
    for part in ("images", "labels"):
        (root_with_splits / part / split).rename(root_with_splits / part / folder)
    for name in (split, folder):
        assert Folder(root_with_splits, name).names[0] == "a"


def test_which_folder_is_meant_is_not_guessed(root_with_splits):
    for part in ("images", "labels"):
        (root_with_splits / part / "val").rename(root_with_splits / part / "valid")
        (root_with_splits / part / "validation").mkdir()
    with pytest.raises(
        DatasetError, match="no split 'val'; valid and validation may both be meant, rename one of them"
    ):
        Folder(root_with_splits, "val")
    with pytest.raises(DatasetError, match="no split 'test'; choose one of train, valid, validation, or name a folder"):
        Folder(root_with_splits, "test")


def test_how_a_flat_folder_becomes_one_with_splits(root):
    with pytest.raises(
        DatasetError, match="no split 'train'; choose one of all, or sort the files into images/train, "
    ):
        Folder(root, "train")


def test_a_coding_is_named_in_classes_json_or_by_the_caller(root):
    save(root, "a", np.array([[0, 1], [2, 0]], np.uint8))
    with pytest.raises(
        DatasetError, match=r'value 2; its classes.json .*; it may be indices from 1, .* coding "one-based"'
    ):
        Folder(root)[0]
    assert Folder(root, coding="one-based")[0].labels.tolist() == [[255, 0], [1, 255]]
    write_classes(root, {"classes": CLASSES, "coding": "one-based"})
    assert Folder(root)[0].labels.tolist() == [[255, 0], [1, 255]]
    assert open_dataset("folder", root, "all", "one-based")[0].labels.tolist() == [[255, 0], [1, 255]]


def test_labels_in_the_classes_colours(root):
    save(root, "a", np.array([[[0, 160, 60], [120, 80, 40]], [[0, 0, 0], [0, 160, 60]]], np.uint8))
    assert Folder(root)[0].labels.tolist() == [[0, 1], [255, 0]]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], 'no list "classes"'),
        ({"classes": {}}, 'no list "classes"'),
        ({"classes": []}, "lists 0 classes"),
        ({"classes": [{"name": str(i), "colour": [i, 0, 0]} for i in range(256)]}, "lists 256 classes"),
        ({"classes": CLASSES, "ignore": 0}, 'unknown key "ignore"'),
        ({"classes": CLASSES, "ignore_index": 1}, "ignore_index 1; it must be a whole number from 2 to 255"),
        ({"classes": CLASSES, "ignore_index": 256}, "ignore_index 256"),
        ({"classes": CLASSES, "ignore_index": True}, "ignore_index True"),
        ({"classes": CLASSES, "ignore_index": None}, "ignore_index None"),
        ({"classes": CLASSES, "name": 3}, "has the name 3; it must be text"),
        ({"classes": ["leaf"]}, r'class 0 of .*classes\.json has no "name"'),
        ({"classes": [CLASSES[0], {"name": " ", "colour": [0, 0, 0]}]}, 'class 1 of .* has no "name"'),
        ({"classes": [{"name": "leaf", "color": [0, 0, 0]}]}, 'has the "colour" None'),
        ({"classes": [{"name": "leaf", "colour": [0, 0]}]}, r'has the "colour" \[0, 0\]'),
        ({"classes": [{"name": "leaf", "colour": [0, 0, 256]}]}, r"\[0, 0, 256\]; it must be \[red, green, blue\]"),
        ({"classes": [{"name": "leaf", "colour": [0, 0, 0.5]}]}, r"\[0, 0, 0\.5\]"),
        ({"classes": [CLASSES[0], CLASSES[0]]}, 'names two classes "leaf"'),
        (
            {"classes": [CLASSES[0], {"name": "soil", "colour": [0, 160, 60]}]},
            r'gives "leaf" and "soil" the same colour \[0, 160, 60\]',
        ),
        (
            {"classes": CLASSES, "coding": "raw"},
            "has the coding 'raw'; choose one of indices, colours, one-based, mask",
        ),
    ],
)
def test_classes_json_that_does_not_fit(root, content, complaint):
    write_classes(root, content)
    with pytest.raises(DatasetError, match=complaint):
        Folder(root)


def test_classes_json_that_is_missing_or_no_json(root):
    (root / "classes.json").write_text('{"classes": [')
    with pytest.raises(DatasetError, match=r"classes\.json is not valid JSON"):
        Folder(root)
    (root / "classes.json").unlink()
    with pytest.raises(DatasetError, match=r"classes\.json is missing, which lists the classes; it looks like"):
        Folder(root)
    (root / "classes.json").mkdir()
    with pytest.raises(DatasetError, match=r"classes\.json is missing or no file; put it there"):
        Folder(root)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "streets"])
def test_every_data_set_that_is_read_needs_its_folder(name, tmp_path):
    with pytest.raises(DatasetError, match=f"{name} needs its folder"):
        open_dataset(name, None, "train")
    with pytest.raises(DatasetError):
        open_dataset(name, tmp_path, "train")


@pytest.fixture
def root_in_groups(tmp_path):
    for place in ("train/north/9", "train/north/10", "train/south/9", "val/9"):
        save(tmp_path, place, np.full((2, 3), len(place) % 2, np.uint8))
    write_classes(tmp_path, {"classes": CLASSES})
    return tmp_path


def test_sub_folders_of_a_split_are_groups(root_in_groups):
    dataset = Folder(root_in_groups, "train")
    assert dataset.names == ["north/10", "north/9", "south/9"]
    assert dataset.origins == [("north", 1), ("north", 0), ("south", 0)]
    assert [int(sample.labels[0, 0]) for sample in dataset] == [0, 1, 1]
    assert Folder(root_in_groups, "val").origins == [(None, None)]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "images/train/note.txt").write_text(""), "note.txt belongs to no group"),
        (lambda root: (root / "labels/train/south").rename(root / "labels/train/east"), "south is missing"),
        (lambda root: (root / "labels/train/north/9.png").unlink(), r"lacks labels .*, 9\.png the first"),
        (lambda root: (root / "images/train/empty").mkdir(), "empty is missing"),
    ],
)
def test_sub_folders_that_do_not_fit_are_named(root_in_groups, spoil, words):
    spoil(root_in_groups)
    with pytest.raises(DatasetError, match=words):
        Folder(root_in_groups, "train")


def test_classes_json_says_how_names_give_groups(root):
    write_classes(root, {"classes": CLASSES, "groups": "(?P<group>[a-z])"})
    assert Folder(root).origins == [("a", 0), ("b", 0)]
    write_classes(root, {"classes": CLASSES, "groups": "(?P<group>a)"})
    with pytest.raises(DatasetError, match=r'the "groups" of .*classes\.json cannot be used: it does not match \'b\''):
        Folder(root)
    write_classes(root, {"classes": CLASSES, "groups": "(?P<group>(a+)+)"})
    with pytest.raises(DatasetError, match=r"\"groups\" of .* are '.*': it repeats a part .*; it looks"):
        Folder(root)


def test_some_groups_alone_or_all_but_them(root_in_groups):
    dataset = Folder(root_in_groups, "train")
    assert dataset.only({"north"}).names == ["north/10", "north/9"]
    rest = dataset.only({"north"}, without=True)
    assert (rest.names, rest.origins) == (["south/9"], [("south", 0)])
    assert len(dataset) == 3
