"""
The extract and aggregate grid
==============================

What an identity layer's weight gradient is made of (``extract``), and what is taken for its size (``aggregate``): every
combination, on one picture, from one pass for each layer.
"""

# %%
# The picture has one shape, and its score is explained.

import matplotlib.pyplot as plt

import shapes
from normgrad_attr import NormGrad

model = shapes.trained_network()
pictures, labels, _ = shapes.draw(1, seed=11, shapes=1)
target = int(labels[0].argmax())
print(f"explained: {shapes.KINDS[target]}")

# %%
# The grid at an early layer
# --------------------------
# ``"norm"``, ``"positive_norm"`` and ``"positive_sum"`` are never negative; ``"sum"`` and ``"max"`` are signed, and
# drawn with red for positive and blue for negative values. ``scaling`` with ``sum`` is the linear approximation,
# activation x gradient. A list of layers gives a list of maps, still from one pass.

layers = ["stage1", "stage2", "stage3", "stage4"]
grid = NormGrad(model, layers).attribute_grid(pictures, target=target)
extracts = list(dict.fromkeys(extract for extract, _ in grid))
aggregates = list(dict.fromkeys(aggregate for _, aggregate in grid))


def draw_grid(layer):
    """Draw all cells at one layer."""
    figure, axes = plt.subplots(len(aggregates), 1 + len(extracts), figsize=(9.6, 8.2), layout="constrained")
    figure.suptitle(layer, fontsize=11)
    for row, aggregate in enumerate(aggregates):
        shapes.show(axes[row, 0], pictures[0], title="picture" if row == 0 else "")
        shapes.label_row(axes[row, 0], aggregate)
        for column, extract in enumerate(extracts, start=1):
            title = extract.replace("depthwise_", "depthwise\n") if row == 0 else ""
            saliency = grid[extract, aggregate][layers.index(layer)][0]
            shapes.show(axes[row, column], pictures[0], saliency, title=title, signed=aggregate in ("sum", "max"))


draw_grid("stage2")

# %%
# The grid at the last layer
# --------------------------
# Behind it there is only an average and a linear layer, so the gradient is the same at all locations: ``bias``, which
# looks at nothing else, is a constant map, and all that is left is where the activation is large.

draw_grid("stage4")

# %%
# From early to late
# ------------------
# Early maps are fine and react to all contrast; late ones are coarse and know what they look for.

cells = [
    ("bias", "norm"),
    ("scaling", "sum"),
    ("scaling", "norm"),
    ("conv1x1", "norm"),
    ("conv1x1", "positive_norm"),
    ("conv3x3", "norm"),
]
figure, axes = plt.subplots(len(layers), len(cells), figsize=(9.6, 6.6), layout="constrained")
for row, layer in enumerate(layers):
    shapes.label_row(axes[row, 0], layer)
    for column, cell in enumerate(cells):
        title = "\n".join(cell) if row == 0 else ""
        shapes.show(axes[row, column], pictures[0], grid[cell][row][0], title=title, signed=cell[1] == "sum")
