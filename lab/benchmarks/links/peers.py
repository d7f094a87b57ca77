# SPDX-License-Identifier: Apache-2.0
"""One worker of torch's ways: DDP, FSDP and DiLoCo with float32, over gloo.

    python -m benchmarks.links.peers RANK WORKERS ADDRESS PORT [DEVICE]

Reads a line a measurement on standard input, ``WAY MODEL TIMES``, and answers each with a line of JSON: the seconds and
the bytes of one exchange. A batch has eight tokens, so a step is nearly all communication. Bytes are those of the
device; without one, those of the process's TCP connections.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from benchmarks.links.counters import connection_bytes, device_bytes, since
from benchmarks.links.models import SIZES
from folkmoot.tasks.text.gpt import Gpt, losses_of

DDP, FSDP, DILOCO = "ddp", "fsdp", "diloco"
WAYS = (DDP, FSDP, DILOCO)

_TOKENS = torch.arange(8).view(1, 8)


def exchange_of(way: str, name: str) -> Callable[[], object]:
    """Return a function that makes one exchange: a step of DDP or FSDP, or the mean of a round's changes."""
    torch.manual_seed(1)
    model: torch.nn.Module = Gpt(SIZES[name])
    if way == DILOCO:
        changes = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

        def reduce() -> None:
            dist.all_reduce(changes)
            changes.div_(dist.get_world_size())

        return reduce
    if way == FSDP:
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for block in model.get_submodule("blocks").children():
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    else:
        model = DistributedDataParallel(model)

    def step() -> None:
        model.zero_grad()
        losses_of(model, _TOKENS, _TOKENS).mean().backward()

    return step


def measured(
    exchange: Callable[[], object], times: int, count: Callable[[], dict[str, int]]
) -> dict[str, float]:
    """Make an exchange some times, after one that sets up what is needed; return seconds and bytes of one."""
    exchange()
    dist.barrier()
    before, began = count(), time.monotonic()
    for _ in range(times):
        exchange()
    dist.barrier()
    seconds = (time.monotonic() - began) / times
    return {"seconds": seconds, **{name: value / times for name, value in since(before, count()).items()}}


def main() -> None:
    """Join the others, and measure what the input says until it ends."""
    rank, workers, address, port, *device = sys.argv[1:]
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=port)
    torch.set_num_threads(1)
    if device:
        os.environ["GLOO_SOCKET_IFNAME"] = device[0]
    dist.init_process_group("gloo", rank=int(rank), world_size=int(workers))

    def count() -> dict[str, int]:
        return device_bytes(device[0]) if device else connection_bytes()

    for line in sys.stdin:
        way, name, times = line.split()
        try:
            found = measured(exchange_of(way, name), int(times), count)
        except RuntimeError as error:  # torch's word for what a backend can't do
            print(json.dumps({"error": str(error).splitlines()[0]}), flush=True)
            continue
        print(json.dumps(found), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
