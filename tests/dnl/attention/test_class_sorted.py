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
