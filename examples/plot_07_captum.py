"""
Beside Captum's methods
=======================

NormGrad is used like Captum's own attributions, so that comparing them is a loop.
"""

# %%
# All methods explain the same score of the same network.

import warnings

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, InputXGradient, IntegratedGradients, LayerAttribution, LayerGradCam, NoiseTunnel

import shapes
from normgrad_attr import CombinedNormGrad, NormGrad

warnings.filterwarnings("ignore", message="Setting backward hooks|Input Tensor")
model = shapes.trained_network()
size = (shapes.SIZE, shapes.SIZE)


def cam(layer):
    """Grad-CAM at a layer, positive part, resized."""
    method = LayerGradCam(model, model.get_submodule(layer))
    return lambda x, t: LayerAttribution.interpolate(method.attribute(x, t, relu_attributions=True), size, "bilinear")


def gradient(method, **options):
    """A map of absolute values from an attribution with channels."""
    return lambda x, t: method.attribute(x, target=t, **options).abs().sum(1, keepdim=True)


def normgrad(layer):
    """NormGrad at a layer, resized."""
    return lambda x, t: F.interpolate(NormGrad(model, layer).attribute(x, t), size=size, mode="bilinear")


combined = CombinedNormGrad(model, ["stage1", "stage2", "stage3", "stage4"])
methods = {
    "Input x\nGradient": gradient(InputXGradient(model)),
    "Guided\nBackprop.": gradient(GuidedBackprop(model)),
    "Integrated\nGradients": gradient(IntegratedGradients(model), n_steps=16),
    "Grad-CAM\nstage2": cam("stage2"),
    "Grad-CAM\nstage4": cam("stage4"),
    "NormGrad\nstage2": normgrad("stage2"),
    "NormGrad\nstage4": normgrad("stage4"),
    "NormGrad\ncombined": lambda x, t: combined.attribute(x, t),
    "combined,\nsmoothed": lambda x, t: NoiseTunnel(combined).attribute(x, nt_samples=8, stdevs=0.1, target=t),
}

torch.manual_seed(0)
pictures, labels, masks = shapes.draw(4, seed=41, shapes=1)
target = labels.argmax(1)
figure, axes = plt.subplots(len(pictures), 1 + len(methods), figsize=(9.6, 4.4), layout="constrained")
for row, picture in enumerate(pictures):
    shapes.show(axes[row, 0], picture, title="picture" if row == 0 else "")
for column, (name, explain) in enumerate(methods.items(), start=1):
    maps = explain(pictures, target).detach()
    for row, picture in enumerate(pictures):
        shapes.show(axes[row, column], picture, maps[row], title=name if row == 0 else "")

# %%
# Which maximum lies on the shape? One hundred pictures with one shape each; the benchmark does this on chest films,
# with intervals.

pictures, labels, masks = shapes.draw(100, seed=43, shapes=1)
target = labels.argmax(1)
mask = masks[torch.arange(len(masks)), target] > 0.5
for name, explain in methods.items():
    point = explain(pictures, target).flatten(1).argmax(1, keepdim=True)
    print(f"{name.replace(chr(10), ' '):22} {mask.flatten(1).gather(1, point).float().mean():6.1%}")
print(f"{'chance':22} {mask.float().mean():6.1%}")
