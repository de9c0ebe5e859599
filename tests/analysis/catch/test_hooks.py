import pytest
import torch
from torch import nn

from analysis import hook
from analysis.maps import attention_rows
from dnl import ModelConfig, build_model
from dnl.attention import attention_stages
from dnl.network.block import DenoisedNonLocal2d, class_distribution

HEIGHT, WIDTH, CHANNELS, HEADS = 3, 5, 12, 3
CELLS = HEIGHT * WIDTH


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def raw_map(capture) -> torch.Tensor:
    return torch.from_numpy(attention_rows(capture, gate=None, lr_kernel=None).raw).flatten(1)


def hook_count(model: nn.Module) -> int:
    own = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
    everywhere = nn.modules.module
    return own + len(everywhere._global_forward_hooks) + len(everywhere._global_forward_pre_hooks)


def assert_close(found, expected, atol=1e-6):
    torch.testing.assert_close(found.double(), expected.double(), atol=atol, rtol=0)


# --- nn.MultiheadAttention -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kdim", [None, 8])  # another depth of the keys: separate projection weights
def test_multihead_attention_is_what_the_module_returns(batch_first, bias, kdim):
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=batch_first, bias=bias, kdim=kdim, vdim=kdim).eval()
    if bias:
        nn.init.normal_(module.in_proj_bias)
    query, key = 2 * torch.randn(2, CELLS, CHANNELS), torch.randn(2, CELLS, kdim or CHANNELS)
    if not batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    before = query.clone(), key.clone()
    plain, weights = module(query, key, key, average_attn_weights=False)
    with hook(module, "") as caught:
        hooked, hooked_weights = module(query, key, value=key, average_attn_weights=False)
    assert torch.equal(plain, hooked) and torch.equal(weights, hooked_weights)
    assert torch.equal(query, before[0]) and torch.equal(key, before[1])
    for item in range(2):
        for head in range(HEADS):
            capture = caught.capture(HEIGHT, WIDTH, item=item, head=head)
            assert capture.query.shape == (CHANNELS // HEADS, HEIGHT, WIDTH)
            assert_close(raw_map(capture), weights[item, head])
        assert_close(raw_map(caught.capture(HEIGHT, WIDTH, item=item)), weights[item].mean(0))
    assert hook_count(module) == 0 and caught.calls == 1


def test_multihead_attention_without_a_batch():
    module = nn.MultiheadAttention(CHANNELS, HEADS)
    tokens = torch.randn(CELLS, CHANNELS)
    with hook(module, "") as caught:
        _, weights = module(tokens, tokens, tokens)
    assert_close(raw_map(caught.capture(HEIGHT, WIDTH)), weights)


def test_a_class_token_is_split_off_and_its_share_spread():
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True)
    tokens = torch.randn(1, 1 + CELLS, CHANNELS)
    with hook(module, "") as caught:
        _, weights = module(tokens, tokens, tokens, average_attn_weights=False)
    cells = weights[0, :, 1:, 1:]
    expected = (cells / cells.sum(-1, keepdim=True)).mean(0)
    capture = caught.capture(HEIGHT, WIDTH, class_tokens=1)
    assert_close(raw_map(capture), expected)
    share = weights[0, :, 1:, 0].mean(0)
    assert_close(torch.from_numpy(capture.dropped).flatten(), share)
    with pytest.raises(ValueError, match=r"sees 16 queries but 3×5 = 15 cells need .*pass class_tokens=1; .*last_to"):
        caught.capture(HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"sees 16 tokens; give the height and width of their map; 16 would be 4×4"):
        caught.capture()
    others = caught.capture(HEIGHT, WIDTH, class_tokens=1, queries="others", head=2)
    assert others.query_names == ("query 0",) and others.key_size == (HEIGHT, WIDTH)
    own = weights[0, 2, 0, 1:]
    found = torch.softmax(torch.from_numpy(others.query[:, 0, 0] @ others.key.reshape(4, -1)), 0)
    assert_close(found, own / own.sum())


@pytest.mark.parametrize("inference", [True, False])
def test_an_encoder_layer_gives_the_same_with_and_without_hook(inference):
    layer = nn.TransformerEncoderLayer(CHANNELS, HEADS, 16, batch_first=True).eval()
    tokens = torch.randn(2, CELLS, CHANNELS)
    with torch.inference_mode(inference):
        plain = layer(tokens)
        with hook(layer, "self_attn") as caught:
            hooked = layer(tokens)
        weights = layer.self_attn(tokens, tokens, tokens)[1]
    assert torch.equal(plain, hooked)
    assert_close(raw_map(caught.capture(HEIGHT, WIDTH, item=1)), weights[1])


@pytest.mark.parametrize(
    "options",
    [
        {"attn_mask": torch.ones(CELLS, CELLS, dtype=torch.bool).triu(1)},
        {"attn_mask": torch.zeros(CELLS, CELLS).index_fill(1, torch.tensor([2]), -1e9)},
        {"key_padding_mask": (torch.arange(CELLS) > 12)[None]},
    ],
)
def test_a_mask_is_part_of_the_map_unless_it_masks_nothing(options):
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True)
    tokens = torch.randn(1, CELLS, CHANNELS)
    with hook(module, "") as caught:
        _, weights = module(tokens, tokens, tokens, **options, average_attn_weights=False)
    capture = caught.capture(HEIGHT, WIDTH, head=1)
    assert (
        capture.query is None and "a bias, a mask, mixed heads or another normalisation takes part" in capture.notes[0]
    )
    assert_close(raw_map(capture), weights[0, 1])
    with hook(module, "") as caught:
        module(tokens, tokens, tokens, **{name: torch.zeros_like(mask) for name, mask in options.items()})
    assert caught.calls == 1 and caught.capture(HEIGHT, WIDTH, head=1).query is not None


def test_a_key_of_its_own_is_no_cell():
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True, add_zero_attn=True)
    tokens = torch.randn(1, CELLS, CHANNELS)
    with hook(module, "") as caught:
        _, weights = module(tokens, tokens, tokens, average_attn_weights=False)
    capture = caught.capture(HEIGHT, WIDTH, head=1, key_size=(HEIGHT, WIDTH))
    cells = weights[0, 1, :, :CELLS]
    assert_close(torch.from_numpy(capture.dropped).flatten(), weights[0, 1, :, CELLS])
    found = torch.softmax(torch.from_numpy(capture.query.reshape(4, -1).T @ capture.key.reshape(4, -1)), -1)
    assert_close(found, cells / cells.sum(-1, keepdim=True))


# --- other modules ---------------------------------------------------------------------------------------------------


class FusedAttention(nn.Module):
    """As vision transformers write it, and it keeps its own softmax for comparison."""

    def __init__(self, norm=False):
        super().__init__()
        self.num_heads, self.scale = HEADS, (CHANNELS // HEADS) ** -0.5
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.q_norm, self.k_norm = (nn.LayerNorm(CHANNELS // HEADS) if norm else nn.Identity() for _ in range(2))
        self.proj = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x):
        batch, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, channels // self.num_heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        query, key = self.q_norm(query), self.k_norm(key)
        query *= self.scale  # in place on purpose: what was caught must not follow
        self.weights = (query @ key.transpose(-2, -1)).softmax(-1)
        return self.proj((self.weights @ value).transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(CHANNELS), FusedAttention(**options)

    def forward(self, x):
        return x + self.attn(self.norm(x))


@pytest.mark.parametrize("norm", [False, True])
def test_a_vit_block_with_a_fused_projection(norm):
    model = nn.Sequential(Block(norm=norm), Block(norm=norm))
    tokens = torch.randn(2, 1 + CELLS, CHANNELS)
    with torch.no_grad():
        plain = model(tokens)
        with hook(model, "1.attn") as caught:
            hooked = model(tokens)
    assert torch.equal(plain, hooked)
    weights = model[1].attn.weights[1]
    for head in range(HEADS):
        cells = weights[head, 1:, 1:]
        capture = caught.capture(HEIGHT, WIDTH, item=1, head=head, class_tokens=1)
        assert_close(raw_map(capture), cells / cells.sum(-1, keepdim=True))


class SplitAttention(nn.Module):
    """As language models and their descendants write it: one linear projection each."""

    def __init__(self, names, heads_name, **attributes):
        super().__init__()
        self.names = names
        for name in names:
            setattr(self, name, nn.Linear(CHANNELS, CHANNELS))
        setattr(self, heads_name, HEADS)
        for name, value in attributes.items():
            setattr(self, name, value)
        self.factor = (CHANNELS // HEADS) ** -0.5

    def forward(self, x):
        query, key = (getattr(self, name)(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for name in self.names)
        self.weights = (query @ key.transpose(-2, -1) * self.factor).softmax(-1)
        return self.weights


@pytest.mark.parametrize(
    ("names", "heads_name", "attributes"),
    [
        (("query", "key"), "num_attention_heads", {}),
        (("q_proj", "k_proj"), "num_heads", {"scale": 0.5}),
        (("to_q", "to_k"), "heads", {"scale": 2.0}),  # √d, to be divided by
    ],
)
def test_separate_linear_projections(names, heads_name, attributes):
    model = SplitAttention(names, heads_name, **attributes)
    with hook(model, "") as caught:
        model(torch.randn(1, CELLS, CHANNELS))
    assert caught.scale == 0.5 == model.factor
    for head in range(HEADS):
        assert_close(raw_map(caught.capture(HEIGHT, WIDTH, head=head)), model.weights[0, head])


class NonLocal(nn.Module):
    """A non-local block on maps; `asks` and `asked` name its two convolutions."""

    def __init__(self, asks, asked, factor=1.0, **attributes):
        super().__init__()
        self.names, self.factor = (asks, asked), factor
        setattr(self, asks, nn.Conv2d(CHANNELS, 4, 1))
        setattr(self, asked, nn.Conv2d(CHANNELS, 4, 1))
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        query, key = (getattr(self, name)(x).flatten(2) for name in self.names)
        self.weights = (self.factor * query.transpose(1, 2) @ key).softmax(-1)
        return x + (x.flatten(2) @ self.weights.transpose(1, 2)).view_as(x)


@pytest.mark.parametrize("names", [("query_conv", "key_conv"), ("theta", "phi"), ("conv1", "conv2")])
def test_a_non_local_block_with_other_names(names):
    model = nn.ModuleDict({"context": NonLocal(*names)})
    features = torch.randn(2, CHANNELS, HEIGHT, WIDTH)
    plain = model["context"](features)
    named = {"query": "conv1", "key": "conv2"} if names[0] == "conv1" else {}
    with hook(model, "context", **named) as caught:
        assert torch.equal(model["context"](features), plain)
    capture = caught.capture(item=1, lr_kernel=3)
    assert capture.cells == (HEIGHT, WIDTH) and capture.name == "context"
    assert_close(raw_map(capture), model["context"].weights[1])
    with pytest.raises(ValueError, match="map of 3×5 queries, not 5×3"):
        caught.capture(5, 3)


def test_a_scaled_non_local_block():
    model = NonLocal("theta", "phi", factor=0.5, use_scale=True)  # d = 4
    with hook(model, "") as caught:
        model(torch.randn(1, CHANNELS, HEIGHT, WIDTH))
    assert_close(raw_map(caught.capture()), model.weights[0])
    assert caught.scale == 1.0  # it multiplies its queries itself
    with hook(model, "", scale=0.5) as caught:
        model(torch.randn(1, CHANNELS, HEIGHT, WIDTH))
    assert_close(raw_map(caught.capture()), model.weights[0])


def test_what_is_said_of_heads_and_scale_is_compared_with_what_the_model_does():
    model, tokens = SplitAttention(("query", "key"), "num_heads"), torch.randn(1, CELLS, CHANNELS)
    with hook(model, "", query="query", key="key", heads=HEADS, scale=0.5) as caught:
        model(tokens)
    assert caught.query.shape == caught.key.shape == (1, HEADS, CELLS, CHANNELS // HEADS)
    assert_close(torch.softmax(caught.scale * caught.query @ caught.key.mT, -1), model.weights)
    with pytest.raises(ValueError, match=r"scale is 2, but 'SplitAttention' multiplies q·k with 0\.5"):  # noqa: SIM117
        with hook(model, "", scale=2.0):
            model(tokens)
    with pytest.raises(ValueError, match="heads is 2, but 'SplitAttention' computes its attention in 3"):  # noqa: SIM117
        with hook(model, "", heads=2):
            model(tokens)
    with pytest.raises(ValueError, match="heads is 0; it must be 1 or more"):
        hook(model, "", heads=0).__enter__()


class SelfAttentionGan(nn.Module):
    """β_ji = softmax_i(f(x_i) · g(x_j)), o_j = Σ_i β_ji h(x_i), on flattened maps with 1-D convolutions."""

    def __init__(self):
        super().__init__()
        self.f, self.g, self.h = (nn.Conv1d(CHANNELS, 4, 1, bias=False) for _ in range(3))

    def forward(self, x):
        flat = x.flatten(2)
        scores = torch.einsum("bdi,bdj->bij", self.f(flat), self.g(flat))
        self.beta = scores.softmax(dim=1).transpose(1, 2)  # j×i
        return torch.einsum("bji,bdi->bdj", self.beta, self.h(flat))


def test_in_a_self_attention_gan_g_asks_and_f_is_asked():
    model = SelfAttentionGan()
    with hook(model, "") as caught:
        model(torch.randn(1, CHANNELS, HEIGHT, WIDTH))
    assert_close(raw_map(caught.capture(HEIGHT, WIDTH)), model.beta[0])


# --- this project's own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["sigmoid", "binary", None])
def test_our_own_block_comes_with_its_class_distribution(gate):
    block = DenoisedNonLocal2d(32, gate=gate, lr_kernel=5, gamma_init=0.5)
    features, logits = torch.randn(2, 32, HEIGHT, WIDTH), torch.randn(2, 4, 7, 9)
    plain = block(features, logits)
    with hook(block, "") as caught:
        assert torch.equal(block(features, class_logits=logits), plain)
    capture = caught.capture(item=1)
    assert (capture.gate, capture.lr_kernel, capture.lr_weights) == (gate, 5, "learnt")
    with torch.no_grad():
        inputs = block.query(features[1:]).double(), block.key(features[1:]).double()
        probs = class_distribution(logits[1:], (HEIGHT, WIDTH)).double()
        expected = attention_stages(*inputs, probs, gate=gate, lr_kernel=5)
    for found, rows in zip(attention_rows(capture), expected, strict=True):
        assert_close(torch.from_numpy(found), rows[0], atol=1e-6)


def test_in_a_whole_network():
    model = build_model(ModelConfig("resnet18", 8, 4, attention_stride=8, gamma_init=0.5)).eval()
    images = torch.randn(1, 3, 40, 72)
    with torch.no_grad():
        plain = model(images).logits
        with hook(model, "context") as caught:
            assert torch.equal(model(images).logits, plain)
    assert caught.capture().cells == (5, 9)
    assert hook_count(model) == 0


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_hooks_vanish_after_an_exception():
    model = nn.Sequential(NonLocal("theta", "phi"))
    with pytest.raises(RuntimeError, match="channels"), hook(model, "0"):
        assert hook_count(model[0]) == 2 and not model[0]._forward_hooks
        model(torch.randn(1, CHANNELS + 1, HEIGHT, WIDTH))
    assert hook_count(model) == 0
    with pytest.raises(KeyboardInterrupt), hook(model, "0"):
        raise KeyboardInterrupt
    assert hook_count(model) == 0


def test_hooks_vanish_where_only_one_of_the_names_exists():
    model = NonLocal("theta", "phi")
    with pytest.raises(ValueError, match="no module 'fi'"), hook(model, "", query="theta", key="fi"):
        pass
    assert hook_count(model) == 0


def test_a_path_that_does_not_exist_names_near_ones():
    model = nn.ModuleDict({"encoder": nn.ModuleList([Block(), Block()])})
    with pytest.raises(ValueError, match=r"no module 'encoder.1.atn'; did you mean 'encoder.1.attn'"):
        hook(model, "encoder.1.atn").__enter__()
    with pytest.raises(ValueError, match=r"no module 'attn'; did you mean .*'encoder.0.attn'"):
        hook(model, "attn").__enter__()


def test_a_module_without_attention_is_refused():
    model = nn.Sequential(Block())
    with pytest.raises(ValueError, match=r"'0\.norm' ran no softmax"), torch.no_grad(), hook(model, "0.norm"):
        model(torch.randn(1, CELLS, CHANNELS))
    with pytest.raises(ValueError, match="name both"):
        hook(NonLocal("a", "b"), "", query="a").__enter__()


def test_a_module_that_is_never_called_is_said():
    model = nn.ModuleList([Block(), Block()])
    with pytest.raises(ValueError, match=r"'1\.attn' was not called"), torch.no_grad(), hook(model, "1.attn"):
        model[0](torch.randn(1, CELLS, CHANNELS))
    assert hook_count(model) == 0


def test_what_is_asked_of_the_capture_must_be_there():
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True)
    tokens, others = torch.randn(2, CELLS, CHANNELS), torch.randn(2, 7, CHANNELS)
    with hook(module, "") as caught:
        with pytest.raises(ValueError, match="was not called"):
            caught.capture(HEIGHT, WIDTH)
        module(tokens, tokens, tokens)
    with pytest.raises(ValueError, match=r"item is 2, but the batch has the images 0 … 1"):
        caught.capture(HEIGHT, WIDTH, item=2)
    with pytest.raises(ValueError, match=r"head is 3; choose 0 … 2"):
        caught.capture(HEIGHT, WIDTH, head=3)
    with pytest.raises(ValueError, match=r"sees 15 queries but 4×5 = 20 cells need as many"):
        caught.capture(4, 5)
    with pytest.raises(ValueError, match="only one of height and width"):
        caught.capture(4)
    with pytest.raises(ValueError, match="queries is 'class'; choose 'cells', or 'others'"):
        caught.capture(HEIGHT, WIDTH, queries="class")
    with pytest.raises(ValueError, match=r"window is \(1, 0\), but 'MultiheadAttention' has 1×1 windows per image"):
        caught.capture(HEIGHT, WIDTH, window=(1, 0))
    with hook(module, "") as caught:
        module(tokens, others, others)
    with pytest.raises(ValueError, match=r"has 15 queries and 7 keys, .* give key_size=.* such as \(1, 7\)"):
        caught.capture(HEIGHT, WIDTH)
    assert caught.capture(HEIGHT, WIDTH, key_size=(1, 7)).key_cells == (1, 7)


def test_a_number_of_heads_that_the_model_does_not_use_misleads_nobody():
    model = NonLocal("theta", "phi", num_heads=3)  # 4 channels
    with hook(model, "") as caught:
        model(torch.randn(1, CHANNELS, HEIGHT, WIDTH))
    assert_close(raw_map(caught.capture()), model.weights[0])


def test_three_calls_over_sliding_windows_ask_for_one():
    model = nn.Sequential(NonLocal("theta", "phi"))
    with hook(model, "0") as caught:
        weights = []
        for _ in range(3):
            model(torch.randn(1, CHANNELS, HEIGHT, WIDTH))
            weights.append(model[0].weights)
    with pytest.raises(ValueError, match=r"'0' ran 3 times, .*choose one with call=1 … 3"):
        caught.capture()
    assert_close(raw_map(caught.capture(call=2)), weights[1][0])
