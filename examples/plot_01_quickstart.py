"""
Quickstart
==========

Where does a network see what it says it sees? One map from one layer, one from several.
"""

# %%
# A trained network and some pictures. Any classifier would do; this one names the shapes in a picture, and there are
# one or two of four kinds.

import matplotlib.pyplot as plt
import torch

import shapes
from normgrad_attr import CombinedNormGrad, NormGrad

model = shapes.trained_network()
pictures, labels, masks = shapes.draw(6, seed=7, shapes=2)
with torch.no_grad():
    found = model(pictures) > 0
print(f"{(found == labels.bool()).all(1).sum()} of {len(pictures)} pictures are named right")

# %%
# One layer
# ---------
# The target is the first shape of each picture. The map has the layer's resolution, as with Captum's ``LayerGradCam``.

target = labels.argmax(1)
single = NormGrad(model, "stage3").attribute(pictures, target=target)
print(tuple(single.shape))

# %%
# Several layers
# --------------
# The product of the stages' maps, at the resolution of the picture.

combined = CombinedNormGrad(model, ["stage1", "stage2", "stage3", "stage4"]).attribute(pictures, target=target)
print(tuple(combined.shape))

figure, axes = plt.subplots(3, 6, figsize=(9.6, 5), layout="constrained")
for i in range(6):
    shapes.show(axes[0, i], pictures[i], title=f"{shapes.KINDS[target[i]]}?")
    shapes.show(axes[1, i], pictures[i], single[i])
    shapes.show(axes[2, i], pictures[i], combined[i])
for row, name in enumerate(("picture", "stage3", "four stages")):
    shapes.label_row(axes[row, 0], name)

# %%
# Does the maximum lie on the shape that was asked for?

rows = torch.arange(len(pictures))
points = combined.flatten(1).argmax(1)
hits = masks[rows, target].flatten(1)[rows, points] > 0.5
print(f"{int(hits.sum())} of {len(pictures)} maxima lie on it")
