from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.evaluation import command
from benchmarks.shapes import trained_network as trained
from benchmarks.shapes.draw_picture import draw_picture
from benchmarks.shapes.outlines import KINDS
from benchmarks.shapes.shapes_network import build_shapes_network


@pytest.fixture(autouse=True)
def _few_and_untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trained, "TEST_PICTURES", 7)
    monkeypatch.setattr(command, "trained_network", _untrained)


def _untrained(seed: int) -> torch.nn.Sequential:
    network = build_shapes_network().eval()
    torch.nn.init.constant_(network[-1].bias, seed)
    return network


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments of the evaluations that the command asks for."""
    asked: list[dict[str, Any]] = []

    class Result:
        def report(self) -> None:
            pass

    def evaluate(**settings: Any) -> Result:
        asked.append(settings)
        return Result()

    monkeypatch.setattr(command, "evaluate", evaluate)
    return asked


def test_it_brings_network_pictures_and_grids(asked: list[dict[str, Any]]) -> None:
    assert main(["evaluate", "--preset", "shapes", "--methods", "grad_cam", "--grid", "3"]) == 0
    (settings,) = asked
    assert settings["methods"] == ("grad_cam",)
    assert (settings["grid"], settings["out"]) == (3, Path("runs/shapes"))
    model, data = settings["model"], settings["data"]
    assert (model.classes, model.outputs, model.shape) == (KINDS, "sigmoid", (3, 96, 96))
    assert len(data.images) == 7
    for number, image in enumerate(data.images):
        picture = draw_picture(4, number)
        assert set(image.labels) == picture.kinds
        assert len(image.objects) == len(picture.shapes)


@pytest.mark.parametrize(("given", "seed", "out"), [([], 0, "shapes"), (["--seed", "3"], 3, "shapes_3")])
def test_a_seed_has_a_network_and_a_folder_of_its_own(
    given: list[str], seed: int, out: str, asked: list[dict[str, Any]]
) -> None:
    main(["evaluate", "--preset", "shapes", *given])
    assert asked[0]["model"].network[-1].bias.tolist() == [seed] * len(KINDS)
    assert asked[0]["out"] == Path("runs") / out


def test_the_network_sees_pictures_as_it_was_trained(asked: list[dict[str, Any]]) -> None:
    from PIL import Image

    main(["evaluate", "--preset", "shapes"])
    model, data = asked[0]["model"], asked[0]["data"]
    pixels, _ = trained.draw_batch(4, 2)
    torch.testing.assert_close(model.prepare(Image.open(data.images[1].path)), pixels[1].float() / 255)


@pytest.mark.parametrize(
    "option",
    ["--model timm:resnet18", "--data x.json", "--images x", "--image-size 64", "--mean 0.5", "--classes a,b"],
)
def test_what_it_brings_cannot_be_given(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--preset", "shapes", *option.split()]) == 2
    assert f"leave out {option.split()[0]}." in capsys.readouterr().err


@pytest.mark.parametrize(("given", "missing"), [([], "--data"), (["--data", "x.json"], "--model")])
def test_without_it_model_and_data_are_needed(
    given: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *given]) == 2
    assert f"{missing} is missing" in capsys.readouterr().err
