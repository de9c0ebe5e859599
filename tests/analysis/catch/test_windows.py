"""Windows, pooled keys, cross-attention and other orders: each token is put on its cell by what the model did."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import analysis.catch as catch
from tests.analysis.catch.modules import CHANNELS, HEADS, Attention, written_out

HEIGHT, WIDTH, SIDE = 6, 8, 2
CELLS = HEIGHT * WIDTH


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def caught_in(model, path, *inputs):
    with torch.no_grad():
        plain = model(*inputs)
        with catch.hook(model, path) as watched:
            assert torch.equal(plain, model(*inputs))
    return watched.attention(path)


def images(height=HEIGHT, width=WIDTH):
    return torch.randn(2, 3, 4 * height, 4 * width)


def windows_of(maps, side):
    """B×h×w×C -> windows×side²×C."""
    batch, height, width, depth = maps.shape
    parts = maps.view(batch, height // side, side, width // side, side, depth).permute(0, 1, 3, 2, 4, 5)
    return parts.contiguous().view(-1, side * side, depth)


def whole(parts, batch, height, width, side):
    parts = parts.view(batch, height // side, width // side, side, side, -1).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(batch, height, width, -1)


class Shifted(nn.Module):
    """A block of windows as Swin has it: pad, roll, cut, attend with a mask for what was rolled over, and back."""

    def __init__(self, side=SIDE, shift=1, masked=True):
        super().__init__()
        self.embed = nn.Conv2d(3, CHANNELS, 4, 4)
        self.norm, self.attn = nn.LayerNorm(CHANNELS), Attention(self.product)
        self.side, self.shift, self.masked = side, shift, masked

    def product(self, query, key, value, scale):
        scores = scale * query @ key.transpose(-2, -1)
        if self.masked:
            count = len(self.mask)
            scores = scores.view(-1, count, HEADS, *scores.shape[-2:]) + self.mask[:, None]
            scores = scores.view(-1, HEADS, *scores.shape[-2:])
        self.weights = scores.softmax(-1)
        return self.weights @ value

    def forward(self, images):
        x = self.embed(images).permute(0, 2, 3, 1)
        batch, height, width, _ = x.shape
        down, right = -height % self.side, -width % self.side
        moved = F.pad(self.norm(x), (0, 0, 0, right, 0, down))
        tall, wide = height + down, width + right
        regions = torch.arange(tall)[:, None] // (tall - self.shift) * 2 + torch.arange(wide) // (wide - self.shift)
        regions = windows_of(regions[None, :, :, None], self.side)[..., 0]
        self.mask = (regions[:, :, None] != regions[:, None]) * -100.0
        moved = torch.roll(moved, (-self.shift, -self.shift), (1, 2))
        moved = whole(self.attn(windows_of(moved, self.side)), batch, tall, wide, self.side)
        moved = torch.roll(moved, (self.shift, self.shift), (1, 2))
        return x + moved[:, :height, :width]

    def truth(self, height, width, item, head):
        """Rows of all cells over all cells, from the kept weights, placed by hand; padding stays apart."""
        tall, wide = height + -height % self.side, width + -width % self.side
        y, x = torch.meshgrid(torch.arange(tall), torch.arange(wide), indexing="ij")
        y, x = (torch.roll(one, (-self.shift, -self.shift), (0, 1)) for one in (y, x))
        y, x = (windows_of(one[None, :, :, None], self.side)[..., 0] for one in (y, x))
        rows = torch.zeros(height * width, height * width)
        own = self.weights.unflatten(0, (2, -1))[item, :, head]
        for window in range(len(y)):
            inside = (y[window] < height) & (x[window] < width)
            cells = (y[window] * width + x[window])[inside]
            part = own[window][inside][:, inside]
            rows[cells[:, None], cells] = part / part.sum(-1, keepdim=True)
        return rows


@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7)])
@pytest.mark.parametrize("shift", [0, 1])
def test_shifted_and_padded_windows_are_stitched_onto_the_image(height, width, shift):
    model = Shifted(shift=shift, masked=shift > 0)
    found = caught_in(model, "attn", images(height, width))
    windows = -(-height // SIDE) * -(-width // SIDE)
    assert (found.images, found.windows, found.heads) == (2, windows, HEADS)
    assert found.layout.query.grid == found.layout.key.grid == (height, width)
    for item, head in ((0, 0), (1, 2)):
        rows = torch.from_numpy(found.rows(range(height * width), item=item, head=head)).float()
        torch.testing.assert_close(rows, model.truth(height, width, item, head), atol=1e-5, rtol=0)


def test_the_share_of_padding_is_told():
    model = Shifted(shift=0, masked=False)
    found = caught_in(model, "attn", images(5, 7))
    share = found.share_of_extra([0, 34], item=1, head=0)  # the last cell shares its window with three of padding
    assert share[0] == 0
    assert share[1] == pytest.approx(float(1 - model.weights.unflatten(0, (2, -1))[1, -1, 0, 0, 0]), abs=1e-5)


class Reduced(nn.Module):
    """Keys at half the size by a strided convolution, as in PVT and SegFormer."""

    def __init__(self, pooled=False):
        super().__init__()
        self.q, self.kv = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, 2 * CHANNELS)
        self.reduce = nn.AvgPool2d(2) if pooled else nn.Conv2d(CHANNELS, CHANNELS, 2, 2)

    def forward(self, x):
        query = self.q(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        small = self.reduce(x.transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))).flatten(2).transpose(1, 2)
        key, value = self.kv(small).unflatten(-1, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        self.weights = written_out(query, key, query.shape[-1] ** -0.5)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class Patches(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.embed, self.parts = nn.Conv2d(3, CHANNELS, 4, 4), nn.Sequential(*parts)

    def forward(self, images):
        return self.parts(self.embed(images).flatten(2).transpose(1, 2))


@pytest.mark.parametrize("pooled", [False, True])
def test_keys_on_a_smaller_map(pooled):
    model = Patches(Reduced(pooled))
    found = caught_in(model, "parts.0", images())
    assert found.layout.query.grid == (HEIGHT, WIDTH) and found.layout.key.grid == (HEIGHT // 2, WIDTH // 2)
    assert not found.same_tokens
    rows = torch.from_numpy(found.rows([3, 20], item=1, head=1))
    torch.testing.assert_close(rows, model.parts[0].weights[1, 1, [3, 20]], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="works on a map of 3×4 keys, not 4×3"):
        found.placed(key_size=(4, 3))


class Cross(nn.Module):
    """Object queries ask the cells."""

    def __init__(self, queries=5):
        super().__init__()
        self.objects = nn.Parameter(torch.randn(1, queries, CHANNELS))
        self.q, self.k, self.v = (nn.Linear(CHANNELS, CHANNELS) for _ in range(3))

    def forward(self, x):
        q = self.q(self.objects.expand(len(x), -1, -1) + x.mean(1, keepdim=True))
        self.weights = written_out(q, self.k(x), 1.0)
        return (q @ self.k(x).mT).softmax(-1) @ self.v(x)


def test_object_queries_are_chosen_by_number():
    model = Patches(Cross())
    found = caught_in(model, "parts.0", images())
    assert found.layout.key.grid == (HEIGHT, WIDTH)
    rows = torch.from_numpy(found.token_rows([0, 4], item=1))
    torch.testing.assert_close(rows, model.parts[0].weights[1, [0, 4]], atol=1e-5, rtol=0)


class Shuffled(nn.Module):
    """Tokens in a random order, put there by ids, as masked autoencoders do."""

    def __init__(self):
        super().__init__()
        self.attn = Attention(lambda q, k, v, scale: (scale * q @ k.mT).softmax(-1) @ v)

    def forward(self, x):
        ids = torch.argsort(self.noise, dim=1)
        return self.attn(torch.gather(x, 1, ids[..., None].expand(-1, -1, x.shape[2])))


def test_shuffled_tokens_are_put_right_by_their_ids():
    model = Patches(Shuffled())
    model.parts[0].noise = torch.rand(2, CELLS)
    found = caught_in(model, "parts.0.attn", images())
    order = model.parts[0].noise[1].argsort()
    truth = torch.empty(CELLS, CELLS, dtype=torch.float64)
    truth[order[:, None], order] = model.parts[0].attn.weights[1, 2]
    rows = torch.from_numpy(found.rows(range(CELLS), item=1, head=2))
    torch.testing.assert_close(rows, truth, atol=1e-5, rtol=0)


def test_tokens_of_the_models_own_input_need_a_size():
    model = Attention(lambda q, k, v, scale: F.scaled_dot_product_attention(q, k, v))
    found = caught_in(model, "", torch.randn(2, 1 + CELLS, CHANNELS))
    with pytest.raises(ValueError, match="sees 49 queries but 6×8 = 48 cells need as many"):
        found.placed((HEIGHT, WIDTH))
    placed = found.placed((HEIGHT, WIDTH), class_tokens=1)
    truth = model.weights[0, 0, 1:, 1:]
    rows = torch.from_numpy(placed.rows(range(CELLS), head=0))
    torch.testing.assert_close(rows, truth / truth.sum(-1, keepdim=True), atol=1e-5, rtol=0)
