import io
import json
import struct
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.lib import format as npy_format

from analysis import Capture
from analysis.capture import NUMBERED, containers, load_capture, save_capture
from analysis.capture.containers import CaptureFileError
from analysis.capture.files import read_capture_file
from analysis.maps import attention_rows
from dnl.classes import ADE20K, CAMVID, LabelSet

HEIGHT, WIDTH, CELLS = 3, 5, 15
LABEL_SET = LabelSet("pets", ("Katze", "Hünd"), ((255, 0, 0), (0, 9, 0)), ignore_index=254)


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def tensors(metadata=None, **arrays) -> bytes:
    held = {name: torch.as_tensor(array).contiguous() for name, array in arrays.items()}
    return safetensors.torch.save(held, metadata=metadata)


def rows(**changes) -> dict:
    """The least that a file must hold."""
    rng = np.random.default_rng(0)
    query, key = (rng.normal(size=(CELLS, 2)).astype(np.float32) for _ in range(2))
    held = {"query": query, "key": key, "height": HEIGHT, "width": WIDTH} | changes
    return {name: array for name, array in held.items() if array is not None}


def full_capture() -> Capture:
    rng = np.random.default_rng(1)
    return Capture(
        query=rng.normal(size=(4, HEIGHT, WIDTH)).astype(np.float32),
        key=rng.normal(size=(4, HEIGHT, WIDTH)).astype(np.float32),
        class_probs=rng.dirichlet(np.ones(2), (HEIGHT, WIDTH)).transpose(2, 0, 1).astype(np.float32),
        image=rng.integers(0, 256, (37, 53, 3), dtype=np.uint8),
        labels=rng.choice([0, 1, 254], (37, 53)).astype(np.uint8),
        prediction=rng.integers(0, 2, (37, 53), dtype=np.uint8),
        label_set=LABEL_SET,
        gate="similarity",
        lr_kernel=5,
        lr_weights="box",
        name="a “cat”",
    )


@pytest.mark.parametrize("suffix", containers.SUFFIXES)
@pytest.mark.parametrize("kind", ["full", "bare", "finished"])
def test_a_capture_comes_back_bit_for_bit(tmp_path, suffix, kind):
    capture = full_capture()
    if kind == "bare":
        capture = Capture(capture.query, capture.key)
    if kind == "finished":
        maps = np.random.default_rng(0).random((2, CELLS, CELLS))
        capture = Capture.from_attention(maps, HEIGHT, WIDTH, capture.class_probs, gate="binary", name="map")
    path = tmp_path / f"capture{suffix}"
    save_capture(capture, path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    found = load_capture(path)
    for name in ("query", "key", "class_probs", "image", "labels", "prediction", "attention"):
        array, expected = getattr(found, name), getattr(capture, name)
        if expected is None:
            assert array is None
        else:
            assert array.dtype == expected.dtype and np.array_equal(array, expected)
    for name in ("cells", "gate", "lr_kernel", "lr_weights", "name", "label_set"):
        assert getattr(found, name) == getattr(capture, name)


@pytest.mark.parametrize("write", [npz, tensors])
def test_query_key_height_and_width_are_enough(write):
    held = rows()
    capture = read_capture_file(write(**held), "mine").capture()
    expected = Capture.from_qk(held["query"], held["key"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(attention_rows(capture).raw, attention_rows(expected).raw)
    assert (capture.name, capture.label_set, capture.gate) == ("mine", None, None)


@pytest.mark.parametrize("write", [npz, tensors])
def test_heads_scale_and_class_token_come_with_the_file(write):
    rng = np.random.default_rng(0)
    query, key = (rng.normal(size=(3, 1 + CELLS, 4)) for _ in range(2))
    file = read_capture_file(
        write(query=query, key=key, height=HEIGHT, width=WIDTH, scale=np.float32(0.5), class_tokens=np.array([1]))
    )
    assert (file.cells, file.heads, file.finished) == ((HEIGHT, WIDTH), 3, False)
    for head in ("mean", 2):
        expected = Capture.from_qk(query, key, HEIGHT, WIDTH, head=head, scale=0.5, class_tokens=1)
        np.testing.assert_array_equal(attention_rows(file.capture(head)).raw, attention_rows(expected).raw)
    with pytest.raises(CaptureFileError, match=r"^The attention file cannot be used: head is 3; choose 0 … 2"):
        file.capture(3)


def test_maps_of_query_and_key_need_no_size():
    query = np.ones((2, HEIGHT, WIDTH), np.float16)
    file = read_capture_file(npz(query=query, key=query))
    assert (file.cells, file.heads) == ((HEIGHT, WIDTH), 1) and file.capture().query.dtype == np.float32


def test_other_frameworks_numbers_are_read():
    held = rows()
    brain = tensors(**rows(query=torch.tensor(held["query"]).bfloat16(), key=torch.tensor(held["key"]).bfloat16()))
    np.testing.assert_allclose(read_capture_file(brain).capture().query.reshape(2, -1).T, held["query"], rtol=0.01)
    swapped = npz(**rows(query=held["query"].astype(">f8"), labels=np.ones((HEIGHT, WIDTH), ">i4")))
    capture = read_capture_file(swapped).capture()
    np.testing.assert_array_equal(capture.query.reshape(2, -1).T, held["query"])
    assert (capture.cell_labels == 1).all()
    fortran = npz(**rows(query=np.asfortranarray(held["query"])))
    np.testing.assert_array_equal(read_capture_file(fortran).capture().query.reshape(2, -1).T, held["query"])


def test_metadata_names_the_classes():
    metadata = json.dumps({"name": "Größe", "class_names": ["a", "b", "c"], "gate": "binary", "lr_kernel": 3})
    held = rows(class_probs=np.full((3, HEIGHT, WIDTH), 1 / 3), labels=np.full((HEIGHT, WIDTH), 2))
    for data in (npz(**held, metadata=metadata), tensors({"metadata": metadata}, **held)):
        capture = read_capture_file(data, "ignored").capture()
        assert capture.label_set.class_names == ("a", "b", "c") and capture.name == "Größe"
        assert (capture.gate, capture.lr_kernel, capture.lr_weights) == ("binary", 3, "learnt")


def test_a_last_value_that_may_be_no_class_is_asked_about():
    labels = np.arange(CELLS).reshape(HEIGHT, WIDTH) % 12
    data = npz(**rows(labels=labels))
    with pytest.raises(CaptureFileError, match="labels reach to 11, which is no class in camvid's labels") as asked:
        read_capture_file(data)
    assert asked.value.label_sets == ("camvid", NUMBERED)
    said = npz(**rows(labels=labels), metadata=json.dumps({"label_set": "camvid"}))
    for capture in (read_capture_file(data, label_set="camvid").capture(), read_capture_file(said).capture()):
        assert capture.label_set == CAMVID and (capture.cell_labels == labels).all()
        assert capture.ignore_index == 11 and not capture.notes
    numbered = read_capture_file(data, label_set=NUMBERED).capture()
    assert numbered.num_classes == 12 and numbered.ignore_index == 255 and not numbered.notes
    assert read_capture_file(npz(**rows(labels=labels % 11))).capture().num_classes == 11  # no doubt


def test_arrays_with_such_a_last_value_say_so():
    query = np.ones((CELLS, 2), np.float32)
    labels = np.arange(CELLS).reshape(HEIGHT, WIDTH) % 12
    with pytest.warns(UserWarning, match=r"the labels reach to 11, .*label_set=dnl.classes.CAMVID"):
        capture = Capture.from_qk(query, query, HEIGHT, WIDTH, labels=labels)
    assert capture.num_classes == 12 and "here it counts as a class" in capture.notes[0]
    assert not Capture.from_qk(query, query, HEIGHT, WIDTH, labels=labels, label_set=CAMVID).notes
    probs = np.full((12, HEIGHT, WIDTH), 1 / 12, np.float32)  # twelve classes indeed
    assert not Capture.from_qk(query, query, HEIGHT, WIDTH, probs, labels=labels).notes


@pytest.mark.parametrize("write", [npz, tensors])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query": None}, "it has no query; it needs query and key, or attention"),
        ({"query": None, "key": None}, "it has no query and key"),
        ({"height": None}, "it has no height and width"),
        ({"attention": np.eye(CELLS)}, "it holds attention beside query or key"),
        ({"height": np.array([3, 4])}, "height holds 2 numbers; it must be one"),
        ({"height": -3}, "whole numbers from 1 on"),
        ({"height": 3.0}, "height has numbers of another type: use whole numbers"),
        ({"height": 4}, "query is 15×2 but 4×5 = 20 cells need"),
        ({"query": np.ones((CELLS, 2), int)}, "query has numbers of another type: use floating-point numbers"),
        ({"query": np.ones(CELLS)}, "query has 1 axes: it must have 2 or 3 or 4"),
        ({"key": np.full((CELLS, 2), np.inf)}, "key holds 30 of 30 values that are NaN or infinite"),
        ({"image": np.zeros((8, 8, 3), np.float32)}, "image (has numbers of another type: use uint8|is F32: it must)"),
        ({"image": np.zeros((8, 8, 4), np.uint8)}, "image is 8×8×4 uint8; it must be H×W×3"),
        ({"image": np.zeros((1, 4_000_001, 3), np.uint8)}, "its image has 1×4000001 pixels, more than 4 million"),
        ({"labels": np.zeros((1, 4_000_001), np.uint8)}, "its labels has 1×4000001 pixels"),
        ({"labels": np.zeros((8, 9), int), "image": np.zeros((8, 8, 3), np.uint8)}, "labels are 8×9 but the image"),
        ({"class_probs": np.ones((2, HEIGHT, WIDTH))}, "must be a distribution"),
        ({"query": None, "key": None, "attention": -np.eye(CELLS)}, "must not be negative"),
        ({"query": None, "key": None, "attention": np.eye(14)}, "attention is 14×14 but 3×5 cells need 15×15"),
    ],
)
def test_each_fault_of_the_arrays_gets_one_sentence(write, changes, words):
    with pytest.raises(CaptureFileError, match=words) as caught:
        read_capture_file(write(**rows(**changes))).capture()
    assert str(caught.value).startswith("The attention file") and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ("[1]", "no JSON object"),
        ('{"name": 3}', r"has name 3: it must be a text"),
        ('{"class_names": "ab"}', "must be a list of at most 255 texts"),
        ('{"class_names": ["a"], "palette": [[0, 0, 256]]}', "must be a list of"),
        ('{"class_names": ["a"], "palette": []}', "1 class names but 0 colours"),
        ('{"class_names": ["a"], "ignore_index": 0}', "ignore index 0 is also the index of class 'a'"),
        (f'{{"class_names": ["a"], "ignore_index": {2**63}}}', "takes 65 bits; choose one that fits into 64"),
        (f'{{"class_names": ["a"], "ignore_index": {10**30}}}', "takes 101 bits; choose one that fits into 64"),
        ('{"gate": "oracle"}', "must be a gate's name or null"),
        ('{"gate": "binary"}', "gate 'binary' needs class_probs"),
        ('{"lr_kernel": 4}', "must be an odd number up to 15, or null"),
        ('{"lr_kernel": -1}', "must be an odd number up to 15, or null"),
        ('{"lr_weights": "new"}', "must be learnt or box"),
    ],
)
def test_each_fault_of_the_metadata_gets_one_sentence(metadata, words):
    for data in (npz(**rows(), metadata=metadata), tensors({"metadata": metadata}, **rows())):
        with pytest.raises(CaptureFileError, match=words):
            read_capture_file(data).capture()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"PK\x03\x04 but no zip",
        b"no file at all, though long enough for a header",
        npz(**rows())[:300],
        tensors(**rows())[:-5],
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 14) + b'{"query": "no"}'[:14],
        struct.pack("<Q", 22) + b'{"query":{"shape":[1]}}'[:22],
        npz(query=np.array([{}], dtype=object)),
    ],
)
def test_a_file_that_is_none_gets_one_sentence(data):
    with pytest.raises(CaptureFileError, match=r"^The attention file.*\.$"):
        read_capture_file(data)


def bomb(shape: tuple[int, ...], stored: bytes, declared: int | None = None) -> bytes:
    """An .npz whose query promises `shape`; `declared` is what the zip's directory says it unpacks to."""
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    content = header.getvalue() + stored
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("query.npy", content)
    data = file.getvalue()
    if declared is not None:
        old, new = struct.pack("<I", len(content)), struct.pack("<I", declared)
        assert data.count(old) >= 2  # in the member's own header, and in the directory
        data = data.replace(old, new)
    return data


def test_a_decompression_bomb_is_refused_by_the_directory(monkeypatch):
    def unread(*arguments, **options):
        raise AssertionError("the file was unpacked")

    small, lying = bomb((2**19,), bytes(2**21)), bomb((CELLS, 2), bytes(120), declared=4000 * 2**20)
    assert len(small) < 2**14
    monkeypatch.setattr(zipfile.ZipFile, "open", unread)
    monkeypatch.setattr(containers, "MAX_BYTES", 2**20)
    with pytest.raises(CaptureFileError, match=r"holds 2 MiB of arrays, more than 1"):
        read_capture_file(small)
    with pytest.raises(CaptureFileError, match=r"holds 4000 MiB of arrays"):
        read_capture_file(lying)


def test_a_header_that_promises_more_than_there_is_allocates_nothing():
    with pytest.raises(CaptureFileError, match="not a readable"):
        read_capture_file(bomb((2**40, 2), bytes(120)))


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "large.safetensors"
    path.write_bytes(tensors(**rows()))
    monkeypatch.setattr(containers, "MAX_BYTES", 100)
    with pytest.raises(CaptureFileError, match="more than 0"):
        load_capture(path)
    with pytest.raises(CaptureFileError, match="more than 0"):
        read_capture_file(path.read_bytes())


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(CaptureFileError, match=r"capture\.pt is neither \.npz nor \.safetensors"):
        save_capture(full_capture(), tmp_path / "capture.pt")
    with pytest.raises(CaptureFileError, match="neither"):
        load_capture(tmp_path / "capture.pkl")
    with pytest.raises(FileNotFoundError):
        load_capture(tmp_path / "capture.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "capture.npz"
    save_capture(full_capture(), path)
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez", lambda *arguments, **options: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_capture(full_capture(), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_arrays_of_other_names_are_not_read():
    capture = read_capture_file(npz(**rows(), value=np.array([{}], dtype=object))).capture()
    assert capture.cells == (HEIGHT, WIDTH)


# --- codings of labels -----------------------------------------------------------------------------------------------


def labelled(values, label_set=ADE20K, **metadata) -> bytes:
    names = {} if label_set is None else {"class_names": label_set.class_names, "ignore_index": label_set.ignore_index}
    labels = np.resize(values, (HEIGHT, WIDTH))
    return npz(**rows(labels=labels), metadata=np.array(json.dumps(names | metadata)))


def classes_in(data, **options):
    return sorted(set(read_capture_file(data, **options).capture().labels.ravel().tolist()))


def test_raw_annotations_are_recognised_by_the_names_of_the_classes():
    assert classes_in(labelled([0, 1, 150])) == [0, 149, 255]
    assert classes_in(labelled([0, 1, 255])) == [0, 1, 255]
    assert read_capture_file(labelled([0, 1, 150])).coding.words == "ADE20K annotation, 0 = other"
    with pytest.raises(CaptureFileError, match="values 0, 1, 13, which may be class indices or ADE20K anno") as said:
        read_capture_file(labelled([0, 1, 13]))
    assert [coding.key for coding in said.value.choices] == ["indices", "annotation"]
    for data, options in (
        (labelled([0, 1, 13], coding="annotation"), {}),
        (labelled([0, 1, 13]), {"coding": "annotation"}),
    ):
        assert classes_in(data, **options) == [0, 12, 255]
    assert classes_in(labelled([0, 1, 13], coding="indices")) == [0, 1, 13]
    with pytest.raises(CaptureFileError, match=r"no coding 'raw'; choose one of indices, colours, annotation\.$"):
        read_capture_file(labelled([0, 1], coding="raw"))


@pytest.mark.parametrize("label_set", [None, LABEL_SET])
def test_masks_of_0_and_255(label_set):
    with pytest.raises(CaptureFileError, match="labels hold 0 and 255 only, and 255 means ignored"):
        read_capture_file(labelled([0, 255], label_set))
    if label_set is not None:
        assert classes_in(labelled([0, 255], label_set, coding="mask")) == [0, 1]
    assert classes_in(labelled([0, 1, 255], label_set)) == [0, 1, 255 if label_set is None else 254]


def test_negative_labels_may_mean_none():
    label_set = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)), -1)
    assert classes_in(labelled([0, 1, -1], label_set)) == [-1, 0, 1]
    with pytest.raises(CaptureFileError, match="labels hold -2, no class"):
        read_capture_file(labelled([0, -2], label_set)).capture()


def test_what_we_save_is_read_without_a_question(tmp_path):
    labels = np.resize(np.array([0, 1, 13], np.uint8), (HEIGHT, WIDTH))
    capture = Capture.from_qk(*[np.ones((CELLS, 2), np.float32)] * 2, HEIGHT, WIDTH, labels=labels, label_set=ADE20K)
    save_capture(capture, tmp_path / "a.npz")
    assert (load_capture(tmp_path / "a.npz").labels == labels).all()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("finished", [False, True])
def test_other_grids_and_queries_without_a_place_come_back(tmp_path, suffix, finished):
    rng = np.random.default_rng(3)
    query, key = rng.normal(size=(4, 6)), rng.normal(size=(7, 6))
    options = {
        "image": np.zeros((40, 60, 3), np.uint8), "labels": rng.integers(0, 3, (40, 60)), "crop": (10, 0, 30, 45),
        "query_names": ["car", "road", "sky", "none"], "query_labels": [1, 0, 2, 255], "key_size": (2, 3),
        "placement": "blocks", "last_tokens": 1,
    }  # fmt: skip
    scores = query @ key.T
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    made = (
        Capture.from_attention(weights, 1, 4, **options) if finished else Capture.from_qk(query, key, 1, 4, **options)
    )
    save_capture(made, path := tmp_path / f"capture{suffix}")
    back = load_capture(path)
    assert back.attention is None if not finished else back.query is None
    for name in ("cells", "key_size", "placement", "crop", "query_names"):
        assert getattr(back, name) == getattr(made, name), name
    for name in ("query", "key", "attention", "dropped", "query_labels", "labels"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))


def test_files_without_a_placement_are_read_as_what_they_hold():
    maps, tokens = np.ones((2, 3, 5), np.float32), np.ones((15, 2), np.float32)
    for array, placement in ((maps, "corners"), (tokens, "blocks")):
        data = npz(query=array, key=array, height=np.array(3), width=np.array(5))
        assert read_capture_file(data).capture().placement == placement


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ('{"placement": "tiles"}', "placement .tiles.: it must be corners or blocks"),
        ('{"crop": [0, 0, 4]}', "crop .*: it must be a list of four whole numbers"),
        ('{"query_names": "car"}', "query_names .*: it must be a list of texts"),
        ('{"signed": 1}', "signed 1: it must be true or false"),
    ],
)
def test_each_fault_of_what_lies_where_gets_one_sentence(metadata, words):
    maps = np.ones((2, 3, 5), np.float32)
    with pytest.raises(CaptureFileError, match=words):
        read_capture_file(npz(query=maps, key=maps, metadata=np.array(metadata)))


def test_half_a_key_grid_is_refused():
    maps = np.ones((2, 3, 5), np.float32)
    with pytest.raises(CaptureFileError, match="only one of key_height and key_width"):
        read_capture_file(npz(query=maps, key=maps, key_height=np.array(2)))
