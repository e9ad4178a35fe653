"""
Class sensitivity
=================

Does the map change with the class that is asked about? A norm tells where activation and gradient are large, for or
against the class. The class-sensitive recipe multiplies the norms of early layers with what speaks *for* the class in
the last one. Meta-saliency takes the map at weights that have just made one training step on the class.
"""

# %%
# Pictures with two shapes, and the maps for either. The network is asked twice; the pictures are the same.

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam

import shapes
from normgrad_attr import CombinedNormGrad, MetaSaliency, NormGrad, class_sensitivity

model = shapes.trained_network()
stages = ["stage1", "stage2", "stage3", "stage4"]
pictures, labels, masks = shapes.draw(32, seed=21, shapes=2)
kinds = torch.stack([label.nonzero()[:, 0] for label in labels])  # the two shapes of each picture

norm = CombinedNormGrad(model, stages)
methods = {
    "norm,\nlast layer": NormGrad(model, stages[-1]),
    "norm": norm,
    "norm, meta": MetaSaliency(norm, lr=0.02),
    "positive\nnorm": CombinedNormGrad(model, stages, aggregate="positive_norm"),
    "class\nsensitive": CombinedNormGrad.class_sensitive(model, stages),
    "Grad-CAM": LayerGradCam(model, model.stage4),
}
maps = {name: [method.attribute(pictures, kinds[:, i]).detach() for i in (0, 1)] for name, method in methods.items()}

figure, axes = plt.subplots(len(methods), 6, figsize=(9.6, 9.6), layout="constrained")
for row, name in enumerate(methods):
    for picture in (0, 1):
        shapes.show(axes[row, 3 * picture], pictures[picture])
        for i, kind in enumerate(kinds[picture]):
            title = f"{shapes.KINDS[kind]}?" if row == 0 else ""
            positive = maps[name][i][picture].clamp(min=0)
            shapes.show(axes[row, 3 * picture + 1 + i], pictures[picture], positive, title=title)
    shapes.label_row(axes[row, 0], name)

# %%
# Which shape does the maximum lie on?
# ------------------------------------
# On the one that was asked about, on the other one, or on neither. Behind the last layer there is only an average, so
# the gradient is the same at every location, and the norm is one map for all classes: a coin is tossed. In early layers
# the gradient is large where the score depends on them, so that the product of norms knows more of the class. Grad-CAM
# tells the shapes apart, but a map of 6 x 6 locations is too coarse to point at them.

everyone = torch.arange(len(pictures))
print(f"{'':15} asked  other")
for name, pair in maps.items():
    share = torch.zeros(2)
    for i, one in enumerate(pair):
        maxima = F.interpolate(one, pictures.shape[2:], mode="bilinear").flatten(1).argmax(1)
        for j in (0, 1):
            on_shape = masks[everyone, kinds[:, (i + j) % 2]].flatten(1)[everyone, maxima] > 0.5
            share[j] += on_shape.float().mean() / 2
    print(f"{name.replace(chr(10), ' '):15} {share[0]:5.2f}  {share[1]:5.2f}")

# %%
# Without knowing where the shapes are
# ------------------------------------
# The rank correlation between the two maps of a picture: 1 for a method that shows the same whatever is asked, lower is
# better.

for name, method in methods.items():
    correlation = class_sensitivity(method, pictures, targets=(kinds[:, 0], kinds[:, 1])).nanmean()
    print(f"{name.replace(chr(10), ' '):15} {correlation:6.2f}")
