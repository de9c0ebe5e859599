"""Batch norms estimated anew: exactly the means of the batches' statistics, with nothing else changed."""

import pytest
import torch
from torch import nn

from dnl.training.engine import settle_norms


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.9), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))
    for norm in (net[1], net[4]):
        norm.running_mean.fill_(7)
        norm.running_var.fill_(70)
    return net


def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(size, 3, 4, 5, generator=generator), None) for size in (2, 3, 2)]


def statistics(maps):
    """Mean and unbiased variance of each channel, written out."""
    cells = [maps[:, channel].flatten() for channel in range(maps.shape[1])]
    return torch.stack([torch.stack([c.mean(), ((c - c.mean()) ** 2).sum() / (len(c) - 1)]) for c in cells], dim=1)


def normalised(maps):
    centred = maps - maps.mean((0, 2, 3), keepdim=True)
    return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()


@torch.no_grad()
def test_statistics_are_the_plain_means_over_the_batches(net):
    first = [net[0](images) for images, _ in batches()]
    second = [net[3](normalised(maps)) for maps in first]  # nothing is dropped in between
    settle_norms(net, batches())
    for norm, inputs in ((net[1], first), (net[4], second)):
        mean, variance = torch.stack([statistics(maps) for maps in inputs]).mean(0)
        torch.testing.assert_close(norm.running_mean, mean, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, atol=1e-6, rtol=1e-5)


def test_weights_mode_momentum_and_random_state_stay(net):
    weights = [parameter.clone() for parameter in net.parameters()]
    for training in (True, False):
        net.train(training)
        state = torch.get_rng_state()
        settle_norms(net, batches())
        assert torch.equal(torch.get_rng_state(), state)
        assert all(module.training == training for module in net.modules())
    assert net[1].momentum == net[4].momentum == 0.1
    assert all(torch.equal(before, after) for before, after in zip(weights, net.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in net.parameters())


def test_settling_again_changes_nothing(net):
    settle_norms(net, batches())
    before = net[4].running_var.clone()
    settle_norms(net, batches())
    assert torch.equal(net[4].running_var, before)


def test_without_a_batch_there_is_nothing_to_estimate(net):
    with pytest.raises(ValueError, match="no batch to estimate"):
        settle_norms(net, [])
