"""Where tokens lie that are not simply the cells in their order: means of cells, rows that were chosen, tokens of
several maps, slots that are as many as cells, and inputs whose channels lie last."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import written_out

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
