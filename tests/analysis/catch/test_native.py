"""nn.MultiheadAttention and nn.TransformerEncoder, on the native path and beside it, and our own block."""

import pytest
import torch
from torch import nn

import analysis.catch as catch
from dnl import ModelConfig, build_model
from dnl.attention import attention_stages
from tests.analysis.catch.modules import CELLS, CHANNELS, HEIGHT, WIDTH

HEADS = 4  # the native path takes even numbers alone


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def run(module, path, *inputs, **options):
    """(what was watched, output); the output is the same to the bit."""
    plain = module(*inputs, **options)
    with catch.watch(module, [path]) as watched:
        seen = module(*inputs, **options)
    for one, other in zip(*((out if isinstance(out, tuple) else (out,)) for out in (plain, seen)), strict=True):
        assert one is other is None or torch.equal(one, other)
    return watched, plain


def assert_rows(watched, path, weights, tokens=CELLS):
    """weights: B×heads×N×M."""
    found = watched.attention(path)
    for item in range(len(weights)):
        for head in range(weights.shape[1]):
            rows = torch.from_numpy(found.token_rows(range(tokens), item=item, head=head)).float()
            torch.testing.assert_close(rows, weights[item, head], atol=2e-6, rtol=0)
    return found


@pytest.mark.parametrize("mode", ["native", "gradients", "training"])
@pytest.mark.parametrize("options", [{}, {"batch_first": False}, {"bias": False}, {"kdim": 8, "vdim": 8}])
def test_multihead_attention(mode, options):
    module = nn.MultiheadAttention(CHANNELS, HEADS, **{"batch_first": True} | options)
    module.train(mode == "training")
    query, key = 2 * torch.randn(2, CELLS, CHANNELS), torch.randn(2, 9, options.get("kdim", CHANNELS))
    if not options.get("batch_first", True):
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    with torch.set_grad_enabled(mode != "native"):
        watched, (_, weights) = run(module, "", query, key, key, average_attn_weights=False)
    assert_rows(watched, "", weights.detach())
    if "kdim" in options:
        return
    with torch.set_grad_enabled(mode != "native"):
        watched, (_, nothing) = run(module, "", query, query, query, need_weights=False)
        _, weights = module(query, query, query, average_attn_weights=False)
    assert nothing is None
    assert assert_rows(watched, "", weights.detach()).weights.is_plain


@pytest.mark.parametrize(
    "options",
    [
        {"attn_mask": torch.ones(CELLS, CELLS, dtype=torch.bool).triu(1)},
        {"attn_mask": torch.randn(CELLS, CELLS)},
        {"attn_mask": torch.randn(2 * HEADS, CELLS, CELLS)},
        {"key_padding_mask": (torch.arange(CELLS) > 9).expand(2, -1)},
        {
            "attn_mask": torch.ones(CELLS, CELLS, dtype=torch.bool).triu(1),
            "key_padding_mask": (torch.arange(CELLS) > 9).expand(2, -1),
        },
    ],
)
def test_masks_of_multihead_attention(options):
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True).eval()
    tokens = torch.randn(2, CELLS, CHANNELS)
    with torch.no_grad():
        watched, (_, weights) = run(module, "", tokens, tokens, tokens, average_attn_weights=False, **options)
    assert not assert_rows(watched, "", weights).weights.is_plain


def test_a_mask_that_hides_nothing_leaves_query_and_key():
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True).eval()
    tokens = torch.randn(2, CELLS, CHANNELS)
    with torch.no_grad():
        watched, _ = run(module, "", tokens, tokens, tokens, attn_mask=torch.zeros(CELLS, CELLS, dtype=torch.bool))
    assert watched.attention("").weights.is_plain


def test_a_row_that_is_masked_as_a_whole_does_not_spoil_the_output():
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True).eval()
    tokens, mask = torch.randn(1, CELLS, CHANNELS), torch.zeros(CELLS, CELLS, dtype=torch.bool)
    mask[3] = True
    with torch.no_grad():
        plain = module(tokens, tokens, tokens, attn_mask=mask, need_weights=False)[0]
        with catch.hook(module, "") as watched:
            seen = module(tokens, tokens, tokens, attn_mask=mask, need_weights=False)[0]
    assert torch.equal(plain.nan_to_num(7.0), seen.nan_to_num(7.0))
    rows = watched.attention("").token_rows(range(CELLS))
    assert rows[3].sum() == 0 and rows[4].sum() == pytest.approx(1)


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_keys_of_its_own_are_no_cells(options):
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True, **options).eval()
    tokens = torch.randn(2, CELLS, CHANNELS)
    with torch.no_grad():
        watched, (_, weights) = run(module, "", tokens, tokens, tokens, average_attn_weights=False)
    found = watched.attention("").placed((HEIGHT, WIDTH))
    share = torch.from_numpy(found.share_of_extra(range(CELLS), item=1, head=2)).float()
    torch.testing.assert_close(share, weights[1, 2, :, -1], atol=1e-6, rtol=0)
    rows = torch.from_numpy(found.rows([4], item=1, head=2))[0].float()
    torch.testing.assert_close(rows, weights[1, 2, 4, :-1] / weights[1, 2, 4, :-1].sum(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("mode", ["native", "gradients", "training"])
def test_the_layers_of_an_encoder(norm_first, mode):
    layer = nn.TransformerEncoderLayer(CHANNELS, HEADS, 16, 0.0, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(mode == "training")
    tokens = torch.randn(2, CELLS, CHANNELS)
    with torch.set_grad_enabled(mode != "native"):
        watched, _ = run(model, "layers.1.self_attn", tokens)
        inside = model.layers[0](tokens)
        inside = model.layers[1].norm1(inside) if norm_first else inside
        _, weights = model.layers[1].self_attn(inside, inside, inside, average_attn_weights=False)
    assert_rows(watched, "layers.1.self_attn", weights.detach())


def test_padded_sequences_on_the_nested_path():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(CHANNELS, HEADS, 16, 0.0, batch_first=True), 2).eval()
    tokens, padding = torch.randn(2, CELLS, CHANNELS), torch.zeros(2, CELLS, dtype=torch.bool)
    padding[0, 10:], padding[1, 13:] = True, True
    with torch.no_grad():
        watched, _ = run(model, "layers.1.self_attn", tokens, src_key_padding_mask=padding)
    rows = watched.attention("layers.1.self_attn").token_rows(range(10))
    assert (rows[:, 10:] == 0).all() and rows.sum(1) == pytest.approx(1)


def test_dropout_in_training_is_said():
    module = nn.MultiheadAttention(CHANNELS, HEADS, dropout=0.5, batch_first=True)
    tokens = torch.randn(2, CELLS, CHANNELS)
    with catch.hook(module, "") as watched:
        module(tokens, tokens, tokens, need_weights=False)
    assert any("dropout was on" in note for note in watched.attention("").notes)


@pytest.mark.parametrize("gate", ["sigmoid", "binary"])
def test_our_own_block(gate):
    model = build_model(ModelConfig("resnet18", 8, 4, gate=gate, attention_stride=8, gamma_init=0.5)).eval()
    seen = {}
    model.context.register_forward_pre_hook(lambda module, args: seen.update(features=args[0]))
    images = torch.randn(2, 3, 40, 72)
    with torch.no_grad():
        plain = model(images).logits
        with catch.hook(model, "context") as watched:
            assert torch.equal(plain, model(images).logits)
    found = watched.attention("context")
    assert found.layout.query.grid == (5, 9) and found.weights.is_plain and found.own["gate"] == gate
    query, key = (layer(seen["features"][1:]).double() for layer in (model.context.query, model.context.key))
    raw = attention_stages(query, key, gate=None, lr_kernel=None).raw[0].flatten(1)
    torch.testing.assert_close(torch.from_numpy(found.rows(range(45), item=1)), raw, atol=1e-6, rtol=0)
