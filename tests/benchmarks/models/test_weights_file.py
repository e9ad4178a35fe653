from __future__ import annotations

from argparse import Namespace
from datetime import datetime

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from benchmarks.models.weights_file import head_size, load_state, read_state
from benchmarks.run.errors import UserError


class Evil:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize("around", ["model_ema", "teacher", "checkpoint.network", "module.state.weights"])
def test_a_state_dict_is_found_wherever_it_lies(around, tmp_path):
    """Beside what an optimizer keeps, the command line, and a loss."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    network(torch.rand(4, 2)).sum().backward()
    optimizer = torch.optim.Adam(network.parameters())
    optimizer.step()
    inner = network.state_dict()
    for name in reversed(around.split(".")):
        inner = {name: inner}
    beside = {"optimizer": optimizer.state_dict(), "args": Namespace(lr=0.1), "loss": {"weight": torch.ones(2)}}
    torch.save({**inner, **beside, "epoch": 3}, tmp_path / "a.pt")
    found = read_state(tmp_path / "a.pt")
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def test_what_a_file_is_its_content_says(tmp_path):
    state = {"weight": torch.rand(3, 2)}
    save_file(state, tmp_path / "model.bin")
    torch.save(state, tmp_path / "model.safetensors")
    for name in ("model.bin", "model.safetensors"):
        assert torch.equal(read_state(tmp_path / name)["weight"], state["weight"])


def test_a_file_that_holds_itself_is_refused(tmp_path):
    content = {"epoch": 3}
    content["again"] = content
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        read_state(tmp_path / "a.pt")


def test_files_that_are_no_weights(tmp_path, capsys):
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"state_dict": {"a": torch.ones(2)}, "started": datetime(2020, 1, 1)}, tmp_path / "time.pt")
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "text.safetensors").write_text("weights")
    for name, message in (
        ("evil.pt", "only kind that is safe to load"),
        (
            "time.pt",
            r"safe to load \(it holds datetime\.datetime\): save it by torch\.save\(model\.state_dict\(\), FILE",
        ),
        ("list.pt", "holds no state dict"),
        ("text.pt", "only kind that is safe to load"),
        ("text.safetensors", "only kind that is safe to load"),
        ("absent.pt", "there is no such file"),
    ):
        with pytest.raises(UserError, match=message):
            read_state(tmp_path / name)
    assert "this must not run" not in capsys.readouterr().out


def test_weights_of_another_network(tmp_path):
    network = torch.nn.Linear(2, 3)
    for state, message in (
        ({"weight": torch.zeros(3, 2)}, r"'bias' is missing \(1 such\)"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(4)}, r"'bias' is \(4,\) there, \(3,\) here"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "the network has no 'more'"),
    ):
        with pytest.raises(UserError, match=message):
            load_state(network, state, tmp_path)
    assert head_size(lambda: torch.nn.Linear(2, 7), network.state_dict()) == 3
    assert head_size(lambda: torch.nn.Linear(2, 7), {}) is None


def below(prefix, state):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("chain", ["_orig_mod.module.", "net.model.", "module.densenet121.", "encoder."])
def test_prefixes_come_off_in_any_order_and_what_lies_beside_is_left_out(chain, tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3))
    state = {name: torch.rand_like(value) for name, value in network.state_dict().items()}
    load_state(network, {"criterion.weight": torch.ones(3), **below(chain, state)}, tmp_path)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_prefixes_that_are_names_of_the_network_stay(tmp_path):
    network = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 3), "net": torch.nn.Linear(2, 3)})
    state = {name: torch.rand_like(value) for name, value in network.state_dict().items()}
    for chain in ("", "model.", "net."):
        load_state(network, below(chain, state), tmp_path)
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    with pytest.raises(UserError, match=r"the network has no 'model.more' \(1 such\)"):
        load_state(network, {**state, "model.more": torch.zeros(1)}, tmp_path)


def test_two_networks_in_a_file_are_refused(tmp_path):
    state = torch.nn.Linear(2, 3).state_dict()
    for other in ("net.", ""):
        with pytest.raises(UserError, match=r"holds the network twice, as .*NAME and .*NAME: save one"):
            load_state(torch.nn.Linear(2, 3), {**below("model.", state), **below(other, state)}, tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "chain"),
    [("state_dict", "state_dict_ema", ""), ("model", "model_ema", "module."), ("model", "swa", "swa.encoder.")],
)
def test_a_network_beside_its_moving_average_is_refused(first, second, chain, tmp_path):
    """Which of the two a training was judged by, nobody but its author knows."""
    state = torch.nn.Linear(2, 3).state_dict()
    both = {first: state, second: {**below(chain, state), "n_averaged": torch.tensor(3)}, "epoch": 3}
    torch.save(both, tmp_path / "a.pt")
    with pytest.raises(UserError, match=f"a.pt holds the network twice, as {first} and {second}: save one"):
        read_state(tmp_path / "a.pt")
    torch.save({first: state, "criterion": {"weight": torch.ones(2)}, "loops": {}, "epoch": 3}, tmp_path / "a.pt")
    assert read_state(tmp_path / "a.pt").keys() == state.keys()


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")  # torch's word on how it reads them
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.Tensor.to_sparse, "holds 'weight' as a tensor that is quantized, sparse, complex or empty"),
        (lambda value: value.to(torch.complex64), "holds 'weight' as a tensor that is quantized"),
        (lambda value: value.to("meta"), "holds 'weight' as a tensor that is quantized"),
        (lambda value: (100 * value).to(torch.int8), r"'weight' is torch.int8 there, torch.float32 here"),
    ],
)
def test_numbers_that_are_not_the_networks_are_refused(change, message, tmp_path):
    network = torch.nn.Linear(2, 3)
    state = network.state_dict()
    torch.save({**state, "weight": change(state["weight"])}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=message):
        load_state(network, read_state(tmp_path / "a.pt"), tmp_path / "a.pt")
    half = {name: value.half() for name, value in state.items()}
    load_state(network, half, tmp_path)
    assert torch.equal(network.weight, half["weight"].float())


def test_weights_from_before_batches_were_counted(tmp_path):
    network = models.resnet18(num_classes=2)
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    load_state(models.resnet18(num_classes=2), state, tmp_path)
    del state["bn1.running_var"]
    with pytest.raises(UserError, match=r"'bn1.running_var' is missing \(1 such\)"):
        load_state(network, state, tmp_path)
