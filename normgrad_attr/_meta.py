"""Meta-saliency: any attribution at weights that have just learned from the sample."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from normgrad_attr._captum import Attribution, as_torch, log_usage, run_forward
from normgrad_attr._extract import accumulation_dtype
from normgrad_attr._guards import check_call
from normgrad_attr._layers import owner, unwrapped
from normgrad_attr._per_sample import concatenate, copied, of_sample, own_arguments, rows
from normgrad_attr._state import computed_weights


class MetaSaliency(Attribution):
    """Evaluate an attribution, for each sample, at weights moved by one SGD step on that sample's cross-entropy.

    The step makes the target a little more likely (with ``ascend`` less), and the attribution of the moved model is
    more sensitive to the target's class than that of the model itself. The model is never changed: the moved weights
    stand in for its own during the attribution only, also inside nested methods such as
    :class:`captum.attr.NoiseTunnel`, and also if the attribution fails. Other threads that use the model meanwhile see
    them too.

    All floating-point parameters are moved, frozen or not: ``requires_grad`` says what is to be trained, not what the
    output depends on. Half-precision weights round such small steps away; use float32.

    Args:
        attribution_method: An instance of any Captum attribution. Its ``forward_func`` must give logits.
        lr: Length of the step, times the gradient; the paper uses about 1e-4 to 2.5e-3.
        ascend: Step up instead of down the cross-entropy.
        model: The model whose weights are moved. Needed only if the method's ``forward_func`` is a plain function
            around it.

    Raises:
        TypeError: ``attribution_method`` is no Captum attribution.
        ValueError: ``lr`` is negative or not finite, or the model is hidden in a function or sharded by FSDP.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from normgrad_attr import MetaSaliency, NormGrad
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> method = MetaSaliency(NormGrad(model.eval(), "1"), lr=1e-3)
        >>> method.attribute(torch.rand(4, 3, 32, 32), target=[0, 1, 1, 0]).shape
        torch.Size([4, 1, 30, 30])

    References:
        Rebuffi, Fong, Ji, Vedaldi: There and Back Again: Revisiting Backpropagation Saliency Methods. CVPR 2020,
        arXiv:2004.02866.
    """

    def __init__(
        self, attribution_method: Attribution, lr: float = 1e-4, *, ascend: bool = False, model: nn.Module | None = None
    ) -> None:
        if not isinstance(attribution_method, Attribution):
            raise TypeError(
                "MetaSaliency needs an instance of a Captum attribution, such as NormGrad(model, layer), not "
                f"{type(attribution_method).__name__}."
            )
        if not 0 <= lr < math.inf:
            raise ValueError(f"lr must be finite and not negative, not {lr}; use ascend=True for the other direction.")
        Attribution.__init__(self, attribution_method.forward_func)
        model = owner(attribution_method.forward_func) if model is None else model
        if model is None:
            raise ValueError(
                f"The forward_func of {type(attribution_method).__name__} is a plain function, which hides the weights "
                "to move; pass model=..., the module that it calls."
            )
        if any(isinstance(module, _fsdp()) for module in model.modules()):
            raise ValueError(
                f"The weights of {type(model).__name__} are sharded by FSDP, which lets no others stand in for them; "
                "give MetaSaliency a model that is whole on one device."
            )
        self.attribution_method = attribution_method
        self.lr = lr
        self.ascend = ascend
        self.model = model

    @log_usage()
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Any = None,
        additional_forward_args: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Compute the attribution of each sample at its own moved weights.

        Args:
            inputs: Input of ``forward_func``, (N, ...), or a tuple of such.
            target: As in :meth:`NormGrad.attribute`; its first index is the class. With one output for each sample,
                the logit of a binary classifier, the cross-entropy is that of the positive class.
            additional_forward_args: Further arguments of ``forward_func``. A tensor with N rows may hold one for each
                sample or be shared by all, such as the texts of N classes: the model's output for the whole batch
                tells. All others are shared.
            kwargs: Further arguments of the method's ``attribute``. Of ``baselines`` and ``feature_mask`` with N rows
                each sample gets its own, unless the method takes the baselines for a distribution.

        Returns:
            The result of the method with the samples concatenated; a tensor, tuple or list, in the method's shape and
            dtype.

        Raises:
            ValueError: Empty batch, a target that names no class for each sample, or a further argument of which it
                cannot be told whether the samples share it.
            RuntimeError: Inference mode; a model that ``forward_func`` does not run, or whose output does not depend
                on its weights.
        """
        check_call(self.forward_func, inputs)
        batch = len(inputs[0] if isinstance(inputs, tuple) else inputs)
        target = as_torch(target)
        if isinstance(target, (list, Tensor)) and _numbers(target) not in (1, batch):
            raise ValueError(f"{_numbers(target)} targets were given for {batch} samples; give one for each.")
        per_sample = {"feature_mask"} if self._baselines_are_a_distribution(kwargs) else {"feature_mask", "baselines"}
        with torch.no_grad():
            own = own_arguments(partial(self._output, {}), inputs, additional_forward_args, batch)
        results = []
        for n, one in enumerate(_targets_of_samples(target, batch)):
            x, extra = of_sample(inputs, n, batch), rows(additional_forward_args, own, n)
            options = {k: of_sample(v, n, batch) if k in per_sample else v for k, v in kwargs.items()}
            weights = self._moved(x, one, extra)
            results.append(self._with(weights, self._attribute_one, copied(x), one, copied(extra), options))
        return concatenate(results)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the wrapped method multiplies by the inputs."""
        return bool(getattr(self.attribution_method, "multiplies_by_inputs", False))

    def has_convergence_delta(self) -> bool:
        """Whether the wrapped method can return a convergence delta."""
        return bool(self.attribution_method.has_convergence_delta())

    def _attribute_one(self, inputs: Any, target: Any, additional_forward_args: Any, options: dict[str, Any]) -> Any:
        attribute = self.attribution_method.attribute
        accepted = inspect.signature(attribute).parameters
        given = {"target": target, "additional_forward_args": additional_forward_args}
        # Layer activations have no target, and some methods no further arguments.
        open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
        given = {k: v for k, v in given.items() if v is not None and (k in accepted or open_ended)}
        return attribute(inputs, **given, **options)

    def _moved(self, inputs: Any, target: Any, additional_forward_args: Any) -> dict[str, Tensor]:
        """The model's weights after one step on one sample."""
        weights = {k: p.detach() for k, p in self.model.named_parameters() if p.dtype.is_floating_point}
        with torch.enable_grad():
            leaves = {k: w.clone().requires_grad_() for k, w in weights.items()}
            loss = _cross_entropy(self._output(leaves, inputs, additional_forward_args), target)
            gradients: Sequence[Tensor | None] = [None] * len(leaves)
            if loss.requires_grad and leaves:
                gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        if all(g is None for g in gradients):
            raise RuntimeError(
                f"The output does not depend on the weights of {type(self.model).__name__}; pass as model=... the very "
                "module that forward_func runs, no copy of it, and let it record gradients."
            )
        step = self.lr if self.ascend else -self.lr
        pairs = zip(weights.items(), gradients, strict=True)
        return {k: w if g is None else w.add(g, alpha=step) for (k, w), g in pairs}

    def _output(self, weights: dict[str, Tensor], inputs: Any, additional_forward_args: Any) -> Tensor:
        """The output of forward_func with other weights."""
        # A compiled model would be compiled once more for the weights that stand in.
        forward = unwrapped(self.forward_func)
        output = self._with(weights, run_forward, forward, copied(inputs), copied(additional_forward_args))
        if not isinstance(output, Tensor):
            raise TypeError(f"The model returned a {type(output).__name__}; MetaSaliency needs a tensor of logits.")
        return output

    def _with(self, weights: dict[str, Tensor], function: Callable[..., Any], *args: Any) -> Any:
        """Call a function while other weights, and copies of its buffers, stand in for the model's own."""
        state = {**weights, **{k: b.clone() for k, b in self.model.named_buffers()}}
        holder = _Holder(self.model, function)
        # A weight that parametrize.cached() keeps was computed from other weights, and would be kept from these.
        cached, parametrize._cache_enabled = parametrize._cache_enabled, 0
        computed = [weight for module in self.model.modules() for weight in computed_weights(module)]
        try:
            return functional_call(holder, {f"model.{k}": v for k, v in state.items()}, args)
        finally:
            parametrize._cache_enabled = cached
            for attributes, name, weight in computed:
                attributes[name] = weight

    def _baselines_are_a_distribution(self, options: dict[str, Any]) -> bool:
        method = self.attribution_method
        method = getattr(method, "attribution_method", method)  # inside NoiseTunnel
        return type(method).__name__.endswith(("GradientShap", "DeepLiftShap")) or bool(
            options.get("draw_baseline_from_distrib")
        )


class _Holder(nn.Module):
    """Something that functional_call can call: a function beside the model that it uses."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.function = [function]  # in a list, so that a module is not registered a second time

    def forward(self, *args: Any) -> Any:
        return self.function[0](*args)


def _cross_entropy(output: Tensor, target: Any) -> Tensor:
    """Cross-entropy of the target's class for one sample's logits."""
    output = accumulation_dtype(output)
    if output.numel() == 1:
        return F.softplus(-output).sum()
    if output.dim() < 2 or len(output) != 1:
        raise ValueError(
            f"One sample gives an output of shape {tuple(output.shape)}; a cross-entropy needs (1, classes, ...), the "
            "batch first."
        )
    if isinstance(target, list):
        target = target[0]
    index = target if isinstance(target, tuple) else (target,)
    position = (0, slice(None), *index[1:])
    logits = output[position] if output.dim() > len(index) else output
    if target is None or logits.dim() != 1:
        raise ValueError(
            f"Target {target!r} does not tell the class among outputs of shape {tuple(output.shape)}, which a "
            "cross-entropy needs; give a class index, or a tuple (class, *position)."
        )
    if not hasattr(index[0], "__index__") or not -len(logits) <= index[0] < len(logits):
        raise ValueError(
            f"Target {target!r} does not fit the model's output of shape {tuple(output.shape)}; give a class index, or "
            "a tuple (class, *position)."
        )
    loss: Tensor = -logits.log_softmax(0)[index[0]]
    return loss


def _fsdp() -> tuple[type, ...]:
    """The classes of FSDP 1 and 2, if the program has imported them."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return tuple(getattr(fsdp, name) for name in ("FullyShardedDataParallel", "FSDPModule") if hasattr(fsdp, name))


def _targets_of_samples(target: Any, batch: int) -> list[Any]:
    """The target of each sample by itself."""
    if isinstance(target, Tensor):  # read once, as a GPU is waited for each time
        numbers = target.flatten().tolist()
        return numbers * batch if len(numbers) == 1 else numbers
    return [[one] for one in target] if isinstance(target, list) and len(target) > 1 else [target] * batch


def _numbers(target: list[Any] | Tensor) -> int:
    return target.numel() if isinstance(target, Tensor) else len(target)
