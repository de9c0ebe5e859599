"""Networks of volumes and of videos: cells of more than two axes."""

import re

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
SAID = "volume of 2×3×4, slices or frames first; the map of 6×4 cells shows these one below another"


class Volumes(nn.Module):
    """Patches of 2×4×4 voxels, pooled over slices or not, and one attention over all of them."""

    def __init__(self, depth=2, pool=1):
        super().__init__()
        self.embed, self.pool = nn.Conv3d(1, CHANNELS, (depth, 4, 4), (depth, 4, 4)), nn.AvgPool3d((pool, 1, 1))
        self.attn = Attention(matmul)

    def forward(self, volumes):
        tokens = self.pool(self.embed(volumes)).flatten(2).transpose(1, 2)
        return tokens + self.attn(tokens)


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
    assert capture.cells == (SLICES * ROWS, COLUMNS) and any(SAID in note for note in capture.notes)
    rows = stage_rows(capture, np.arange(CELLS), MapOptions(None, None)).raw
    np.testing.assert_allclose(rows.reshape(CELLS, CELLS), model.attn.weights[1, 2], atol=1e-6)


def test_one_slice_is_a_plane(volumes):
    capture = watched(Volumes(pool=SLICES).eval(), volumes).capture()
    assert capture.cells == (ROWS, COLUMNS) and not any("volume" in note for note in capture.notes)


def test_what_is_left_of_a_volume_is_counted(model):
    thick = torch.randn(1, 1, 4 * SLICES, 4 * ROWS, 4 * COLUMNS)
    model.pool = nn.AvgPool3d((2, 1, 1))
    with pytest.warns(UserWarning, match=SAID):
        assert watched(model, thick).capture().cells == (SLICES * ROWS, COLUMNS)


@pytest.mark.filterwarnings("ignore:.*volume of 2×3×4")
def test_no_picture_lies_beneath_a_volume(model, volumes):
    found = watched(model, volumes)
    size = 4 * SLICES * ROWS, 4 * COLUMNS
    beneath = {"image": np.zeros((*size, 3), np.uint8), "labels": np.zeros(size, np.int64)}
    for name, array in beneath.items():
        with pytest.raises(ValueError, match=f"{name} cannot lie beneath 'attn', .*give labels of cells, 6×4, slice"):
            found.capture(**{name: array})
    labels = np.arange(CELLS).reshape(SLICES * ROWS, COLUMNS) % 3
    assert (found.capture(labels=labels).cell_labels == labels).all()


def test_a_volume_is_mended_without_lr_and_with_the_classes_of_its_cells(model, volumes):
    probs = torch.eye(2)[torch.arange(2 * CELLS).reshape(2, SLICES * ROWS, COLUMNS) % 2].permute(0, 3, 1, 2)
    with pytest.raises(ValueError, match="volume of 2×3×4, and LR fills windows of a plane; leave lr out"):
        catch.mend(model, "attn", lr="box")(volumes)
    with pytest.raises(ValueError, match=re.escape("give class_probs of its cells, 6×4, slice below slice")):
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
