from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torchvision import models, transforms

from benchmarks.classifier.network import build_network, check_network, normalise
from benchmarks.run.errors import UserError


def test_slim_resnet_has_the_layer_names_of_torchvision() -> None:
    slim, full = build_network("slim_resnet18", "none"), models.resnet18(num_classes=2)

    assert [name for name, _ in slim.named_modules()] == [name for name, _ in full.named_modules()]
    assert slim(torch.zeros(2, 3, 64, 64)).shape == (2, 2)


@pytest.mark.parametrize("arch", ["resnet18", "efficientnet_b0", "densenet121", "mobilenet_v3_small"])
def test_any_torchvision_classifier_gets_two_outputs(arch: str) -> None:
    assert build_network(arch, "none").eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize("arch", ["resnet_seventeen", "fcn_resnet50"])
def test_what_is_no_classifier_is_named(arch: str) -> None:
    with pytest.raises(UserError, match=arch):
        build_network(arch, "none")


def test_weights_file_fills_all_but_the_head(tmp_path: Path) -> None:
    donor = models.resnet18(num_classes=7)
    torch.save(donor.state_dict(), tmp_path / "weights.pt")

    network = build_network("resnet18", str(tmp_path / "weights.pt"))

    assert torch.equal(network.state_dict()["layer3.0.conv1.weight"], donor.state_dict()["layer3.0.conv1.weight"])
    assert network.state_dict()["fc.weight"].shape == (2, 512)


def test_weights_of_a_training_around_the_network(tmp_path: Path) -> None:
    """As Lightning saves a compiled one, with its loss beside and without counts of batches."""
    donor = models.resnet18().state_dict()
    state = {f"model._orig_mod.{name}": value for name, value in donor.items() if "num_batches" not in name}
    torch.save({"state_dict": {**state, "criterion.weight": torch.ones(2)}}, tmp_path / "weights.pt")

    network = build_network("resnet18", str(tmp_path / "weights.pt"))

    assert torch.equal(network.state_dict()["layer4.1.conv2.weight"], donor["layer4.1.conv2.weight"])


def test_weights_with_a_head_of_another_structure_fill_the_rest(tmp_path: Path) -> None:
    donor = models.resnet18()
    donor.fc = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(512, 3))
    torch.save(donor.state_dict(), tmp_path / "weights.pt")

    network = build_network("resnet18", str(tmp_path / "weights.pt"))

    assert torch.equal(network.state_dict()["conv1.weight"], donor.state_dict()["conv1.weight"])


@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet:FutureWarning")
@pytest.mark.parametrize(
    ("arch", "size", "reason"),
    [
        ("vit_b_32", 64, "does not take 64 x 64 images"),
        ("alexnet", 32, "does not take 32 x 32 images"),
        ("googlenet", 96, "gives more than the scores of the classes"),
    ],
)
def test_networks_that_cannot_be_trained_are_told_before(arch: str, size: int, reason: str) -> None:
    with pytest.raises(UserError, match=f"{arch} {reason}"):
        check_network(build_network(arch, "none"), arch, size)


def test_a_check_leaves_network_and_chance_alone() -> None:
    torch.manual_seed(0)
    network = build_network("mobilenet_v3_small", "none")
    before, state = torch.get_rng_state(), {name: value.clone() for name, value in network.state_dict().items()}

    check_network(network, "mobilenet_v3_small", 64)

    assert torch.equal(torch.get_rng_state(), before)
    assert network.training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(models.resnet34().state_dict(), tmp_path / "weights.pt")

    with pytest.raises(UserError, match="does not fit the network"):
        build_network("resnet18", str(tmp_path / "weights.pt"))


def test_missing_weights_file_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere\.pt: there is no such file"):
        build_network("resnet18", "nowhere.pt")


class Intruder:
    """Would print when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("unpickled",)


@pytest.mark.parametrize("kind", ["code", "noise", "list"])
def test_unsafe_or_broken_weights_are_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.pt"
    if kind == "code":
        torch.save(Intruder(), path)
    elif kind == "noise":
        path.write_bytes(b"no weights here")
    else:
        torch.save([1, 2], path)

    with pytest.raises(UserError, match=r"weights\.pt"):
        build_network("resnet18", str(path))
    assert "unpickled" not in capsys.readouterr().out


def test_the_intruder_is_dangerous(capsys: pytest.CaptureFixture[str]) -> None:
    pickle.loads(pickle.dumps(Intruder()))  # noqa: S301
    assert "unpickled" in capsys.readouterr().out


def test_imagenet_weights_without_network_say_what_to_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)

    with pytest.raises(UserError, match=r"--weights FILE.*--weights none"):
        build_network("resnet34", "imagenet")


def test_normalises_as_torchvision_does() -> None:
    films = torch.randint(0, 256, (2, 1, 5, 4), dtype=torch.uint8)
    by_torchvision = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    torch.testing.assert_close(normalise(films), by_torchvision((films.float() / 255).expand(-1, 3, -1, -1)))
    torch.testing.assert_close(normalise(films.float() / 255), normalise(films))
