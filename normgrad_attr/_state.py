"""What a forward may change besides its output: buffers, attributes of modules, further arguments, random numbers."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.parameter import is_lazy

from normgrad_attr._layers import name_of, owner
from normgrad_attr._tape import storage_of
from normgrad_attr._warn import warn

_OF_TORCH = frozenset(vars(nn.Module()))
_ATOMS = frozenset({bool, int, float, str, type(None)})
#: How deep objects within objects are looked into: not into all that a model's trainer or data set refers to.
_DEPTH = 2


class ModelState:
    """The buffers of a model, and what its attributes hold, as they were found.

    Args:
        forward_func: The model, or a function, whose modules then show themselves only when they run.
        layers: Modules that run in it; one that is not the model's tells that it calls networks of others.
    """

    def __init__(self, forward_func: Callable[..., Any], layers: Sequence[nn.Module] = ()) -> None:
        self.forward_func = forward_func
        self.layers = layers
        self.thread = threading.get_ident()
        self.buffers: dict[nn.Module, list[tuple[str, Tensor, Tensor, int]]] = {}
        self.names: dict[nn.Module, frozenset[str]] = {}
        self.contents: list[tuple[Any, Any]] = []
        self.tensors: list[tuple[Tensor, int]] = []
        self.computed: list[tuple[dict[str, Any], str, Tensor]] = []
        #: Where the buffers lie.
        self.memory: set[int] = set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note the state before, and see to the buffers afterwards."""
        model = owner(self.forward_func)
        with contextlib.ExitStack() as undo:
            undo.callback(self.put_buffers_back)
            if model is not None:
                self.see(model)
            if model is None or any(layer not in self.buffers for layer in self.layers):
                undo.callback(nn.modules.module.register_module_forward_pre_hook(self.see).remove)
                if "torch._dynamo" in sys.modules:  # whose wrapper warns of such hooks
                    undo.enter_context(warnings.catch_warnings())
                    warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")
            yield
        sensitive = next(filter(_depends_on_mode, self.buffers), None)
        if sensitive is not None:
            warn(
                f"The model is in training mode: {name_of(self.forward_func, sensitive)} makes the maps depend on the "
                "batch or on chance; call model.eval() first."
            )

    def see(self, module: nn.Module, *_: Any) -> None:
        """Note the state of a module and of those in it, the first time only."""
        if module in self.buffers or threading.get_ident() != self.thread:
            return
        found: list[tuple[nn.Module, str, Tensor]] = []
        waiting: list[nn.Module | None] = [module]
        while waiting:
            m = waiting.pop()
            if m is None or m in self.buffers:
                continue
            waiting += m._modules.values()
            for t in (*m._parameters.values(), *m._buffers.values()):
                if t is not None and not is_lazy(t) and t.is_inference():
                    raise RuntimeError(
                        f"A weight or buffer of {name_of(self.forward_func, m)} was made in torch.inference_mode() and "
                        "cannot take part in a backward pass; make it outside of inference mode, or replace it by its "
                        ".clone()."
                    )
            held = dict(m._buffers.items())  # of a scripted module they are no dict
            found += [(m, name, b) for name, b in held.items() if b is not None and not is_lazy(b)]
            self.buffers[m] = []
            self.names[m] = frozenset(held)
            if type(m).__module__.startswith("torch.nn."):
                self.computed += computed_weights(m)
                continue  # they hold nothing else that changes
            self.contents.append((vars(m), dict(vars(m))))
            attributes = [v for k, v in vars(m).items() if type(v) not in _ATOMS and k not in _OF_TORCH]
            for part in _walk(attributes) if attributes else ():
                if isinstance(part, Tensor):
                    self.tensors.append((part, _version(part)))
                else:
                    self.contents.append((part, dict(part) if isinstance(part, dict) else list(part)))
        for (m, name, b), copied in zip(found, _copies([b for _, _, b in found]), strict=True):
            self.buffers[m].append((name, b, copied, b._version))
            if (place := storage_of(b)) is not None:
                self.memory.add(place)

    def rewind(self) -> None:
        """Put everything back, for another forward that finds what the first found."""
        self.put_buffers_back()
        for container, before in self.contents:
            _fill(container, before)
        changed = next((t for t, version in self.tensors if _version(t) != version), None)
        if changed is not None:
            raise RuntimeError(
                f"This layer needs a second forward pass, but the first has overwritten a tensor of shape "
                f"{tuple(changed.shape)} that the model keeps in an attribute; make it a buffer, or choose a layer "
                "whose output is used by nothing but what runs behind it."
            )

    def put_buffers_back(self) -> None:
        """Give the buffers the values that they had, unseen by a backward of the user's own that may be pending."""
        for attributes, name, weight in self.computed:
            attributes[name] = weight
        put_back: list[tuple[Tensor, Tensor]] = []
        for module, buffers in self.buffers.items():
            held = dict(module._buffers.items())
            for name in held.keys() - self.names[module]:
                del module._buffers[name]
            for name, buffer, value, version in buffers:
                if buffer.grad_fn is not None:
                    buffer.detach_()
                if buffer.layout is torch.strided and buffer.shape == value.shape and not _overlaps(buffer):
                    if type(buffer) is Tensor:
                        put_back.append((buffer.data, value))
                    else:
                        buffer.data.copy_(value)
                elif buffer._version != version or buffer.shape != value.shape:
                    buffer.data = value.clone()
                if buffer._version != version:
                    _set_version(buffer, version)
                if held.get(name) is not buffer:
                    module._buffers[name] = buffer
        if put_back:
            torch._foreach_copy_([there for there, _ in put_back], [value for _, value in put_back])


def computed_weights(module: nn.Module) -> list[tuple[dict[str, Any], str, Tensor]]:
    """What a module holds beside parameters and buffers: weights that hooks compute, as for weight norm and pruning."""
    return [(vars(module), name, t) for name, t in vars(module).items() if isinstance(t, Tensor)]


class Arguments:
    """Further arguments of the forward: each pass gets copies, and what the last one changed is written back.

    So they are changed once, as by one forward, however often the model is run.
    """

    def __init__(self, given: Any, *, keep_graph: bool) -> None:
        self.given = given
        self.keep_graph = keep_graph
        self.copied: Any = None
        self.pairs: dict[int, tuple[Any, Any]] = {}
        self.versions: dict[int, int] = {}

    def copies(self) -> Any:
        """Copies of all tensors, and of the containers around them."""
        self.pairs, self.versions = {}, {}
        self.copied = self._copy(self.given, _DEPTH)
        return self.copied

    def _copy(self, value: Any, depth: int) -> Any:
        if id(value) in self.pairs:
            return self.pairs[id(value)][1]
        if isinstance(value, Tensor):
            new: Any = value.clone() if self.keep_graph else value.detach().clone()
            self.versions[id(value)] = new._version  # not 0 for the copy of a tensor from inference mode
        elif isinstance(value, tuple):
            return _mapped_part(value, lambda part: self._copy(part, depth))
        else:
            container = _container(value, depth)
            if container is None:
                return value
            new = copy.copy(value)
            inside = _container(new, depth)
            _fill(inside, _mapped(inside, lambda part: self._copy(part, depth - (container is not value))))
        self.pairs[id(value)] = (value, new)
        return new

    def write_back(self) -> None:
        """Give the user's own tensors and containers what the last forward made of their copies."""
        originals = {id(new): value for value, new in self.pairs.values()}

        for part in _walk(self.copied):
            if not isinstance(part, Tensor):
                _fill(part, _mapped(part, lambda p: originals.get(id(p), p)))
        for value, new in self.pairs.values():
            if not isinstance(value, Tensor):
                _fill(_container(value, 1), _container(new, 1))
            elif new._version > self.versions[id(value)]:
                with torch.no_grad():
                    value.copy_(new)


def remembered_chance() -> Callable[[], None]:
    """What sets the random numbers of torch, NumPy and Python back to where they are now."""
    numpy: Any = sys.modules.get("numpy")
    in_numpy = numpy.random.get_state() if numpy else None
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    on_cpu, in_python = torch.get_rng_state(), random.getstate()

    def set_back() -> None:
        torch.set_rng_state(on_cpu)
        random.setstate(in_python)
        if numpy:
            numpy.random.set_state(in_numpy)
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)

    return set_back


def _depends_on_mode(module: nn.Module) -> bool:
    """Whether a module in training mode works differently there; those by name are torchvision's and timm's."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)
    named = type(module).__name__ in ("StochasticDepth", "DropPath")
    inside = isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and module.dropout > 0
    tracked = isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats
    return module.training and (isinstance(module, kinds) or named or inside or tracked)


def _container(value: Any, depth: int) -> Any:
    """What of a value can be refilled: itself if it is a container, the attributes of an object, or None."""
    if type(value) in _ATOMS:
        return None
    if isinstance(value, (list, dict, set, deque)):
        return value
    plain = hasattr(value, "__dict__") and not isinstance(value, (Tensor, nn.Module, type)) and not callable(value)
    return vars(value) if depth and plain else None


def _walk(value: Any, depth: int = _DEPTH, found: dict[int, Any] | None = None) -> list[Any]:
    """All tensors and containers in a value, each once."""
    found = {} if found is None else found
    if isinstance(value, Tensor):
        found[id(value)] = value
    elif isinstance(value, tuple):
        for part in value:
            _walk(part, depth, found)
    else:
        container = _container(value, depth)
        if container is not None and id(container) not in found:
            found[id(container)] = container
            for part in container.values() if isinstance(container, dict) else container:
                _walk(part, depth - (container is not value), found)
    return list(found.values())


def _mapped(container: Any, function: Callable[[Any], Any]) -> Any:
    """A dict or list of what a function makes of each part of a container, also within tuples."""
    if isinstance(container, dict):
        return {key: _mapped_part(part, function) for key, part in container.items()}
    return [_mapped_part(part, function) for part in container]


def _mapped_part(value: Any, function: Callable[[Any], Any]) -> Any:
    if not isinstance(value, tuple):
        return function(value)
    parts = [_mapped_part(part, function) for part in value]
    if all(new is old for new, old in zip(parts, value, strict=True)):
        return value
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def _fill(container: Any, new: Any) -> None:
    """Give a container other contents, and leave alone what is the same."""
    if isinstance(container, dict):
        for key in [key for key in container if key not in new]:
            del container[key]
        for key, part in new.items():
            if key not in container or container[key] is not part:
                container[key] = part
    elif len(container) != len(new) or any(a is not b for a, b in zip(container, new, strict=True)):
        parts = list(new)
        container.clear()
        container.update(parts) if isinstance(container, set) else container.extend(parts)


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of tensors; those of a kind are made in one, as a GPU is asked once then and not for each."""
    kinds: dict[Any, list[int]] = {}
    for i, t in enumerate(tensors):
        plain = type(t) is Tensor and t.layout is torch.strided and not (t.is_nested or t.is_quantized)
        kinds.setdefault((t.dtype, t.device) if plain else i, []).append(i)
    copies = list(tensors)
    for of_kind in kinds.values():
        members = [tensors[i].detach() for i in of_kind]
        made: Sequence[Tensor] = [members[0].clone()]
        if len(members) > 1:
            flat = _flatten_dense_tensors(members)  # type: ignore[no-untyped-call]
            made = _unflatten_dense_tensors(flat, members)  # type: ignore[no-untyped-call]
        for i, copied in zip(of_kind, made, strict=True):
            copies[i] = copied
    return copies


def _overlaps(t: Tensor) -> bool:
    """Whether places of a tensor share memory, as of an expanded one."""
    return any(stride == 0 and size > 1 for stride, size in zip(t.stride(), t.shape, strict=True))


def _version(t: Tensor) -> int:
    return -1 if t.is_inference() else t._version


def _set_version(t: Tensor, version: int) -> None:
    guard: Any = torch.autograd.grad_mode._unsafe_preserve_version_counter(t)
    guard.prev_versions, guard.prev_version = (version,), version  # the latter up to torch 2.5
    guard.__exit__()
