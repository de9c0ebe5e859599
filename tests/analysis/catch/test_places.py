"""Where tokens lie that are not simply the cells in their order: means of cells, rows that were chosen, tokens of
several maps, slots that are as many as cells, and inputs whose channels lie last."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import fused, matmul, written_out

HEIGHT, WIDTH, CHANNELS, HEADS = 4, 6, 8, 4
CELLS, DEPTH = HEIGHT * WIDTH, CHANNELS // HEADS


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def tokens_of(maps):
    """B×C×h×w -> B×N×C."""
    return maps.flatten(2).transpose(1, 2)


class Asked(nn.Module):
    """Queries and keys that two functions make of the map; `weights` keeps B×1×N×M, written out."""

    def __init__(self, query, key):
        super().__init__()
        self.score = nn.Conv2d(CHANNELS, 1, 1)
        self.mean = nn.Parameter(torch.rand(1, CELLS))
        self.slots = nn.Parameter(torch.randn(1, CELLS, CHANNELS))
        self.layer = nn.Linear(CHANNELS, CHANNELS)
        self.query, self.key = query, key

    def forward(self, x):
        query, key = self.query(self, x), self.layer(self.key(self, x))
        self.weights = written_out(query.detach(), key.detach(), CHANNELS**-0.5)[:, None]
        return F.scaled_dot_product_attention(query, key, key)


class Patches(nn.Module):
    def __init__(self, attn):
        super().__init__()
        self.embed, self.attn = nn.Conv2d(3, CHANNELS, 4, 4), attn

    def forward(self, images):
        return self.attn(self.embed(images))


def hooked(model, *inputs, path="attn"):
    with torch.no_grad(), catch.hook(model, path) as watched:
        model(*inputs)
    return watched


def images(batch=2):
    return torch.randn(batch, 3, 4 * HEIGHT, 4 * WIDTH)


def cells(module, x):
    return tokens_of(x)


def assert_rows(found, weights):
    """found: Caught; weights: B×heads×N×M, for all tokens as they come."""
    assert (found.images, found.windows, found.heads) == (len(weights), 1, weights.shape[1])
    for item, head in ((0, weights.shape[1] - 1), (len(weights) - 1, 0)):
        rows = torch.from_numpy(found.token_rows(range(weights.shape[2]), item=item, head=head))
        torch.testing.assert_close(rows, weights[item, head], atol=1e-5, rtol=0)


# --- means of cells --------------------------------------------------------------------------------------------------


MEANS = {
    "masked mean": lambda module, x: torch.einsum("bnhw,bchw->bnc", module.score(x).sigmoid(), x),
    "matmul with constants": lambda module, x: module.mean @ tokens_of(x),
    "softmax of constants": lambda module, x: module.mean.softmax(-1) @ tokens_of(x),
    "einsum with constants": lambda module, x: torch.einsum("n,bnc->bc", module.mean[0], tokens_of(x))[:, None],
}


@pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS)
def test_a_mean_of_all_cells_lies_on_none_of_them(mean):
    model = Patches(Asked(cells, mean))
    watched = hooked(model, images())
    assert watched.capture(item=1, head=0).key_size == (1, 1)
    model = Patches(Asked(mean, cells))
    found = hooked(model, images()).attention()
    assert (found.layout.query.grid, found.layout.key.grid) == ((1, 1), (HEIGHT, WIDTH))
    assert_rows(found, model.attn.weights)


# --- rows that were chosen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[0, 3], [0, 1, 3], [1, 2]], ids=str)
def test_keys_of_some_rows_lie_on_these_rows(rows):
    model = Patches(Asked(cells, lambda module, x: tokens_of(x[:, :, rows])))
    found = hooked(model, images()).attention()
    assert found.layout.key.grid == (HEIGHT, WIDTH)
    truth = torch.zeros(CELLS, HEIGHT, WIDTH, dtype=torch.float64)
    truth[:, rows] = model.attn.weights[1, 0].unflatten(-1, (len(rows), WIDTH))
    got = torch.from_numpy(found.rows(range(CELLS), item=1))
    torch.testing.assert_close(got, truth.flatten(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("start", "step"), [(0, 2), (1, 2), (1, 3), (0, 4)])
def test_keys_of_every_second_column_are_a_smaller_map(start, step):
    model = Patches(Asked(cells, lambda module, x: tokens_of(x[:, :, ::2, start::step])))
    columns = len(range(start, WIDTH, step))
    assert hooked(model, images()).capture(head=0).key_size == (HEIGHT // 2, columns)


class Longest(nn.Module):
    """All cells ask the five whose features, or those of each head alone, are longest; `weights` keeps
    B×heads×N×N, 0 for the other cells."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, x):
        tokens = tokens_of(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        found = tokens.norm(dim=-1).topk(5).indices
        key = tokens.gather(2, found[..., None].expand(-1, -1, -1, tokens.shape[-1]))
        weights = written_out(tokens.detach(), key.detach(), tokens.shape[-1] ** -0.5)
        self.weights = torch.zeros(*tokens.shape[:2], CELLS, CELLS, dtype=torch.float64)
        self.weights.scatter_(-1, found[:, :, None].expand(-1, -1, CELLS, -1), weights)
        return F.scaled_dot_product_attention(tokens, key, key)


def test_keys_that_were_chosen_lie_where_they_are():
    model = Patches(Longest(1))
    watched = hooked(model, images())
    assert_rows(watched.attention(), model.attn.weights)
    shown = watched.capture(item=1)
    assert shown.cells == (HEIGHT, WIDTH) and shown.key_size in (None, (HEIGHT, WIDTH))
    torch.testing.assert_close(torch.from_numpy(shown.attention).double(), model.attn.weights[1, 0], atol=1e-5, rtol=0)


def test_heads_that_choose_keys_of_their_own_are_told_by_number():
    model = Patches(Longest(HEADS))
    watched = hooked(model, images())
    with pytest.raises(ValueError, match="in each of its 4 windows, or heads that choose keys of their own"):
        watched.capture()
    rows = torch.from_numpy(watched.attention().token_rows(range(CELLS), item=1, window=2))
    torch.testing.assert_close(rows, model.attn.weights[1, 2], atol=1e-5, rtol=0)


# --- tokens of several maps ------------------------------------------------------------------------------------------


class HeadsFirst(nn.Module):
    """Heads before images: B×N×C -> heads×B×N×d, or N×C -> heads×N×d; `weights` keeps B×heads×N×N."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        nn.init.normal_(self.qkv.weight)

    def forward(self, x):
        query, key, value = self.qkv(x).unflatten(-1, (3, HEADS, DEPTH)).movedim((-3, -2), (0, 1))
        weights = written_out(query.detach(), key.detach(), 1.0)
        self.weights = weights.transpose(0, 1) if x.ndim == 3 else weights[None]
        return (query @ key.mT).softmax(-1) @ value


class Scales(nn.Module):
    """Tokens of a map and of a smaller one; one image after the other where `one_by_one`."""

    def __init__(self, one_by_one=False):
        super().__init__()
        self.embed, self.small = nn.Conv2d(3, CHANNELS, 4, 4), nn.Conv2d(CHANNELS, CHANNELS, 2, 2)
        self.attn, self.one_by_one = HeadsFirst(), one_by_one

    def forward(self, images):
        x = self.embed(images)
        tokens = torch.cat([tokens_of(x), tokens_of(self.small(x))], 1)
        return torch.stack([self.attn(own) for own in tokens]) if self.one_by_one else self.attn(tokens)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_tokens_of_several_maps_tell_their_images_where_heads_come_first(batch):
    model = Scales()
    assert_rows(hooked(model, images(batch)).attention(), model.attn.weights)


def test_tokens_of_several_maps_tell_their_image_where_each_is_alone():
    model = Scales(one_by_one=True)
    with torch.no_grad(), catch.watch(model, "attn") as watched:
        model(images(HEADS))
    assert_rows(watched.attention(call=HEADS), model.attn.weights)


def test_heads_before_images_are_asked_for_where_no_token_is_known():
    class Unknown(HeadsFirst):
        def forward(self, x):
            parts = self.qkv(x).unflatten(-1, (3, HEADS, DEPTH)).movedim((2, 3), (0, 1))
            query, key, value = parts.sort(-2).values
            return (query @ key.mT).softmax(-1) @ value

    model = Scales()
    model.attn = Unknown()
    with pytest.raises(ValueError, match="nothing tells which of them are images, windows and heads"):
        hooked(model, images(3)).attention()


# --- slots -----------------------------------------------------------------------------------------------------------


SLOTS = {
    "memory": lambda module, x: module.slots + tokens_of(x).mean(1, keepdim=True),
    "constants": lambda module, x: module.slots.expand(len(x), -1, -1),
    "means of cells": lambda module, x: module.slots[0, :, :1] * module.mean @ tokens_of(x),
}


@pytest.mark.parametrize("slots", SLOTS.values(), ids=SLOTS)
def test_as_many_keys_as_cells_are_no_cells_for_that(slots):
    watched = hooked(Patches(Asked(cells, slots)), images())
    for size in ((), (HEIGHT, WIDTH)):
        with pytest.raises(ValueError, match="where the keys lie is not known; give key_size"):
            watched.capture(*size, head=0)
    assert watched.capture(HEIGHT, WIDTH, head=0, key_size=(1, CELLS)).key_size == (1, CELLS)


# --- inputs whose channels lie last ----------------------------------------------------------------------------------


class Axial(nn.Module):
    """Rows of an input B×h×w×C attend within themselves; `weights` keeps B×h×w×w."""

    def __init__(self, norm, layer):
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS) if norm else nn.Identity()
        self.layer = nn.Linear(CHANNELS, CHANNELS) if layer else nn.Identity()

    def forward(self, x):
        rows = self.norm(x).flatten(0, 1)
        query = self.layer(rows)
        self.weights = written_out(query.detach(), query.detach(), CHANNELS**-0.5).unflatten(0, x.shape[:2])
        return F.scaled_dot_product_attention(query, query, rows)


@pytest.mark.parametrize(("norm", "layer"), [(True, True), (False, True), (True, False)])
def test_rows_of_an_input_whose_channels_lie_last_are_windows(norm, layer):
    model = nn.Sequential(Axial(norm, layer))
    found = hooked(model, torch.randn(2, HEIGHT, WIDTH, CHANNELS), path="0").attention()
    assert (found.images, found.windows, found.heads) == (2, HEIGHT, 1)
    assert found.layout.query.grid == (HEIGHT, WIDTH)
    truth = torch.zeros(HEIGHT, WIDTH, HEIGHT, WIDTH, dtype=torch.float64)
    for row in range(HEIGHT):
        truth[row, :, row] = model[0].weights[1, row]
    rows = torch.from_numpy(found.rows(range(CELLS), item=1))
    torch.testing.assert_close(rows, truth.flatten(2).flatten(0, 1), atol=1e-5, rtol=0)


def test_a_norm_over_the_whole_input_tells_of_no_channels():
    class Whole(nn.Module):
        def forward(self, x):
            tokens = tokens_of(F.layer_norm(x, x.shape[1:]))
            return F.scaled_dot_product_attention(tokens, tokens, tokens)

    found = hooked(nn.Sequential(Whole()), torch.randn(2, CHANNELS, HEIGHT, WIDTH), path="0").attention()
    assert found.layout.query.grid == (HEIGHT, WIDTH)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("product", [fused, matmul])
def test_queries_and_keys_that_are_given_with_heads_keep_them(norm, product):
    class Core(nn.Module):
        """B×heads×N×d each."""

        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(DEPTH) if norm else nn.Identity()

        def forward(self, query, key, value):
            query, key = self.norm(query), self.norm(key)
            self.weights = written_out(query.detach(), key.detach(), DEPTH**-0.5)
            return product(query, key, value, DEPTH**-0.5)

    model = Core()
    watched = hooked(model, *torch.randn(3, 2, HEADS, CELLS, DEPTH), path="")
    assert_rows(watched.attention(), model.weights)
    assert watched.capture(HEIGHT, WIDTH, item=1, head=1).cells == (HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="sees 24 tokens; give the height and width of their map"):
        watched.capture(head=1)
