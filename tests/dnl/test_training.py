"""Training: losses by hand, schedules, recipes, and runs that survive being interrupted."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dnl import train as training
from dnl.batches import CropDataset, EpochSampler
from dnl.checkpoints import load_checkpoint
from dnl.engine import NonFiniteLoss, autocast_dtype, build_optimizer, evaluate, learning_rate, train_one_epoch
from dnl.evaluate import alter_attention
from dnl.evaluate import main as evaluate_main
from dnl.files import write_atomically
from dnl.losses import balanced_class_weights, segmentation_loss
from dnl.network import SegmentationOutput, build_model
from dnl.recipes import RECIPES, from_dict, override, recipe
from dnl.transforms import RandomCrop

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


@pytest.fixture
def camvid(tmp_path):
    """Four tiny labelled images a split, in CamVid's layout: colour tells the class."""
    rng = np.random.default_rng(1)
    root = tmp_path / "camvid"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for index in range(4):
            labels = np.repeat(np.repeat(rng.integers(0, 12, (4, 5), np.uint8), 12, 0), 12, 1)
            image = np.stack([labels * 20, 255 - labels * 20, labels * 7], axis=2)
            Image.fromarray(image).save(root / split / f"{index}.png")
            Image.fromarray(labels).save(root / f"{split}annot" / f"{index}.png")
    return root


def run(camvid, out, *extra, settings=()):
    sets = [part for setting in [*QUICK, *settings] for part in ("--set", setting)]
    return training.main(["--recipe", "camvid_dnl", "--data", str(camvid), "--out", str(out), *sets, *extra])


def final_weights(out):
    return load_checkpoint(out / "model.safetensors")[0].state_dict()


def test_loss_by_hand():
    labels = torch.tensor([[[0, 1, 5]]])
    main = torch.zeros(1, 2, 1, 3)
    sure = torch.zeros(1, 2, 1, 3)
    sure[0, 0, 0, 0] = sure[0, 1, 0, 1] = np.log(3.0)  # probability 3/4 for the right class
    loss = segmentation_loss(SegmentationOutput(main, sure, main), labels, ignore_index=5)
    assert loss.item() == pytest.approx(np.log(2) + 0.4 * (np.log(4 / 3) + np.log(2)), abs=1e-6)
    weighted = segmentation_loss(
        SegmentationOutput(main, main, main), labels, ignore_index=5, class_weights=torch.tensor([3.0, 1.0])
    )
    assert weighted.item() == pytest.approx(1.8 * np.log(2), abs=1e-6)


def test_class_weights_by_hand():
    weights = balanced_class_weights(np.array([900, 100, 0, 100]), largest=3.0)
    assert weights.tolist() == pytest.approx([1 / 3, 1.0, 3.0, 1.0])


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
    assert owner[id(model.context.gamma)]["weight_decay"] == 0
    assert owner[id(model.reduce[0].weight)]["weight_decay"] == 0.01
    tenfold = dataclasses.replace(config, optimizer="sgd", head_rate=10.0)
    groups = build_optimizer(model, tenfold).param_groups
    owner = {id(parameter): group for group in groups for parameter in group["params"]}
    assert owner[id(model.backbone.stage1[0].conv1.weight)]["rate"] == 1
    assert owner[id(model.head[0].weight)]["rate"] == 10
    assert owner[id(model.context.query.weight)]["rate"] == 0.5
    assert groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_build_and_survive_json(name):
    config = recipe(name)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_overrides():
    config = override(recipe("camvid_dnl"), ["epochs=7", "model.gate=binary", "compile=true", "learning_rate=1e-4"])
    assert (config.epochs, config.model.gate, config.compile, config.learning_rate) == (7, "binary", True, 1e-4)
    for setting, message in {
        "epochs": "no '='",
        "wings=2": "no setting wings",
        "model.wings=2": r"no setting model\.wings",
        "epochs=many": "type int",
        "model.gate=fence": "choose one of sigmoid",
        "epochs=0": "at least 1",
        "compile=perhaps": "type bool",
    }.items():
        with pytest.raises(ValueError, match=message):
            override(recipe("camvid_dnl"), [setting])
    with pytest.raises(ValueError, match="no recipe 'x'"):
        recipe("x")


def test_precision_choices():
    cpu = torch.device("cpu")
    assert autocast_dtype("float32", cpu) == torch.float32
    assert autocast_dtype("bfloat16", cpu) == torch.bfloat16
    assert autocast_dtype("auto", cpu) in (torch.float32, torch.bfloat16)


def test_an_epoch_draws_every_image_once_and_fresh_streets():
    sampler = EpochSampler([10, 50], drawn=5, batch_size=5, seed=0)
    sampler.start(0)
    first = [index for _, _, index in sampler]
    sampler.start(1)
    second = [index for _, _, index in sampler]
    assert sorted(index for index in first if index < 10) == list(range(10))
    assert sum(index >= 10 for index in first) == 5
    assert first != second
    sampler.start(0)
    assert [index for _, _, index in sampler] == first
    assert len(EpochSampler([11], 0, 4, 0)) == 8


def test_processes_share_the_batches_of_one():
    def batches(rank, processes):
        sampler = EpochSampler([10, 50], 2, batch_size=6, seed=1, rank=rank, processes=processes)
        items = list(sampler)
        assert len(items) == len(sampler)
        return [items[start : start + sampler.share] for start in range(0, len(items), sampler.share)]

    together = [first + second for first, second in zip(batches(0, 2), batches(1, 2), strict=True)]
    assert together == batches(0, 1)
    with pytest.raises(ValueError, match="6 cannot be dealt out evenly to 4 processes"):
        EpochSampler([10], 0, 6, 0, processes=4)


def test_items_depend_on_seed_epoch_and_position_alone(camvid):
    from dnl.datasets import CamVid

    crop = RandomCrop(32, 48, ignore_index=11)
    one, two = (CropDataset([CamVid(camvid), CamVid(camvid, "val")], crop, seed=3) for _ in range(2))
    two[(0, 0, 1)]
    assert torch.equal(one[(2, 5, 6)][0], two[(2, 5, 6)][0])
    assert not torch.equal(one[(2, 5, 6)][0], one[(2, 4, 6)][0])
    assert one[(0, 0, 0)][1].dtype == torch.int64


def test_a_run_leaves_its_records_and_a_usable_checkpoint(camvid, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(camvid, out) == 0
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(np.isfinite(line["loss"]) for line in lines)
    _, card = load_checkpoint(out / "model.safetensors")
    assert card["recipe"]["epochs"] == 3
    assert "research" in card["licence"]
    scores = tmp_path / "scores.json"
    arguments = ["--checkpoint", str(out / "model.safetensors"), "--dataset", "camvid", "--data", str(camvid)]
    assert evaluate_main([*arguments, "--json", str(scores), "--attention", "mean", "--gamma", "0.2"]) == 0
    assert 0 <= json.loads(scores.read_text())["miou"] <= 1
    assert run(camvid, out) == 1
    assert "already holds a run" in capsys.readouterr().err


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(camvid, tmp_path, monkeypatch, capsys):
    assert run(camvid, tmp_path / "whole") == 0
    calls = []

    def stop_in_the_second_epoch(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_one_epoch(*args, **kwargs)

    monkeypatch.setattr(training, "train_one_epoch", stop_in_the_second_epoch)
    assert run(camvid, tmp_path / "cut") == 130
    assert "go on with --resume" in capsys.readouterr().err
    monkeypatch.setattr(training, "train_one_epoch", train_one_epoch)
    assert run(camvid, tmp_path / "cut", "--resume") == 0
    whole, cut = final_weights(tmp_path / "whole"), final_weights(tmp_path / "cut")
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_the_attention_starts_anew_at_its_epoch(camvid, tmp_path):
    settings = ["query_key_rate=0", "query_key_decay=0", "evaluate_every=1", "ema_decay=0", "epochs=1"]
    assert run(camvid, tmp_path / "first", settings=settings) == 0
    before = final_weights(tmp_path / "first")["context.query.weight"]
    keys = {}
    for restart in (0, 1):
        out = tmp_path / str(restart)
        assert run(camvid, out, settings=[*settings, "epochs=2", f"attention_restart={restart}"]) == 0
        keys[restart] = final_weights(out)["context.key.weight"]
    assert torch.equal(keys[0], before)  # W_q = W_k, and at rate 0 they stay
    assert not torch.allclose(keys[1], before, atol=1e-2)


def test_resuming_refuses_other_settings_and_an_empty_folder(camvid, tmp_path, capsys):
    assert run(camvid, tmp_path / "run") == 0
    assert run(camvid, tmp_path / "run", "--resume", settings=["epochs=9"]) == 1
    assert "other settings" in capsys.readouterr().err
    assert run(camvid, tmp_path / "empty", "--resume") == 1
    assert "no run to resume" in capsys.readouterr().err


def test_errors_are_one_sentence(camvid, tmp_path, capsys):
    assert run(tmp_path / "nowhere", tmp_path / "a") == 1
    assert "is missing" in capsys.readouterr().err
    assert run(camvid, tmp_path / "b", settings=["model.num_classes=5"]) == 1
    assert "add --set model.num_classes=11" in capsys.readouterr().err
    assert evaluate_main(["--checkpoint", "nosuch", "--dataset", "streets"]) == 1
    assert "no checkpoint 'nosuch'" in capsys.readouterr().err


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


def one_step(config, batch, *, parts=1):
    """Loss and weights after one update on `batch`."""
    torch.manual_seed(0)
    config = dataclasses.replace(config, accumulation=parts, freeze_norms=True)
    model = build_model(config.model)
    loss = train_one_epoch(
        model,
        build_optimizer(model, config),
        [batch],
        config,
        ignore_index=11,
        class_weights=torch.linspace(0.5, 2, 11),
        first_step=0,
        total_steps=9,
    )
    return loss, model.state_dict()


def uneven_batch(size=4):
    """Images whose labels are ignored to very different extents."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(size, 3, 40, 56, generator=generator)
    labels = torch.randint(0, 11, (size, 40, 56), generator=generator)
    labels[0, 5:] = 11
    labels[2] = 11
    return images, labels


def test_a_batch_in_parts_makes_the_update_of_the_whole():
    config = override(recipe("camvid_dnl"), [*QUICK, "model.head_dropout=0", "model.skip_dropout=0", "optimizer=sgd"])
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


def test_attention_cannot_be_altered_without_a_block():
    model = build_model(override(recipe("camvid_fcn"), QUICK).model)
    alter_attention(model)
    with pytest.raises(ValueError, match="no attention block"):
        alter_attention(model, gamma=0.0)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fail)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
