"""What a model does to scores or weights between their product, the softmax and the values is seen in every row."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import CELLS, CHANNELS, DEPTH, HEADS, Attention, ViT, images, written_out

# Neither the first nor the last, and none of a few that lie evenly between: a check of some rows would miss it.
ROW, IMAGE, HEAD = 10, 3, 1


def masked_after(weights):
    weights[IMAGE, HEAD, ROW] *= torch.arange(CELLS) % 2


def filled_in_a_view(weights):
    weights[IMAGE].select(0, HEAD)[ROW].masked_fill_(torch.arange(CELLS) > 3, 0.25)


def filled_in_parts(weights):
    for part in weights.unbind(0)[IMAGE].chunk(HEADS):
        part[0, ROW].fill_(1 / CELLS)


def filled_through_data(weights):
    weights.data[IMAGE, HEAD, ROW] = 1 / CELLS


def filled_through_numpy(weights):
    weights.detach().numpy()[IMAGE, HEAD, ROW] = 1 / CELLS


class Edited(nn.Module):
    """Tokens B×N×C; `edit` changes scores or weights, B×heads×N×N, in place."""

    def __init__(self, edit, of_scores):
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        nn.init.normal_(self.qkv.weight, std=0.6)
        self.edit, self.of_scores = edit, of_scores

    def forward(self, x):
        batch, tokens, _ = x.shape
        query, key, value = self.qkv(x).reshape(batch, tokens, 3, HEADS, DEPTH).permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1)
        if self.of_scores:
            self.edit(scores)
        weights = scores.softmax(-1)
        if not self.of_scores:
            self.edit(weights)
        self.weights = weights.double()
        return (weights @ value).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("of_scores", [True, False])
@pytest.mark.parametrize(
    "edit",
    [masked_after, filled_in_a_view, filled_in_parts, filled_through_data, filled_through_numpy],
    ids=lambda edit: edit.__name__,
)
def test_one_row_of_one_head_of_one_image_that_is_changed(edit, of_scores, mode):
    torch.manual_seed(0)
    if mode is torch.enable_grad and edit is filled_in_parts:
        pytest.skip("PyTorch lets no parts be changed in place that have gradients")
    model = ViT(Edited(edit, of_scores), extra=0)
    with mode(), catch.hook(model, "attn") as watched:
        model(images(batch=8))
    found = watched.attention()
    for image in range(8):
        for head in range(HEADS):
            rows = torch.from_numpy(found.rows(range(CELLS), item=image, head=head))
            torch.testing.assert_close(rows, model.attn.weights[image, head].detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_changes_nothing_keeps_query_and_key(mode):
    """Dropout at rest, copies, and tables of ones: each row says that query and key are all there is."""

    def product(query, key, value, scale):
        weights = F.dropout((query @ key.mT * scale).softmax(-1), 0.5, training=False).clone()
        return (weights * torch.ones(CELLS)).masked_fill(torch.zeros(CELLS, dtype=torch.bool), 0.0) @ value

    model = ViT(Attention(product), extra=0)
    with mode(), catch.hook(model, "attn") as watched:
        model(images())
    assert watched.attention().weights.is_plain


def test_a_softmin_is_the_softmax_of_what_is_taken_off():
    def product(query, key, value, scale):
        return F.softmin(query @ key.mT * scale, dim=-1) @ value

    model = ViT(Attention(product, bias=0.0), extra=0)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
    found = watched.attention()
    query, key = found.weights.operands(1)
    truth = written_out(query, key, -(DEPTH**-0.5))
    torch.testing.assert_close(torch.from_numpy(found.rows(range(CELLS), head=1)), truth, atol=1e-6, rtol=0)


def test_rows_that_are_weighed_by_their_columns_are_still_rows():
    """Slot attention divides by the sums of columns after its softmax; columns then sum to 1."""

    def product(query, key, value, scale):
        weights = (query @ key.mT * scale).softmax(-1)
        weights = weights / weights.sum(-2, keepdim=True)
        product.weights = weights.double()
        return weights @ value

    model = ViT(Attention(product), extra=0)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
    with pytest.warns(UserWarning, match="rows of the map sum to"):
        capture = watched.capture(head=2, item=1)
    torch.testing.assert_close(torch.from_numpy(capture.attention).double(), product.weights[1, 2], atol=1e-6, rtol=0)


def by_tensor(x, order):
    return x[:, order]


def by_array(x, order):
    return x[:, order.numpy()]


def by_gather(x, order):
    return x.gather(1, order[None, :, None].expand(len(x), -1, CHANNELS))


def by_select(x, order):
    return x.index_select(1, order)


def by_bounds(x, order):
    return torch.cat([x[:, order[0] :], x[:, : order[0]]], 1)


class Reordered(nn.Module):
    """Tokens in another order, which is written over before the module ends."""

    def __init__(self, take):
        super().__init__()
        self.take = take

    def forward(self, x):
        order = (torch.arange(CELLS) + 4) % CELLS
        taken, cells = self.take(x, order), order.clone()
        gathered = F.scaled_dot_product_attention(taken, taken, taken)
        self.weights = torch.empty(len(x), CELLS, CELLS, dtype=torch.float64)
        self.weights[:, cells[:, None], cells] = written_out(taken, taken, CHANNELS**-0.5)
        order.copy_(torch.arange(CELLS))
        return gathered


@pytest.mark.parametrize("take", [by_tensor, by_array, by_gather, by_select, by_bounds])
def test_an_index_that_is_written_over_counts_as_it_was(take):
    model = ViT(Reordered(take), extra=0)
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
    for item in range(2):
        rows = torch.from_numpy(watched.attention().rows(range(CELLS), item=item))
        torch.testing.assert_close(rows, model.attn.weights[item], atol=1e-5, rtol=0)
