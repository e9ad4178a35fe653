"""
Single against combined
=======================

Four layers one by one, and their combinations. Which of them points at the shape?
"""

# %%
# All maps of all layers come from one pass. The product keeps what all layers agree on, the sum what any of them likes.

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

import shapes
from normgrad_attr import CombinedNormGrad, NormGrad

model = shapes.trained_network()
layers = ["stage1", "stage2", "stage3", "stage4"]


def explain(pictures, target):
    """Maps of each layer by itself and combined, by name."""
    single = NormGrad(model, layers).attribute(pictures, target=target)
    maps = dict(zip(layers, single, strict=True))
    for combine in ("product", "sum"):
        maps[combine] = CombinedNormGrad(model, layers, combine=combine).attribute(pictures, target=target)
    return maps


pictures, labels, _ = shapes.draw(4, seed=3, shapes=1)
maps = explain(pictures, labels.argmax(1))

figure, axes = plt.subplots(len(pictures), 1 + len(maps), figsize=(9.6, 5.8), layout="constrained")
for row, picture in enumerate(pictures):
    shapes.show(axes[row, 0], picture, title="picture" if row == 0 else "")
    for column, (name, saliency) in enumerate(maps.items(), start=1):
        shapes.show(axes[row, column], picture, saliency[row], title=name if row == 0 else "")

# %%
# The Pointing Game in small
# --------------------------
# How often does the maximum lie on the shape? Two hundred pictures with one shape each; maps are resized to the picture
# first. Chance is the share of the picture that the shape covers.

pictures, labels, masks = shapes.draw(200, seed=5, shapes=1)
target = labels.argmax(1)
mask = masks[torch.arange(len(masks)), target] > 0.5
for name, saliency in explain(pictures, target).items():
    saliency = F.interpolate(saliency, size=mask.shape[1:], mode="bilinear")
    hit = mask.flatten(1).gather(1, saliency.flatten(1).argmax(1, keepdim=True))
    print(f"{name:8} {hit.float().mean():6.1%}")
print(f"{'chance':8} {mask.float().mean():6.1%}")
