"""The one module that knows captum's private names; tests/test_captum_contract.py fails loudly when they move."""

from __future__ import annotations

from captum._utils.common import _run_forward as run_forward
from captum._utils.common import _select_targets as select_targets
from captum.attr import Attribution, GradientAttribution, LayerAttribution
from captum.log import log_usage

__all__ = ["Attribution", "GradientAttribution", "LayerAttribution", "log_usage", "run_forward", "select_targets"]
