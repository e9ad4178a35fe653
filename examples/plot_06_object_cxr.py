"""
The Object-CXR pipeline in small
================================

Films in the layout of Object-CXR, a classifier that is told only whether a foreign object is there, and the question
where its maps point. ``python -m benchmarks run`` does this in earnest; here every step is small enough to be read.
"""

# %%
# Films on the disk
# -----------------
# Synthetic chest films: a few patients, and every film twice, without objects and with. The table has one row for each
# film; an empty annotation is a clean film.

import csv
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import shapes
from benchmarks.classifier.network import normalise
from benchmarks.data.annotations import format_annotation, rasterize
from benchmarks.data.dataset import FilmDataset
from benchmarks.data.object_cxr import read_split
from benchmarks.methods import METHODS, Context
from benchmarks.metrics.game_metric import PointingGame
from benchmarks.shapes.shapes_network import build_shapes_network
from benchmarks.synthetic.anatomy import draw_anatomy
from benchmarks.synthetic.distractors import draw_distractors
from benchmarks.synthetic.placing import draw_objects

SIZE = 128
STRONG = 5  # objects that are learnt in seconds
root = Path(mkdtemp())


def write_split(name, seed, patients, pairs_each):
    """Draw films in pairs, clean and with objects, and their table."""
    rng = np.random.default_rng(seed)
    (root / name).mkdir()
    rows = [("image_name", "annotation")]
    for _ in range(patients):
        film = draw_anatomy(rng, SIZE, SIZE)
        for _ in range(pairs_each):
            clean, _ = draw_distractors(rng, film.grey, film.frame)
            spoilt, objects = draw_objects(rng, clean, film.lungs, film.exposed, contrast=STRONG)
            for grey, annotation in ((clean, ()), (spoilt, objects)):
                image = f"{len(rows):05}.png"
                Image.fromarray((255 * grey).round().astype(np.uint8)).save(root / name / image)
                rows.append((image, format_annotation(annotation)))
    with (root / f"{name}.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


write_split("train", seed=0, patients=40, pairs_each=8)
write_split("test", seed=1, patients=20, pairs_each=2)
print((root / "test.csv").read_text()[:120])

# %%
# The classifier
# --------------
# The small network of the other examples, with two outputs: clean, has an object. Both films of a pair are put into the
# same batch, which makes it learn in seconds: they differ by the objects only.

train, test = (FilmDataset(read_split(root, name), SIZE, root / "cache") for name in ("train", "test"))
films, labels, _ = (torch.stack([torch.as_tensor(v) for v in column]) for column in zip(*train, strict=True))

torch.manual_seed(0)
network = build_shapes_network(outputs=2)
optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
epochs, pairs = 6, torch.arange(len(films)).view(-1, 2)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * len(pairs) // 16)
for _ in range(epochs):
    for some in pairs[torch.randperm(len(pairs))].split(16):
        rows = some.flatten()
        images = normalise(films[rows])
        images = images.flip(3) if torch.rand(()) < 0.5 else images
        loss = F.cross_entropy(network(images), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
network.eval()

test_films = torch.stack([film for film, _, _ in test])
test_labels = torch.tensor([label for _, label, _ in test])
with torch.no_grad():
    predicted = network(normalise(test_films)).argmax(1)
print(f"{(predicted == test_labels).float().mean():.0%} of the test films are classified right")

# %%
# The Pointing Game
# -----------------
# For each method of the benchmark's table: does the maximum lie in an annotated box, or close to one? Only films with
# annotations play, and the map is that of the predicted class.

playing = test_labels.nonzero().flatten()
images, targets = normalise(test_films[playing]), predicted[playing]
masks = [rasterize(test.records[i].shapes, *test.original_sizes[i]) for i in playing.tolist()]
context = Context(network, SIZE)
print(f"layers: {context.layers.single}, combined: {', '.join(context.layers.combined)}\n")

chosen = ("center", "input_x_gradient", "grad_cam", "normgrad_conv1x1_single", "normgrad_conv1x1_combined")
maps = {name: METHODS[name].prepare(context)(images, targets) for name in chosen}
for name in chosen:
    game = PointingGame()
    game.update(maps[name], torch.from_numpy(np.stack(masks)))
    result = game.compute()
    print(f"{name:26} inside {result['accuracy_0']:4.0%}, within 15 px {result['accuracy_15']:4.0%}")
print(f"{'chance':26} inside {result['chance_0']:4.0%}, within 15 px {result['chance_15']:4.0%}")

# %%
# The first films that are recognised, with the annotated boxes.

recognised = (targets == 1).nonzero().flatten()[:4].tolist()
figure, axes = plt.subplots(len(recognised), len(chosen), figsize=(9.6, 7.9), layout="constrained")
for row, i in enumerate(recognised):
    film = test_films[playing[i]] / 255
    shapes.show(axes[row, 0], film, title="film" if row == 0 else "")
    for column, name in enumerate(chosen[1:], start=1):
        title = METHODS[name].title if row == 0 else ""
        shapes.show(axes[row, column], film, maps[name][i], title=title)
    for axis in axes[row]:
        axis.contour(masks[i], levels=[0.5], colors="deepskyblue", linewidths=1, extent=(0, SIZE, 0, SIZE))
