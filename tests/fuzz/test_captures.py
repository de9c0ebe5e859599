"""Attention files: structure, numbers and metadata of any kind, in both containers."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from analysis.capture import containers
from analysis.capture.containers import CaptureFileError
from analysis.capture.files import read_capture_file
from analysis.capture.layers import MAX_MEAN_WEIGHTS
from analysis.lens import pack_capture
from analysis.maps import attention_rows
from tests.fuzz import corpus
from tests.fuzz.guard import cases, result_or_sentence

NPZ, SAFETENSORS = corpus.capture_npz(), corpus.capture_safetensors()
NAMES = list(corpus.capture_arrays())
LAYERED = [
    write(corpus.layers_arrays(), corpus.LAYERS_METADATA) for write in (corpus.capture_npz, corpus.capture_safetensors)
]
ODD_NUMBERS = st.sampled_from([0.0, -1.0, np.nan, np.inf, -np.inf, 1e38, 1e300])
DTYPES = ["f2", "f4", "f8", "u1", "u8", "i8", "c8", "?", "U3", "M8[s]", ">f4", "S2"]


def shown(data: bytes) -> bool:
    """Everything that the Explorer does with a file."""
    file = read_capture_file(data, "a file")
    captures = [file.capture("mean", layer.name) for layer in file.layers]
    captures += [file.capture(layer.heads[-1], layer.name) for layer in file.layers]
    for capture in captures:
        attention_rows(capture, [0])
    return all(pack_capture(capture.with_image()) for capture in captures)


def tried(data: bytes) -> bool | None:
    return result_or_sentence("captures", lambda: shown(data), CaptureFileError)


def test_the_whole_files_are_read():
    assert all(map(tried, [NPZ, SAFETENSORS, *LAYERED]))


@given(corpus.spoilt([NPZ, SAFETENSORS, *LAYERED]))
@cases(60)
def test_spoilt_files(data):
    tried(data)


@given(corpus.altered(corpus.CAPTURE_METADATA), st.booleans())
@cases(60)
def test_metadata_of_any_kind(metadata, as_npz):
    tried((corpus.capture_npz if as_npz else corpus.capture_safetensors)(metadata=metadata))


@given(corpus.altered(corpus.LAYERS_METADATA), st.booleans())
@cases(60)
def test_metadata_of_layers_of_any_kind(metadata, as_npz):
    tried((corpus.capture_npz if as_npz else corpus.capture_safetensors)(corpus.layers_arrays(), metadata))


@given(corpus.altered(corpus.split_safetensors(LAYERED[1])[0]))
@cases(40)
def test_headers_of_layers_of_any_kind(header):
    tried(corpus.join_safetensors(header, corpus.split_safetensors(LAYERED[1])[1]))


@given(st.sets(st.sampled_from(list(corpus.layers_arrays()))), st.sampled_from(corpus.HOSTILE_NAMES))
@cases(30)
def test_any_array_of_a_layer_may_be_missing_and_its_name_be_anything(missing, name):
    arrays = {key: array for key, array in corpus.layers_arrays().items() if key not in missing}
    named = {key.replace("blocks.3", name): array for key, array in arrays.items()}
    tried(corpus.capture_npz(named, {"name": name}))
    tried(corpus.capture_safetensors(named, {"layers": {name: {}}}))


@given(corpus.JSON_TEXTS)
@cases(10)
def test_metadata_that_is_no_json(text):
    arrays = corpus.capture_arrays() | {"metadata": np.array(text.decode("latin-1"))}
    tried(corpus.npz(arrays))


@given(
    st.sampled_from(NAMES),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays_of.arrays(
            np.dtype(dtype), arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)
        )
    ),
)
@cases(60)
def test_arrays_of_any_shape_and_type(name, array):
    tried(corpus.capture_npz(corpus.capture_arrays() | {name: array}))


@given(st.sampled_from(["query", "key", "class_probs", "scale"]), ODD_NUMBERS, st.integers(0, 10))
@cases(30)
def test_numbers_that_are_none(name, number, place):
    arrays = corpus.capture_arrays()
    spoilt = arrays[name].astype(np.float64).copy()
    spoilt.ravel()[place % spoilt.size] = number
    tried(corpus.capture_npz(arrays | {name: spoilt}))


@given(st.sets(st.sampled_from(NAMES)), st.booleans())
@cases(30)
def test_any_array_may_be_missing(missing, as_npz):
    arrays = {name: array for name, array in corpus.capture_arrays().items() if name not in missing}
    tried((corpus.capture_npz if as_npz else corpus.capture_safetensors)(arrays))


@given(st.data())
@cases(40)
def test_headers_of_any_kind(data):
    header, body = corpus.split_safetensors(SAFETENSORS)
    tried(corpus.join_safetensors(data.draw(corpus.altered(header)), body))


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**62, 2**63, 2**64 - 1])
def test_lengths_of_the_header(length):
    header, body = corpus.split_safetensors(SAFETENSORS)
    assert tried(corpus.join_safetensors(header, body, length)) is None


def test_tensors_that_overlap_or_leave_the_file():
    for offsets in ([0, 2**62], [8, 4], [-4, 4], [0, 8], [4, 12]):
        header, body = corpus.split_safetensors(SAFETENSORS)
        header["query"]["data_offsets"] = offsets
        assert tried(corpus.join_safetensors(header, body)) is None


def npy(header: str, version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4, 4)}",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (4, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "(" * 3000,
        "[" * 5000,
        "'''",
        "__import__('os').system('touch ran')",
        "{'descr': '<U1000000000', 'fortran_order': False, 'shape': ()}",
        "",
    ],
)
@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
def test_headers_of_arrays(header, version, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {"query.npy": npy(header, version), "key.npy": npy(header, version)}
    assert tried(corpus.zipped(files)) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_numpy_does_not_write_is_refused(method):
    with zipfile.ZipFile(io.BytesIO(NPZ)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert tried(corpus.zipped(files, method)) is None


def test_an_archive_of_many_entries():
    assert tried(corpus.zipped(dict.fromkeys(map(str, range(20_000)), b""), zipfile.ZIP_STORED)) is None


def test_archives_that_unpack_to_more_than_they_may(monkeypatch):
    monkeypatch.setattr(containers, "MAX_BYTES", 2**20)
    zeros = np.zeros((1, 2**20, 1), np.float32)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {zeros.size}, 1)}}"
    content = npy(header) + zeros.tobytes()
    assert tried(corpus.zipped({"query.npy": content, "height.npy": npy("")})) is None


def test_a_mean_over_very_many_heads_is_refused_but_each_head_opens():
    cells, heads = 3600, MAX_MEAN_WEIGHTS // 3600**2 + 1
    rows = np.ones((heads, cells, 1), np.float16)
    data = corpus.npz({"query": rows, "key": rows, "height": np.array(60), "width": np.array(60)})
    assert tried(data) is None
    assert result_or_sentence("captures", lambda: read_capture_file(data).capture(heads - 1), CaptureFileError)


def test_a_pickle_in_an_array_is_never_loaded(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    arrays = corpus.capture_arrays() | {"query": np.array([Payload()] * 4, dtype=object)}
    assert tried(corpus.npz(arrays)) is None
    assert tried(corpus.npz(corpus.capture_arrays() | {"metadata": np.array({"a": Payload()}, dtype=object)})) is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", corpus.HOSTILE_NAMES)
def test_hostile_names_are_kept_as_text(name):
    metadata = corpus.CAPTURE_METADATA | {"name": name, "class_names": [name, "two", "three"]}
    assert tried(corpus.capture_npz(metadata=metadata))
