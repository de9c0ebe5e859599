"""All layers and heads that were watched: kept as asked for, looked at together, saved as one file."""

import numpy as np
import pytest
import torch
from torch import nn

import analysis
import analysis.catch as catch
from analysis.capture import load_layers
from analysis.maps import attention_rows
from tests.analysis.catch.modules import CELLS, CHANNELS, HEADS, HEIGHT, WIDTH, Attention, fused, images, matmul

BIAS = torch.randn(CELLS + 1, CELLS + 1, generator=torch.Generator().manual_seed(3))


def biased(query, key, value, scale):
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, BIAS, scale=scale)


class Network(nn.Module):
    """Patches of 4 pixels, a class token and four blocks: two plain ones, one with a bias, one without a softmax."""

    def __init__(self):
        super().__init__()
        self.embed, self.token = nn.Conv2d(3, CHANNELS, 4, 4), nn.Parameter(torch.randn(1, 1, CHANNELS))
        linear = lambda q, k, v, scale: q @ k.transpose(-2, -1) / CELLS @ v  # noqa: E731
        blocks = (Attention(fused), Attention(matmul), Attention(biased, bias=BIAS), Attention(linear))
        self.blocks = nn.ModuleList(nn.ModuleDict({"attn": block, "mlp": nn.Linear(1, 1)}) for block in blocks)

    def forward(self, inputs):
        x = self.embed(inputs).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = x + block["attn"](x)
        return x

    def truth(self, layer: int, item: int, head: int) -> np.ndarray:
        """The rows of the cells over the cells, each divided by its sum."""
        weights = self.blocks[layer]["attn"].weights[item, head, 1:, 1:]
        return (weights / weights.sum(-1, keepdim=True)).numpy()


@pytest.fixture(scope="module")
def ran():
    torch.manual_seed(0)
    model = Network().eval()
    with torch.no_grad(), catch.watch(model, "*.attn") as watched:
        model(images())
    return model, watched


def test_layers_hold_every_head_as_the_model_used_it(ran):
    model, watched = ran
    photo = np.zeros((4 * HEIGHT, 4 * WIDTH, 3), np.uint8)
    layers = watched.layers(item=1, image=photo, name="a photo")
    assert layers.names == ["blocks.0.attn", "blocks.1.attn", "blocks.2.attn"] and layers.maps == 3 * HEADS
    assert "without a softmax" in layers.left_out["blocks.3.attn"]
    for number, layer in enumerate(layers):
        for head in range(HEADS):
            found = layer.capture(head)
            np.testing.assert_allclose(
                attention_rows(found).raw.reshape(CELLS, CELLS), model.truth(number, 1, head), atol=1e-6
            )
            alone = watched.capture(path=layer.name, item=1, head=head, image=photo)
            np.testing.assert_allclose(found.dropped, alone.dropped, atol=1e-6)
            assert (found.name, found.layer, found.head, found.placement) == ("a photo", layer.name, head, "blocks")
        assert (layer.finished, layer.capture(0).image_size) == (number == 2, photo.shape[:2])
    mean = np.mean([model.truth(0, 1, head) for head in range(HEADS)], axis=0)
    np.testing.assert_allclose(layers.capture("blocks.0.attn").attention, mean, atol=1e-6)


def test_what_was_watched_is_saved_as_one_file(ran, tmp_path):
    model, watched = ran
    watched.save(tmp_path / "a.npz", image=np.zeros((4 * HEIGHT, 4 * WIDTH, 3), np.uint8), heads=[0, 2])
    layers = load_layers(tmp_path / "a.npz")
    assert [layer.heads for layer in layers] == [(0, 2)] * 3
    for number, layer in enumerate(layers):
        rows = attention_rows(layer.capture(2)).raw.reshape(CELLS, CELLS)
        np.testing.assert_allclose(rows, model.truth(number, 0, 2), atol=1e-6)


def test_only_the_heads_that_are_asked_for_are_kept():
    torch.manual_seed(0)
    model = Network().eval()
    with torch.no_grad(), catch.watch(model, ["blocks.[02].attn", "blocks.1.attn"]) as every:
        model(inputs := images())
    with torch.no_grad(), catch.watch(model, ["blocks.[02].attn", "blocks.1.attn"], heads=[2, 0]) as some:
        model(inputs)
    assert some.paths == every.paths == ["blocks.0.attn", "blocks.2.attn", "blocks.1.attn"]
    for path in every.paths:
        kept, whole = some.attention(path), every.attention(path)
        held = [sum(t.nbytes for t in (w.query, w.key)) for w in (kept.weights, whole.weights)]
        assert held[0] * HEADS == held[1] * 2 and kept.numbers == (2, 0)
        for head in (0, 2):
            np.testing.assert_array_equal(kept.rows([4, 7], item=1, head=head), whole.rows([4, 7], item=1, head=head))
        with pytest.raises(ValueError, match=r"head is 1; of 'blocks\.\d\.attn' 2, 0 were kept"):
            kept.rows([4], head=1)
        with pytest.raises(ValueError, match="only 2, 0 were kept, and their mean is not that of the layer"):
            some.capture(path=path)
    assert [layer.heads for layer in some.layers()] == [(2, 0)] * 3
    with torch.no_grad(), catch.watch(model, "blocks.0.attn", heads=7) as none:
        model(inputs)
    with pytest.raises(ValueError, match="has the heads 0 … 2, and none of those that were to be kept"):
        none.capture()
    with (
        pytest.raises(ValueError, match=r"heads are \[0, 0\]; give different whole numbers"),
        catch.watch(model, heads=[0, 0]),
    ):
        pass


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("blocks.0", r"'blocks\.0' was not called.*; attention may be in 'blocks\.0\.attn'$"),
        ("embed", r"ran no softmax .*; attention may be in 'blocks\.0\.attn', .* …$"),
        ("", r"runs 3 attentions .*; attention may be in 'blocks\.0\.attn', .* …$"),
    ],
)
def test_a_module_without_an_attention_of_its_own_says_where_one_may_be(path, words):
    model = Network().eval()
    with pytest.raises(ValueError, match=words), torch.no_grad(), analysis.hook(model, path):
        model(images())


def test_nothing_watched_is_said():
    with catch.watch(Network(), "*.attn") as watched:
        pass
    with pytest.raises(ValueError, match="no attention was watched while the model ran"):
        watched.layers()
