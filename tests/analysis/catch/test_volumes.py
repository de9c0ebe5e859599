"""Networks of volumes and of videos: cells of more than two axes."""

import numpy as np
import pytest
import torch
from torch import nn

import analysis.catch as catch
from analysis.maps import stage_rows
from analysis.options import MapOptions
from tests.analysis.catch.modules import CHANNELS, Attention, matmul

SLICES, ROWS, COLUMNS = 2, 3, 4
CELLS = SLICES * ROWS * COLUMNS
SAID = "its cells lie in a volume of 2×3×4, shown slice below slice as 6×4"


class Volumes(nn.Module):
    """Patches of 2×4×4 voxels, pooled, of which some tokens are left; in windows of some slices, rows and columns."""

    def __init__(self, pool=(1, 1, 1), left=None, windows=None):
        super().__init__()
        self.embed, self.pool = nn.Conv3d(1, CHANNELS, (2, 4, 4), (2, 4, 4)), nn.AvgPool3d(pool)
        self.left, self.windows, self.attn = left, windows, Attention(matmul)

    def forward(self, volumes):
        cells = self.pool(self.embed(volumes))
        if self.windows is None:
            tokens = cells.flatten(2).transpose(1, 2)
        else:
            for axis, size in zip((2, 4, 6), self.windows, strict=True):
                cells = cells.unflatten(axis, (-1, size))
            tokens = cells.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(0, 3).flatten(1, 3)
        tokens = tokens if self.left is None else tokens[:, self.left]
        return tokens + self.attn(tokens)


class Coarse(nn.Module):
    """Attention from cells to coarser ones, keys and values, that `reduce` makes of them."""

    def __init__(self, reduce):
        super().__init__()
        self.query, self.key = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.reduce = reduce

    def forward(self, cells):
        keys = self.reduce(cells).flatten(2).transpose(1, 2)
        self.weights = (self.query(cells.flatten(2).transpose(1, 2)) @ self.key(keys).mT).softmax(-1)
        return self.weights @ keys


class ToCoarse(nn.Module):
    def __init__(self, reduce):
        super().__init__()
        self.embed, self.attn = nn.Conv3d(1, CHANNELS, (2, 4, 4), (2, 4, 4)), Coarse(reduce)

    def forward(self, volumes):
        return self.attn(self.embed(volumes))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Volumes().eval()


@pytest.fixture
def volumes():
    return torch.randn(2, 1, 2 * SLICES, 4 * ROWS, 4 * COLUMNS, generator=torch.Generator().manual_seed(0))


def watched(model, volumes):
    with torch.no_grad(), catch.hook(model, "attn") as found:
        model(volumes)
    return found


def test_the_slices_of_a_volume_come_one_below_another_and_this_is_said(model, volumes):
    with pytest.warns(UserWarning, match=SAID):
        capture = watched(model, volumes).capture(item=1, head=2)
    assert capture.cells == (SLICES * ROWS, COLUMNS) and SAID in capture.notes[0]
    rows = stage_rows(capture, np.arange(CELLS), MapOptions(None, None)).raw
    np.testing.assert_allclose(rows.reshape(CELLS, CELLS), model.attn.weights[1, 2], atol=1e-6)
    assert any(SAID in note for note in watched(model, volumes).layers().layers[0].notes)


@pytest.mark.parametrize("thick", [False, True])
def test_one_slice_is_a_plane(volumes, thick):
    model = Volumes(pool=(SLICES, 1, 1)).eval() if thick else Volumes().eval()
    capture = watched(model, volumes if thick else volumes[:, :, :2]).capture()
    assert capture.cells == (ROWS, COLUMNS) and not any("volume" in note for note in capture.notes)


def test_what_is_left_of_a_volume_is_counted():
    thick = torch.randn(1, 1, 4 * SLICES, 4 * ROWS, 4 * COLUMNS)
    with pytest.warns(UserWarning, match=SAID):
        assert watched(Volumes(pool=(2, 1, 1)).eval(), thick).capture().cells == (SLICES * ROWS, COLUMNS)


def test_cells_that_fill_no_volume_are_tokens_without_a_place(volumes):
    model = Volumes(left=[0, 1, 2, 5, 7, 11, 13, 17, 19, 23]).eval()
    found = watched(model, volumes)
    with pytest.raises(ValueError, match="sees 10 tokens; give the height and width of their map"):
        found.capture()
    labels = np.arange(10).reshape(2, 5)
    capture = found.capture(2, 5, labels=labels)
    assert (capture.cell_labels == labels).all() and not any("volume" in note for note in capture.notes)
    with torch.no_grad():
        assert catch.mend(model, "attn", lr="box", size=(2, 5))(volumes).shape == (2, 10, CHANNELS)


@pytest.mark.filterwarnings("ignore:.*volume of 2×3×4")
def test_no_picture_lies_beneath_a_volume(model, volumes):
    found = watched(model, volumes)
    size = 4 * SLICES * ROWS, 4 * COLUMNS
    with pytest.raises(ValueError, match=r"image cannot lie beneath 'attn': .* 6×4; leave image out$"):
        found.capture(image=np.zeros((*size, 3), np.uint8))
    for name in ("labels", "prediction"):
        with pytest.raises(ValueError, match=f"{name} cannot lie .*; leave {name} out, or give it for each of the 6×4"):
            found.capture(**{name: np.zeros(size, np.int64)})
    labels = np.arange(CELLS).reshape(SLICES * ROWS, COLUMNS) % 3
    for given in (labels, labels.tolist(), torch.tensor(labels)):
        assert (found.capture(labels=given).cell_labels == labels).all()


def test_windows_of_one_slice_are_planes_and_others_are_not(volumes):
    thin = watched(Volumes(windows=(1, 3, 2)).eval(), volumes)
    capture = thin.capture(window=(1, 0), head=0)
    assert capture.cells == (ROWS, 2) and not any("volume" in note for note in capture.notes)
    thick = watched(Volumes(windows=(2, 3, 2)).eval(), volumes)
    labels = np.arange(12).reshape(6, 2) % 5
    with pytest.warns(UserWarning, match="volume of 2×3×2, shown slice below slice as 6×2"):
        capture = thick.capture(window=(0, 1), head=0, labels=labels)
    assert (capture.cell_labels == labels).all()
    with pytest.warns(UserWarning, match=SAID):
        assert thin.capture(head=0).cells == (SLICES * ROWS, COLUMNS)


def test_queries_and_keys_that_lie_otherwise_are_told_apart(volumes):
    model = ToCoarse(nn.AvgPool3d((1, 3, 2))).eval()
    found = watched(model, volumes)
    said = "its queries lie in a volume of 2×3×4, .* as 6×4 and its keys lie in a volume of 2×1×2, .* as 2×2;"
    with pytest.warns(UserWarning, match=said):
        capture = found.capture()
    assert (capture.cells, capture.key_cells) == ((6, 4), (2, 2))
    for grid in ((6, 4), (2, 2)):
        with pytest.raises(ValueError, match=r"labels cannot lie beneath 'attn': its queries .*; leave labels out$"):
            found.capture(labels=np.zeros(grid, np.int64))
    with pytest.raises(ValueError, match=r"its queries and keys lie otherwise, .* leave gate out"):
        catch.mend(model, "attn", gate="binary", class_probs=torch.rand(2, 3, 6, 4))(volumes)


def test_lr_fills_keys_that_lie_in_a_plane(volumes):
    """Each slice's mean over the others is such a plane; only the queries lie in the volume."""
    model = ToCoarse(nn.AdaptiveAvgPool3d((1, None, None))).eval()
    with pytest.warns(UserWarning, match="its queries lie in a volume of 2×3×4, shown slice below slice as 6×4; cells"):
        assert watched(model, volumes).capture().key_cells == (ROWS, COLUMNS)
    with torch.no_grad():
        mended = catch.mend(model, "attn", lr="box")(volumes)
        cells = model.embed(volumes)
        keys = model.attn.reduce(cells)
        model.attn(cells)
        rows = model.attn.weights.unflatten(2, (ROWS, COLUMNS))
        filled = nn.functional.avg_pool2d(rows, 3, 1, 1)  # zeros beyond the edge count
        torch.testing.assert_close(mended, filled.flatten(2) @ keys.flatten(2).mT, rtol=1e-4, atol=1e-5)


def test_a_volume_is_mended_without_lr_and_with_the_classes_of_its_cells(model, volumes):
    probs = torch.eye(2)[torch.arange(2 * CELLS).reshape(2, SLICES * ROWS, COLUMNS) % 2].permute(0, 3, 1, 2)
    with pytest.raises(
        ValueError, match=r"keys lie in a volume of 2×3×4, .*, and LR fills windows of a plane; leave lr"
    ):
        catch.mend(model, "attn", lr="box")(volumes)
    with pytest.raises(ValueError, match="give class_probs of these cells, not 3×4"):
        catch.mend(model, "attn", gate="binary", class_probs=probs[:, :, :3])(volumes)
    with torch.no_grad():
        mended = catch.mend(model, "attn", gate="binary", class_probs=probs)(volumes)
        tokens = model.embed(volumes).flatten(2).transpose(1, 2)
        model.attn(tokens)
        classes = probs.argmax(1).flatten(1)
        weights = model.attn.weights * (classes[:, None, :, None] == classes[:, None, None, :])
        value = model.attn.qkv(tokens).reshape(2, CELLS, 3, 3, -1)[:, :, 2].transpose(1, 2)
        gathered = (weights.float() @ value).transpose(1, 2).reshape(tokens.shape)
        torch.testing.assert_close(mended, tokens + model.attn.proj(gathered), rtol=1e-4, atol=1e-5)
