"""One look at a split before anything starts."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from dnl.datasets import ADE20K, Cached, CamVid, DatasetError, Folder, Streets
from dnl.datasets.look import look_at, look_at_splits

CLASSES = [{"name": "leaf", "colour": [0, 160, 60]}, {"name": "soil", "colour": [120, 80, 40]}]


def save(root, name, values, size=None):
    values = np.array(values, np.uint8)
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*(size or values.shape[:2]), 3), 90, np.uint8)).save(root / "images" / f"{name}.png")
    Image.fromarray(values).save(root / "labels" / f"{name}.png")


@pytest.fixture
def root(tmp_path):
    save(tmp_path, "a", [[0, 1], [0, 255]])
    save(tmp_path, "b", [[1, 1, 1], [0, 0, 0]])
    (tmp_path / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    return tmp_path


def look(root, **options):
    return look_at(Folder(root), cache=root / "cache", **options)


def test_what_a_split_holds(root):
    found = look(root)
    assert (found.images, found.labels, found.decoded, found.complete) == (2, 2, 2, True)
    assert (found.read_as, found.class_pixels, found.ignored_pixels) == ("class indices", (5, 4), 1)
    assert (found.pixels, found.largest, found.bytes_in_memory, found.findings) == (10, (2, 3), 40, ())
    assert found.require() is found and found.sentences == ("the labels are read as class indices",)


def test_it_is_remembered_until_a_file_changes(root, monkeypatch):
    before = look(root)
    files = list((root / "cache").iterdir())
    assert len(files) == 1
    with monkeypatch.context() as patch:
        patch.setattr("dnl.datasets.facts.read_label_file", None)
        patch.setattr("dnl.datasets.facts.read_header", None)
        assert look(root) == before
    save(root, "b", [[1, 7, 1], [0, 0, 0]])
    assert "b.png holds the value 7; its classes.json gives 0 … 1" in look(root).sentences[0]
    files[0].write_text("[]")
    assert look(root).findings


@pytest.mark.parametrize("how", ["in place", "by another file"])
def test_a_file_that_was_mended_keeping_its_size_and_time_is_looked_at_anew(root, how):
    file = root / "labels" / "b.bmp"
    (root / "labels" / "b.png").unlink()
    Image.fromarray(np.array([[1, 7, 1], [0, 0, 0]], np.uint8)).save(file)
    before = file.stat()
    assert "b.bmp holds the value 7" in look(root).sentences[0]
    mended = file if how == "in place" else root / "mended.bmp"
    Image.fromarray(np.array([[1, 1, 1], [0, 0, 0]], np.uint8)).save(mended)
    os.utime(mended, ns=(before.st_atime_ns, before.st_mtime_ns))
    mended.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert not look(root).findings


def test_a_memory_that_cannot_be_kept_is_no_error(root):
    (root / "file").write_text("")
    assert look_at(Folder(root), cache=root / "file").images == 2
    assert look_at(Folder(root), remember=False).images == 2


def test_one_value_among_many_is_found_with_its_file(root):
    for index in range(40):
        save(root, f"c{index}", [[0, 1]])
    save(root, "c33", [[0, 7]])
    found = look(root)
    assert found.findings[0].file == root / "labels" / "c33.png" and found.findings[0].stops
    with pytest.raises(DatasetError, match=r"c33\.png holds the value 7"):
        found.require()
    save(root, "c35", [[0, 9]])
    assert look(root).sentences[0].endswith("(so has 1 more)")


PLANTS, OTHERS = [[0, 160, 60], [120, 80, 40]], [[250, 20, 90], [7, 99, 99]]


@pytest.mark.parametrize(
    ("others", "stray"), [([[0, 1]], [OTHERS]), ([PLANTS], [[0, 7]])], ids=["colour among grey", "grey among colour"]
)
def test_a_stray_file_of_another_kind_is_found_with_its_file(root, others, stray):
    for index in range(4):
        save(root, f"c{index}", others)
    for name in "ab":
        save(root, name, others)
    save(root, "c2", stray)
    found = look(root)
    assert found.findings[0].file == root / "labels" / "c2.png" and len(found.findings) == 1
    with pytest.raises(
        DatasetError, match=r"c2\.png holds the (colours \(7, 99, 99\), \(250, 20, 90\), which|value 7)"
    ):
        found.require()
    with pytest.raises(DatasetError, match=r"c2\.png holds the"):
        Folder(root)[4]


def test_a_stray_palette_among_grey_files_is_found_with_its_file(root):
    stray = Image.fromarray(np.array([[0, 9, 0]], np.uint8))
    stray.putpalette([1, 2, 3] * 10)
    save(root, "b", [[0, 1, 0]])
    stray.save(root / "labels" / "b.png")
    with pytest.raises(DatasetError, match=r"b\.png holds the value 9"):
        look(root).require()


def test_masks_of_0_and_255(root):
    for name in "ab":
        save(root, name, [[0, 255]])
    with pytest.raises(DatasetError, match=r"labels hold 0 and 255 only, and 255 means ignored: save the object as 1"):
        look(root).require()
    with pytest.raises(DatasetError, match="0 and 255 only"):
        Folder(root)[0]
    (root / "classes.json").write_text(json.dumps({"classes": CLASSES, "coding": "mask"}))
    assert look(root).require().class_pixels == (2, 2) and Folder(root)[0].labels.tolist() == [[0, 1]]


def test_a_split_without_any_label(root):
    for name in "ab":
        save(root, name, [[255, 255]])
    with pytest.raises(DatasetError, match=r"no pixel of the label files in .* has a class"):
        look(root).require()


def test_sizes_that_differ_and_files_that_are_broken(root):
    save(root, "a", [[0, 1]], (2, 1))
    with pytest.raises(DatasetError, match=r"a\.png is \(1, 2\) but its image is \(2, 1\); .* one of them were turned"):
        look(root).require()
    (root / "labels" / "b.png").write_bytes(b"no picture")
    (root / "images" / "a.png").write_bytes((root / "images" / "a.png").read_bytes()[:20])
    found = look(root)
    assert {finding.file.name for finding in found.findings if finding.stops} == {"a.png", "b.png"}


def turned(file, orientation, size, **options):
    """An image file that says by EXIF how it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(file, exif=exif, **options)


def turned_at_its_end(file, orientation, size):
    """A PNG file that says so behind its pixels."""
    turned(file, orientation, size)
    data = file.read_bytes()
    begin, end = data.index(b"eXIf") - 4, data.index(b"IDAT") - 4
    file.write_bytes(data[:begin] + data[end:-12] + data[begin:end] + data[-12:])


def test_an_image_that_is_turned_by_its_exif_alone(root):
    for orientation in (2, 3, 4):
        turned(root / "images" / "b.png", orientation, (2, 3))
        words = f"b.png is read turned by its EXIF orientation {orientation}, its label file as it is stored: see that"
        assert [words in finding.sentence for finding in look(root).require().findings] == [True]
    turned_at_its_end(root / "images" / "b.png", 3, (2, 3))
    turned(root / "images" / "a.png", 6, (2, 2))
    found = look(root)
    assert "a.png is read turned by its EXIF orientation 6" in found.sentences[0]
    assert "(so has 1 more)" in found.sentences[0] and found.sentences == look(root).sentences
    assert found.findings[0].file == root / "labels" / "a.png"


def test_turned_images_of_which_nothing_is_said(root):
    turned(root / "images" / "b.png", 1, (2, 3))
    assert not look(root).findings
    turned(root / "images" / "b.png", 6, (3, 2))  # upright it is 2×3, as its labels are
    assert not look(root).findings
    turned_at_its_end(root / "images" / "b.png", 6, (3, 2))
    assert not look(root).findings
    turned(root / "images" / "b.png", 3, (2, 3))
    turned(root / "labels" / "b.png", 3, (2, 3))
    (root / "classes.json").write_text(json.dumps({"classes": [*CLASSES, {"name": "grey", "colour": [90, 90, 90]}]}))
    assert not look(root).findings


@pytest.mark.parametrize("ending", ["jpg", "webp", "tif"])
def test_files_of_all_kinds_say_how_they_are_turned(root, ending):
    (root / "images" / "b.png").unlink()
    turned(root / "images" / f"b.{ending}", 4, (2, 3))
    assert f"b.{ending} is read turned by its EXIF orientation 4" in look(root).sentences[0]


def test_what_looks_wrong_is_said_and_stops_nothing(root):
    areas = np.kron(np.array([[0, 8], [4, 0]], np.uint8), np.ones((16, 16), np.uint8))
    names = [{"name": str(index), "colour": [index, 0, 9]} for index in range(9)]
    (root / "classes.json").write_text(json.dumps({"classes": names}))
    save(root, "b", np.asarray(Image.fromarray(areas).resize((50, 50), Image.Resampling.BILINEAR)))
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(root / "images" / "a.png")
    (root / "labels" / "notes.txt").write_text("")
    found = look(root).require()
    assert len(found.findings) == 3
    assert "b.png seems to have been resized smoothly" in found.sentences[0]
    assert "a.png has 16 bits per channel, of which the upper 8 are used" in found.sentences[1]
    assert "1 files" in found.sentences[2] and "notes.txt" in found.sentences[2]


def test_the_data_set_reads_by_what_was_found(root):
    save(root, "b", [[[0, 160, 60], [120, 80, 40], [0, 0, 0]]])
    dataset = Cached(Folder(root))
    found = look_at(dataset, remember=False)
    assert found.read_as == "class indices and the colours of plants".replace("plants", "folder")
    assert dataset.dataset.reading is not None and dataset[1].labels.tolist() == [[0, 1, 255]]


def test_so_many_labels_that_some_are_left_out(root, monkeypatch):
    monkeypatch.setattr("dnl.datasets.look.MOST_LABEL_PIXELS", 4)
    found = look(root)
    assert (found.decoded, found.labels, found.complete) == (1, 2, False)
    assert "the pixels of 1 of the 2 label files were looked at" in found.sentences


def test_drawn_images_have_no_files():
    assert look_at(Streets("val")).images == len(Streets("val")) and look_at(Streets("val")).sentences == ()


def test_two_splits_together(root):
    full = look(root)
    for name in "ab":
        save(root, name, [[0, 0]])
    poor = look(root)
    label_set = Folder(root).label_set
    assert look_at_splits(full, poor, label_set) == ()
    assert [finding.sentence for finding in look_at_splits(poor, full, label_set)] == [
        "val has soil, of which train has no pixel"
    ]


def test_values_that_fit_another_coding(tmp_path):
    base = tmp_path / "ADEChallengeData2016"
    for part in ("images", "annotations"):
        (base / part / "training").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(base / "images" / "training" / "a.jpg")
    Image.fromarray(np.array([[0, 1, 2, 255]] * 4, np.uint8)).save(base / "annotations" / "training" / "a.png")
    with pytest.raises(DatasetError, match=r'value 255; .* may be class indices: name the coding "indices"'):
        look_at(ADE20K(tmp_path), remember=False).require()
    assert look_at(ADE20K(tmp_path, coding="indices"), remember=False).require().read_as == "class indices"
    Image.fromarray(np.array([[0, 1, 2, 2]] * 4, np.uint8)).save(base / "annotations" / "training" / "a.png")
    said = look_at(ADE20K(tmp_path), remember=False).require().sentences  # no file could tell that these are indices
    assert said == ("the labels are read as ADE20K annotation, 0 = other",)


def test_the_progress_is_told(root):
    told = []

    def progress(items, total, desc):
        told.append((desc, total))
        return items

    look_at(Folder(root), remember=False, progress=progress)
    assert told == [("images", 2), ("labels", 2), ("contents", 2)]
    told.clear()
    for _ in range(2):
        look_at(Folder(root), cache=root / "cache", progress=progress)
    assert len(told) == 3


def test_camvids_published_frames(tmp_path):
    for part in ("701_StillsRaw_full", "LabeledApproved_full"):
        (tmp_path / part).mkdir()
    colours = np.array([[[0, 0, 192], [192, 0, 64]]], np.uint8)
    names = {
        "0001TP_006690": "train", "0001TP_008550": "test", "0006R0_f00930": "train", "0016E5_00390": "train",
        "0016E5_07959": "val", "0016E5_08159": "val", "0016E5_08190": "train", "Seq05VD_f00000": "test",
    }  # fmt: skip
    for name in names:
        Image.fromarray(colours).save(tmp_path / "701_StillsRaw_full" / f"{name}.png")
        Image.fromarray(colours).save(tmp_path / "LabeledApproved_full" / f"{name}_L.png")
    for split in ("train", "val", "test"):
        dataset = CamVid(tmp_path, split)
        assert dataset.names == [name for name in names if names[name] == split]
        assert dataset[0].labels.tolist() == [[4, 3]] and dataset.unused == ()
    assert look_at(dataset, remember=False).read_as == "CamVid's official colours, 32 classes"
