"""What autograd records of a forward, what of it is kept for the backward, and what must be gone afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode
from torch.utils.weak import TensorWeakRef

from normgrad_attr._node import INDEXED, WRITTEN


class NotKeptError(RuntimeError):
    """A backward needs a tensor that was not kept, or that has been overwritten since."""


class ConstantError(NotKeptError):
    """A layer's tensor was computed of constants, so it is not in the graph."""


class Tape(TorchFunctionMode):
    """What autograd saves for the backward: nothing until it is switched on, then the tensors, or copies of them.

    The graph itself is recorded all along, so that every path through it is followed.

    Args:
        on: Keep from the beginning.
        copies: Keep copies, which nothing that the model overwrites can spoil.
        constants: Record what is computed of constants too, such as the embedding of words in a frozen model.
        plain: Let autograd save in its own way, for models that use ``torch.func``, which takes no hooks.
        passing: Memory that is to be put back behind the pass, of which copies are kept in any case.
    """

    def __init__(self, *, on: bool, copies: bool, constants: bool, plain: bool, passing: set[int]) -> None:
        super().__init__()
        self.on, self.copies, self.constants, self.plain, self.passing = on, copies, constants, plain, passing
        #: Where the inputs stand in the graph.
        self.starts: list[Node | None] = []
        self.made: list[TensorWeakRef] = []
        self.taken: list[TensorWeakRef] = []

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Let autograd save what it needs here."""
        hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, self.unpack)
        with self, contextlib.nullcontext() if self.plain else hooks:
            yield

    def pack(self, t: Tensor) -> tuple[Tensor, int] | None:
        if not self.on:
            return None
        copy = self.copies or (self.passing and storage_of(t) in self.passing)
        t = t.clone() if copy else t.detach()  # without its graph, which would make a circle
        return t, t._version

    @staticmethod
    def unpack(kept: tuple[Tensor, int] | None) -> Tensor:
        if kept is None or kept[0]._version != kept[1]:
            raise NotKeptError("A tensor that this backward needs was not kept, or has been modified in place since.")
        return kept[0]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        part: Any = args[0] if args else None
        if func is Tensor.__setitem__:
            part = part.detach()[args[1]] if _cuts(args[1]) else None
            if _same_memory(args[2], part):
                return None  # the end of y[0] += x, which has been written already
        overwrites = not self.on and (func in _OVERWRITE or (func in _MAY_OVERWRITE and kwargs.get("inplace")))
        # torch.func takes no such function as ours.
        if overwrites and args and not torch._C._functorch.is_functorch_wrapped_tensor(args[0]):
            result = Overwritten.apply(func, kwargs, *args)
        else:
            result = func(*args, **kwargs)
        if func is Tensor.__getitem__ and result.grad_fn is not None and (at := _indexed(args[1])) is not None:
            result.grad_fn.metadata[INDEXED] = at
        if isinstance(part, Tensor) and (func is Tensor.__setitem__ or (result is part and part._is_view())):
            _note_rows(part, args[0])
        if self.constants and differentiable(result) and not (result.requires_grad or result._is_view()):
            tensors = [a for a in args if isinstance(a, Tensor)]
            if tensors and not any(a is result for a in tensors):
                self.begin_at(result)
        # Of what a user's own function gave, only that another takes it is seen.
        self.taken += [TensorWeakRef(t) for t in args if isinstance(t, Tensor)]
        results = result if isinstance(result, (tuple, list)) else (result,)
        self.made += [TensorWeakRef(t) for t in results if isinstance(t, Tensor)]
        return result

    def begin_at(self, t: Tensor) -> None:
        """Let the graph begin at a tensor itself."""
        Begun.apply(torch.zeros((), requires_grad=True), t)
        self.made.append(TensorWeakRef(t))

    def take_graphs_off(self) -> None:
        """Detach what is left of the pass in the hands of the model, its hooks or anyone else."""
        left = {id(t): t for ref in self.made if (t := ref()) is not None and t.grad_fn is not None}
        taken = {id(t): t for ref in self.taken if (t := ref()) is not None and t.grad_fn is not None}
        starts = {node for node in self.starts if node is not None}
        left.update((at, t) for at, t in taken.items() if at not in left and not starts.isdisjoint(before(t.grad_fn)))
        self.made.clear()  # a tensor that is referred to, be it weakly, cannot be swapped
        self.taken.clear()
        for t in left.values():
            if not t._is_view():
                t.detach_()
            else:  # which cannot be detached itself
                with contextlib.suppress(RuntimeError):  # someone else's weak reference forbids it
                    torch.utils.swap_tensors(t, t.detach())  # type: ignore[no-untyped-call]


def before(node: Node | None) -> set[Node]:
    """A node of the graph, and all that it depends on."""
    found = set() if node is None else {node}
    waiting = list(found)
    while waiting:
        behind = {n for n, _ in waiting.pop().next_functions if n is not None} - found
        found |= behind
        waiting += behind
    return found


def _cuts(index: Any) -> bool:
    """Whether an index gives a view, which costs nothing, and not a copy of what is chosen."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or isinstance(part, (Integral, slice)) for part in parts)


def _same_memory(value: Any, part: Tensor | None) -> bool:
    """Whether a value is the very place that it is to be written to."""
    if part is None or not isinstance(value, Tensor) or not value._is_view():
        return False
    own = value.dtype == part.dtype and not torch._C._functorch.is_functorch_wrapped_tensor(part)
    return own and value.is_set_to(part)


def _note_rows(part: Tensor, written: Tensor) -> None:
    """Note at the node of what was written, or of the tensor that it is a view of, which rows the part is."""
    whole: Any = written._base if written._is_view() else written
    if torch._C._functorch.is_functorch_wrapped_tensor(part):
        return
    if (
        whole is None
        or whole.grad_fn is None
        or not whole.numel()
        or not whole.dim()
        or storage_of(part) != storage_of(whole)
    ):
        return
    row, count, node = whole.stride(0), len(whole), whole.grad_fn
    others = zip(whole.stride()[1:], whole.shape[1:], strict=True)
    if row == 0 or any(stride < row * count and stride * size > row for stride, size in others if size > 1):
        return  # places of a row lie among those of others
    sides = zip(part.stride(), part.shape, strict=True)
    across = [(stride, size) for stride, size in sides if row <= stride < row * count and size > 1]
    if len(across) < 2 and all(stride % row == 0 for stride, _ in across):
        start = (part.storage_offset() - whole.storage_offset()) // row % count
        step, size = across[0] if across else (row, 1)
        # The first note counts: what hands a part on as it is, such as contiguous(), writes nothing.
        node.metadata.setdefault(WRITTEN, range(start, start + step // row * size, step // row))


def _indexed(index: Any) -> int | None:
    """The one dimension in which something is chosen; None where there are several, or it cannot be told."""
    parts = index if isinstance(index, tuple) else (index,)
    chosen = [at for at, part in enumerate(parts) if isinstance(part, (Tensor, list)) or hasattr(part, "__array__")]
    told = all(isinstance(part, slice) for part in parts[: chosen[0]]) if len(chosen) == 1 else False
    return chosen[0] if told else None


#: In-place operations of whose former values autograd makes copies. If one is missing, this costs time only.
_OVERWRITE = frozenset({Tensor.mul_, Tensor.__imul__, Tensor.div_, Tensor.__itruediv__})
_MAY_OVERWRITE = frozenset({F.silu, F.mish, F.hardswish, F.hardsigmoid})


class Begun(torch.autograd.Function):
    """Makes a tensor, without a copy, one at which the graph begins."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, t: Tensor) -> Tensor:
        ctx.mark_dirty(t)
        return t

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        return None, None


class Overwritten(torch.autograd.Function):
    """An in-place operation in the graph, for which nothing is kept."""

    @staticmethod
    def forward(ctx: Any, func: Any, kwargs: dict[str, Any], *args: Any) -> Tensor:
        overwritten: Tensor = args[0]
        ctx.mark_dirty(overwritten)
        func(*args, **kwargs)
        return overwritten

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise NotKeptError("What an in-place operation overwrote was not kept.")


def storage_of(t: Tensor) -> int | None:
    """Where a tensor lies; None for one that does not lie in one place, as a sparse one."""
    return t.untyped_storage().data_ptr() if t.layout is torch.strided else None


def differentiable(value: Any) -> bool:
    """Whether a gradient by it can be taken."""
    return isinstance(value, Tensor) and value.dtype.is_floating_point
