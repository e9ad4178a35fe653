"""
Class sensitivity and meta-saliency
===================================

Does the map change with the class that is asked about? A norm tells where activation and gradient are large, for or
against the class. Meta-saliency takes the map at weights that have just made one training step on the class.
"""

# %%
# Pictures with two shapes, and the maps for either. The network is asked twice; the pictures are the same.

import matplotlib.pyplot as plt

import shapes
from normgrad_attr import MetaSaliency, NormGrad, class_sensitivity

model = shapes.trained_network()
pictures, labels, _ = shapes.draw(4, seed=21, shapes=2)
kinds = [label.nonzero().flatten().tolist() for label in labels]

layer = "stage3"
methods = {
    "norm": NormGrad(model, layer),
    "norm, meta": MetaSaliency(NormGrad(model, layer), lr=0.02),
    "positive\nnorm": NormGrad(model, layer, aggregate="positive_norm"),
    "sum\n(signed)": NormGrad(model, layer, extract="scaling", aggregate="sum"),
}

figure, axes = plt.subplots(len(methods), 6, figsize=(9.6, 6.4), layout="constrained")
for row, (name, method) in enumerate(methods.items()):
    for i in range(2):
        picture = pictures[i : i + 1]
        shapes.show(axes[row, 3 * i], picture[0])
        for column, kind in enumerate(kinds[i], start=1):
            saliency = method.attribute(picture, target=kind)[0]
            title = f"{shapes.KINDS[kind]}?" if row == 0 else ""
            shapes.show(axes[row, 3 * i + column], picture[0], saliency, title=title, signed="signed" in name)
    shapes.label_row(axes[row, 0], name)

# %%
# One number for it
# -----------------
# The rank correlation between the maps for the most and the least likely class, on 32 pictures with one shape: 1 for a
# method that shows the same whatever is asked, lower is better.

pictures, _, _ = shapes.draw(32, seed=23, shapes=1)
for name, method in methods.items():
    correlation = class_sensitivity(method, pictures).nanmean()
    print(f"{name.replace(chr(10), ' '):14} {correlation:6.2f}")
