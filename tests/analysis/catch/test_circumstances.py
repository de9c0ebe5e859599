"""Half precision, autocast, checkpointing, compiled and scripted models, exceptions: the rows, or a sentence."""

import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import analysis.catch as catch
from tests.analysis.catch.modules import CELLS, CHANNELS, HEADS, Attention, ViT, fused, images, matmul, written_out


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def left_behind(model):
    hooks = any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    everywhere = torch.nn.modules.module
    everywhere = everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks
    return hooks or bool(everywhere) or torch._C._len_torch_function_stack() > 0


def assert_near(found, weights, atol=1e-5):
    for head in range(HEADS):
        truth = weights[1, head, 1:, 1:]
        rows = torch.from_numpy(found.rows(range(CELLS), item=1, head=head))
        torch.testing.assert_close(rows, truth / truth.sum(-1, keepdim=True), atol=atol, rtol=0)


class Kept(nn.Module):
    """A product that keeps the weights that it used, in their own precision."""

    def forward(self, query, key, value, scale):
        self.weights = (scale * query @ key.transpose(-2, -1)).softmax(-1)
        return self.weights.to(value.dtype) @ value


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """What is rounded on the way to the softmax is part of the map; a fused call has no map, but query and key."""
    for product in (fused, Kept()):
        model, inputs = ViT(Attention(product)).to(dtype), images().to(dtype)
        with torch.no_grad():
            plain = model(inputs)
            with catch.hook(model, "attn") as watched:
                assert torch.equal(plain, model(inputs))
        assert_near(watched.attention("attn"), model.attn.weights if product is fused else product.weights.double())


def test_autocast():
    model, inputs = ViT(Attention(Kept())), images()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = model(inputs)
        with catch.hook(model, "attn") as watched:
            assert torch.equal(plain, model(inputs))
    assert_near(watched.attention("attn"), model.attn.product.weights.double(), 1e-4)
    model = ViT(Attention(fused))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), catch.hook(model, "attn") as watched:
        model(inputs)
    assert watched.attention("attn").weights.query.dtype == torch.bfloat16
    assert_near(watched.attention("attn"), model.attn.weights, 0.02)


def test_inference_mode():
    model, inputs = ViT(Attention(matmul)), images()
    with torch.inference_mode():
        plain = model(inputs)
        with catch.hook(model, "attn") as watched:
            assert torch.equal(plain, model(inputs))
    assert_near(watched.attention("attn"), model.attn.weights)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_parts_count_once_and_gradients_stay(reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.vit = ViT(Attention(matmul))

        def forward(self, inputs):
            return checkpoint(self.vit, inputs, use_reentrant=reentrant)

    model, inputs = Checkpointed(), images().requires_grad_()
    model(inputs).square().sum().backward()
    plain = model.vit.attn.qkv.weight.grad.clone()
    model.zero_grad()
    with catch.hook(model, "vit.attn") as watched:
        model(inputs).square().sum().backward()
    assert torch.equal(plain, model.vit.attn.qkv.weight.grad)
    assert watched.calls == 1
    assert_near(watched.attention("vit.attn"), model.vit.attn.weights)


def test_a_compiled_model_is_seen():
    model, inputs = ViT(Attention(fused)), images()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        plain = compiled(inputs)
        with catch.hook(compiled, "_orig_mod.attn") as watched:
            assert torch.equal(plain, compiled(inputs))
    assert_near(watched.attention("_orig_mod.attn"), model.attn.weights)


class Plain(nn.Module):
    """An attention that TorchScript takes."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return (q @ k.transpose(1, 2)).softmax(-1) @ v


@pytest.mark.parametrize(
    "make", [torch.jit.script, lambda module: torch.jit.trace(module, torch.randn(2, 5, CHANNELS))]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_and_traced_models_are_refused_by_that_name(make):
    tokens = torch.randn(2, 5, CHANNELS)
    whole = make(nn.Sequential(Plain()).eval())
    with pytest.raises(ValueError, match=r"scripted or traced"), catch.hook(whole, "0"):
        whole(tokens)
    part = nn.Sequential(make(Plain().eval()))
    with pytest.raises(ValueError, match=r"'0' is scripted or traced"), torch.no_grad(), catch.hook(part, "0"):
        part(tokens)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_model_as_it_was(error):
    class Failing(Attention):
        def forward(self, x):
            super().forward(x)
            raise error("on purpose")

    model = ViT(Failing(fused))
    with pytest.raises(error, match="on purpose"), catch.hook(model, "attn"):
        model(images())
    assert not left_behind(model)
    layer = nn.TransformerEncoderLayer(CHANNELS, 4, 16, batch_first=True).eval()
    with pytest.raises(RuntimeError), torch.no_grad(), catch.hook(layer, "self_attn"):
        layer(torch.randn(2, CELLS, CHANNELS + 1))
    assert not left_behind(layer)


def test_an_exception_inside_is_survived_within_the_block():
    model, inputs = ViT(Attention(fused)), images()
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        with pytest.raises(RuntimeError):
            model(torch.randn(2, 4, 12, 20))
        model(inputs)
    assert_near(watched.attention("attn"), model.attn.weights)


def test_no_random_number_is_drawn():
    model, inputs = ViT(Attention(fused)), images()
    torch.manual_seed(3)
    with torch.no_grad(), catch.hook(model, "attn"):
        model(inputs)
    first = torch.rand(1)
    torch.manual_seed(3)
    with torch.no_grad():
        model(inputs)
    assert torch.equal(first, torch.rand(1))


def test_another_function_mode_may_be_there():
    model, inputs = ViT(Attention(fused)), images()
    with torch.no_grad(), torch.device("cpu"), catch.hook(model, "attn") as watched, torch.device("cpu"):
        model(inputs)
    assert_near(watched.attention("attn"), model.attn.weights)
    module, tokens = nn.MultiheadAttention(CHANNELS, 4, batch_first=True).eval(), torch.randn(2, CELLS, CHANNELS)
    with torch.no_grad(), catch.hook(module, "") as watched, torch.device("cpu"):
        _, weights = module(tokens, tokens, tokens, average_attn_weights=False)
    rows = torch.from_numpy(watched.attention("").token_rows(range(CELLS), item=1, head=2)).float()
    torch.testing.assert_close(rows, weights[1, 2], atol=1e-6, rtol=0)


def test_copies_do_not_follow_the_model():
    model = ViT(Attention(fused))
    with torch.no_grad(), catch.hook(model, "attn") as watched:
        model(images())
        kept = watched.attention("attn").rows([0])
        model.attn.qkv.weight.zero_()
    assert (watched.attention("attn").rows([0]) == kept).all()


def test_the_written_out_softmax_is_torchs():
    query, key = torch.randn(2, 5, 4), torch.randn(2, 7, 4)
    truth = torch.softmax(0.3 * query.double() @ key.double().mT, -1)
    torch.testing.assert_close(written_out(query, key, 0.3), truth)


class Convolved(nn.Module):
    """A transformer that begins with an image."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.embed = nn.Conv2d(3, CHANNELS, 4, stride=4)

    def forward(self, batch):
        return self.inner(self.embed(batch).flatten(2).transpose(1, 2))


PHOTOS = [
    torch.randint(0, 256, (12, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(n)) for n in (0, 1)
]


def prepared(photo):
    """H×W×3 whole numbers -> 3×H×W around 0, as preprocessing does it."""
    return (photo.permute(2, 0, 1).float() / 255 - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / 0.25


BATCHES = {
    "one, by None": lambda: prepared(PHOTOS[1])[None],
    "one, by unsqueeze": lambda: prepared(PHOTOS[1]).unsqueeze(0),
    "several, stacked": lambda: torch.stack([prepared(photo) for photo in PHOTOS]),
    "from NumPy": lambda: torch.tensor(prepared(PHOTOS[1]).numpy()[None]),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_images_may_be_prepared_inside_the_block(batch):
    network, photos = Convolved(Attention(fused)).eval(), BATCHES[batch]()
    with torch.no_grad(), catch.hook(network, "inner") as before:
        network(photos)
    with torch.no_grad(), catch.hook(network, "inner") as within:
        network(BATCHES[batch]())
        network(BATCHES[batch]())  # and again, after the model ran
    truth = before.capture(item=-1 % len(photos), head=1)
    assert (truth.height, truth.width) == (3, 5)
    for call in (1, 2):
        found = within.capture(item=-1 % len(photos), head=1, call=call)
        assert (found.height, found.width) == (3, 5)
        assert (found.query == truth.query).all() and (found.key == truth.key).all()


class Waiting(nn.Module):
    """Waits inside the model until another thread has run one."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def forward(self, tokens):
        thread = threading.Thread(target=self.other)
        thread.start()
        thread.join()
        return tokens


def test_another_thread_may_run_a_model_meanwhile():
    """The same network even, as in a server with several visitors."""
    model, inputs = ViT(Attention(fused)).eval(), images()
    model.norm = nn.Sequential(model.norm, Waiting(lambda: stranger(inputs)))
    stranger = ViT(Attention(fused)).eval()
    stranger.attn = model.attn
    with torch.no_grad():
        with catch.hook(model, "attn") as watched:
            model(inputs)
        assert watched.calls == 1
        assert_near(watched.attention("attn"), model.attn.weights)
