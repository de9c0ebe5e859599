"""Odd input is said, or refused where hardly anybody can mean it."""

import numpy as np
import pytest
from PIL import Image

from analysis import Capture
from analysis.capture.suspicions import of_proportions
from dnl.classes import CAMVID
from dnl.datasets.streets import Streets

HEIGHT, WIDTH, CELLS = 3, 5, 15


@pytest.fixture
def rows():
    weights = np.random.default_rng(0).random((CELLS, CELLS))
    return weights / weights.sum(1, keepdims=True)


def test_a_transposed_map_is_refused(rows):
    with pytest.raises(ValueError, match=r"columns of attention sum to 1, and its rows to 0\.\d+ … .*transposed"):
        Capture.from_attention(rows.T, HEIGHT, WIDTH)
    assert not Capture.from_attention(rows, HEIGHT, WIDTH).notes
    both = np.full((CELLS, CELLS), 1 / CELLS)
    assert not Capture.from_attention(both, HEIGHT, WIDTH).notes


def test_rows_that_are_no_distributions_are_said_with_their_range(rows):
    with pytest.warns(UserWarning, match=r"rows of the map sum to 0\.5 … 2, not to 1"):
        capture = Capture.from_attention(rows * np.linspace(0.5, 2, CELLS)[:, None], HEIGHT, WIDTH)
    assert len(capture.notes) == 1
    assert not Capture.from_attention(rows * 1.0005, HEIGHT, WIDTH).notes


def test_proportions_that_contradict_the_grid_are_said(rows):
    wide = np.zeros((30, 50, 3), np.uint8)
    assert not Capture.from_attention(rows, HEIGHT, WIDTH, image=wide).notes
    with pytest.warns(UserWarning, match="3×5 cells do not fit the proportions of the 50×30 pixels .*; 5×3 would"):
        Capture.from_attention(rows, HEIGHT, WIDTH, image=wide.swapaxes(0, 1).copy())
    with pytest.warns(UserWarning, match=r"of the 90×50 pixels .*if the model saw a crop, give crop="):
        Capture.from_attention(rows, HEIGHT, WIDTH, image=np.zeros((90, 50, 3), np.uint8))
    assert not Capture.from_attention(
        rows, HEIGHT, WIDTH, image=np.zeros((90, 50, 3), np.uint8), crop=(20, 0, 30, 50)
    ).notes


@pytest.mark.parametrize("name", ["labels", "prediction"])
def test_so_it_is_with_labels_alone(rows, name):
    def notes(shape, **more):
        return Capture.from_attention(rows, HEIGHT, WIDTH, **{name: np.zeros(shape, np.uint8)}, **more).notes

    with pytest.warns(UserWarning, match="do not fit the proportions of the 90×50 pixels .*pad it likewise"):
        notes((90, 50))
    assert not notes((30, 50)) and not notes((HEIGHT, WIDTH)) and not notes((90, 50), crop=(20, 0, 30, 50))


@pytest.mark.parametrize("shape", [(HEIGHT - 1, WIDTH), (HEIGHT, WIDTH - 1), (2 * HEIGHT, WIDTH - 1)])
def test_labels_that_are_fewer_than_the_cells_are_refused(rows, shape):
    """One row short they would be taken for pixels, and a whole row of cells would have no label."""
    with pytest.raises(ValueError, match=f"labels are {shape[0]}×{shape[1]}, fewer than the map's 3×5 cells; give one"):
        Capture.from_attention(rows, HEIGHT, WIDTH, labels=np.zeros(shape, np.uint8))


def test_labels_that_are_hardly_more_than_the_cells_are_said(rows):
    for shape in ((HEIGHT + 1, WIDTH), (HEIGHT, WIDTH + 1), (HEIGHT + 1, WIDTH + 1)):
        labels = np.zeros(shape, np.uint8)
        with pytest.warns(UserWarning, match="hardly more than the map's 3×5 cells, and are taken for those of an im"):
            Capture.from_attention(rows, HEIGHT, WIDTH, labels=labels)
    for shape in ((HEIGHT, WIDTH), (2 * HEIGHT, 2 * WIDTH)):
        assert not Capture.from_attention(rows, HEIGHT, WIDTH, labels=np.zeros(shape, np.uint8)).notes
    image = np.zeros((HEIGHT + 1, WIDTH + 1, 3), np.uint8)
    assert not Capture.from_attention(rows, HEIGHT, WIDTH, image=image, labels=image[..., 0]).notes


@pytest.mark.parametrize(("size", "cells"), [((480, 640), (15, 20)), ((100, 130), (6, 8)), ((97, 193), (13, 25))])
def test_padded_and_cut_sizes_fit(size, cells):
    assert not of_proportions(size, cells)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((12, 3, CELLS, CELLS), "its first axis of 12 may be layers or images of a batch; give one of them"),
        ((12, 2, 3, CELLS, CELLS), "its first axes of 12×2 may be layers and images; give one layer of one image"),
    ],
)
def test_layers_are_no_heads(shape, words):
    with pytest.raises(ValueError, match=words):
        Capture.from_attention(np.broadcast_to(np.float32(1 / CELLS), shape), HEIGHT, WIDTH)


def test_more_keys_than_cells_are_told_of_a_key_grid():
    query, key = np.ones((CELLS, 4)), np.ones((40, 4))
    with pytest.raises(ValueError, match=r"there are more keys than cells: if they lie on a grid .* key_size="):
        Capture.from_qk(query, key, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"there are fewer keys than cells"):
        Capture.from_attention(np.full((CELLS, 4), 0.25), HEIGHT, WIDTH)


# --- what is brought on other grids ----------------------------------------------------------------------------------


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_keys_on_a_grid_of_their_own_with_a_class_token_last():
    rng = np.random.default_rng(1)
    query, key = rng.normal(size=(2, CELLS, 4)), rng.normal(size=(2, 7, 4))
    capture = Capture.from_qk(query, key, HEIGHT, WIDTH, head=1, key_size=(2, 3), last_tokens=1)
    weights = softmax(query[1] @ key[1].T)
    assert (capture.cells, capture.key_size, capture.placement) == ((3, 5), (2, 3), "blocks")
    np.testing.assert_allclose(capture.dropped.ravel(), weights[:, 6], atol=1e-6)
    np.testing.assert_allclose(capture.key.reshape(4, -1).T, key[1, :6], atol=1e-6)
    mean = Capture.from_qk(query, key, HEIGHT, WIDTH, key_size=(2, 3), last_tokens=1)
    maps = softmax(query @ key.swapaxes(1, 2))
    cells = maps[..., :6] / maps[..., :6].sum(-1, keepdims=True)
    np.testing.assert_allclose(mean.attention, cells.mean(0), atol=1e-6)
    finished = Capture.from_attention(maps, HEIGHT, WIDTH, key_size=(2, 3), last_tokens=1)
    np.testing.assert_allclose(finished.attention, mean.attention, atol=1e-6)
    np.testing.assert_allclose(finished.dropped, mean.dropped, atol=1e-6)


def test_queries_without_a_place_have_names_and_perhaps_labels():
    rng = np.random.default_rng(1)
    query, key = rng.normal(size=(4, 6)), rng.normal(size=(1 + CELLS, 6))
    names = ["car", "road", "sky", "none"]
    labels = np.zeros((30, 50), int)
    labels[:, 25:] = 1
    capture = Capture.from_qk(
        query, key, 1, 4, key_size=(HEIGHT, WIDTH), class_tokens=1, labels=labels, query_names=names,
        query_labels=[1, 0, 1, 255],
    )  # fmt: skip
    assert capture.query_names == tuple(names)
    np.testing.assert_array_equal(capture.cell_labels, [[1, 0, 1, 255]])
    np.testing.assert_array_equal(capture.key_labels[:, [0, 4]], [[0, 1]] * 3)
    np.testing.assert_allclose(capture.dropped[0], softmax(query @ key.T)[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="4 query_names, but 1×3 queries"):
        Capture.from_qk(query[:3], key, 1, 3, key_size=(3, 5), class_tokens=1, query_names=names)
    with pytest.raises(ValueError, match="query_labels must be classes 0 … 1, or 255"):
        Capture.from_qk(
            query, key, 1, 4, key_size=(3, 5), class_tokens=1, labels=labels, query_names=names, query_labels=[9] * 4
        )


def test_cells_lie_as_they_are_said_to():
    tokens, maps = np.ones((CELLS, 2)), np.ones((2, HEIGHT, WIDTH))
    assert Capture.from_qk(tokens, tokens, HEIGHT, WIDTH).placement == "blocks"
    assert Capture.from_qk(maps, maps, HEIGHT, WIDTH).placement == "corners"
    image = np.zeros((40, 60, 3), np.uint8)
    cells = np.arange(CELLS).reshape(HEIGHT, WIDTH)
    capture = Capture.from_qk(
        maps, maps, HEIGHT, WIDTH, image=image, labels=cells, placement="blocks", crop=(5, 5, 30, 50)
    )
    np.testing.assert_array_equal(capture.cell_labels, cells)
    assert capture.labels[4, 4] == 255 and capture.cell_at(5, 5) == 0 and capture.cell_at(34, 54) == CELLS - 1
    for options, words in (
        ({"placement": "tiles"}, "placement is 'tiles'; choose one of corners, blocks"),
        ({"crop": (5, 5, 40, 50)}, "leaves the image of 40×60"),
        ({"crop": (5, 5, 30)}, r"crop is \(5, 5, 30\); it must be \(top, left, height, width\)"),
    ):
        with pytest.raises(ValueError, match=words):
            Capture.from_qk(maps, maps, HEIGHT, WIDTH, image=image, **options)


@pytest.mark.parametrize("way", ["BILINEAR", "HAMMING"])
@pytest.mark.parametrize(("height", "width"), [(216, 360), (432, 720)])
def test_labels_that_were_resized_smoothly_are_said(rows, way, height, width):
    labels = Image.fromarray(Streets("gallery")[0].labels.astype(np.uint8))
    smooth, nearest = (np.array(labels.resize((width, height), Image.Resampling[by])) for by in (way, "NEAREST"))
    with pytest.warns(UserWarning, match="along its borders the labels map holds the classes in between"):
        capture = Capture.from_attention(rows, HEIGHT, WIDTH, labels=smooth, label_set=CAMVID)
    assert (capture.labels == smooth).all()
    assert not Capture.from_attention(rows, HEIGHT, WIDTH, labels=nearest, label_set=CAMVID).notes


def test_classes_that_smooth_resizing_invents_are_refused_with_that_reason(rows):
    labels = Image.fromarray(Streets("gallery")[0].labels.astype(np.uint8))
    beyond = np.array(labels.resize((720, 432), Image.Resampling.BICUBIC))
    with pytest.raises(
        ValueError, match=r"hold 12, no class of 0 … 10 .*; correct .*; along its borders the labels map"
    ):
        Capture.from_attention(rows, HEIGHT, WIDTH, labels=beyond, label_set=CAMVID)
    with pytest.raises(ValueError, match=r"hold 12, no class of 0 … 10 .*; correct them or name more classes"):
        Capture.from_attention(rows, HEIGHT, WIDTH, labels=np.full((432, 720), 12), label_set=CAMVID)


def test_a_prediction_is_looked_at_in_the_same_way(rows):
    labels = Image.fromarray(Streets("gallery")[0].labels.astype(np.uint8))
    smooth = np.array(labels.resize((360, 216), Image.Resampling.BILINEAR))
    with pytest.warns(UserWarning, match="along its borders the prediction map holds"):
        Capture.from_attention(rows, HEIGHT, WIDTH, prediction=smooth, label_set=CAMVID)


@pytest.mark.parametrize("size", [(45, 27), (30, 18), (75, 45)])
def test_labels_of_few_pixels_tell_nothing(rows, size):
    """Made smaller by nearest neighbour, where most things are thin; and labels of cells, a border one cell wide."""
    for index in range(4):
        labels = Image.fromarray(Streets("gallery")[index].labels.astype(np.uint8))
        small = np.array(labels.resize(size, Image.Resampling.NEAREST))
        assert not Capture.from_attention(rows, HEIGHT, WIDTH, labels=small, label_set=CAMVID).notes


def test_labels_of_cells_are_not_taken_for_smooth_ones():
    cells = np.tile(np.repeat([0, 2, 4], [32, 1, 32]), (65, 1))  # a border one cell wide, in every line
    side, flat = len(cells), np.float32(1 / cells.size)
    assert not Capture.from_attention(np.full((cells.size, cells.size), flat), side, side, labels=cells).notes
    with pytest.warns(UserWarning, match="along its borders"):  # on pixels it would be the mark of it
        Capture.from_attention(np.full((25, 25), 1 / 25), 5, 5, labels=cells)
