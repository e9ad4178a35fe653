from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_model_data_config
from torchvision import models

from benchmarks.models import load_model
from benchmarks.run.errors import UserError


def test_timm_by_name_with_its_own_data_configuration():
    model = load_model("timm:resnet10t", "none", classes=["a", "b"])
    config = resolve_model_data_config(timm.create_model("resnet10t"))
    assert model.shape == config["input_size"]
    assert model.prepare.mean == tuple(config["mean"])
    assert model.prepare.resampling == config["interpolation"]
    assert model.classes == ("a", "b")
    assert model.name == "resnet10t"


def test_timm_in_another_size_and_grey():
    model = load_model("timm:vit_tiny_patch16_224", "none", size=(64, 64), channels=1)
    assert model.shape == (1, 64, 64)
    assert model.network(torch.rand(1, 1, 64, 64)).shape == (1, 1000)


def test_torchvision_by_name_with_what_its_weights_want():
    model = load_model("torchvision:mobilenet_v3_small", "none", classes=["a", "b", "c"])
    assert model.shape == (3, 224, 224)
    assert model.prepare.mean == (0.485, 0.456, 0.406)
    assert model.prepare.resampling == "bilinear"


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_from_a_file_tell_the_number_of_classes(ending, prefix, tmp_path):
    torch.manual_seed(1)
    network = models.resnet18(num_classes=5)
    state = {prefix + name: value.contiguous() for name, value in network.state_dict().items()}
    path = tmp_path / f"weights.{ending}"
    if ending == "pt":
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        save_file(state, path)
    found = load_model("torchvision:resnet18", path, size=(64, 64)).network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def test_a_function_of_a_file(tmp_path):
    (tmp_path / "beside.py").write_text("CLASSES = 4\n")
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom torchvision.transforms import Compose, Resize, ToTensor\n"
        "from beside import CLASSES\n"
        "def plain():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES))\n"
        "def both():\n    return plain(), Compose([Resize((8, 8)), ToTensor()])\n"
        "def other():\n    return 3\n"
        "def broken():\n    return 1 / 0\n"
    )
    file = tmp_path / "mine.py"
    assert load_model(f"{file}:plain", size=(8, 8)).network(torch.rand(1, 3, 8, 8)).shape == (1, 4)
    assert load_model(f"{file}:both").shape == (3, 8, 8)
    for function, message in (
        ("other", "returns int: it must return a torch.nn.Module"),
        ("broken", "raises ZeroDivisionError, line 11: division by zero"),
        ("none", "the file has no function 'none', but .*plain, both"),
    ):
        with pytest.raises(UserError, match=message):
            load_model(f"{file}:{function}")
    with pytest.raises(UserError, match="there is no file"):
        load_model(f"{tmp_path}/other.py:plain")
    assert str(tmp_path) not in sys.path


def _folder_of_transformers(folder: Path, processor: object) -> None:
    import transformers

    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("EfficientNetImageProcessor", {}),  # divides by the deviation twice
        ("EfficientNetImageProcessor", {"include_top": False, "rescale_offset": True, "rescale_factor": 1 / 127.5}),
        ("MobileViTImageProcessor", {"do_flip_channel_order": False, "do_center_crop": False}),  # no deviation at all
        ("ViTImageProcessor", {"do_rescale": False, "do_normalize": False}),
        ("ViTImageProcessor", {"resample": 0}),
    ],
)
def test_an_image_processor_is_followed_whatever_its_settings_are_called(tmp_path, kind, settings):
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    processor = getattr(transformers, kind)(size={"height": 32, "width": 32}, **settings)
    _folder_of_transformers(tmp_path, processor)
    # Nearest is the one that can be compared at another size: the others are smoothed there.
    image = Image.effect_noise((64, 64) if "resample" in settings else (32, 32), 80).convert("RGB")
    expected = torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"][0], dtype=torch.float32)
    found = load_model(f"hf:{tmp_path}").prepare(image)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_an_image_processor_that_swaps_colours_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    _folder_of_transformers(tmp_path, transformers.MobileViTImageProcessor(size={"shortest_edge": 32}))
    with pytest.raises(UserError, match="swap red and blue"):
        load_model(f"hf:{tmp_path}")


def test_a_network_without_a_trained_head_is_refused(tmp_path):
    """The package draws one at random."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"lacks 'classifier.bias' \(2 such\), as a network does that was not trained"):
        load_model(f"hf:{tmp_path}")


def test_a_folder_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "fish"}, problem_type="multi_label_classification",
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    processor = transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=3
    )
    processor.save_pretrained(tmp_path)
    model = load_model(f"hf:{tmp_path}")
    assert (model.shape, model.classes, model.outputs) == ((3, 32, 32), ("cat", "dog", "fish"), "sigmoid")
    assert (model.prepare.mean, model.prepare.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert model.prepare.resampling == "bicubic"
    from PIL import Image

    image = Image.effect_noise((32, 32), 80).convert("RGB")  # of the right size, so that resizing does nothing
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(model.prepare(image), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("resnet18", "--model resnet18: give FILE.py:FACTORY, timm:NAME, torchvision:NAME or hf:FOLDER"),
        ("timm:", "--model timm:: give"),
        ("keras:resnet", "'keras' is none of the kinds"),
        ("timm:no_such_network", "timm:no_such_network cannot be built"),
        ("torchvision:no_such_network", "torchvision has no classifier 'no_such_network'"),
        ("hf:nowhere", "hf:nowhere holds no config.json"),
    ],
)
def test_words_that_mean_nothing(word, message):
    with pytest.raises(UserError, match=message):
        load_model(word, "none")


def test_a_senseless_size_is_told_before_a_network_of_that_size_is_built(monkeypatch):
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("a network is built"))
    with pytest.raises(UserError, match="--image-size is 10000000: it must be at most 16384"):
        load_model("timm:vit_tiny_patch16_224", "none", size=(10**7, 10**7))


def test_a_function_that_ends_the_program_or_builds_nothing(tmp_path):
    path = tmp_path / "m.py"
    path.write_text(
        "import torch\n\ndef ends():\n    raise SystemExit(3)\n\n"
        "def nothing():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2, device='meta'))\n"
    )
    with pytest.raises(UserError, match=r"m\.py:ends raises SystemExit, line 4: 3"):
        load_model(f"{path}:ends")
    with pytest.raises(UserError, match="on torch's device meta, which holds no numbers: build it on the CPU"):
        load_model(f"{path}:nothing", size=(2, 2))


def test_random_weights_are_the_same_ones_each_time():
    state = torch.get_rng_state()
    first, second = (load_model("timm:resnet10t", "none").network.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.equal(torch.get_rng_state(), state)
