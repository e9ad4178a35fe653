"""For the person with one film: the verdict, and the places that spoil the film."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from benchmarks.classifier.checkpoints import load_classifier
from benchmarks.classifier.network import normalise
from benchmarks.classifier.training_films import training_films
from benchmarks.data.decode import read_film
from benchmarks.methods import METHODS, Context, Explain, near_names
from benchmarks.metrics.peaks import Peak, find_peaks
from benchmarks.run.config import Config
from benchmarks.run.directory import read_json, saved_config
from benchmarks.run.errors import UserError
from benchmarks.run.files import write_figure, write_json

DEFAULT_METHOD = "normgrad_conv1x1_combined_uniform"
"""Its maximum is where the plain product has it, but lower peaks stay visible, so that further objects are marked."""
UNSURE = (0.25, 0.75)
"""Where verdicts count as unsure by runs that have measured no range of their own (``classifier.json``)."""

NOTICE = "Research tool, not a medical device: never decide on a patient, or on a repeat exposure, by it alone."
MARK = "#3cc8ff"


@dataclass(frozen=True)
class Explanation:
    """What the classifier says of one film.

    Attributes:
        film: uint8 (height, width), the film as it was read.
        probability: Of a foreign object.
        saliency: float32 (height, width) of the network's input, for the class "foreign object".
        peaks: In pixels of the film; empty for a film that is called clean with confidence.
        unsure_range: Probabilities between which the verdict is called unsure.
    """

    film: npt.NDArray[np.uint8]
    probability: float
    saliency: npt.NDArray[np.float32]
    peaks: tuple[Peak, ...]
    unsure_range: tuple[float, float] = UNSURE

    @property
    def verdict(self) -> str:
        """``"foreign object"`` or ``"clean"``."""
        return "foreign object" if self.probability >= 0.5 else "clean"

    @property
    def unsure(self) -> bool:
        """Whether the probability lies where verdicts are too often wrong."""
        return self.unsure_range[0] < self.probability < self.unsure_range[1]

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        percent = f"{100 * self.probability:.0f} %"
        if self.unsure:
            low, high = self.unsure_range
            look = "look at the marked places" if self.peaks else "look at the whole film"
            return (
                f"Unsure, leaning to {self.verdict}: the model gives a foreign object {percent}, and from "
                f"{100 * low:.0f} to {100 * high:.0f} % it is not to be relied on, so {look} yourself."
            )
        if self.verdict == "clean":
            return f"Clean: the model gives a foreign object {percent}."
        places = {0: "but points at no place", 1: "and points at one place"}.get(
            len(self.peaks), f"and points at {len(self.peaks)} places"
        )
        return f"Foreign object: the model gives it {percent} {places}."


class Explainer:
    """A trained classifier with one attribution method.

    Args:
        run: Run directory with the classifier.
        method: Name in the registry of methods.

    Raises:
        UserError: No classifier, an unknown method, or one that cannot run on the network.
    """

    def __init__(self, run: Path, method: str = DEFAULT_METHOD) -> None:
        if method not in METHODS or METHODS[method].family == "baseline":
            near = [name for name in near_names(method) if METHODS[name].family != "baseline"]
            raise UserError(
                f"--method: there is no method {method!r} that explains a film; choose one such as "
                f"{', '.join(near or [DEFAULT_METHOD])}."
            )
        self.method = method
        self.config: Config = saved_config(run)
        self.network = load_classifier(run)
        films = partial(training_films, replace(self.config, out=run), torch.device("cpu"))
        context = Context(self.network, self.config.image_size, self.config.scoring.budget, films)
        self._explain: Explain = METHODS[method].prepare(context)
        low, high = read_json(run / "classifier.json").get("unsure") or UNSURE
        self.unsure_range = (float(low), float(high))

    def __call__(self, path: Path) -> Explanation:
        """Explain one film.

        Args:
            path: PNG, JPEG or DICOM.

        Raises:
            UserError: The file is missing, truncated or no film.
        """
        film = read_film(path).grey
        size = self.config.image_size
        if min(film.shape) < 32:
            raise UserError(f"The film {path} has {film.shape[1]} x {film.shape[0]} pixels: that is too small.")
        small = np.array(Image.fromarray(film).resize((size, size), Image.Resampling.LANCZOS))
        image = normalise(torch.from_numpy(small)[None, None])
        with torch.no_grad():
            probability = float(self.network(image).softmax(dim=1)[0, 1])
        torch.manual_seed(self.config.seed)
        maps = self._explain(image, torch.tensor([1])).float()
        saliency = F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)[0, 0].numpy()
        peaks = find_peaks(saliency) if probability > self.unsure_range[0] else []
        height, width = film.shape
        scaled = tuple(_to_film(peak, width / size, height / size) for peak in peaks)
        return Explanation(film, probability, saliency, scaled, self.unsure_range)


def explain(images: list[Path], checkpoint: Path, out: Path | None = None, method: str = DEFAULT_METHOD) -> None:
    """Explain films: print the verdicts, and write an overlay PNG and a JSON for each.

    Films that cannot be read do not keep the others from being explained.

    Args:
        images: PNG, JPEG or DICOM.
        checkpoint: Run directory with the classifier.
        out: Folder for the files; ``explained`` in the working directory by default.
        method: Name in the registry of methods.

    Raises:
        UserError: As :class:`Explainer` does; or, after all others are written, films that cannot be read.
    """
    out = Path("explained") if out is None else out
    explainer = Explainer(checkpoint, method)
    measured = read_json(checkpoint / "classifier.json")
    out.mkdir(parents=True, exist_ok=True)
    print(NOTICE)
    problems = []
    for path, stem in zip(images, _stems(images), strict=True):
        try:
            result = explainer(path)
        except UserError as error:
            problems.append(str(error))
            continue
        write_json(out / f"{stem}.json", _as_json(result, path, explainer, measured))
        draw(result, path.name, method, out / f"{stem}.png")
        print(f"{path}: {result.sentence} ({out / f'{stem}.png'})")
    if problems:
        rest = f" ({len(problems)} of {len(images)} films could not be read, this is the first)" if problems[1:] else ""
        raise UserError(problems[0] + rest)


def draw(result: Explanation, title: str, method: str, path: Path) -> None:
    """Draw the film beside the film with its map and its boxes, the aspect kept."""
    height, width = result.film.shape
    tall = 5.6
    wide = min(max(tall * width / height, 2.5), 9.0)
    figure = Figure(figsize=(2 * wide + 0.3, tall + 1.1), layout="constrained")
    plain, marked = figure.subplots(1, 2)
    step = max(1, max(result.film.shape) // 1200)
    for axis in (plain, marked):
        axis.imshow(result.film[::step, ::step], cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
        axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    plain.set_title(title, fontsize=9, parse_math=False)
    marked.set_title(f"where the model sees a foreign object ({method})", fontsize=9)
    low, high = float(result.saliency.min()), float(np.quantile(result.saliency, 0.995))
    if result.peaks and high > low:
        unit = np.clip((result.saliency - low) / (high - low), 0, 1)
        colours = matplotlib.colormaps["inferno"](unit)
        colours[..., 3] = 0.6 * np.sqrt(unit)
        marked.imshow(colours, extent=(0, width, height, 0), interpolation="bilinear")
    for number, peak in enumerate(result.peaks, start=1):
        x1, y1, x2, y2 = peak.box
        marked.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=MARK, linewidth=1.4))
        label = {"facecolor": MARK, "edgecolor": "none", "pad": 1.5}
        above = y1 > 0.05 * height  # else there is no room for it on the film
        side = {"va": "bottom" if above else "top", "ha": "left" if x1 < 0.85 * width else "right"}
        marked.text(x1, y1, f"{number}: {peak.score:.2f}", fontsize=8, bbox=label, clip_on=True, **side)
    letters = int(2 * wide / 0.085)
    figure.suptitle("\n".join(textwrap.wrap(result.sentence, letters)), fontsize=11)
    figure.supxlabel("\n".join(textwrap.wrap(NOTICE, letters)), fontsize=8)
    write_figure(path, figure, dpi=110)


def _as_json(result: Explanation, path: Path, explainer: Explainer, measured: dict[str, Any]) -> dict[str, Any]:
    height, width = result.film.shape
    return {
        "notice": NOTICE,
        "film": path.name,
        "width": width,
        "height": height,
        "verdict": result.verdict,
        "probability": round(result.probability, 6),
        "unsure": result.unsure,
        "unsure_range": list(result.unsure_range),
        "sentence": result.sentence,
        "peaks": [
            {"x": peak.x, "y": peak.y, "score": round(peak.score, 4), "box": list(peak.box)} for peak in result.peaks
        ],
        "method": explainer.method,
        "classifier": {
            "arch": explainer.config.arch,
            "image_size": explainer.config.image_size,
            **{name: measured[name] for name in ("auc", "accuracy", "split")},
        },
    }


def _to_film(peak: Peak, x_scale: float, y_scale: float) -> Peak:
    """A peak of the network's frame in pixels of the film; the middle of a pixel stays the middle."""
    x1, y1, x2, y2 = peak.box
    box = (round(x1 * x_scale), round(y1 * y_scale), round(x2 * x_scale), round(y2 * y_scale))
    return Peak(int((peak.x + 0.5) * x_scale), int((peak.y + 0.5) * y_scale), peak.score, box)


def _stems(paths: list[Path]) -> list[str]:
    """A name for each film's files, told apart where two films are called the same."""
    stems: list[str] = []
    for path in paths:
        stem, number = path.stem, 2
        while stem in stems:
            stem, number = f"{path.stem}-{number}", number + 1
        stems.append(stem)
    return stems
