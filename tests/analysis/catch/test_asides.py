"""Where cells lie when the model pads, crops, mirrors, cuts or reorders its maps: followed, said or refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import CELLS, CHANNELS, HEIGHT, WIDTH, Attention, images, matmul

ORDER = torch.randperm(CELLS, generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Moved(nn.Module):
    """Tokens of a map that `move` puts in another order before the attention."""

    def __init__(self, move):
        super().__init__()
        self.embed, self.attn, self.move = nn.Conv2d(3, CHANNELS, 4, 4), Attention(matmul), move

    def forward(self, images):
        self.tokens = self.move(self.embed(images).flatten(2).transpose(1, 2))
        return self.attn(self.tokens)


def places(x):
    return ORDER[None, :, None].expand_as(x)


def put(x):
    made = torch.zeros_like(x)
    return made.index_put_((torch.arange(len(x))[:, None], ORDER[None]), x)


def copied(x):
    made = torch.zeros_like(x)
    for place, part in zip((slice(0, 6), slice(6, CELLS)), (x[:, CELLS - 6 :], x[:, : CELLS - 6]), strict=True):
        made[:, place].copy_(part)
    return made


MOVES = {
    "scatter": lambda x: torch.zeros_like(x).scatter(1, places(x), x),
    "scatter_": lambda x: torch.zeros_like(x).scatter_(1, places(x), x),
    "index_copy": lambda x: torch.zeros_like(x).index_copy(1, ORDER, x),
    "index_put_": put,
    "masked_scatter": lambda x: torch.zeros_like(x).masked_scatter(torch.ones_like(x, dtype=torch.bool), x.flip(1)),
    "flipud": lambda x: torch.stack([one.flipud() for one in x]),
    "fliplr": lambda x: torch.fliplr(x),
    "take": lambda x: x.take(torch.arange(x.numel()).reshape(x.shape).flip(1)),
    "copy_": copied,
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_reordered_tokens_are_put_back(move):
    model = Moved(move)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
        cells = torch.arange(CELLS, dtype=torch.float32)[None, :, None].expand(2, -1, CHANNELS).contiguous()
        tokens = move(cells)[1, :, 0].long()  # which cell each token is
    found = watched.attention()
    assert found.layout.query.known and found.layout.query.grid == (HEIGHT, WIDTH)
    rows = torch.from_numpy(found.rows(tokens.tolist(), item=1, head=0))[:, tokens]
    torch.testing.assert_close(rows, model.attn.weights[1, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "move",
    [
        lambda x: torch.zeros_like(x).index_add(1, ORDER, x),
        lambda x: torch.zeros_like(x).scatter_reduce(1, places(x), x, "sum"),
        lambda x: torch.fft.fft(x, dim=1).real,
    ],
    ids=["index_add", "scatter_reduce", "fft"],
)
def test_places_that_cannot_be_followed_are_asked_for(move):
    model = Moved(move)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
    with pytest.raises(ValueError, match="give the height and width"):
        watched.capture()


# --- maps that do not lie evenly over the image ----------------------------------------------------------------------


class NonLocal(nn.Module):
    """Patches of 4 pixels of what `before` makes of the images; `within` is done to the map of cells."""

    def __init__(self, before=lambda x: x, within=lambda x: x):
        super().__init__()
        self.embed, self.attn = nn.Conv2d(3, CHANNELS, 4, 4), Attention(matmul)
        self.before, self.within = before, within

    def forward(self, images):
        return self.attn(self.within(self.embed(self.before(images))).flatten(2).transpose(1, 2))


def tiles(x):
    """Four quarters of each image, one after another."""
    batch, channels, height, width = x.shape
    cut = x.reshape(batch, channels, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(4 * batch, channels, height // 2, width // 2)


SIZE = (24, 32)  # pixels
ASIDE = {
    "padded": (lambda x: F.pad(x, (0, 16, 0, 8)), "padded from 24 to 32 pixels or cells, top to bottom"),
    "padded with itself": (lambda x: F.pad(x, (8, 8, 0, 0), mode="reflect"), "padded from 32 to 48 .*left to right"),
    "cropped": (lambda x: x[:, :, :, 8:24], "cropped to 8 … 23 of its 32 pixels or cells, left to right"),
    "upside down": (lambda x: x.flip(2), "mirrored, top to bottom"),
    "mirrored": (lambda x: torch.cat([x, x.flip(-1)])[2:], "mirrored, left to right"),
    "in tiles": (tiles, "8 windows or tiles that the model cuts 2 images into"),
    "sampled": (
        lambda x: F.grid_sample(x, F.affine_grid(torch.eye(2, 3).repeat(2, 1, 1), [2, 3, *SIZE]), align_corners=False),
        "at places that the model chooses itself",
    ),
}


@pytest.mark.parametrize(("before", "words"), ASIDE.values(), ids=ASIDE.keys())
def test_a_map_that_does_not_lie_evenly_over_the_image(before, words):
    model = NonLocal(before)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    picture = np.zeros((*SIZE, 3), np.uint8)
    with pytest.raises(ValueError, match=f"image cannot lie beneath 'attn', whose cells are .*{words}"):
        watched.capture(image=picture, head=0)
    with pytest.warns(UserWarning, match=words):
        capture = watched.capture(head=0)
    truth = model.attn.weights[0, 0].numpy()
    assert np.abs(watched.attention().rows(range(capture.height * capture.width), head=0) - truth).max() < 1e-5
    assert any(note.startswith("attn: its cells are ") for note in capture.notes)
    probs = torch.rand(len(model.attn.weights), 3, 5, 7).softmax(1)
    with pytest.raises(ValueError, match="class_probs of whole images do not fit"):
        catch.mend(model, "attn", gate="binary", class_probs=probs)(torch.randn(2, 3, *SIZE))


EVEN = {
    "as it comes": lambda x: x,
    "scaled": lambda x: F.interpolate(x, scale_factor=2.0),
    "normalised": lambda x: (x - 0.4) / 0.2,
    "turned and back": lambda x: x.flip(3).roll(5, 2).roll(-5, 2).flip(3),
    "padded as the convolution reaches": lambda x: F.pad(x, (1, 2, 3, 1)),
    "every second pixel": lambda x: x[:, :, ::2, 1::2],
    "pixels as channels and back": lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2),
    "each pixel twice": lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3),
    "channels as pixels": lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2),
    "written over in part": lambda x: x.index_put(
        (torch.zeros_like(x[:, 0]).bool()[:, None].expand_as(x),), x.new_zeros(())
    ),
    "without a border": lambda x: F.pad(x[:, :, 8:, 8:], (8, 0, 8, 0)),
    "with heads in the batch": lambda x: x.unsqueeze(1).expand(-1, 2, -1, -1, -1).flatten(0, 1),
    "stacked into memory of its own": lambda x: torch.stack(list(x), out=torch.empty_like(x)),
    "added to nothing": lambda x: torch.zeros_like(x).view(-1).add_(x.flatten()).view_as(x),
}


@pytest.mark.parametrize("before", EVEN.values(), ids=EVEN.keys())
def test_a_map_that_does(before):
    model = NonLocal(before)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    capture = watched.capture(image=np.zeros((*SIZE, 3), np.uint8), head=0)
    assert capture.notes == () and capture.key_size is None


def test_channels_may_come_last():
    model = NonLocal(lambda x: x.permute(0, 3, 1, 2))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, *SIZE, 3))
    assert watched.capture(image=np.zeros((*SIZE, 3), np.uint8), head=0).notes == ()


def test_neighbourhoods_that_overlap_are_counted_as_cells():
    """Tokens of unfolded patches, as T2T-ViT makes them: 5×5 pixels, 4 apart, with a padding of 2."""

    class Unfolded(nn.Module):
        def __init__(self):
            super().__init__()
            self.project, self.attn = nn.Linear(75, CHANNELS), Attention(matmul)

        def forward(self, images):
            return self.attn(self.project(F.unfold(images, 5, padding=2, stride=4).transpose(1, 2)))

    model = Unfolded()
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    assert watched.capture(6, 8, image=np.zeros((*SIZE, 3), np.uint8), head=0).cells == (6, 8)


def test_keys_that_were_not_seen_to_be_made_are_no_second_image():
    class Outside(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.attn = nn.Conv2d(3, CHANNELS, 4, 4), Pair.Cross()

        def forward(self, images):
            again = torch.from_numpy(images.numpy().copy())
            query, key = (self.embed(one).flatten(2).transpose(1, 2)[:, None] for one in (images, again))
            return self.attn(query, key)

    model = Outside()
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    assert not watched.attention().layout.of_two_inputs and watched.capture().notes == ()


def test_tiles_in_one_batch_are_not_given_the_class_probabilities_of_images():
    model = NonLocal(tiles)
    probs = torch.rand(2, 3, *SIZE).softmax(1)
    with pytest.raises(ValueError, match="works on 8 images and class_probs are of 2"):
        catch.mend(model, "attn", gate="binary", class_probs=probs)(torch.randn(2, 3, *SIZE))


@pytest.mark.parametrize(
    ("name", "resized"),
    [
        ("max_pool2d", lambda x: F.max_pool2d(x, 3, 1, 1)),
        ("avg_pool2d", lambda x: F.avg_pool2d(x, 3, 1, 1)),
        ("interpolate", lambda x: F.interpolate(x, size=x.shape[2:], mode="bilinear")),
    ],
)
def test_a_map_that_keeps_its_size_keeps_its_places(name, resized):
    model = NonLocal(within=lambda x: resized(x.flip(3)))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    found = watched.attention()
    cells = np.arange(6 * 8).reshape(6, 8)[:, ::-1].ravel()  # which cell each token is
    rows = found.rows(cells, item=1, head=1)[:, cells]
    assert np.abs(rows - model.attn.weights[1, 1].numpy()).max() < 1e-5


def test_windows_are_no_images():
    """What pools inside windows, and keeps their size, leaves them where they were."""
    model = NonLocal(within=lambda x: F.avg_pool2d(tiles(x[:, :, :, :8]), 3, 1, 1))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    found = watched.attention()
    assert (found.images, found.windows, found.layout.query.grid) == (2, 4, (6, 8))


# --- parts of a map, and two maps ------------------------------------------------------------------------------------


def test_queries_of_a_part_of_the_map_are_shown_there():
    model = NonLocal(within=lambda x: x[:, :, 2:5, 4:8])
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    with pytest.raises(ValueError, match="12 queries on a map of 6×8 cells"):
        watched.capture(image=np.zeros((*SIZE, 3), np.uint8), head=0)
    part = watched.capture(image=np.zeros((*SIZE, 3), np.uint8), head=0, window=(0, 0))
    assert part.crop == (8, 16, 12, 16) and part.cells == (3, 4)
    rows = watched.attention().rows([3 * 8 + 5], item=1, head=2)[0].reshape(6, 8)
    assert np.abs(rows[2:5, 4:8].ravel() - model.attn.weights[1, 2, 4 + 1].numpy()).max() < 1e-5
    assert rows.sum() == pytest.approx(1) and rows[:2].sum() == rows[:, :4].sum() == 0


@pytest.mark.parametrize("step", [2, 3])
def test_every_second_or_third_cell_is_the_whole_map(step):
    model = NonLocal(within=lambda x: x[:, :, 1::step, ::step])
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    capture = watched.capture(image=np.zeros((*SIZE, 3), np.uint8), head=0)
    assert capture.cells == (len(range(1, 6, step)), len(range(0, 8, step))) and capture.notes == ()


@pytest.mark.parametrize(
    ("within", "cells"),
    [
        (lambda x: x.mean(2, keepdim=True), (1, 8)),
        (lambda x: x.amax(3, keepdim=True), (6, 1)),
        (lambda x: x.mean((2, 3), keepdim=True), (1, 1)),
        (lambda x: F.adaptive_avg_pool2d(x, (1, 4)), (1, 4)),
    ],
    ids=["mean of columns", "largest of rows", "mean of all", "pooled"],
)
def test_pooled_cells_stand_for_all_of_theirs(within, cells):
    model = NonLocal(within=within)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, *SIZE))
    assert watched.capture(image=np.zeros((*SIZE, 3), np.uint8), head=0).cells == cells


def test_merged_cells_stand_for_all_of_theirs():
    class Merged(nn.Module):
        """Two rows of four cells become one of two, each from 2×2 cells side by side along the channels."""

        def __init__(self):
            super().__init__()
            self.embed, self.merge = nn.Conv2d(3, CHANNELS, 4, 4), nn.Linear(4 * CHANNELS, CHANNELS)
            self.attn = Attention(matmul)

        def forward(self, images):
            x = self.embed(images).permute(0, 2, 3, 1)
            parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
            return self.attn(self.merge(torch.cat(parts, -1)).flatten(1, 2))

    model = Merged()
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(torch.randn(2, 3, 8, 16))
    capture = watched.capture(image=np.zeros((8, 16, 3), np.uint8), head=0)
    assert capture.cells == (1, 2) and capture.notes == ()


class Pair(nn.Module):
    """One image asks another."""

    def __init__(self):
        super().__init__()
        self.embed, self.attn = nn.Conv2d(3, CHANNELS, 4, 4), self.Cross()

    class Cross(nn.Module):
        def forward(self, query, key):
            return matmul(query, key, key, 0.5)

    def forward(self, left, right):
        query, key = (self.embed(one).flatten(2).transpose(1, 2)[:, None] for one in (left, right))
        return self.attn(query, key)


def test_two_images_are_not_the_same_cells():
    model, (left, right) = Pair(), (torch.randn(2, 3, *SIZE) for _ in range(2))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(left, right)
    assert not watched.attention().same_tokens
    with pytest.warns(UserWarning, match="keys are cells of another input of the model than its queries"):
        capture = watched.capture()
    assert capture.key_size == (6, 8)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(left, left)
    assert watched.attention().same_tokens and watched.capture().notes == ()


# --- what the model is given -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "begin"),
    [
        (torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8), lambda x: x.float() / 255),
        (torch.randint(0, 3, (2, *SIZE)), lambda x: F.one_hot(x, 3).permute(0, 3, 1, 2).float()),
    ],
    ids=["bytes", "classes"],
)
def test_whole_numbers_are_inputs_too(given, begin):
    model = NonLocal(begin)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(given)
    found = watched.attention()
    assert found.layout.query.grid == (6, 8) and found.layout.query.known
    rows = found.rows(range(48), item=1, head=1)
    assert np.abs(rows - model.attn.weights[1, 1].numpy()).max() < 1e-5


def test_images_given_by_name_are_counted():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = Attention(matmul)

        def forward(self, *, tokens):
            return self.attn(tokens.reshape(-1, CELLS, CHANNELS))

    model = Named()
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(tokens=torch.randn(2, CELLS, CHANNELS))
    assert watched.attention().images == 2


def test_numbers_that_cannot_be_read_are_named():
    model = NonLocal()
    with torch.device("meta"):
        nowhere = NonLocal()
    with torch.no_grad(), catch.watch(nowhere, "attn") as watched:
        nowhere(torch.randn(2, 3, *SIZE, device="meta"))
    assert "numbers cannot be read" in watched.summary
    with torch.no_grad(), catch.watch(model, "attn") as watched:
        torch.vmap(lambda image: model(image[None])[0])(torch.randn(2, 3, *SIZE))
    assert "numbers cannot be read" in watched.summary


def test_an_exported_graph_is_seen():
    model, inputs = NonLocal(), torch.randn(2, 3, *SIZE)

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.qkv = model.embed, model.attn.qkv

        def forward(self, images):
            query, key, value = self.qkv(self.embed(images).flatten(2).transpose(1, 2)).chunk(3, -1)
            return (query @ key.mT * 0.3).softmax(-1) @ value

    graph = torch.export.export(Plain(), (inputs,)).module()
    with torch.no_grad(), catch.hook(graph, "") as watched:
        graph(inputs)
    with torch.no_grad(), catch.hook(plain := Plain(), "") as expected:
        plain(inputs)
    assert watched.attention("").layout.query.grid == (6, 8)
    found, truth = (one.attention("").rows(range(48), item=1) for one in (watched, expected))
    np.testing.assert_allclose(found, truth, atol=1e-6)


def test_each_cell_asks_its_neighbourhood_however_that_is_spelled():
    """einsum without an axis of its own for the one query that each group has."""

    class Neighbours(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Conv2d(CHANNELS, 3 * CHANNELS, 1)

        def forward(self, x):
            batch, _, height, width = x.shape
            query, key, value = self.qkv(x).chunk(3, 1)
            key, value = (
                F.unfold(one, 3, padding=1).view(batch, CHANNELS, 9, height * width).permute(0, 3, 2, 1)
                for one in (key, value)
            )
            query = query.flatten(2).transpose(1, 2)
            self.weights = torch.einsum("bnd,bnkd->bnk", query, key).softmax(-1)
            return torch.einsum("bnk,bnkd->bnd", self.weights, value)

    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, 4), Neighbours())
    with torch.no_grad(), catch.hook(model, "1") as watched:
        model(torch.randn(2, 3, *SIZE))
    rows = watched.attention().rows([2 * 8 + 3], item=1)[0].reshape(6, 8)
    assert np.abs(rows[1:4, 2:5].ravel() - model[1].weights[1, 2 * 8 + 3].numpy()).max() < 1e-6
    assert rows.sum() == pytest.approx(1)
