"""The binary gate class by class."""

import torch

from dnl.attention import attention_stages, denoised_attention


def random_maps(*channels, batch=2, height=5, width=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, size, height, width, generator=generator, dtype=dtype) for size in channels]


def test_classes_of_one_cell_and_classes_that_nothing_has():
    query, key, value = random_maps(3, 3, 6, batch=3, dtype=torch.float64)
    labels = torch.randint(0, 4, (3, 35), generator=torch.Generator().manual_seed(1))
    labels[0] = 2  # one class alone
    labels[1] = torch.arange(35)  # every cell a class of its own
    probs = torch.nn.functional.one_hot(labels, 40).double().transpose(1, 2).unflatten(-1, (5, 7))
    gathered = denoised_attention(query, key, value, probs, gate="binary")
    rows = attention_stages(query, key, probs, gate="binary").retained.flatten(2)
    expected = torch.einsum("bnm,bcm->bcn", rows, value.flatten(2))
    torch.testing.assert_close(gathered.flatten(2), expected, rtol=0, atol=1e-12)


def test_the_gradient_of_what_query_key_and_value_share_is_the_same_each_time():
    """Three gradients meet in one sum, whose last digits depend on their order: no choice of the threads'."""
    (shared,) = random_maps(4)
    (probs,) = random_maps(3)
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(200):
            maps = shared.clone().requires_grad_()
            gathered = denoised_attention(maps * 0.3, maps / 7, maps * 1.7, probs.softmax(1), gate="binary")
            (gathered + maps / 3).square().sum().backward()
            found.append(maps.grad)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(gradient, found[0]) for gradient in found)


def test_gradients_by_finite_differences_in_any_layout():
    query, key, value, probs = random_maps(2, 2, 3, 3, batch=2, height=2, width=3, dtype=torch.float64)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = [maps.contiguous(memory_format=layout).requires_grad_() for maps in (query, key, value)]
        assert torch.autograd.gradcheck(
            lambda *maps: denoised_attention(*maps, probs.softmax(1), gate="binary", lr_kernel=3), given
        )
