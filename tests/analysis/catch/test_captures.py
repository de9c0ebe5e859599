"""Captures of what was caught: whole maps, windows, other keys, queries without a place, and what is said of them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis
from analysis import Capture
from tests.analysis.catch.modules import (
    CELLS,
    CHANNELS,
    HEADS,
    HEIGHT,
    WIDTH,
    Attention,
    ViT,
    fused,
    images,
    matmul,
)
from tests.analysis.catch.test_windows import Cross, Patches, Reduced, Shifted, Shuffled
from tests.analysis.catch.test_windows import images as large_images


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def hooked(model, path, *inputs):
    with torch.no_grad(), analysis.hook(model, path) as caught:
        model(*inputs)
    return caught


def rows_of(capture: Capture) -> torch.Tensor:
    """All rows of a capture, N×N′."""
    if capture.attention is not None:
        return torch.from_numpy(capture.attention).double()
    query, key = (torch.from_numpy(maps).double().flatten(1) for maps in (capture.query, capture.key))
    return torch.softmax(query.t() @ key, -1)


def assert_close(found, expected, atol=1e-5):
    torch.testing.assert_close(found.double(), expected.double(), atol=atol, rtol=0)


# --- whole maps ------------------------------------------------------------------------------------------------------


def test_a_transformer_needs_no_size_and_its_class_token_is_reported():
    model = ViT(Attention(fused))
    caught = hooked(model, "attn", images())
    weights = model.attn.weights[1]
    one = caught.capture(item=1, head=2)
    assert one.cells == (HEIGHT, WIDTH) and one.placement == "blocks" and one.name == "attn"
    assert one.query.shape == (CHANNELS // HEADS, HEIGHT, WIDTH) and one.key_size is None
    cells = weights[:, 1:, 1:]
    assert_close(rows_of(one), cells[2] / cells[2].sum(-1, keepdim=True))
    assert_close(torch.from_numpy(one.dropped).flatten(), weights[2, 1:, 0])
    mean = caught.capture(item=1)
    assert mean.query is None and mean.lr_weights == "box"
    assert_close(rows_of(mean), (cells / cells.sum(-1, keepdim=True)).mean(0))
    assert_close(torch.from_numpy(mean.dropped).flatten(), weights[:, 1:, 0].mean(0))
    with pytest.raises(ValueError, match="works on a map of 3×5 queries, not 5×3"):
        caught.capture(WIDTH, HEIGHT)
    with pytest.raises(ValueError, match=r"'attn' itself tells which cell .* leave order out"):
        caught.capture(order=range(CELLS))


@pytest.mark.parametrize("trailing", [False, True])
def test_class_and_register_tokens_can_ask(trailing):
    model = ViT(Attention(matmul), extra=2, trailing=trailing)
    capture = hooked(model, "attn", images()).capture(queries="others", head=1)
    first = CELLS if trailing else 0
    assert capture.query_names == (f"token {first}", f"token {first + 1}") and capture.cells == (1, 2)
    assert capture.key_cells == (HEIGHT, WIDTH)
    cells = slice(0, CELLS) if trailing else slice(2, None)
    own = model.attn.weights[0, 1, first : first + 2, cells]
    assert_close(rows_of(capture), own / own.sum(-1, keepdim=True))


def test_what_else_is_known_goes_into_the_capture():
    image = np.zeros((4 * HEIGHT, 4 * WIDTH, 3), np.uint8)
    labels = np.zeros((4 * HEIGHT, 4 * WIDTH), np.uint8)
    labels[5:] = 1
    probs = np.full((2, HEIGHT, WIDTH), 0.5)
    caught = hooked(ViT(Attention(fused)), "attn", images())
    capture = caught.capture(head=0, image=image, labels=labels, class_probs=probs, gate="binary", lr_kernel=3)
    assert (capture.gate, capture.lr_kernel) == ("binary", 3)
    assert capture.cell_at(3, 3) == 0 and capture.cell_at(4, 4) == WIDTH + 1
    np.testing.assert_array_equal(capture.cell_labels[:, 0], [0, 1, 1])
    assert caught.capture(head=0, placement="corners").placement == "corners"
    crop = caught.capture(head=0, image=np.zeros((20, 40, 3), np.uint8), crop=(2, 8, 12, 20))
    assert crop.cell_at(2, 8) == 0 and crop.cell_at(13, 27) == CELLS - 1


def test_a_bias_leaves_the_finished_map_and_says_so():
    bias = torch.randn(1, HEADS, 1 + CELLS, 1 + CELLS)
    product = lambda q, k, v, scale: F.scaled_dot_product_attention(q, k, v, bias, scale=scale)  # noqa: E731
    model = ViT(Attention(product, bias=bias.double()))
    caught = hooked(model, "attn", images())
    capture = caught.capture(head=1)
    cells = model.attn.weights[0, 1, 1:, 1:]
    assert capture.query is None and "a bias or a mask takes part" in capture.notes[0]
    assert_close(rows_of(capture), cells / cells.sum(-1, keepdim=True))


class MixedHeads(nn.Module):
    """Heads mixed after the softmax, with weights below 0."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(HEADS, HEADS, 1, bias=False)
        nn.init.normal_(self.mix.weight)

    def forward(self, query, key, value, scale):
        self.weights = self.mix((scale * query @ key.transpose(-2, -1)).softmax(-1))
        return self.weights @ value


def test_mixed_heads_stay_as_they_are_and_their_sums_are_said():
    mixed = MixedHeads()
    caught = hooked(ViT(Attention(mixed), extra=0), "attn", images())
    assert "the finished map is kept" in caught.attention().notes[0]
    with pytest.warns(UserWarning, match="rows of the map sum to .* not to 1"):
        capture = caught.capture(head=1)
    assert capture.attention.min() < 0
    assert_close(rows_of(capture), mixed.weights[0, 1])
    with pytest.raises(ValueError, match="'attn' has no query and key to give: a bias, a mask, mixed heads or"):
        _ = caught.query


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "shift"), [(6, 8, 0), (6, 8, 1), (5, 7, 1)])
def test_windows_are_stitched_onto_the_image(height, width, shift):
    model = Shifted(shift=shift, masked=shift > 0)
    capture = hooked(model, "attn", large_images(height, width)).capture(item=1, head=2)
    assert capture.cells == (height, width) and capture.attention is not None
    assert_close(rows_of(capture), model.truth(height, width, 1, 2))
    assert (capture.dropped is not None) == (height == 5)


def test_one_window_is_a_map_of_its_own():
    model = Shifted(shift=0, masked=False)
    caught = hooked(model, "attn", large_images())
    capture = caught.capture(window=(1, 3), head=1)  # of 3×4 windows
    assert capture.cells == (2, 2) and capture.query is not None
    assert_close(rows_of(capture), model.weights.unflatten(0, (2, -1))[0, 7, 1])
    image = np.zeros((24, 32, 3), np.uint8)
    shown = caught.capture(window=(1, 3), head=1, image=image)
    assert shown.crop == (8, 24, 8, 8) and shown.cell_at(12, 24) == 2
    with pytest.raises(ValueError, match=r"window is \(3, 0\), but 'attn' has 3×4 windows per image"):
        caught.capture(window=(3, 0))


def test_a_window_over_opposite_edges_has_no_place_on_a_picture():
    model = Shifted(shift=1)
    caught = hooked(model, "attn", large_images())
    capture = caught.capture(window=(2, 3), head=0)
    assert_close(rows_of(capture), model.weights.unflatten(0, (2, -1))[0, 11, 0])
    with pytest.raises(ValueError, match=r"cells lie apart on the picture \(rows 5, 0; columns 7, 0"):
        caught.capture(window=(2, 3), image=np.zeros((24, 32, 3), np.uint8))


# --- other keys, other orders ----------------------------------------------------------------------------------------


def test_keys_of_a_smaller_map():
    model = Patches(Reduced())
    caught = hooked(model, "parts.0", large_images())
    one = caught.capture(item=1, head=1)
    assert (one.cells, one.key_size) == ((6, 8), (3, 4)) and one.lr_weights == "box"
    assert_close(rows_of(one), model.parts[0].weights[1, 1])
    mean = caught.capture(6, 8)
    assert mean.attention.shape == (48, 12)
    assert_close(rows_of(mean), model.parts[0].weights[0].mean(0))
    with pytest.raises(ValueError, match="works on a map of 3×4 keys, not 4×3"):
        caught.capture(key_size=(4, 3))


@pytest.mark.parametrize("size", [(), (1, 5)])
def test_object_queries_have_numbers(size):
    model = Patches(Cross())
    capture = hooked(model, "parts.0", large_images()).capture(*size, item=1)
    assert capture.query_names == tuple(f"query {number}" for number in range(5))
    assert_close(rows_of(capture), model.parts[0].weights[1])
    named = hooked(model, "parts.0", large_images()).capture(
        query_names=["road", "sky", "tree", "car", "none"], query_labels=[0, 1, 2, 3, 255]
    )
    assert named.query_names[1] == "sky" and named.query_labels.tolist() == [0, 1, 2, 3, 255]


def test_tokens_in_another_order_are_put_right_and_a_size_is_refused():
    model = Patches(Shuffled())
    model.parts[0].noise = torch.rand(2, 48)
    caught = hooked(model, "parts.0.attn", large_images())
    order = model.parts[0].noise[1].argsort()
    truth = torch.empty(48, 48, dtype=torch.float64)
    truth[order[:, None], order] = model.parts[0].attn.weights[1, 0]
    assert_close(rows_of(caught.capture(item=1, head=0)), truth)
    with pytest.raises(ValueError, match=r"do not come row by row, .* leave height and width out"):
        caught.capture(6, 8)


def test_many_attentions_one_after_another_are_soon_traced_back():
    """Where a residual comes second, each place leads through all attentions before it."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = Attention(matmul)

        def forward(self, x):
            return self.attn(x) + x

    model = Patches(*(Block() for _ in range(24)))
    capture = hooked(model, "parts.23.attn", large_images()).capture(head=0)
    assert capture.cells == (6, 8)
    assert_close(rows_of(capture), model.parts[23].attn.weights[0, 0])


def test_a_given_order_places_the_models_own_input():
    model, order = Attention(fused), torch.randperm(CELLS)
    caught = hooked(model, "", torch.randn(2, CELLS, CHANNELS))
    truth = torch.empty(CELLS, CELLS, dtype=torch.float64)
    truth[order[:, None], order] = model.weights[0, 1]
    assert_close(rows_of(caught.capture(HEIGHT, WIDTH, head=1, order=order)), truth)
    with pytest.raises(ValueError, match="order must name each of the cells 0 … 14 once"):
        caught.capture(HEIGHT, WIDTH, order=[0] * CELLS)


def test_trailing_tokens_of_the_models_own_input():
    model = Attention(fused)
    caught = hooked(model, "", torch.randn(2, CELLS + 2, CHANNELS))
    with pytest.raises(
        ValueError, match=r"first 2 are class tokens, pass class_tokens=2; .* last ones, or padding, pass"
    ):
        caught.capture(HEIGHT, WIDTH)
    capture = caught.capture(HEIGHT, WIDTH, head=0, last_tokens=2)
    cells = model.weights[0, 0, :CELLS, :CELLS]
    assert_close(rows_of(capture), cells / cells.sum(-1, keepdim=True))


# --- what is said ----------------------------------------------------------------------------------------------------


class Dropping(nn.Module):
    """A ViT with dropout before its attention."""

    def __init__(self):
        super().__init__()
        self.vit, self.drop = ViT(Attention(fused)), nn.Dropout(0.2)
        self.vit.norm = nn.Sequential(self.vit.norm, self.drop)

    def forward(self, inputs):
        return self.vit(inputs)


def test_a_forgotten_train_is_said():
    model = Dropping()
    caught = hooked(model, "vit.attn", images())
    with pytest.warns(UserWarning, match="random numbers were drawn before .* another run may give another map"):
        capture = caught.capture(head=0)
    assert "random numbers" in capture.notes[0]
    assert not hooked(model.eval(), "vit.attn", images()).capture(head=0).notes


def test_dropout_that_stays_on_in_evaluation_is_said():
    product = lambda q, k, v, scale: F.scaled_dot_product_attention(q, k, v, dropout_p=0.3, scale=scale)  # noqa: E731
    caught = hooked(ViT(Attention(product)).eval(), "attn", images())
    with pytest.warns(UserWarning, match=r"although it is in evaluation.* build the model with a dropout rate of 0"):
        caught.capture(head=0)


def test_a_part_in_training_mode_is_said():
    class Dropping(Attention):
        def __init__(self):
            super().__init__(lambda query, key, value, scale: self.drop((query @ key.mT * scale).softmax(-1)) @ value)
            self.drop = nn.Dropout(0.3)

    model = ViT(Dropping()).eval()
    model.attn.drop.train()
    caught = hooked(model, "attn", images())
    with pytest.warns(UserWarning, match=r"a part of it is in training mode.* call model\.eval\(\)"):
        caught.capture(head=0)


def test_more_than_the_limit_is_refused_when_it_is_asked_for():
    model = nn.ModuleDict({"embed": nn.Conv2d(3, CHANNELS, 4, 4), "a": Attention(fused), "b": Attention(fused)})
    size = 2 * 4 * 2 * CELLS * CHANNELS  # query and key of one
    with torch.no_grad(), analysis.watch(model, ["a", "b"], limit=size) as watched:
        x = model["embed"](images()).flatten(2).transpose(1, 2)
        model["b"](model["a"](x))
    assert watched.capture(path="a").cells == (HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"'b' would bring what is kept beyond .*; watch fewer modules at a time"):
        watched.capture(path="b")
    with pytest.raises(ValueError, match="2 modules are watched; choose one with path="):
        watched.capture()


def test_a_layer_whose_weight_is_used_directly_is_named():
    class Direct(Attention):
        def forward(self, x):
            return F.linear(super().forward(x), self.extra.weight)

    model = ViT(Direct(fused))
    model.attn.extra = nn.Linear(CHANNELS, CHANNELS)
    words = r"'attn\.extra' was not called: its weights are used by 'attn' without calling"
    with pytest.raises(ValueError, match=words), torch.no_grad(), analysis.hook(model, "attn.extra"):
        model(images())
    module = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True).eval()
    tokens = torch.randn(1, CELLS, CHANNELS)
    words = "'out_proj' was not called: its weights are used by the model around it"
    with pytest.raises(ValueError, match=words), torch.no_grad(), analysis.hook(module, "out_proj"):
        module(tokens, tokens, tokens)


def test_a_compiled_model_answers_to_the_models_own_paths():
    model = ViT(Attention(fused))
    compiled = torch.compile(model, backend="eager")
    assert_close(
        rows_of(hooked(compiled, "attn", images()).capture(head=0)),
        rows_of(hooked(model, "attn", images()).capture(head=0)),
        atol=1,
    )
    with torch.no_grad(), analysis.hook(compiled, "attn") as caught:
        compiled(inputs := images())
    with torch.no_grad(), analysis.hook(model, "attn") as plain:
        model(inputs)
    assert_close(rows_of(caught.capture(head=0)), rows_of(plain.capture(head=0)))


def test_local_attention_is_named():
    class Outlook(nn.Module):
        """A layer gives each cell the weights of its 3×3 neighbourhood."""

        def __init__(self):
            super().__init__()
            self.weights, self.value = nn.Linear(CHANNELS, 81), nn.Linear(CHANNELS, CHANNELS)

        def forward(self, x):
            maps = self.value(x).transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))
            near = F.unfold(maps, 3, padding=1).unflatten(1, (CHANNELS, 9)).permute(0, 3, 2, 1)
            mixed = self.weights(x).unflatten(-1, (9, 9)).softmax(-1) @ near
            return mixed.sum(2)

    model = Patches(Outlook())
    with pytest.raises(ValueError, match="is outlook or another local attention"):  # noqa: SIM117
        with torch.no_grad(), analysis.hook(model, "parts.0"):
            model(images())


def test_linear_attention_before_does_not_hide_the_softmax_after():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(CHANNELS, CHANNELS) for _ in range(3))

        def forward(self, x):
            return x + self.q(x) @ (self.k(x).softmax(1).transpose(1, 2) @ self.v(x))

    model = nn.Sequential(Patches(Linear(), Linear()), Attention(fused))
    for path in ("0.parts.0", "0.parts.1"):
        with pytest.raises(ValueError, match="is linear attention"), torch.no_grad(), analysis.hook(model, path):
            model(images())
    capture = hooked(model, "1", images()).capture(head=0)
    assert_close(rows_of(capture), model[1].weights[0, 0])
