"""Every way to write softmax(q·k)·v is caught, with its rows as the model computed them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import (
    CELLS,
    CHANNELS,
    DEPTH,
    HEADS,
    HEIGHT,
    PLAIN,
    WIDTH,
    Attention,
    ViT,
    fused,
    images,
    matmul,
    written_out,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def spread(weights, cells):
    """…×N×M -> rows of `cells` among the keys `cells`, divided by what remains of them."""
    rows = weights[..., cells, :][..., cells]
    return rows / rows.sum(-1, keepdim=True)


def assert_rows(found, truth, cells, item=1):
    """found: Caught; truth: B×heads×N×N."""
    truth = spread(truth, cells)
    for head in range(truth.shape[1]):
        rows = torch.from_numpy(found.rows(range(CELLS), item=item, head=head))
        torch.testing.assert_close(rows, truth[item, head], atol=1e-5, rtol=0)
    mean = torch.from_numpy(found.rows(range(CELLS), item=item))
    torch.testing.assert_close(mean, truth[item].mean(0), atol=1e-5, rtol=0)


def caught_in(model, *inputs, path="attn", **options):
    """The attention at `path`; the outputs must be the same to the bit, and nothing may be left behind."""
    with torch.no_grad():
        plain = model(*inputs, **options)
        with catch.hook(model, path) as watched:
            seen = model(*inputs, **options)
        assert torch.equal(plain, seen) and torch.equal(plain, model(*inputs, **options))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert not torch.nn.modules.module._global_forward_hooks and not torch.nn.modules.module._global_forward_pre_hooks
    return watched.attention(path)


@pytest.mark.parametrize("product", PLAIN, ids=lambda product: product.__name__)
def test_plain_attention_keeps_query_and_key(product):
    model = ViT(Attention(product))
    found = caught_in(model, images())
    assert found.weights.is_plain and (found.images, found.windows, found.heads) == (2, 1, HEADS)
    assert found.layout.query.grid == found.layout.key.grid == (HEIGHT, WIDTH) and found.same_tokens
    assert_rows(found, model.attn.weights, slice(1, None))
    assert not found.notes


@pytest.mark.parametrize("trailing", [False, True])
def test_extra_tokens_are_told_from_cells_wherever_they_lie(trailing):
    model = ViT(Attention(fused), extra=2, trailing=trailing)
    found = caught_in(model, images())
    cells = slice(0, CELLS) if trailing else slice(2, None)
    assert_rows(found, model.attn.weights, cells)
    assert found.unplaced == ([CELLS, CELLS + 1] if trailing else [0, 1])
    share = model.attn.weights[0, 1, cells, cells].sum(-1)
    given = found.share_of_extra(range(CELLS), item=0, head=1)
    torch.testing.assert_close(torch.from_numpy(given), 1 - share, atol=1e-5, rtol=0)
    own = torch.from_numpy(found.token_rows([found.unplaced[0]], head=0))[0]
    row = model.attn.weights[0, 0, found.unplaced[0], cells]
    torch.testing.assert_close(own, row / row.sum(), atol=1e-5, rtol=0)
    if trailing:
        with pytest.raises(ValueError, match="class_tokens is 2, but its first queries lie on the map"):
            found.placed(class_tokens=2)


def biased_fused(bias):
    return lambda q, k, v, scale: F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=scale)


def masked_fused(mask):
    return lambda q, k, v, scale: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def causal_fused(q, k, v, scale):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)


def biased(bias):
    return lambda q, k, v, scale: (scale * q @ k.mT + bias.to(q.dtype)).softmax(-1) @ v


def filled(mask):
    return lambda q, k, v, scale: (scale * q @ k.mT).masked_fill(~mask, -torch.inf).softmax(-1) @ v


TOKENS = 1 + CELLS
CAUSAL = torch.ones(TOKENS, TOKENS).tril().bool()


@pytest.mark.parametrize("form", ["fused bias", "fused mask", "fused causal", "bias", "mask"])
def test_a_bias_or_mask_is_part_of_the_map(form):
    table = torch.randn(HEADS, TOKENS, TOKENS)
    hidden = torch.zeros(TOKENS, TOKENS).masked_fill(~CAUSAL, -torch.inf)
    product, added = {
        "fused bias": (biased_fused(table), table),
        "fused mask": (masked_fused(CAUSAL), hidden),
        "fused causal": (causal_fused, hidden),
        "bias": (biased(table), table),
        "mask": (filled(CAUSAL), hidden),
    }[form]
    model = ViT(Attention(product, bias=added.double()))
    found = caught_in(model, images())
    assert not found.weights.is_plain
    assert_rows(found, model.attn.weights, slice(1, None))


def test_a_row_without_keys_is_empty():
    mask = torch.ones(TOKENS, TOKENS).bool()
    mask[4] = False
    found = caught_in(ViT(Attention(masked_fused(mask))), images())
    assert found.rows([3]).sum() == 0 and found.rows([2]).sum() == pytest.approx(1)


class TalkingHeads(nn.Module):
    """Heads are mixed before and after the softmax; `weights` is what multiplies the values."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.before, self.after = (nn.Parameter(torch.eye(HEADS) + 0.3 * torch.randn(HEADS, HEADS)) for _ in range(2))

    def mix(self, scores, weight):
        if self.kind == "einsum":
            return torch.einsum("bhij,hg->bgij", scores, weight)
        if self.kind == "linear":
            return F.linear(scores.permute(0, 2, 3, 1), weight.t()).permute(0, 3, 1, 2)
        return F.conv2d(scores, weight.t()[:, :, None, None])

    def forward(self, query, key, value, scale):
        scores = self.mix(scale * query @ key.mT, self.before)
        weights = self.mix(scores.softmax(-1), self.after)
        self.weights = weights.detach()
        return weights @ value


@pytest.mark.parametrize("kind", ["einsum", "linear", "convolution"])
def test_mixed_heads_are_shown_as_they_multiply_the_values(kind):
    model = ViT(Attention(TalkingHeads(kind)), extra=0)
    found = caught_in(model, images())
    for head in range(HEADS):
        rows = torch.from_numpy(found.rows(range(CELLS), item=1, head=head)).float()
        torch.testing.assert_close(rows, model.attn.product.weights[1, head], atol=1e-6, rtol=0)
    assert any("rows sum to" in note for note in found.notes)


def test_rotary_positions_are_in_the_operands():
    angles = torch.rand(TOKENS, DEPTH // 2) * 6

    def turned(x):
        even, odd = x[..., ::2], x[..., 1::2]
        pairs = torch.stack([even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos()], -1)
        return pairs.flatten(-2)

    class Rotary(Attention):
        def forward(self, x):
            self.product = lambda q, k, v, scale: fused(self.keep(turned(q)), self.keep(turned(k)), v, scale)
            self.kept = []
            return super().forward(x)

        def keep(self, x):
            self.kept.append(x.detach())
            return x

    model = ViT(Rotary(fused))
    found = caught_in(model, images())
    truth = torch.softmax(model.attn.scale * model.attn.kept[0].double() @ model.attn.kept[1].double().mT, -1)
    assert_rows(found, truth, slice(1, None))


def test_fewer_heads_of_keys_than_of_queries():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = nn.Linear(CHANNELS, 4 * DEPTH), nn.Linear(CHANNELS, 4 * DEPTH)

        def forward(self, x):
            q = self.q(x).unflatten(-1, (4, DEPTH)).transpose(1, 2)
            k, v = self.kv(x).unflatten(-1, (2, 2, DEPTH)).permute(2, 0, 3, 1, 4)
            self.weights = torch.softmax(q.double() @ k.double().repeat_interleave(2, 1).mT / DEPTH**0.5, -1).detach()
            out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            return out.transpose(1, 2).flatten(2)[..., :CHANNELS]

    model = ViT(Grouped())
    found = caught_in(model, images())
    assert found.heads == 4
    assert_rows(found, model.attn.weights, slice(1, None))


def test_weights_that_are_returned_for_others_to_multiply():
    class Weights(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)

        def forward(self, x):
            self.weights = (self.q(x) @ self.k(x).mT).softmax(-1)
            return self.weights

    model = Weights()
    found = caught_in(model, torch.randn(2, CELLS, CHANNELS), path="").placed((HEIGHT, WIDTH))
    assert_rows(found, model.weights[:, None].double(), slice(None))


def test_flexible_attention():
    flex_attention = pytest.importorskip("torch.nn.attention.flex_attention").flex_attention
    table = torch.randn(HEADS, 16, 16)

    def product(query, key, value, scale):
        return flex_attention(query, key, value, lambda s, b, h, i, j: s + table[h, i, j], scale=scale)

    model = ViT(Attention(product, bias=table.double()))
    assert_rows(caught_in(model, images()), model.attn.weights, slice(1, None))


def test_what_the_values_get_is_checked():
    class Lying(Attention):
        def forward(self, x):
            return super().forward(x)

    model = ViT(Lying(matmul))
    with torch.no_grad(), catch.watch(model, ["attn"]) as watched:
        model(images())
    attention = watched._recording.calls[0].attentions[0]
    attention.error = 0.3
    with pytest.raises(ValueError, match="passed on something else than its softmax times its values"):
        watched.attention("attn")


class Unlike(nn.Module):
    """Tokens B×N×C, as many as channels -> B×N×C: what `gather` makes of one softmax and its values."""

    def __init__(self, gather):
        super().__init__()
        self.qkv, self.gather = nn.Linear(CELLS, 3 * CELLS), gather

    def forward(self, x):
        query, key, value = self.qkv(x).chunk(3, -1)
        self.weights = written_out(query.detach(), key.detach(), 1.0)
        return self.gather(torch.linalg.matmul(query, key.mT).softmax(-1), value)


def unlike(gather):
    return nn.Sequential(nn.Conv2d(3, CELLS, 4, 4), nn.Flatten(2), Transposed(), Unlike(gather))


class Transposed(nn.Module):
    def forward(self, x):
        return x.mT


def each(product):
    """product: of two matrices, for each image."""
    return lambda weights, value: torch.stack([product(w, v) for w, v in zip(weights, value, strict=True)])


@pytest.mark.parametrize(
    "gather",
    [
        torch.linalg.matmul,
        lambda weights, value: torch.tensordot(weights, value, dims=([2], [1]))[[0, 1], :, [0, 1]],
        lambda weights, value: torch.inner(weights, value.mT)[[0, 1], :, [0, 1]],
    ],
    ids=["linalg.matmul", "tensordot", "inner"],
)
def test_other_products_of_two_tensors(gather):
    model, inputs = unlike(gather), images()
    with torch.no_grad(), catch.hook(model, "3") as watched:
        model(inputs)
    for item in range(2):
        rows = torch.from_numpy(watched.attention().rows(range(CELLS), item=item))
        torch.testing.assert_close(rows, model[3].weights[item], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "gather",
    [
        lambda weights, value: torch.einsum("bij,bjc,c->bic", weights, value, torch.ones(CELLS)),
        lambda weights, value: torch.einsum("bijc->bic", weights[..., None] * value[:, None]),
        lambda weights, value: (weights[..., None] * value[:, None]).sum(2),
        lambda weights, value: value + torch.diagonal(weights, dim1=1, dim2=2)[..., None],
        lambda weights, value: F.linear(value, weights[0]),
        each(lambda weights, value: torch.linalg.multi_dot([weights, value])),
        each(lambda weights, value: torch.sparse.mm(weights.to_sparse(), value)),
        lambda weights, value: torch.linalg.vecdot(weights[:, :, None], value.mT[:, None]),
    ],
    ids=["three operands", "mul, einsum", "mul, sum", "diagonal", "linear", "multi_dot", "sparse", "vecdot"],
)
def test_what_values_became_is_no_map(gather):
    """As many channels as tokens: the shape alone would fit."""
    model = unlike(gather)
    with (
        pytest.raises(ValueError, match="by a matrix product that is seen"),
        torch.no_grad(),
        catch.hook(model, "3"),
    ):
        model(images())


def test_products_of_what_values_became_have_no_weights():
    model = unlike(lambda w, v: each(lambda w, v: torch.linalg.multi_dot([w, v]))(w, v) @ v)
    with (
        pytest.raises(ValueError, match="by a matrix product that is seen"),
        torch.no_grad(),
        catch.hook(model, "3"),
    ):
        model(images())
