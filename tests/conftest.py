from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS / "benchmarks")]  # tests share the oracle, the tiny run and the like

torch.set_num_threads(1)  # tiny tensors, and the tests may run in parallel processes
if (device := os.environ.get("DEVICE", "cpu")) != "cpu":  # as in benchmarks/speed/gpu.sh
    torch.set_default_device(device)
settings.register_profile("normgrad_attr", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("normgrad_attr")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _methods_of_the_suite() -> Iterator[None]:
    """Methods of a module's own, which an evaluation registers, are gone behind it."""
    yield
    if (registry := sys.modules.get("benchmarks.methods.registry")) is not None:
        for name in registry.METHODS.keys() - registry._OURS:
            del registry.METHODS[name]


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Seed the networks that a module draws for its parameters, when it is read."""
    if isinstance(collector, pytest.Module):
        torch.manual_seed(0)
