"""GR and LR in the place of any softmax, against the stages of dnl.attention."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from dnl import ModelConfig, build_model
from dnl.attention import attention_stages
from tests.analysis.catch.modules import CELLS, CHANNELS, HEIGHT, PLAIN, WIDTH, Attention, ViT, images
from tests.analysis.catch.test_windows import Shifted


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class NonLocal(nn.Module):
    """softmax(q·k) of a map, in one head, by `product`."""

    def __init__(self, product):
        super().__init__()
        self.embed = nn.Conv2d(3, CHANNELS, 4, 4)
        self.q, self.k, self.v = (nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(3))
        self.product = product
        self.context = self.Context(self)

    class Context(nn.Module):
        def __init__(self, whole):
            super().__init__()
            self.whole = [whole]

        def forward(self, x):
            whole = self.whole[0]
            whole.seen = q, k, v = whole.q(x), whole.k(x), whole.v(x)
            q, k, v = (one.flatten(2).transpose(1, 2)[:, None] for one in (q, k, v))
            return whole.product(q, k, v, 1.0)[:, 0].transpose(1, 2).unflatten(2, x.shape[2:])

    def forward(self, images):
        x = self.embed(images)
        return x + self.context(x)


@pytest.mark.parametrize("product", PLAIN, ids=lambda product: product.__name__)
@pytest.mark.parametrize(("gate", "lr"), [("binary", None), (None, "box"), ("sigmoid", "learnt")])
def test_mended_attention_is_that_of_the_method(product, gate, lr):
    if product.__name__ == "in_place":
        pytest.skip("it overwrites what the truth is computed from")
    model, inputs, probs = NonLocal(product), images(), torch.randn(2, 4, HEIGHT, WIDTH).softmax(1)
    found = catch.mend(model, "context", gate=gate, lr=lr, class_probs=probs)(inputs)
    with torch.no_grad():
        x = model.embed(inputs)
        q, k, v = (layer(x).double() for layer in (model.q, model.k, model.v))
        options = {"lr_kernel": 3 if lr else None, "lr_weights": lr or "learnt"}
        rows = attention_stages(q, k, probs.double(), gate=gate, **options).retained.flatten(2)
        truth = x + (rows @ v.flatten(2).mT).mT.unflatten(2, (HEIGHT, WIDTH))
    torch.testing.assert_close(found.double(), truth, atol=1e-5, rtol=0)


@pytest.mark.parametrize("product", PLAIN, ids=lambda product: product.__name__)
def test_mended_with_nothing_is_the_model_to_the_bit(product):
    model, inputs = ViT(Attention(product)), images()
    with torch.no_grad():
        assert torch.equal(model(inputs), catch.mend(model, "attn")(inputs))


def test_extra_tokens_stay_as_they_are():
    model, inputs = ViT(Attention(PLAIN[0])), images()
    one_class = torch.ones(2, 1, HEIGHT, WIDTH)
    with torch.no_grad():
        plain = model(inputs)
    same = catch.mend(model, "attn", gate="binary", class_probs=one_class)(inputs)
    torch.testing.assert_close(same, plain, atol=1e-5, rtol=0)
    two = torch.zeros(2, 2, HEIGHT, WIDTH)
    two[:, 0, :, :2], two[:, 1, :, 2:] = 1, 1
    gated = catch.mend(model, "attn", gate="binary", class_probs=two)(inputs)
    torch.testing.assert_close(gated[:, 0], plain[:, 0], atol=1e-5, rtol=0)  # the class token asks as before
    assert (gated[:, 1:] - plain[:, 1:]).abs().max() > 0.01


def test_windows_can_be_gated_but_not_retained():
    model, inputs = Shifted(), torch.randn(2, 3, 24, 32)
    one_class = torch.ones(2, 1, 6, 8)
    with torch.no_grad():
        plain = model(inputs)
    same = catch.mend(model, "attn", gate="similarity", class_probs=one_class)(inputs)
    torch.testing.assert_close(same, plain, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="LR needs each key's neighbours"):
        catch.mend(model, "attn", lr="box")(inputs)


@pytest.mark.parametrize("batch_first", [True, False])
def test_native_modules_are_mended_too(batch_first):
    module = nn.MultiheadAttention(CHANNELS, 4, batch_first=batch_first).eval()
    tokens = torch.randn(2, CELLS, CHANNELS)
    tokens = tokens if batch_first else tokens.transpose(0, 1)
    probs = torch.randn(2, 4, HEIGHT, WIDTH).softmax(1)
    found, _ = catch.mend(module, "", gate="similarity", class_probs=probs, size=(HEIGHT, WIDTH))(
        tokens, tokens, tokens, need_weights=False
    )
    with torch.no_grad():
        rows = tokens if batch_first else tokens.transpose(0, 1)
        _, weights = module(tokens, tokens, tokens, average_attn_weights=False)
        flat = probs.flatten(2)
        gates = torch.einsum("bcm,bcn->bmn", flat, flat)[:, None]
        value = nn.functional.linear(rows, module.in_proj_weight[-CHANNELS:], module.in_proj_bias[-CHANNELS:])
        gathered = (weights * gates) @ value.unflatten(-1, (4, -1)).transpose(1, 2)
        truth = module.out_proj(gathered.transpose(1, 2).flatten(2))
    torch.testing.assert_close(found, truth if batch_first else truth.transpose(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("gate", ["sigmoid", "binary"])
def test_our_plain_network_mended_is_the_denoised_one(gate):
    options = {"attention_stride": 8, "gamma_init": 0.5}
    plain = build_model(ModelConfig("resnet18", 8, 4, context="nl", **options)).eval()
    denoised = build_model(ModelConfig("resnet18", 8, 4, context="dnl", gate=gate, **options)).eval()
    denoised.load_state_dict(plain.state_dict())
    inputs = torch.randn(2, 3, 64, 72)
    with torch.no_grad():
        truth, before = denoised(inputs).logits, plain(inputs).logits
    found = catch.mend(plain, "context", gate=gate, lr="learnt")(inputs).logits
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=0)
    assert (truth - before).abs().max() > 1e-3
    with torch.no_grad():
        assert torch.equal(plain(inputs).logits, before)


def test_class_probabilities_come_from_the_models_own_prediction():
    class Segmenter(nn.Module):
        def __init__(self):
            super().__init__()
            self.context, self.head = NonLocal(PLAIN[1]), nn.Conv2d(CHANNELS, 4, 1)

        def forward(self, inputs):
            return self.head(self.context(inputs))

    model, inputs = Segmenter(), images()
    with torch.no_grad():
        probs = model(inputs).softmax(1)
    given = catch.mend(model, "context.context", gate="binary", class_probs=probs)(inputs)
    torch.testing.assert_close(catch.mend(model, "context.context", gate="binary")(inputs), given)
    with pytest.raises(ValueError, match="no logits B×classes×H×W"):
        catch.mend(ViT(Attention(PLAIN[0])), "attn", gate="binary")(inputs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gate": "hard"}, "gate is 'hard'; choose one of sigmoid, binary, similarity"),
        ({"lr": "mean"}, "lr is 'mean'; choose one of learnt, box"),
        ({"lr": "box", "lr_kernel": 2}, "lr_kernel is 2; it must be an odd number"),
    ],
)
def test_options_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        catch.mend(ViT(Attention(PLAIN[0])), "attn", **options)


def test_attention_that_is_not_over_tokens_cannot_be_mended():
    dot = Attention(lambda q, k, v, scale: q @ k.mT / CELLS @ v)
    with pytest.raises(ValueError, match="without a softmax"):
        catch.mend(ViT(dot), "attn", lr="box")(images())


def test_attention_in_chunks_of_queries_is_mended_as_a_whole():
    """Each chunk asks from its own cells of the map."""

    def in_chunks(query, key, value, scale):
        parts = query.split(2 * WIDTH, dim=-2)
        return torch.cat([(part @ key.mT * scale).softmax(-1) @ value for part in parts], -2)

    def whole(query, key, value, scale):
        return (query @ key.mT * scale).softmax(-1) @ value

    model, inputs, probs = NonLocal(in_chunks), images(), torch.randn(2, 4, HEIGHT, WIDTH).softmax(1)
    chunked = catch.mend(model, "context", gate="similarity", lr="box", class_probs=probs)(inputs)
    model.product = whole
    expected = catch.mend(model, "context", gate="similarity", lr="box", class_probs=probs)(inputs)
    torch.testing.assert_close(chunked, expected)


class Tokens(nn.Module):
    """Patches of 4 pixels, and what `attend` makes of their tokens B×N×C."""

    def __init__(self, attend, channels=CHANNELS, embed=True):
        super().__init__()
        self.embed = nn.Conv2d(3, channels, 4, 4) if embed else nn.Identity()
        self.attn = self.Attend(attend, channels)

    class Attend(nn.Module):
        def __init__(self, attend, channels):
            super().__init__()
            self.attend, self.learnt = attend, nn.Parameter(torch.randn(1, 7, channels))

        def forward(self, x):
            return self.attend(x, self.learnt.expand(len(x), -1, -1))

    def forward(self, x):
        x = self.embed(x)
        return self.attn(x.flatten(2).mT if x.ndim == 4 else x)


def asked_by_objects(x, learnt):
    return F.scaled_dot_product_attention(learnt, x, x)


def asking_prototypes(x, learnt):
    return F.scaled_dot_product_attention(x, learnt, learnt)


def asking_a_pyramid(x, learnt):
    """As many keys as cells, pooled to maps of two sizes."""
    x = x.mT.unflatten(2, (HEIGHT, WIDTH))
    keys = torch.cat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in ((3, 3), (2, 3))], 2).mT
    return F.scaled_dot_product_attention(x.flatten(2).mT, keys, keys)


def by_way_of_keys(x, learnt):
    """Efficient attention: no map of queries over keys exists."""
    return x.softmax(2) @ (x.softmax(1).mT @ x)


@pytest.mark.parametrize(
    ("attend", "words"),
    [
        (asked_by_objects, "has 7 queries that lie on no map"),
        (asking_prototypes, "has 7 keys that lie on no map"),
        (asking_a_pyramid, f"has {CELLS} keys that lie on no map"),
        (by_way_of_keys, f"has {CHANNELS} queries that lie on no map"),
    ],
)
@pytest.mark.parametrize("options", [{"gate": "binary"}, {"lr": "box"}])
def test_what_has_no_cells_is_not_mended(attend, words, options):
    probs = torch.randn(2, 4, HEIGHT, WIDTH).softmax(1)
    with pytest.raises(ValueError, match=f"'attn' {words}.*mend an attention of cells to cells"):
        catch.mend(Tokens(attend), "attn", class_probs=probs, **options)(images())


def test_linear_attention_is_refused_whatever_is_said_of_its_size():
    """15 channels ask, and 15 cells are said to."""
    with pytest.raises(ValueError, match="'attn' has 15 keys that lie on no map that is known"):
        catch.mend(Tokens(by_way_of_keys, CELLS), "attn", lr="box", size=(HEIGHT, WIDTH))(images())


@pytest.mark.parametrize("options", [{"gate": "binary"}, {"lr": "box"}])
def test_tokens_without_an_image_need_the_size_of_their_map(options):
    model, tokens = Tokens(lambda x, learnt: (x @ x.mT).softmax(-1) @ x, embed=False), torch.randn(2, CELLS, CHANNELS)
    probs = torch.randn(2, 4, HEIGHT, WIDTH).softmax(1)
    with pytest.raises(ValueError, match=f"'attn' sees {CELLS} tokens; give the height and width"):
        catch.mend(model, "attn", class_probs=probs, **options)(tokens)
    found = catch.mend(model, "attn", class_probs=probs, size=(HEIGHT, WIDTH), **options)(tokens)
    features = tokens.mT.unflatten(2, (HEIGHT, WIDTH)).double()
    stages = {"gate": options.get("gate"), "lr_kernel": 3 if "lr" in options else None, "lr_weights": "box"}
    rows = attention_stages(features, features, probs.double(), **stages).retained.flatten(2)
    torch.testing.assert_close(found.double(), rows @ tokens.double(), atol=1e-5, rtol=0)


def test_channels_are_refused_with_the_modules_path():
    with pytest.raises(ValueError, match=r"^'attn' compares channels"):
        catch.mend(Tokens(lambda x, learnt: (x.mT @ x).softmax(-1) @ x.mT), "attn", lr="box")(images())


def test_weights_that_are_multiplied_elsewhere_are_not_mended():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.softmax = nn.Softmax(-1)

        def forward(self, x, learnt):
            return self.softmax(x @ x.mT) @ x

    model, inputs = Tokens(None), images()
    model.attn.attend = Written()
    with pytest.raises(ValueError, match=r"'attn\.attend\.softmax' returns the weights .*; mend the module around it"):
        catch.mend(model, "attn.attend.softmax", lr="box")(inputs)
    plain = model(inputs).detach()
    assert (catch.mend(model, "attn.attend", lr="box")(inputs) - plain).abs().max() > 0.01
