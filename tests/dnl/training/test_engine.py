"""Training as functions: schedules, parameter groups, one update, one epoch, batch norms estimated anew, scores."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dnl.network import build_model
from dnl.training.config import override
from dnl.training.engine import (
    NonFiniteLoss,
    build_optimizer,
    evaluate,
    freeze,
    frozen_norms,
    growing_average,
    learning_rate,
    settle_norms,
    train_one_epoch,
)
from dnl.training.recipes import recipe

QUICK = [
    "model.width=8",
    "epochs=3",
    "batch_size=2",
    "crop_height=40",
    "crop_width=56",
    "evaluate_every=3",
    "streets_per_epoch=2",
    "streets_pool=2",
    "workers=0",
    "warmup_steps=2",
    "attention_restart=1",
]
NO_DROPOUT = ["model.head_dropout=0", "model.skip_dropout=0"]


def test_schedule_warms_up_and_ends_at_zero():
    config = dataclasses.replace(recipe("camvid_dnl"), learning_rate=1.0, warmup_steps=10)
    rates = [learning_rate(step, 100, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.5**0.9)
    assert rates[100] == 0
    assert max(rates) == rates[9]


def test_query_and_key_have_their_own_rate_and_vectors_no_decay():
    config = recipe("camvid_dnl")
    model = build_model(dataclasses.replace(config.model, width=8))
    groups = build_optimizer(model, config).param_groups
    owner = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(owner) == len(list(model.parameters()))
    assert (owner[id(model.context.key.weight)]["rate"], owner[id(model.context.key.weight)]["weight_decay"]) == (
        0.05,
        0.1,
    )
    assert (owner[id(model.context.gamma)]["rate"], owner[id(model.context.gamma)]["weight_decay"]) == (0.05, 0)
    assert owner[id(model.reduce[0].weight)]["weight_decay"] == 0.01
    tenfold = dataclasses.replace(config, optimizer="sgd", head_rate=10.0)
    groups = build_optimizer(model, tenfold).param_groups
    owner = {id(parameter): group for group in groups for parameter in group["params"]}
    assert owner[id(model.backbone.stage1[0].conv1.weight)]["rate"] == 1
    assert owner[id(model.head[0].weight)]["rate"] == 10
    assert owner[id(model.context.query.weight)]["rate"] == pytest.approx(0.5)
    assert groups[0]["momentum"] == 0.9


def test_a_loss_that_is_not_finite_stops_before_the_update():
    config = override(recipe("camvid_dnl"), QUICK)
    model = build_model(config.model)
    before = model.context.gamma.item()
    batch = (torch.full((2, 3, 40, 56), float("nan")), torch.zeros(2, 40, 56, dtype=torch.int64))
    with pytest.raises(NonFiniteLoss, match="at step 4"):
        train_one_epoch(
            model,
            build_optimizer(model, config),
            [batch],
            config,
            ignore_index=11,
            class_weights=torch.ones(11),
            first_step=4,
            total_steps=9,
        )
    assert model.context.gamma.item() == before


def test_training_lowers_the_loss_on_one_batch():
    torch.manual_seed(0)
    config = override(recipe("camvid_dnl"), [*QUICK, "loss_stride=2"])
    model = build_model(config.model)
    labels = torch.arange(4).repeat_interleave(14).repeat(2, 40, 1)
    images = torch.nn.functional.one_hot(labels, 4)[..., :3].permute(0, 3, 1, 2).float()
    losses = []
    train_one_epoch(
        model,
        build_optimizer(model, config),
        [(images, labels)] * 30,
        config,
        ignore_index=11,
        class_weights=torch.ones(11),
        first_step=0,
        total_steps=30,
        after_step=lambda _, loss: losses.append(loss),
    )
    assert losses[-1] < 0.6 * losses[0]


def update(model, config, optimizer=None, batch=None, class_weights=None):
    """One update of the model, on an uneven batch unless another is given; its loss."""
    return train_one_epoch(
        model,
        optimizer or build_optimizer(model, config),
        [batch or uneven_batch()],
        config,
        ignore_index=11,
        class_weights=class_weights,
        first_step=0,
        total_steps=9,
    )


def one_step(config, batch, *, parts=1):
    """Loss and weights after one update on `batch`."""
    torch.manual_seed(0)
    config = dataclasses.replace(config, accumulation=parts, freeze_norms=True)
    model = build_model(config.model)
    loss = update(model, config, batch=batch, class_weights=torch.linspace(0.5, 2, 11))
    return loss, model.state_dict()


def test_frozen_stages_and_the_norms_of_the_backbone_stay_as_they_start():
    settings = ["model.backbone=efficientnet_lite0", "frozen_stages=2", "freeze_backbone_norms=true"]
    config = override(recipe("camvid_dnl"), [*QUICK, *settings])
    torch.manual_seed(0)
    model = build_model(config.model)
    freeze(model, config)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, config)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == sum(
        parameter.requires_grad for parameter in model.parameters()
    )
    update(model, config, optimizer)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    frozen = ("backbone.stem.", "backbone.stage1.", "backbone.stage2.")
    assert not [name for name in changed if name.startswith(frozen)]
    assert not [name for name in changed if name.startswith("backbone.") and "running" in name]
    learnt = {"backbone.stage3.0.depthwise.0.weight", "backbone.stage4.4.project.1.bias", "head.0.weight"}
    assert {*learnt, "reduce.1.running_mean"} <= changed


def test_what_is_not_to_learn_stays_as_it_starts_and_computes_as_when_predicting():
    config = override(recipe("camvid_dnl"), [*QUICK, "learning_parts=head, fuse", "model.head_dropout=0.5"])
    torch.manual_seed(0)
    model = build_model(config.model)
    freeze(model, config)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, config)
    learning = [parameter for part in (model.head, model.fuse) for parameter in part.parameters()]
    given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in given} == {id(parameter) for parameter in learning}
    images, labels = uneven_batch()
    update(model, config, optimizer, (images, labels))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"head.0.weight", "head.4.bias", "head.1.running_mean", "fuse.0.weight"} <= changed
    assert all(name.startswith(("head.", "fuse.")) for name in changed)
    # The class-level prediction, which steers the attention, has no dropout then, and no statistics of the batch.
    with torch.no_grad():
        first, second = model.encode(images), model.encode(images)
    torch.testing.assert_close(first.class_logits, second.class_logits, rtol=0, atol=0)
    settle_norms(model, [(images, labels)], frozen=frozen_norms(model, config))
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if not name.startswith(("head.", "fuse.")))


@pytest.mark.parametrize("learning", ["", "head"])
def test_a_closed_skip_stays_closed_whatever_else_learns(learning):
    """What is dropped has no gradient."""
    config = override(recipe("camvid_dnl"), [*QUICK, f"learning_parts={learning}", "weight_decay=0", "skip_rate=1"])
    torch.manual_seed(0)
    model = build_model(config.model)
    model.close_skip()
    freeze(model, config)
    model.skip_dropout.p = 1.0
    update(model, config)
    assert not model.head[0].weight[:, : model.backbone.channels[-1]].any()


def uneven_batch(size=4):
    """Images whose labels are ignored to very different extents."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(size, 3, 40, 56, generator=generator)
    labels = torch.randint(0, 11, (size, 40, 56), generator=generator)
    labels[0, 5:] = 11
    labels[2] = 11
    return images, labels


@pytest.mark.parametrize("settings", [[], ["ohem_threshold=0.1", "ohem_least=0.3"]], ids=["all pixels", "hard pixels"])
def test_a_batch_in_parts_makes_the_update_of_the_whole(settings):
    config = override(recipe("camvid_dnl"), [*QUICK, *NO_DROPOUT, "optimizer=sgd", *settings])
    whole_loss, whole = one_step(config, uneven_batch())
    loss, parts = one_step(config, uneven_batch(), parts=2)
    assert loss == pytest.approx(whole_loss, abs=1e-5)
    assert all(torch.allclose(whole[key], parts[key], atol=1e-5) for key in whole)


def test_a_batch_without_labels_changes_nothing_but_decay():
    config = override(recipe("camvid_dnl"), [*QUICK, "optimizer=sgd", "weight_decay=0", "query_key_decay=0"])
    images, labels = uneven_batch()
    torch.manual_seed(0)
    before = build_model(config.model).state_dict()
    loss, after = one_step(config, (images, torch.full_like(labels, 11)))
    assert loss == 0
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_evaluation_restores_the_mode_and_counts_every_image(camvid):
    from dnl.datasets import CamVid

    model = build_model(override(recipe("camvid_dnl"), QUICK).model).train()
    scores = evaluate(model, CamVid(camvid, "val"))
    assert model.training
    assert 0 <= scores.miou <= scores.pixel_accuracy + 1
    assert set(scores.iou) <= set(CamVid.label_set.class_names)


def test_an_image_too_small_to_score_is_named(camvid):
    from dnl.datasets import CamVid

    dataset = CamVid(camvid, "val")
    small = [sample._replace(image=sample.image[:20], labels=sample.labels[:20]) for sample in dataset]
    small_set = type("Small", (list,), {"label_set": dataset.label_set})(small)
    model = build_model(override(recipe("camvid_dnl"), QUICK).model)
    with pytest.raises(ValueError, match=f"image {small[0].name} cannot be scored: .* at least 32 pixels a side"):
        evaluate(model, small_set)


def test_the_skip_is_learnt_at_its_own_rate():
    shared = [*QUICK, *NO_DROPOUT, "optimizer=sgd", "learning_rate=1"]
    torch.manual_seed(0)
    start = build_model(override(recipe("camvid_dnl"), shared).model).state_dict()
    moved = {}
    for rate in (1.0, 0.25, 0.0):
        _, weights = one_step(override(recipe("camvid_dnl"), [*shared, f"skip_rate={rate}"]), uneven_batch())
        moved[rate] = weights["head.0.weight"] - start["head.0.weight"]
    skip, context = moved[1.0][:, :64], moved[1.0][:, 64:]
    assert skip.abs().max() > 1e-4
    torch.testing.assert_close(moved[0.25][:, :64], 0.25 * skip, rtol=1e-3, atol=1e-6)
    assert not moved[0.0][:, :64].any()
    torch.testing.assert_close(moved[0.25][:, 64:], context)


# --- batch norms estimated anew --------------------------------------------------------------------------------------


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


def test_frozen_norms_keep_their_statistics(net):
    kept, before = net[1].running_mean.clone(), net[4].running_mean.clone()
    settle_norms(net, batches(), frozen=[net[1]])
    assert torch.equal(net[1].running_mean, kept) and not torch.equal(net[4].running_mean, before)
    with pytest.raises(ValueError, match="no batch to estimate"):
        settle_norms(net, [], frozen=[net[1]])
    assert torch.equal(net[1].running_mean, kept)


def test_without_a_batch_there_is_nothing_to_estimate(net):
    with pytest.raises(ValueError, match="no batch to estimate"):
        settle_norms(net, [])


# --- averaged weights ------------------------------------------------------------------------------------------------


def averaged(weights, update):
    """What an average of one weight is after it has taken these values."""
    model = nn.Linear(1, 1, bias=False).double()
    average = AveragedModel(model, multi_avg_fn=update)
    for weight in weights:
        nn.init.constant_(model.weight, weight)
        average.update_parameters(model)
    return average.module.weight.item()


def test_the_average_forgets_its_start_and_follows_a_short_run():
    weights = [1 - 0.9**step for step in range(50)]  # learns from 0 towards 1
    by_hand = weights[0]
    for number, weight in enumerate(weights[1:], start=1):
        decay = min(0.998, (1 + number) / (10 + number))
        by_hand = decay * by_hand + (1 - decay) * weight
    assert averaged(weights, growing_average(0.998)) == pytest.approx(by_hand, rel=1e-12)
    assert abs(by_hand - weights[-1]) < 0.01
    assert averaged(weights, get_ema_multi_avg_fn(0.998)) < 0.1  # a decay that does not grow keeps the start


def test_over_a_long_run_the_average_is_that_of_the_constant_decay():
    weights = [0.0] * 4490 + [1.0] * 5758  # the length of camvid_dnl; what differs is how the first part weighs
    growing, constant = (averaged(weights, update) for update in (growing_average(0.998), get_ema_multi_avg_fn(0.998)))
    assert growing == pytest.approx(constant, abs=1e-12)
    assert 1 - growing == pytest.approx(0.998**5758, rel=1e-6)  # 1e-5: all that is left of the first part


def test_the_rate_comes_to_its_peak_within_a_third_of_the_run():
    config = dataclasses.replace(recipe("camvid_dnl"), learning_rate=1.0)
    rates = [learning_rate(step, 6, config) for step in range(6)]
    assert max(rates) == rates[1] == pytest.approx((5 / 6) ** 0.9)
    assert learning_rate(0, 84 * 122, config) == 1 / 200  # long runs warm up as they always have
