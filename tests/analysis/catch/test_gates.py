"""Softmaxes that weigh features, branches or experts are no attention, and hide none that comes after them."""

import pytest
import torch
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import CELLS, CHANNELS, HEIGHT, WIDTH, Attention, images, matmul


class Branches(nn.Module):
    """Two convolutions, of which each channel takes its share: selective kernels, split attention."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, size, padding=size // 2) for size in (1, 3))
        self.choose = nn.Linear(CHANNELS, 2 * CHANNELS)

    def forward(self, x):
        found = torch.stack([branch(x) for branch in self.branches], 1)
        shares = self.choose(found.sum(1).mean((2, 3))).unflatten(1, (2, -1)).softmax(1)
        return (found * shares[..., None, None]).sum(1)


class Experts(nn.Module):
    """Each token takes two of three layers, weighed by a softmax."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(CHANNELS, CHANNELS) for _ in range(3))
        self.route = nn.Linear(CHANNELS, 3)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        shares, chosen = self.route(tokens).softmax(-1).topk(2, -1)
        found = torch.stack([expert(tokens) for expert in self.experts], -2)
        taken = found.take_along_dim(chosen[..., None].expand(-1, -1, -1, CHANNELS), -2)
        return (taken * shares[..., None]).sum(-2).transpose(1, 2).unflatten(2, x.shape[2:])


class Memory(nn.Module):
    """External attention: a softmax over tokens of what a layer says of each, then another layer."""

    def __init__(self):
        super().__init__()
        self.keys, self.values = nn.Linear(CHANNELS, 6, bias=False), nn.Linear(6, CHANNELS, bias=False)

    def forward(self, x):
        weights = self.keys(x.flatten(2).transpose(1, 2)).softmax(1)
        weights = weights / weights.sum(2, keepdim=True)
        return self.values(weights).transpose(1, 2).unflatten(2, x.shape[2:])


class Table(nn.Module):
    """Weights meet a learnt table of values, as in axial attention with positions."""

    def __init__(self):
        super().__init__()
        self.project, self.table = (
            nn.Conv2d(CHANNELS, 2 * CHANNELS, 1),
            nn.Parameter(torch.randn(CHANNELS, CELLS, CELLS)),
        )

    def forward(self, x):
        query, key = self.project(x).flatten(2).chunk(2, 1)
        weights = torch.einsum("bci,bcj->bij", query, key).softmax(-1)
        return torch.einsum("bij,cij->bci", weights, self.table).unflatten(2, x.shape[2:])


class Behind(nn.Module):
    def __init__(self, before):
        super().__init__()
        self.embed, self.before, self.attn = nn.Conv2d(3, CHANNELS, 4, 4), before, Attention(matmul)

    def forward(self, images):
        x = self.before(self.embed(images)).flatten(2).transpose(1, 2)
        return self.attn(x)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("before", [Branches, Experts, Memory, Table])
def test_attention_behind_a_softmax_that_is_none(before):
    model, inputs = Behind(before()), images()
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(inputs)
    found = watched.attention()
    if before is Table:  # what comes out of such a product lies nowhere
        found = found.placed((HEIGHT, WIDTH))
    assert found.layout.query.grid == (HEIGHT, WIDTH) and found.images == 2 and found.same_tokens
    rows = torch.from_numpy(found.rows(range(CELLS), item=1, head=2))
    torch.testing.assert_close(rows, model.attn.weights[1, 2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("before", [Branches, Experts, Memory, Table])
def test_it_can_be_mended(before):
    model, inputs = Behind(before()), images()
    one = torch.zeros(2, 3, HEIGHT, WIDTH)
    one[:, 1] = 1  # all of one class: the binary gate lets everything through
    size = (HEIGHT, WIDTH) if before is Table else None  # what comes out of such a product lies nowhere
    mended = catch.mend(model, "attn", gate="binary", class_probs=one, size=size)
    with torch.no_grad():
        torch.testing.assert_close(mended(inputs), model(inputs))


def test_products_of_gated_features_are_no_attention():
    """Masks of queries, as a decoder predicts them: products of two activations that no softmax follows."""

    class Masks(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.gate = nn.Conv2d(3, CHANNELS, 4, 4), Branches()
            self.mask = self.Mask()

        class Mask(nn.Module):
            def forward(self, queries, features):
                return torch.einsum("bqc,bchw->bqhw", queries, features)

        def forward(self, images):
            x = self.gate(self.embed(images))
            return self.mask(x.flatten(2).transpose(1, 2)[:, :4], x)

    with pytest.raises(ValueError, match="weights that no softmax made"), torch.no_grad():
        model = Masks()
        with catch.hook(model, "mask"):
            model(images())
