"""watch and hook: what was found against what is there, and what goes wrong."""

import pytest
import torch
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import CELLS, CHANNELS, HEADS, HEIGHT, WIDTH, Attention, ViT, fused, images, matmul


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Model(nn.Module):
    """Three blocks; the second has no attention over tokens, the third is not used."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, CHANNELS, 4, 4)
        dot = lambda q, k, v, scale: q @ k.transpose(-2, -1) / CELLS @ v  # noqa: E731
        self.blocks = nn.ModuleList(nn.ModuleDict({"attn": Attention(way)}) for way in (fused, dot, matmul))

    def forward(self, inputs):
        x = self.embed(inputs).flatten(2).transpose(1, 2)
        for block in self.blocks[:2]:
            x = x + block["attn"](x)
        return x


def test_what_was_found_is_said_against_what_is_there():
    model = Model()
    with torch.no_grad(), catch.watch(model, "*.attn") as watched:
        model(images())
    assert watched.summary.startswith("1 of 3 attention modules ran through a softmax over tokens; these did not: ")
    assert "blocks.1.attn" in watched.summary and "without a softmax" in watched.summary
    assert "blocks.2.attn was not called" in watched.summary
    first, second = watched.entries
    assert (first.path, first.call, first.heads, first.windows, first.shape) == (
        "blocks.0.attn", 1, HEADS, 1, (CELLS, CELLS),
    )  # fmt: skip
    assert first.kind == "scaled_dot_product_attention" and first.why_not is None
    assert second.heads is None and "without a softmax" in second.why_not


def test_every_module_that_computes_attention_is_found():
    model = Model()
    with torch.no_grad(), catch.watch(model) as watched:
        model(images())
    assert [entry.path for entry in watched.entries if entry.why_not is None] == ["blocks.0.attn"]


class Weights(nn.Module):
    """Returns its weights, by way of a module of its own."""

    def __init__(self):
        super().__init__()
        self.softmax = nn.Softmax(-1)

    def forward(self, query, key):
        return self.softmax(query @ key.mT)


@pytest.mark.parametrize("weights", [nn.Softmax(-1), Weights()], ids=["softmax", "weights"])
def test_weights_that_a_part_returns_count_once(weights):
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.part = nn.Linear(CHANNELS, 3 * CHANNELS), weights

        def forward(self, x):
            query, key, value = self.qkv(x).chunk(3, -1)
            of_part = self.part(query, key) if isinstance(self.part, Weights) else self.part(query @ key.mT)
            return of_part @ value

    model = ViT(Written(), extra=0)
    with torch.no_grad(), catch.watch(model) as watched:
        model(images())
    assert watched.summary == "1 of 1 attention modules ran through a softmax over tokens."
    assert [entry.path for entry in watched.entries] == [layer.name for layer in watched.layers()] == ["attn"]
    with torch.no_grad(), catch.watch(model, ["attn.part", "attn"]) as named:
        model(images())
    assert [entry.path for entry in named.entries] == ["attn", "attn.part"]


def test_a_module_that_is_called_twice_gives_two_entries():
    model = nn.ModuleDict({"embed": nn.Conv2d(3, CHANNELS, 4, 4), "attn": Attention(fused)})
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        x = model["embed"](images()).flatten(2).transpose(1, 2)
        weights = []
        for _ in range(2):
            x = model["attn"](x)
            weights.append(model["attn"].weights)
    assert [entry.call for entry in watched.entries] == [1, 2]
    for call in (1, 2):
        rows = watched.attention("attn", call=call).rows([4], item=1, head=1)
        torch.testing.assert_close(torch.from_numpy(rows)[0], weights[call - 1][1, 1, 4], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"'attn' ran 2 times, .* choose one with call=1 … 2"):
        watched.attention("attn")
    with pytest.raises(ValueError, match=r"call is 3, but 'attn' was called 2 times"):
        watched.attention("attn", call=3)


def test_what_is_asked_must_be_there():
    model = ViT(Attention(fused))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        with pytest.raises(ValueError, match="'attn' was not called"):
            watched.attention("attn")
        model(images())
    found = watched.attention("attn")
    for options, words in (
        ({"item": 2}, "item is 2, but the batch has the images 0 … 1"),
        ({"head": 3}, "head is 3; choose 0 … 2"),
        ({"head": "first"}, "head is 'first'"),
    ):
        with pytest.raises(ValueError, match=words):
            found.rows([0], **options)
    with pytest.raises(ValueError, match=f"query {CELLS} is no cell .* 0 … {CELLS - 1}"):
        found.rows([CELLS])
    with pytest.raises(ValueError, match="works on a map of 3×5 queries, not 5×3"):
        found.placed((WIDTH, HEIGHT))
    with pytest.raises(ValueError, match="'atn' was not watched"):
        watched.attention("atn")


def test_paths_that_do_not_exist_name_near_ones():
    model = Model()
    with pytest.raises(ValueError, match=r"no module 'blocks.0.atn'; did you mean 'blocks.0.attn'"):
        catch.hook(model, "blocks.0.atn").__enter__()
    with pytest.raises(ValueError, match=r"no module's path fits '\*.attention'; attention may be in blocks.0.attn"):
        catch.watch(model, "*.attention").__enter__()


def test_a_module_that_is_never_called_is_said():
    model = Model()
    with pytest.raises(ValueError, match=r"'blocks.2.attn' was not called"), catch.hook(model, "blocks.2.attn"):
        model(images())
