"""Train the example transformer: python -m analysis.examples.train --data CAMVID --out FILE [--epochs N]

On CamVid's training images and as many built-in streets, from scratch. What is written holds averaged weights. The
state after each epoch lies beside it, as .part; the same command goes on from there.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from tqdm import tqdm

from analysis.examples.transformer import VisionTransformer
from analysis.examples.weights import save_example
from dnl.distributed import World
from dnl.training import TrainConfig, lovasz_softmax, open_split, training_batches

NETWORK = {"num_classes": 11, "channels": 128, "depth": 5, "heads": 4}
RATE, DECAY, WARM_UP = 1.5e-3, 0.05, 200  # of AdamW, and updates
SLOW = 0.1  # the rate of query and key relative to the rest, so that they stay near where they start
SETTLING = 40  # batches on which the averaged weights' batch norms are estimated


def main() -> None:
    """Parse the command line, train, write."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0], allow_abbrev=False)
    parser.add_argument("--data", required=True, help="CamVid's folder")
    parser.add_argument("--out", required=True, type=Path, help="the .safetensors file to write")
    parser.add_argument("--epochs", type=int, default=60, help="passes over CamVid's training images and the streets")
    arguments = parser.parse_args()
    train(arguments.data, arguments.out, arguments.epochs)


def train(data: str, out: Path, epochs: int) -> None:
    """All epochs that are left to do, then the averaged weights into `out`."""
    config = TrainConfig(
        dataset="camvid",
        streets_per_epoch=367,
        streets_pool=800,
        epochs=epochs,
        batch_size=8,
        crop_height=240,
        crop_width=324,
        min_scale=0.6,
        max_scale=1.5,
        gamma_change=0.4,
        colour_cast=0.15,
        blur=1.0,
        sensor_noise=8.0,
    )
    dataset = open_split(config, data, "train")
    sampler, batches = training_batches(config, dataset, World(0, 1, torch.device("cpu")))
    torch.manual_seed(0)
    model = VisionTransformer(**NETWORK).train()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.995))
    slow = [weight for name, weight in model.named_parameters() if name.endswith(("query.weight", "key.weight"))]
    rest = [weight for weight in model.parameters() if not any(weight is other for other in slow)]
    groups = [{"params": rest, "lr": RATE}, {"params": slow, "lr": SLOW * RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY, betas=(0.9, 0.98))
    total = epochs * sampler.batches
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM_UP) * max(0.0, 1 - step / total) ** 0.9
    )
    parts: dict[str, Any] = {"model": model, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
    state = out.with_suffix(".part")
    first = _go_on(state, parts)
    for epoch in range(first, epochs):
        sampler.start(epoch)
        bar = tqdm(batches, total=sampler.batches, desc=f"epoch {epoch + 1}/{epochs}")
        for images, labels in bar:
            loss = _loss(model, images, labels, dataset.label_set.ignore_index)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(model)
            bar.set_postfix(loss=f"{loss.item():.3f}")
        torch.save({"epochs": epoch + 1, **{name: part.state_dict() for name, part in parts.items()}}, state)
    update_bn((images for (images, _), _ in zip(batches, range(SETTLING), strict=False)), averaged)
    save_example(out, averaged.module.state_dict(), _card(epochs, dataset.label_set, total))


def _loss(model: nn.Module, images: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Cross-entropy and Lovász-softmax on every third pixel."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    logits, labels = logits.float()[..., ::3, ::3], labels[..., ::3, ::3]
    surrogate = lovasz_softmax(logits.softmax(1), labels, ignore_index=ignore_index).mean()
    return F.cross_entropy(logits, labels, ignore_index=ignore_index) + surrogate


def _go_on(state: Path, parts: dict) -> int:
    """Load what an interrupted training left; the number of epochs done."""
    if not state.is_file():
        return 0
    left = torch.load(state, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(left[name])
    return left["epochs"]


def _card(epochs: int, label_set, updates: int) -> dict:
    return {
        "name": "vision-transformer",
        "network": NETWORK,
        "classes": list(label_set.class_names),
        "ignore_index": label_set.ignore_index,
        "training": f"CamVid train (367 images) and 367 built-in streets an epoch, {epochs} epochs, {updates} updates",
        "licence": "CamVid is free for research use only",
    }


if __name__ == "__main__":
    main()
