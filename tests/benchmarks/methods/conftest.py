from __future__ import annotations

import pytest
import torch
from tiny_network import SIZE, TinyResNet


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return TinyResNet().eval()
