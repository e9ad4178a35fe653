"""
Vision transformers
===================

The channels of tokens are in the last dimension, and the first token belongs to no place. The network's graph tells
where the channels are; ``tokens_to_map`` leaves the class token out, and ``CombinedNormGrad`` does so by itself.
"""

# %%
# A small vision transformer of torchvision, trained in this process: 144 patches of 8 x 8 pixels and a class token.

import matplotlib.pyplot as plt

import shapes
from normgrad_attr import CombinedNormGrad, NormGrad, tokens_to_map

model = shapes.trained_transformer()
pictures, labels, _ = shapes.draw(6, seed=31, shapes=1)
target = labels.argmax(1)

# %%
# The map of a block has one number for each token. Laid out on the grid of patches, without the class token:

blocks = ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"]
tokens = NormGrad(model, blocks[1]).attribute(pictures, target=target)
single = tokens_to_map(tokens)
print(tuple(tokens.shape), "->", tuple(single.shape))

# %%
# Several blocks in one map at the resolution of the picture. The last block is left out: the head reads the class token
# alone, so behind it the patches have no influence any more.

combined = CombinedNormGrad(model, blocks).attribute(pictures, target=target)
print(tuple(combined.shape))

figure, axes = plt.subplots(3, 6, figsize=(9.6, 5), layout="constrained")
for i, picture in enumerate(pictures):
    shapes.show(axes[0, i], picture, title=f"{shapes.KINDS[target[i]]}?")
    shapes.show(axes[1, i], picture, single[i])
    shapes.show(axes[2, i], picture, combined[i])
for row, name in enumerate(("picture", "one block", "two blocks")):
    shapes.label_row(axes[row, 0], name)
