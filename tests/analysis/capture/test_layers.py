"""Several layers and heads: what each gives as a capture, and files of them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from analysis import Capture
from analysis.capture import Layer, Layers, attention_name, load_capture, load_layers, save_capture, save_layers
from analysis.capture.containers import MAX_LAYERS, SUFFIXES, CaptureFileError
from analysis.capture.files import read_capture_file
from analysis.maps import attention_rows
from tests.analysis.capture.test_files import full_capture

HEIGHT, WIDTH, CELLS = 3, 4, 12
DATA = Path(__file__).parent / "data"


def npz(metadata: dict | None = None, **arrays) -> bytes:
    file = io.BytesIO()
    text = {} if metadata is None else {"metadata": np.array(json.dumps(metadata))}
    np.savez(file, **arrays, **text)
    return file.getvalue()


def operands(seed: int, heads: int = 3, tokens: int = CELLS + 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(heads, tokens, 5)).astype(np.float32) for name in ("query", "key")}


def layered(names=("b.2", "b.10"), **changes) -> dict[str, np.ndarray]:
    """Arrays of a file of two layers of three heads with a class token each."""
    arrays = {f"{name}/{part}": array for seed, name in enumerate(names) for part, array in operands(seed).items()}
    return arrays | {"height": np.array(HEIGHT), "width": np.array(WIDTH), "class_tokens": np.array(1)} | changes


def expected(seed: int, head: int | str, **options) -> Capture:
    return Capture.from_qk(*operands(seed).values(), HEIGHT, WIDTH, head=head, class_tokens=1, **options)


@pytest.mark.parametrize("container", ["npz", "safetensors"])
def test_each_head_of_each_layer_is_the_capture_of_its_arrays(container):
    tensors = {name: torch.as_tensor(array) for name, array in layered().items()}
    data = npz(**layered()) if container == "npz" else safetensors.torch.save(tensors)
    file = read_capture_file(data, "mine")
    assert file.layers.names == ["b.2", "b.10"]  # the container sorts them by letters
    assert file.layers.maps == 6
    for seed, layer in enumerate(("b.2", "b.10")):
        for head in (0, 2, "mean"):
            found, truth = file.capture(head, layer), expected(seed, head)
            np.testing.assert_array_equal(attention_rows(found).raw, attention_rows(truth).raw)
            np.testing.assert_array_equal(found.dropped, truth.dropped)
            assert (found.layer, found.head, found.name) == (layer, head, "mine")
    assert attention_name(file.capture(2, "b.10")) == "b.10, head 2"
    assert attention_name(file.capture("mean", "b.2")) == "b.2, mean of the heads"
    with pytest.raises(CaptureFileError, match=r"there are 2 layers; choose one of b\.2, b\.10\.$"):
        file.capture(0)
    with pytest.raises(CaptureFileError, match=r"there is no layer 'b\.3'; choose one of b\.2, b\.10\.$"):
        file.capture(0, "b.3")
    with pytest.raises(CaptureFileError, match=r"head is 3; choose 0 … 2"):
        file.capture(3, "b.2")


def test_metadata_orders_the_layers_and_says_what_differs():
    metadata = {"format": 2, "name": "a photo", "class_names": ["one", "two"], "placement": "corners",
                "layers": {"b.10": {"heads": [4, 7, 9], "placement": "blocks", "notes": ["from afar"]}}}  # fmt: skip
    labels = np.ones((HEIGHT, WIDTH), np.uint8)
    layers = read_capture_file(npz(metadata, **layered(labels=labels))).layers
    assert layers.names == ["b.10", "b.2"] and [layer.heads for layer in layers] == [(4, 7, 9), (0, 1, 2)]
    late, early = layers.capture("b.10", 7), layers.capture("b.2", 1)
    assert (late.placement, early.placement, late.head) == ("blocks", "corners", 7)
    np.testing.assert_array_equal(attention_rows(late).raw, attention_rows(expected(1, 1)).raw)
    assert "from afar" in late.notes and (late.cell_labels == 1).all()
    assert "the mean is that of heads 4, 7, 9 alone" in layers.capture("b.10").notes


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_layers_come_back_bit_for_bit(tmp_path, suffix):
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)
    known = {"image": image, "labels": rng.integers(0, 2, (30, 41)), "name": "a “photo”", "class_probs": None}
    maps = rng.dirichlet(np.ones(CELLS), (2, CELLS)).astype(np.float32)
    signed = maps - np.float32(0.01)
    dropped = rng.random((2, HEIGHT, WIDTH)).astype(np.float32)
    size = {"cells": (HEIGHT, WIDTH), "key_cells": (HEIGHT, WIDTH)}
    tokens = Layer(
        "stem/attn", heads=(0, 1, 2), arrays=operands(0), options={**known, "class_tokens": 1, "scale": 0.3}, **size
    )
    finished = Layer(
        "b", heads=(1, 5), arrays={"attention": signed}, options={**known, "signed": True, "dropped": dropped}, **size
    )
    save_layers(Layers((finished, tokens)), path := tmp_path / f"both{suffix}")
    back = load_layers(path)
    assert back.names == ["b", "stem/attn"] and back.layer("b").heads == (1, 5)
    for layer, head in (("b", 5), ("b", "mean"), ("stem/attn", 2), ("stem/attn", "mean")):
        made = Layers((finished, tokens)).capture(layer, head)
        found = back.capture(layer, head)
        for name in ("query", "key", "attention", "image", "labels", "dropped"):
            np.testing.assert_array_equal(getattr(found, name), getattr(made, name), err_msg=name)
        assert (found.name, found.layer, found.head, found.cells) == (made.name, layer, head, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(back.capture("b", 5).dropped, dropped[1])
    assert load_capture(path, layer="b", head=1).attention.min() < 0


def test_a_capture_of_a_layer_says_so_in_its_file(tmp_path):
    capture = read_capture_file(npz(**layered())).capture(2, "b.2")
    save_capture(capture, tmp_path / "one.npz")
    back = load_capture(tmp_path / "one.npz")
    assert (back.layer, back.head) == ("b.2", 2)
    np.testing.assert_array_equal(back.query, capture.query)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files_of_the_first_format_are_read(suffix):
    found, truth = load_capture(DATA / f"format-1.{suffix}"), full_capture()
    for name in ("query", "key", "class_probs", "image", "labels", "prediction"):
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
    for name in ("cells", "gate", "lr_kernel", "lr_weights", "name", "label_set", "layer", "head", "notes"):
        assert getattr(found, name) == getattr(truth, name)


@pytest.mark.parametrize(
    ("changes", "metadata", "words"),
    [
        ({"query": np.ones((CELLS, 2))}, {}, "it holds query beside layers; name the layer that it is of, LAYER/query"),
        ({"b.2/image": np.zeros((4, 4, 3), np.uint8)}, {}, r"layer 'b\.2' has image of its own; all layers show"),
        ({"b.2/key": np.ones((2, CELLS + 1, 5))}, {}, r"layer 'b\.2': query has 3 heads but key 2"),
        ({"b.2/height": np.array([1, 2])}, {}, r"layer 'b\.2': height holds 2 numbers"),
        ({"b.2/key": np.ones(3)}, {}, r"key of layer 'b\.2' has 1 axes"),
        ({"c/key": np.ones((3, CELLS + 1, 5))}, {}, "layer 'c': it has no query"),
        ({"x" * 201 + "/key": np.ones((3, CELLS, 5))}, {}, "has a layer named 'xxx.*text of at most 200"),
        ({}, {"layers": {"b.3": {}}}, r"its metadata names a layer 'b\.3' without arrays"),
        ({}, {"layers": {"b.2": {"heads": [0, 1]}}}, r"layer 'b\.2': it tells the numbers of 2 heads, and its arrays"),
        ({}, {"layers": {"b.2": {"heads": [0, 0, 1]}}}, r"metadata of layer 'b\.2' has heads \[0, 0, 1\]: it must be"),
        ({}, {"layers": {"b.2": {"gate": 1}}}, r"metadata of layer 'b\.2' has gate 1"),
        ({}, {"layers": ["b.2"]}, "layers .*: it must be an object that has an object for each layer"),
        ({}, {"format": 3}, "is of format 3, and formats up to 2 are read: install a later version"),
        ({}, {"notes": ["x" * 1001]}, "notes .* it must be a list of at most 50 texts"),
    ],
)  # fmt: skip
def test_each_fault_gets_one_sentence(changes, metadata, words):
    with pytest.raises(CaptureFileError, match=words) as said:
        read_capture_file(npz(metadata, **layered(**changes)))
    assert str(said.value).startswith("The attention file") and str(said.value).endswith(".")


def test_too_many_layers_are_refused_before_they_are_read():
    arrays = {f"{number}/query": np.ones((1, 1), np.float32) for number in range(MAX_LAYERS + 1)}
    with pytest.raises(CaptureFileError, match="holds 257 layers, more than 256: save fewer"):
        read_capture_file(npz(**arrays))


def test_a_batch_of_one_is_taken_off(tmp_path):
    rows, maps = operands(0), np.random.default_rng(1).dirichlet(np.ones(CELLS + 1), (3, CELLS + 1))
    size = {"class_tokens": 1, "head": 1}
    in_batch = Capture.from_qk(rows["query"][None], rows["key"][None], HEIGHT, WIDTH, **size)
    np.testing.assert_array_equal(in_batch.query, Capture.from_qk(*rows.values(), HEIGHT, WIDTH, **size).query)
    found = Capture.from_attention(torch.from_numpy(maps[None]), HEIGHT, WIDTH, **size)
    np.testing.assert_array_equal(found.attention, Capture.from_attention(maps, HEIGHT, WIDTH, **size).attention)
    file = read_capture_file(npz(**layered(**{"b.2/query": rows["query"][None], "b.2/key": rows["key"][None]})))
    np.testing.assert_array_equal(file.capture(2, "b.2").query, expected(0, 2).query)
    with pytest.raises(ValueError, match="first axis of 2 may be layers or images of a batch"):
        Capture.from_attention(np.ones((2, 3, CELLS, CELLS)), HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"attention": np.full((2, 3, CELLS, CELLS), 1 / CELLS, np.float32)}, "attention is 2×3×12×12; it must be N×N"),
        (
            {part: np.stack([rows] * 2) for part, rows in operands(0, tokens=CELLS).items()},
            "query is 2×3×12×5; it must be N×d",
        ),
        (
            {part: np.ones((2, 2, 3, CELLS, 5), np.float32) for part in ("query", "key")},
            "first axes of 2×2 may be layers and images",
        ),
    ],
)
def test_several_images_or_layers_in_one_array_are_no_heads(arrays, words):
    for prefix in ("", "b.2/"):
        named = {f"{prefix}{name}": array for name, array in arrays.items()}
        with pytest.raises(CaptureFileError, match=words):
            read_capture_file(npz(**named, height=np.array(HEIGHT), width=np.array(WIDTH)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_number_is_saved_as_one_number(tmp_path, suffix):
    path = tmp_path / f"again{suffix}"
    save_layers(read_capture_file(npz(**layered())).layers, path)
    held = np.load(path) if suffix == ".npz" else safetensors.torch.load_file(path)
    assert [tuple(held[f"b.2/{name}"].shape) for name in ("height", "width", "class_tokens")] == [(), (), ()]


def test_layers_and_heads_are_chosen_by_name_and_pattern():
    layers = read_capture_file(npz(**layered(("b.2", "b.10", "c.0")))).layers
    chosen = layers.chosen("b.*", heads=[2, 0])
    assert chosen.names == ["b.2", "b.10"] and chosen.maps == 4
    np.testing.assert_array_equal(chosen.capture("b.10", 2).query, layers.capture("b.10", 2).query)
    assert layers.chosen(["c.0"]).names == ["c.0"] and layers.chosen(heads=1).maps == 3
    with pytest.raises(ValueError, match=r"no layer fits 'd\.\*'; choose of b\.2, b\.10, c\.0"):
        layers.chosen("d.*")
    with pytest.raises(ValueError, match=r"heads are \[7\]; b\.2 has 0 … 2"):
        layers.chosen(heads=[7])
    with pytest.raises(ValueError, match="two layers have the same name"):
        Layers((*layers.layers, layers.layers[0]))


def test_layers_of_different_images_are_not_saved_as_one(tmp_path):
    layers = read_capture_file(npz(**layered())).layers
    one, other = layers.described(image=np.zeros((9, 9, 3), np.uint8)), layers
    with pytest.raises(ValueError, match="the layers have different image; save each in a file of its own"):
        save_layers(Layers((one.layers[0], other.layers[1])), tmp_path / "both.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_names_what_it_leaves_out(tmp_path):
    rng = np.random.default_rng(0)
    maps = {"attention": rng.dirichlet(np.ones(6), (1, 6)).astype(np.float32)}
    save_layers(Layers((Layer("a", (2, 3), (2, 3), (0,), maps, {}),), {"b": "it did not run"}), tmp_path / "a.npz")
    assert load_layers(tmp_path / "a.npz").left_out == {"b": "it did not run"}


def test_classes_can_be_said_in_place_of_the_file(tmp_path):
    labels = np.array([[0, 1, 7], [1, 0, 7]], np.uint8)
    maps = np.full((6, 6), 1 / 6, np.float32)
    path = tmp_path / "a.npz"
    np.savez(path, attention=maps, height=2, width=3, labels=labels, metadata='{"class_names": ["x", "y", "z"]}')

    def classes(**said):
        return read_capture_file(path.read_bytes(), **said).capture().label_set

    said = classes(class_names=["sky", "road"], ignore_index=7)
    assert (said.class_names, said.ignore_index) == (("sky", "road"), 7)
    assert classes(label_set="camvid").class_names[:2] == ("Sky", "Building")
    with pytest.raises(CaptureFileError, match="the value 7, which is no class"):
        classes()
    for names in ([], ["sky", ""], ["sky", "sky"]):
        with pytest.raises(CaptureFileError, match="give each class a name of its own"):
            classes(class_names=names, ignore_index=7)
    np.savez(path, attention=maps, height=2, width=3, labels=labels, metadata='{"ignore_index": 7}')
    assert classes().class_names == ("class 0", "class 1") and classes().ignore_index == 7


@pytest.mark.parametrize("finished", [True, False])
def test_numbers_that_are_none_are_refused_with_the_name_of_their_head(finished):
    if finished:
        arrays = {"b.2/attention": np.full((3, CELLS, CELLS), 1 / CELLS, np.float32)}
        array = arrays["b.2/attention"]
    else:
        arrays = layered(("b.2",))
        array = arrays["b.2/key"]
    array[1, 5, 2] = np.nan
    sizes = {"height": np.array(HEIGHT), "width": np.array(WIDTH)}
    (layer,) = read_capture_file(npz(**(arrays | sizes))).layers
    layer.capture(2)
    for ask in (lambda: layer.capture(1), layer.capture, layer.operands):
        with pytest.raises(ValueError, match=r"^head 1 of b\.2: (key|attention) holds 1 of \d+ values that are NaN"):
            ask()


def test_notes_are_those_of_all_heads():
    rows = np.full((4, CELLS, CELLS), 1 / CELLS, np.float32)
    rows[2] *= 0.5
    rows[3] *= 0.25
    sizes = {"height": np.array(HEIGHT), "width": np.array(WIDTH)}

    def notes(*heads: int) -> tuple[str, ...]:
        return read_capture_file(npz(attention=rows[list(heads)], **sizes)).layers.notes

    words = "the rows of the map sum to 0.5 … 0.5, not to 1; they stay as they are"
    assert notes(0, 1) == ()
    assert notes(0, 1, 2) == (f"head 2: {words}",)
    assert notes(2, 2) == (words,)
    assert notes(0, 2, 3) == (f"head 1: {words} (head 2 likewise, with numbers of their own)",)


def test_captures_and_layers_are_named_in_a_line():
    image = np.zeros((30, 40, 3), np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    layers = read_capture_file(npz(**layered(image=image, labels=labels)), "mine").layers
    assert repr(layers) == "<Layers of 'mine': 2 layers (b.2, b.10), 6 heads, 3×4 cells, image, labels>"
    assert repr(layers.layer("b.2")) == "<Layer of 'mine': 1 layer (b.2), 3 heads, 3×4 cells, image, labels>"
    capture = layers.capture("b.2", 1)
    assert repr(capture) == "<Capture of 'mine': b.2, head 1, 3×4 cells, raw, image 30×40, labels>"
    assert repr(full_capture()).startswith("<Capture of ") and len(repr(full_capture())) < 200


def test_a_folder_that_is_not_there_is_said_before_anything_is_written(tmp_path):
    layers = read_capture_file(npz(**layered())).layers
    for save in (lambda path: save_layers(layers, path), lambda path: save_capture(layers.capture("b.2", 0), path)):
        with pytest.raises(FileNotFoundError, match=r"^the folder .*nowhere does not exist; create it first$"):
            save(tmp_path / "nowhere" / "a.npz")
