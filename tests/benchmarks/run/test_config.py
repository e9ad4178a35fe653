from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import build_parser
from benchmarks.run.config import Config, from_dict
from benchmarks.run.errors import UserError
from benchmarks.run.presets import make_config


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"image_size": 8}, "--image-size"),
        ({"batch_size": 1}, "--batch-size"),
        ({"limit": 1}, "--limit"),
        ({"seed": -1}, "--seed"),
        ({"data_seed": 2**32}, "--data-seed"),
        ({"lr": 0.0}, "--lr"),
        ({"threads": 0}, "--threads"),
        ({"budget": 19}, "--budget"),
        ({"truth": "circle"}, "--truth"),
    ],
)
def test_senseless_setting_is_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        make_config("synthetic", settings)


def test_setting_of_another_version_is_named() -> None:
    with pytest.raises(UserError, match="'colour'"):
        from_dict({**Config(data=Path("x")).to_dict(), "colour": 1})


def test_limit_bounds_the_synthetic_splits() -> None:
    config = make_config("synthetic", {"limit": 250, "film_counts": (1000, 200, 300)})

    assert config.split_counts() == {"train": 250, "dev": 200, "test": 250}


def test_settings_of_the_parts_stand_beside_the_others() -> None:
    config = Config(data=Path("x")).replace(seed=3, truth="shape", threads=1, rotate=5.0)

    assert (config.seed, config.scoring.truth, config.devices.threads, config.augmentation.rotate) == (3, "shape", 1, 5)
    assert config.scoring.methods == Config().scoring.methods
    assert config.to_dict() == {
        **Config(data=Path("x")).to_dict(),
        "seed": 3,
        "truth": "shape",
        "threads": 1,
        "rotate": 5,
    }
    with pytest.raises(TypeError, match="colour"):
        config.replace(colour=1)


@pytest.mark.parametrize("command", ["run", "score"])
def test_a_weak_classifier_may_be_scored(command: str) -> None:
    assert build_parser().parse_args([command, "--allow-weak"]).allow_weak is True


@pytest.mark.parametrize("command", ["data", "train", "measure", "report"])
def test_where_nothing_is_scored_a_weak_classifier_needs_no_leave(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([command, "--allow-weak"])
    assert stop.value.code == 2
    assert "unrecognized arguments: --allow-weak" in capsys.readouterr().err
