from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.shapes import trained_network as module
from benchmarks.shapes.outlines import KINDS
from benchmarks.shapes.shapes_network import build_shapes_network
from benchmarks.shapes.trained_network import (
    Lesson,
    draw_batch,
    fit,
    measure,
    shapes_folder,
    trained_network,
)

SHORT = (Lesson(seed=1, pictures=64, epochs=2, shapes=1, size=48), Lesson(seed=2, pictures=32, epochs=2, size=64))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "LESSONS", SHORT)
    monkeypatch.setattr(module, "TEST_PICTURES", 12)
    return tmp_path


def test_the_network_takes_any_size_and_has_an_output_for_each_kind():
    network = build_shapes_network().eval()
    for size in (32, 96, 192):
        assert network(torch.rand(2, 3, size, size)).shape == (2, len(KINDS))
    assert network[:4](torch.rand(1, 3, 96, 96)).shape[2:] == (6, 6)


def test_labels_say_which_kinds_are_there():
    pixels, labels = draw_batch(seed=9, count=5, shapes=2)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (5, 3, 96, 96)
    for row, label in enumerate(labels):
        kinds = module.draw_picture(9, row, 2).kinds
        assert [kind for kind, value in zip(KINDS, label, strict=True) if value] == [k for k in KINDS if k in kinds]


def test_it_is_trained_once_and_says_so(cache: Path, capsys: pytest.CaptureFixture[str]):
    first = trained_network()
    assert str(cache) in capsys.readouterr().out
    second = trained_network()
    assert not capsys.readouterr().out
    assert not first.training
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    facts = json.loads((shapes_folder() / "network_0.json").read_text())
    assert facts["pictures"] == 12
    assert facts == measure(second)
    assert {path.name for path in shapes_folder().iterdir()} == {"network_0.pt", "network_0.json"}


def test_a_seed_is_another_training_of_its_own(cache: Path):
    first, other = trained_network().state_dict(), trained_network(1).state_dict()
    assert not torch.equal(first["head.weight"], other["head.weight"])
    for seed, state in enumerate([first, other]):
        torch.testing.assert_close(trained_network(seed).state_dict(), state, rtol=0, atol=0)
    # Not only the first weights: the order of the pictures, too.
    networks = [build_shapes_network() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    for seed, network in enumerate(networks):
        fit(network, SHORT[:1], seed=seed)
    assert not torch.equal(networks[0].head.weight, networks[1].head.weight)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_training_that_was_stopped_ends_where_it_would_have_ended(
    cache: Path, monkeypatch: pytest.MonkeyPatch, steps: int
):
    """Stopped in the first epoch, in the second, and in the last of the second lesson."""
    whole = trained_network().state_dict()
    (shapes_folder() / "network_0.pt").unlink()
    step, made = torch.optim.AdamW.step, []

    def stop(self, *args, **kwargs):
        made.append(1)
        if len(made) > steps:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            trained_network()
    assert not (shapes_folder() / "network_0.pt").exists()
    torch.testing.assert_close(trained_network().state_dict(), whole, rtol=0, atol=0)


def test_a_damaged_network_is_trained_again(cache: Path):
    whole = trained_network().state_dict()
    (shapes_folder() / "network_0.pt").write_bytes(b"no")
    torch.testing.assert_close(trained_network().state_dict(), whole, rtol=0, atol=0)


def test_another_network_can_be_trained_too():
    before = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, len(KINDS)))
    weights = before[2].weight.clone()
    fit(before, SHORT[:1])
    assert not torch.equal(before[2].weight, weights)


def test_the_pictures_are_drawn_once(cache: Path):
    path = module.test_pictures()
    assert len(list((path.parent / "test").iterdir())) == 12
    before = path.stat().st_mtime_ns
    assert module.test_pictures().stat().st_mtime_ns == before


def test_the_network_names_what_it_has_never_seen():
    """The network of the preset, from the user's cache; the first time it is trained here, in a minute or two."""
    network = trained_network()
    facts = measure(network)
    assert facts["mean_average_precision"] > 0.985
    assert facts["mean_accuracy"] > 0.97
    pixels, labels = draw_batch(seed=9, count=100, shapes=1)
    assert (network(pixels / 255).argmax(1) == labels.argmax(1)).float().mean() > 0.95
