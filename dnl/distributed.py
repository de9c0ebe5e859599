"""One process or many: the few things that differ when torchrun has started several.

Alone, every function here does what one process needs, so that callers never ask. Gradients are averaged by
DistributedDataParallel over NCCL on GPUs and over Gloo on CPUs. Batch norm is synchronised on GPUs; CPU processes
normalise by their own share of a batch, because torch's synchronised batch norm exists for GPUs alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """`size` processes, of which this is number `rank` (from 0), computing on `device`."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0


@contextmanager
def joined() -> Iterator[World]:
    """The world that torchrun describes in the environment, left at the end; without torchrun a world of one.

    After an error nobody waits: torchrun then ends the others.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(int(os.environ.get("RANK", "0")), size, device)
        if size > 1:
            # A process that ends right after a sum can abort: Gloo's thread, not yet rid of the sum's tensor, then
            # needs an interpreter that is gone. A barrier has no tensor.
            dist.barrier()
    finally:
        if size > 1:
            dist.destroy_process_group()


def total(value: Tensor) -> Tensor:
    """The sum of `value`, of any shape, over all processes, the same in each; `value` itself when alone."""
    if not dist.is_initialized():
        return value
    summed = value.clone()
    dist.all_reduce(summed)
    return summed


def from_main(value: Tensor) -> Tensor:
    """The main process's `value`, of any shape, the same in each; `value` itself when alone."""
    if not dist.is_initialized():
        return value
    sent = value.clone()
    dist.broadcast(sent, src=0)
    return sent


def parallel(model: nn.Module, world: World) -> nn.Module:
    """`model` so that its gradients are averaged over the world; the model itself when alone."""
    if world.size == 1:
        return model
    if world.device.type == "cuda":
        return DistributedDataParallel(model, device_ids=[world.device.index])
    return DistributedDataParallel(model)


def synchronised_norms(model: nn.Module, world: World) -> nn.Module:
    """`model` with synchronised batch norm where that applies: several processes on GPUs."""
    if world.size > 1 and world.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model
