"""Warnings name the line that the user wrote."""

from __future__ import annotations

import contextlib

import pytest
import torch
from captum.attr import NoiseTunnel
from models import Net, images

from normgrad_attr import CombinedNormGrad, MetaSaliency, NormGrad


@pytest.mark.parametrize("through", ["attribute", "combined", "noise tunnel", "meta", "decorator"])
def test_a_warning_points_at_the_line_that_called(through: str) -> None:
    net, x = Net().train(), images()
    method = NormGrad(net, "block")
    calls = {
        "attribute": lambda: method.attribute(x, 0),
        "combined": lambda: CombinedNormGrad(net, ["block"]).attribute(x, 0),
        "noise tunnel": lambda: NoiseTunnel(method).attribute(x, target=0, nt_samples=1),
        "meta": lambda: MetaSaliency(method).attribute(x[:1], 0),
        "decorator": contextlib.contextmanager(lambda: (yield method.attribute(x, 0)))().__enter__,
    }
    with pytest.warns(UserWarning, match="training mode") as record, torch.no_grad():
        calls[through]()
    assert {warning.filename for warning in record} == {__file__}
