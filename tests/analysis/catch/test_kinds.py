"""What is no softmax over tokens is refused, in a sentence that names its kind."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import CELLS, CHANNELS, DEPTH, HEADS, HEIGHT, WIDTH, Attention, ViT, images, matmul


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def refused(model, *inputs, path="attn"):
    with torch.no_grad(), pytest.raises(ValueError) as raised, catch.hook(model, path):
        model(*inputs)
    return str(raised.value)


def channels(query, key, value, scale):
    """Cross-covariance attention: each channel attends to the channels."""
    q, k, v = (tensor.transpose(-2, -1) for tensor in (query, key, value))
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(-2, -1)


def linear(query, key, value, scale):
    """Efficient attention: softmax of the keys over the tokens, of the queries over the channels."""
    context = key.softmax(-2).transpose(-2, -1) @ value
    return query.softmax(-1) @ context


def kernel(query, key, value, scale):
    """Linear attention with a feature map."""
    query, key = F.elu(query) + 1, F.elu(key) + 1
    return query @ (key.transpose(-2, -1) @ value) / (query @ key.sum(-2, keepdim=True).transpose(-2, -1))


def dot_product(query, key, value, scale):
    return query @ key.transpose(-2, -1) / key.shape[-2] @ value


def over_queries(query, key, value, scale):
    return (query @ key.transpose(-2, -1)).softmax(-2) @ value


def differential(query, key, value, scale):
    halves = zip(query.chunk(2, -1), key.chunk(2, -1), strict=True)
    one, other = (F.scaled_dot_product_attention(q, k, value) for q, k in halves)
    return one - 0.3 * other


@pytest.mark.parametrize(
    ("product", "words"),
    [
        (channels, "compares channels: .* its softmax is over channels"),
        (linear, "linear attention|softmax over another axis"),
        (kernel, "without a softmax|no softmax made"),
        (dot_product, "multiplies the products of queries and keys with the values without a softmax"),
        (over_queries, "softmax over another axis than the one that is summed over with the values"),
        (differential, "runs 2 attentions in one call.*choose with index"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_refusal_names_the_kind(product, words):
    model = ViT(Attention(product))
    message = refused(model, images())
    assert message.startswith("'attn' ") and re.search(words, message), message


def test_channels_are_refused_where_there_are_as_many_as_cells():
    """The shapes alone would fit: 15 channels, 15 cells."""

    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Conv2d(CELLS, 3 * CELLS, 1)

        def forward(self, x):
            q, k, v = self.qkv(x).flatten(2).chunk(3, 1)
            return ((q @ k.transpose(1, 2)).softmax(-1) @ v).view_as(x)

    model = nn.Sequential(nn.Conv2d(3, CELLS, 4, 4), Square())
    assert "compares channels" in refused(model, images(), path="1")


class Concatenated(nn.Module):
    """A non-local block whose weights come from a layer on pairs."""

    def __init__(self):
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(CHANNELS, 4, 1) for _ in range(3))
        self.pair = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        theta = self.theta(x).flatten(2)[..., None].expand(-1, -1, -1, CELLS)
        phi = self.phi(x).flatten(2)[:, :, None].expand(-1, -1, CELLS, -1)
        weights = self.pair(torch.cat([theta, phi], 1)).relu()[:, 0] / CELLS
        return (weights @ self.g(x).flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))


def test_weights_from_a_concatenation_are_refused():
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, 4), Concatenated())
    assert "weights that no softmax made" in refused(model, images(), path="1")


class Deformable(nn.Module):
    """Samples a few places and weighs them with a softmax."""

    def __init__(self):
        super().__init__()
        self.offsets, self.weights = nn.Conv2d(CHANNELS, 8, 1), nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, x):
        grid = self.offsets(x).unflatten(1, (4, 2)).permute(0, 1, 3, 4, 2).tanh()
        sampled = torch.stack([F.grid_sample(x, grid[:, point], align_corners=True) for point in range(4)], 1)
        return (sampled * self.weights(x).softmax(1)[:, :, None]).sum(1)


def test_deformable_attention_is_refused():
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, 4), Deformable())
    assert "deformable, local or gating weights" in refused(model, images(), path="1")


def test_a_module_without_attention_says_so():
    model = ViT(Attention(matmul))
    assert "ran no softmax and no fused attention" in refused(model, images(), path="norm")


class Pooling(nn.Module):
    """One row of scores for the whole map, from a layer: attention without queries."""

    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, x):
        self.weights = self.score(x).flatten(2).softmax(-1)  # B×1×N
        return x + (self.weights @ x.flatten(2).transpose(1, 2)).transpose(1, 2)[..., None]


def test_weights_without_queries_are_shown_as_such():
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, 4), Pooling())
    with torch.no_grad(), catch.hook(model, "1") as watched:
        model(images())
    found = watched.attention("1")
    assert any("without queries and keys" in note for note in found.notes)
    assert found.layout.key.grid == (HEIGHT, WIDTH)
    rows = torch.from_numpy(found.token_rows([0], item=1)).float()
    torch.testing.assert_close(rows, model[1].weights[1])


def test_one_of_several_attentions_can_be_chosen():
    model = ViT(Attention(differential))
    with torch.no_grad(), catch.watch(model, ["attn"]) as watched:
        model(images())
    one, other = (watched.attention("attn", index=index) for index in (0, 1))
    assert one.heads == other.heads == HEADS and abs(one.rows([0]) - other.rows([0])).max() > 0.01
    with pytest.raises(ValueError, match=r"index is 2, but 'attn' ran the attentions 0 … 1"):
        watched.attention("attn", index=2)


def test_the_pooled_map_of_a_disentangled_block_does_not_hide_its_attention():
    class Disentangled(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Conv2d(CHANNELS, DEPTH, 1) for _ in range(3))
            self.unary = nn.Conv2d(CHANNELS, 1, 1)

        def forward(self, x):
            q, k, v = (layer(x).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
            q -= q.mean(1, keepdim=True)
            k -= k.mean(1, keepdim=True)
            self.weights = (q.double() @ k.double().transpose(1, 2)).softmax(-1)
            paired = (q @ k.transpose(1, 2)).softmax(-1) @ v
            unary = self.unary(x).flatten(2).softmax(-1) @ v
            q.zero_()
            return paired + unary

    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, 4), Disentangled())
    with torch.no_grad(), catch.hook(model, "1") as watched:
        model(images())
    rows = torch.from_numpy(watched.attention("1").rows(range(CELLS), item=1))
    torch.testing.assert_close(rows, model[1].weights[1], atol=1e-5, rtol=0)


class OverPairs(nn.Module):
    """One softmax over all pairs of cells together, so that the rows sum to shares of 1."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(3))

    def forward(self, x):
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        pairs = (query.transpose(1, 2) @ key).flatten(1)
        self.weights = torch.exp(pairs) / torch.exp(pairs).sum(1, keepdim=True)  # B×N²
        gathered = pairs.softmax(1).view(len(x), CELLS, CELLS) @ value.transpose(1, 2)
        return x + gathered.transpose(1, 2).unflatten(2, x.shape[2:])


def test_a_softmax_over_all_pairs_is_shown_as_the_model_uses_it_and_said():
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, 4), OverPairs())
    with torch.no_grad(), catch.hook(model, "1") as watched:
        model(images())
    with pytest.warns(UserWarning, match=r"rows of the map sum to 0\.\d+ … 0\.\d+, not to 1; they stay as they are"):
        capture = watched.capture(item=1)
    torch.testing.assert_close(torch.from_numpy(capture.attention), model[1].weights[1].view(CELLS, CELLS))
    assert capture.attention.sum() == pytest.approx(1, abs=1e-5)
    assert any("not to 1, as the model uses them" in note for note in capture.notes)


def unpooled(x):
    pooled, where = F.max_pool2d(x, (1, 5), return_indices=True)
    return F.max_unpool2d(pooled, where, (1, 5), output_size=x.shape[2:])


def filtered(x):
    return torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:])


def folded(x):
    return F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1)


@pytest.mark.parametrize("before", [unpooled, filtered, folded])
def test_channels_are_told_behind_operations_that_make_maps(before):
    """Of a map of 3×5 cells there are as many channels as 3×4 cells."""

    class Behind(nn.Module):
        def __init__(self, of_channels):
            super().__init__()
            self.of_channels = of_channels

        def forward(self, x):
            tokens = before(x).flatten(2)
            tokens = tokens if self.of_channels else tokens.mT
            self.weights = (tokens @ tokens.mT).softmax(-1)
            return (self.weights @ tokens) if self.of_channels else (self.weights @ tokens).mT

    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, 4), Behind(True))
    assert "compares channels" in refused(model, images(), path="1")
    with pytest.raises(ValueError, match="compares channels"):
        catch.mend(model, "1", lr="box", size=(3, 4))(images())
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 4, 4), Behind(False))
    with torch.no_grad(), catch.hook(model, "1") as watched:
        model(images())
    found = watched.attention().placed((HEIGHT, WIDTH))
    rows = torch.from_numpy(found.rows(range(CELLS), item=1)).float()
    torch.testing.assert_close(rows, model[1].weights[1], atol=1e-5, rtol=0)
