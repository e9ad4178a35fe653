from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.run.config import Augmentation, from_dict
from benchmarks.run.errors import UserError
from benchmarks.run.presets import PRESETS, make_config


def test_object_cxr_is_the_recipe_of_the_paper(tmp_path: Path) -> None:
    config = make_config("object-cxr", {"data": tmp_path})

    assert (config.arch, config.weights, config.image_size) == ("resnet34", "imagenet", 600)
    assert (config.optimizer, config.lr, config.momentum, config.weight_decay) == ("sgd", 0.005, 0.9, 5e-4)
    assert (config.batch_size, config.epochs, config.lr_drop, config.warmup_epochs) == (16, 20, 5, 1)
    assert config.seed == 0
    assert config.augmentation == Augmentation(
        brightness=0.4, contrast=0.4, rotate=30.0, translate=0.1, scale=0.05, shear=0.1
    )


def test_object_cxr_without_data_says_where_to_get_it() -> None:
    with pytest.raises(UserError, match=r"--data.*train\.csv"):
        make_config("object-cxr", {})


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_json_keeps_every_setting(preset: str, tmp_path: Path) -> None:
    config = make_config(preset, {"data": tmp_path, "methods": ("center", "random"), "limit": 4})

    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config
