"""Weights that no softmax of PyTorch's made alone: normalised by hand, over slots first, along both axes, or products
of maps. What multiplies the values is shown, or refused in words that fit."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from analysis.catch.operands import FinishedMap, QueryKey
from tests.analysis.catch.modules import CELLS, CHANNELS, DEPTH, HEADS, HEIGHT, WIDTH, ViT, images
from tests.analysis.catch.test_kinds import refused


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Weighing(nn.Module):
    """Tokens B×N×C; `weigh` makes weights of scores B×heads×N×N, `gather` multiplies them with values. `scores` keeps
    q·k / √d, entry by entry in float64."""

    def __init__(self, weigh, gather=torch.matmul):
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        nn.init.normal_(self.qkv.weight, std=0.5)
        self.weigh, self.gather = weigh, gather

    def forward(self, x):
        batch, tokens, _ = x.shape
        query, key, value = self.qkv(x).reshape(batch, tokens, 3, HEADS, DEPTH).permute(2, 0, 3, 1, 4).unbind(0)
        self.scores = (query.double()[..., :, None, :] * key.double()[..., None, :, :]).sum(-1) * DEPTH**-0.5
        self.value = value
        weights = self.weigh(query @ key.transpose(-2, -1) * DEPTH**-0.5)
        return self.gather(weights, value).transpose(1, 2).reshape(batch, -1, CHANNELS)


class Seen(nn.Module):
    """Patches of 4 pixels without class tokens, and one module on them."""

    def __init__(self, attn):
        super().__init__()
        self.embed, self.attn = nn.Conv2d(3, CHANNELS, 4, 4), attn

    def forward(self, batch):
        return self.attn(self.embed(batch).flatten(2).transpose(1, 2))


def over(powers, axis):
    return powers / powers.sum(axis, keepdim=True)


def rows_of(scores):
    return over((scores - scores.amax(-1, keepdim=True)).exp(), -1)


def columns_of(scores):
    return over((scores - scores.amax(-2, keepdim=True)).exp(), -2)


def require_rows(weigh, truth, kind):
    """The rows of every image and head are `truth` of the scores; and mend, which changes nothing here, uses them."""
    model, batch = ViT(Weighing(weigh), extra=0), images()
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        plain = model(batch)
    found, wanted = watched.attention(), truth(model.attn.scores)
    assert isinstance(found.weights, kind) and found.layout.query.grid == (HEIGHT, WIDTH) and found.same_tokens
    for image in range(2):
        for head in range(HEADS):
            rows = torch.from_numpy(found.rows(range(CELLS), item=image, head=head))
            torch.testing.assert_close(rows, wanted[image, head], atol=1e-5, rtol=0)
    torch.testing.assert_close(catch.mend(model, "attn", lr="box", lr_kernel=1)(batch), plain, atol=1e-5, rtol=1e-5)
    return watched


SOFTMAXES = {
    "exp over its sum": lambda scores: scores.exp() / scores.exp().sum(-1, keepdim=True),
    "in place": lambda scores: scores.exp_().div_(scores.sum(-1, keepdim=True)),
    "less its maximum": lambda scores: rows_of(scores),
    "log_softmax": lambda scores: F.log_softmax(scores, -1).exp(),
    "logsumexp": lambda scores: torch.exp(scores - torch.logsumexp(scores, -1, keepdim=True)),
    "clamped sum": lambda scores: scores.exp() / scores.exp().sum(-1, keepdim=True).clamp_min(1e-6),
    "normalize": lambda scores: F.normalize(scores.exp(), p=1, dim=-1),
    "softmax of what is less its maximum": lambda scores: (scores - scores.amax(-1, keepdim=True)).softmax(-1),
}


@pytest.mark.parametrize("weigh", SOFTMAXES.values(), ids=SOFTMAXES)
def test_a_softmax_by_hand_keeps_query_and_key(weigh):
    watched = require_rows(weigh, rows_of, QueryKey)
    assert watched.scale == pytest.approx(DEPTH**-0.5, rel=1e-4) and watched.attention().form == "a softmax"


OTHERS = {
    "sigmoid": lambda scores: over(scores.sigmoid(), -1),
    "squared relu": lambda scores: over(scores.relu().square() + 1e-6, -1),
    "masked by hand": lambda scores: over(scores.exp() * (torch.arange(CELLS) % 3 > 0), -1),
}


@pytest.mark.parametrize("weigh", OTHERS.values(), ids=OTHERS)
def test_rows_that_sum_to_one_are_shown_whatever_made_them(weigh):
    watched = require_rows(weigh, weigh, FinishedMap)
    assert watched.attention().form == "rows normalised by hand"
    assert any("another normalisation" in note for note in watched.attention().notes)
    model = ViT(Weighing(weigh), extra=0)
    with torch.no_grad(), catch.watch(model) as every:
        model(images())
    assert every.summary.startswith("1 of 1 ") and "attn through rows normalised by hand" in every.summary


REFUSED = {
    "sigmoid alone": (torch.sigmoid, torch.matmul),
    "signed": (lambda scores: F.normalize(scores, p=1, dim=-1), torch.matmul),
    "divided afterwards": (torch.exp, lambda weights, value: weights @ value / weights.sum(-1, keepdim=True)),
    "over the queries": (lambda scores: over(scores.exp(), -2), torch.matmul),
}


@pytest.mark.parametrize(("weigh", "gather"), REFUSED.values(), ids=REFUSED)
def test_rows_that_do_not_sum_to_one_are_refused_and_listed(weigh, gather):
    model = ViT(Weighing(weigh, gather), extra=0).eval()
    words = refused(model, images())
    assert "without a softmax, in rows that do not sum to 1" in words and "model.eval()" not in words
    with torch.no_grad(), catch.watch(model) as watched:
        model(images())
    assert watched.summary.startswith("0 of 1 ") and "do not sum to 1" in watched.summary
    with pytest.raises(ValueError, match="do not sum to 1"):
        catch.mend(model, "attn", lr="box")(images())


def test_dropout_is_named_where_it_may_be_the_reason():
    model = ViT(Weighing(lambda scores: F.dropout(rows_of(scores), 0.5)), extra=0)
    assert "if dropout is what changes the sums, call model.eval()" in refused(model, images())


# --- along both axes -------------------------------------------------------------------------------------------------


BOTH = {
    "rows first": lambda scores: scores.softmax(-1) * scores.softmax(-2),
    "columns first": lambda scores: scores.softmax(-2) * scores.softmax(-1),
    "in place": lambda scores: scores.softmax(-2).mul_(scores.softmax(-1)),
}


@pytest.mark.parametrize("weigh", BOTH.values(), ids=BOTH)
def test_a_dual_softmax_is_shown_in_either_order(weigh):
    watched = require_rows(weigh, lambda scores: rows_of(scores) * columns_of(scores), FinishedMap)
    assert any("not to 1, as the model uses them" in note for note in watched.attention().notes)


def test_a_softmax_over_the_queries_counts_once_its_rows_sum_to_one():
    require_rows(lambda scores: over(scores.softmax(-2), -1), lambda scores: over(columns_of(scores), -1), FinishedMap)


# --- products of maps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("softmax", [lambda scores: scores.softmax(-1), rows_of], ids=["PyTorch's", "by hand"])
def test_a_product_of_maps_is_the_map_that_meets_the_values(softmax):
    def squared(scores):
        weights = softmax(scores)
        return weights @ weights

    require_rows(squared, lambda scores: rows_of(scores) @ rows_of(scores), FinishedMap)


def test_one_map_for_the_values_of_all_heads_is_mended():
    model, batch = ViT(Weighing(lambda scores: scores.softmax(-1).mean(1, keepdim=True)), extra=0), images()
    classes = (torch.arange(CELLS) % 3 == 0).long()
    probs = F.one_hot(classes.reshape(1, HEIGHT, WIDTH).expand(2, -1, -1), 2).permute(0, 3, 1, 2).float()
    found = catch.mend(model, "attn", gate="binary", class_probs=probs)(batch)
    weights = rows_of(model.attn.scores).mean(1, keepdim=True) * (classes[:, None] == classes)
    wanted = (weights @ model.attn.value.double()).transpose(1, 2).reshape(2, CELLS, CHANNELS)
    given = model.embed(batch).flatten(2).transpose(1, 2) + model.position
    torch.testing.assert_close(found.double(), given.double() + wanted, atol=1e-5, rtol=1e-5)


# --- a part of the map -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "end", "grid"), [(0, CELLS, (1, 1)), (4, CELLS, None), (0, 7, None), (WIDTH, 2 * WIDTH, None)]
)
def test_a_mean_over_a_part_of_the_map_is_no_cell_of_it(first, end, grid):
    model = Seen(Weighing(lambda scores: scores.softmax(-1)[:, :, first:end].mean(2, keepdim=True)))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
    found = watched.attention()
    assert (found.layout.query.grid if found.layout.query.ordered else None) == grid
    assert found.layout.key.grid == (HEIGHT, WIDTH)
    wanted = rows_of(model.attn.scores)[1, 2, first:end].mean(0, keepdim=True)
    rows = torch.from_numpy(found.token_rows([0], item=1, head=2))
    torch.testing.assert_close(rows, wanted, atol=1e-5, rtol=0)
    if grid is None:
        with pytest.raises(ValueError, match="1 queries that lie on no map that is known"):
            catch.mend(model, "attn", lr="box")(images())


@pytest.mark.parametrize("first", [0, WIDTH])
def test_means_of_whole_rows_are_cells_where_none_is_left_out(first):
    def merged(scores):
        return scores.softmax(-1)[:, :, first:].unflatten(2, (-1, WIDTH)).mean(3)

    model = Seen(Weighing(merged))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
    query = watched.attention().layout.query
    assert query.ordered == (first == 0) and query.grid == ((HEIGHT, 1) if first == 0 else (1, HEIGHT - 1))


# --- slots -----------------------------------------------------------------------------------------------------------


class Slots(nn.Module):
    """Slots that compete for tokens B×N×C, again and again: a softmax over the slots, then each divided by its sum."""

    def __init__(self, slots, rounds, first):
        super().__init__()
        self.query, self.token = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, 2 * CHANNELS)
        self.slots, self.rounds, self.first = nn.Parameter(torch.randn(1, slots, CHANNELS)), rounds, first

    def forward(self, x):
        slots = self.first(self.slots, x)
        key, value = self.token(x).chunk(2, -1)
        for _ in range(self.rounds):
            scores = torch.einsum("bid,bjd->bij", self.query(slots), key)
            self.weights = over(columns_of(scores.double()) + 1e-8, -1)
            weights = scores.softmax(1) + 1e-8
            slots = torch.einsum("bjd,bij->bid", value, weights / weights.sum(-1, keepdim=True))
        return slots


def learnt(slots, x):
    return slots.expand(len(x), -1, -1)


def of_cells(slots, x):
    return slots + x[:, :1]


@pytest.mark.parametrize(("first", "rounds"), [(learnt, 1), (learnt, 2), (of_cells, 1), (of_cells, 3)])
@pytest.mark.parametrize("slots", [4, CELLS])
def test_slots_show_the_rows_that_they_are_made_of(slots, first, rounds):
    model = Seen(Slots(slots, rounds, first))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
    found = watched.attention()
    assert found.layout.key.grid == (HEIGHT, WIDTH)
    for image in range(2):
        rows = torch.from_numpy(found.token_rows(range(slots), item=image, head=0))
        torch.testing.assert_close(rows, model.attn.weights[image], atol=1e-5, rtol=0)


# --- what cannot be seen ---------------------------------------------------------------------------------------------


@torch.jit.script
def scripted_softmax(scores):
    return torch.softmax(scores, -1)


class Scripted(Weighing):
    """As Weighing, with a scripted function in a method."""

    def __init__(self):
        super().__init__(self.weighed)

    def weighed(self, scores):
        return scripted_softmax(scores)


def test_a_scripted_function_is_named():
    words = refused(ViT(Scripted(), extra=0), images())
    assert "torch.jit.script made of a function (scripted_softmax)" in words and "call the function itself" in words
