"""Models whose weights are spread over processes give the maps of the whole model, and go on training."""

from __future__ import annotations

import importlib
import os
import warnings
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from normgrad_attr import NormGrad

LAYERS = (0, 1, 2, 3)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.Tanh()),
        nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(inplace=True)),
        nn.Flatten(),
        nn.Linear(144, 3),
    ).eval()


def work(rank: int, folder: str, version: int) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    whole, model, x = network(), network(), torch.rand(2, 3, 8, 8)
    if version == 1:
        from torch.distributed.fsdp import FullyShardedDataParallel

        for i in (2, 3):
            model[i] = FullyShardedDataParallel(model[i], device_id=torch.device("cpu"))
        inner, model = model, FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    else:
        from torch.distributed.fsdp import fully_shard

        for part in (model[2], model[3], model):
            fully_shard(part)
        inner = model
    with torch.no_grad():
        for i in LAYERS:
            for options in ({}, {"create_graph": True}):
                expected = NormGrad(whole, whole[i]).attribute(x, 1)
                found = NormGrad(model, inner[i]).attribute(x, 1, grad_kwargs=options)
                torch.testing.assert_close(found.detach(), expected)
    model.train()(x).sum().backward()
    distributed.destroy_process_group()
    Path(folder, f"done {rank}").touch()
    # Torch's own threads abort now and then when an interpreter that has sharded a model ends
    # (seen without this package, torch 2.14): nothing is left to tidy up, so leave without it.
    os._exit(0)


@pytest.mark.skipif(not distributed.is_available() or os.name == "nt", reason="needs gloo")
@pytest.mark.parametrize("version", [1, 2])
def test_weights_in_shards(version: int, tmp_path: Path) -> None:
    if version == 2 and not hasattr(importlib.import_module("torch.distributed.fsdp"), "fully_shard"):
        pytest.skip("torch < 2.6")
    torch.multiprocessing.spawn(work, (str(tmp_path), version), nprocs=2)
    assert len(list(tmp_path.glob("done *"))) == 2
