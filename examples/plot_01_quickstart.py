"""
Quickstart
==========

Where does a network see what it says it sees? One map from one layer, one from several.
"""

# %%
# A trained network and some pictures. Any classifier would do; this one names the shapes in a picture, of six kinds.

import matplotlib.pyplot as plt
import torch

import shapes
from normgrad_attr import CombinedNormGrad, NormGrad

model = shapes.trained_network()
pictures, labels, masks = shapes.draw(6, seed=7, shapes=1)
with torch.no_grad():
    named = model(pictures).argmax(1)
print(f"{int((named == labels.argmax(1)).sum())} of {len(pictures)} shapes are named right")

# %%
# One layer
# ---------
# The target is the class that the network names. The map has the layer's resolution, as with Captum's ``LayerGradCam``.

single = NormGrad(model, "stage3").attribute(pictures, target=named)
print(tuple(single.shape))

# %%
# Several layers
# --------------
# The product of the stages' maps, at the resolution of the picture.

combined = CombinedNormGrad(model, ["stage1", "stage2", "stage3", "stage4"]).attribute(pictures, target=named)
print(tuple(combined.shape))

figure, axes = plt.subplots(3, 6, figsize=(9.6, 5), layout="constrained")
for i in range(6):
    shapes.show(axes[0, i], pictures[i], title=f"“{shapes.KINDS[named[i]]}”")
    shapes.show(axes[1, i], pictures[i], single[i])
    shapes.show(axes[2, i], pictures[i], combined[i])
for row, name in enumerate(("picture", "stage3", "four stages")):
    shapes.label_row(axes[row, 0], name)

# %%
# Does the maximum lie on the shape?

rows = torch.arange(len(pictures))
points = combined.flatten(1).argmax(1)
hits = masks[rows, labels.argmax(1)].flatten(1)[rows, points] > 0.5
print(f"{int(hits.sum())} of {len(pictures)} maxima lie on it")
