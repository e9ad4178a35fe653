"""Settings of a benchmark run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from benchmarks.run.choices import Truth
from benchmarks.run.errors import UserError
from benchmarks.run.stored import DamagedError, NotOfKindError, convert

# Settings in which two starts in one run directory may differ. Most say where and how fast a run works; ``methods`` and
# ``measure_films`` may change in a finished run, and ``data`` is compared by films and annotations, not by path.
# The number of devices moves a training a little: batch normalisation knows the films of its own device only.
FREE_SETTINGS = frozenset(
    {
        "out", "data", "methods", "measure_films", "checkpoint",
        "accelerator", "devices", "num_nodes", "strategy", "threads", "quiet", "allow_weak", "seeds", "one_of_seeds",
    }
)  # fmt: skip
OPEN = "evaluate"
"""In the place of a preset: the classifier and the data are others' than the suite's."""
EVALUATION = "evaluation.json"
"""In the folder of an evaluation, which is no run: its classifier is the user's, and is not kept."""
SPLITS = ("train", "dev", "test")
"""Of a set of films."""
CACHE = "cache"
"""Folder in that of results for what can be computed again."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Of a training, in Lightning's words; maps are always computed in float32."""
MOST_PIXELS = 2**14
"""Of the working size of a film or an image, on a side; no network takes more."""

MOST_THREADS = 1024
"""Of torch; some libraries do not survive more."""


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the random changes of training films.

    Attributes:
        brightness: Brightness factors are drawn from 1 - b to 1 + b.
        contrast: Contrast factors are drawn from 1 - c to 1 + c.
        rotate: Largest rotation in degrees, either way.
        translate: Largest shift as a share of the side.
        scale: Largest relative change of scale, either way.
        shear: Largest shear in degrees, either way.
        drawn: Share of the annotated films that give their place to clean ones with drawn objects, at the start and
            from the middle of the training on.
        drawn_contrast: Contrast of drawn objects at the same times, on the scale of the synthetic set's.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    rotate: float = 30.0
    translate: float = 0.1
    scale: float = 0.05
    shear: float = 0.1
    drawn: tuple[float, float] = (0.0, 0.0)
    drawn_contrast: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Scoring:
    """What is scored and measured, and against what.

    Attributes:
        truth: Ground truth of the Pointing Game: ``box`` or ``shape``.
        methods: Names of attribution methods or of sets of methods.
        budget: Forward passes for a film that an attribution method may spend.
        score_batch_size: Films per batch while scoring; part of what is computed, as batches are units of work.
        measure_films: Most films of the step ``measure``, half of each class, evenly spaced over the test split.
        allow_weak: Score a classifier that guesses on the dev films, too.
    """

    truth: str = "box"
    methods: tuple[str, ...] = ("paper",)
    budget: int = 300
    score_batch_size: int = 16
    measure_films: int = 128
    allow_weak: bool = False


@dataclass(frozen=True)
class Devices:
    """Where and on how much a run works, in Lightning's values.

    Attributes:
        accelerator: Lightning's accelerator.
        devices: Lightning's devices per machine.
        num_nodes: Number of machines.
        strategy: Lightning's strategy.
        threads: Threads of torch; ``None`` leaves torch's choice.
    """

    accelerator: str = "auto"
    devices: str = "1"
    num_nodes: int = 1
    strategy: str = "auto"
    threads: int | None = None

    def for_lightning(self) -> dict[str, Any]:
        """Arguments of a Trainer or of Fabric; a number of devices as a number."""
        number = int(self.devices) if self.devices.lstrip("-").isdigit() else self.devices
        return {
            "accelerator": self.accelerator,
            "devices": number,
            "num_nodes": self.num_nodes,
            "strategy": self.strategy,
        }


@dataclass(frozen=True)
class Config:
    """Everything that defines a run.

    The defaults are the recipe of Ozer & Oksuz (MIDL 2021) on Object-CXR, the preset ``object-cxr``. On the command
    line and in ``config.json`` the settings of the parts stand beside the others, under their own names.

    Attributes:
        preset: Name of the preset the other values started from.
        out: Run directory.
        data: Folder in Object-CXR layout; ``None`` writes a synthetic set under ``out``.
        checkpoint: Run directory whose classifier is scored; ``None`` means ``out``.
        seed: Seed of initialisation, order, augmentation and random attribution methods; the first of several.
        seeds: Number of classifiers that are trained and scored, each with a seed of its own.
        one_of_seeds: The run is of one seed of several; what they share lies in the folder above it.
        limit: Films per split, half of each class; ``None`` takes all.
        data_seed: Seed of the synthetic set.
        film_counts: Films of the synthetic splits train, dev and test.
        film_size: Longer side of a synthetic film, in pixels.
        arch: Name of a torchvision classifier, or ``slim_resnet18`` (24 to 192 channels).
        weights: ``imagenet``, ``synthetic`` (a body trained on synthetic films, made once), ``none``, a file with a
            state dict, or a run directory.
        image_size: Side of the square that films are resized to, in pixels; the aspect is not kept.
        epochs: Passes over the training split.
        patience: Epochs without a better dev AUC after which the training ends; ``None`` goes through all of them.
        batch_size: Films per optimisation step, over all devices together.
        precision: Of the training, one of :data:`PRECISIONS`.
        optimizer: ``sgd`` or ``adamw``.
        lr: Peak learning rate.
        momentum: Momentum of SGD.
        weight_decay: L2 penalty (SGD) or decoupled decay (AdamW).
        schedule: ``step`` (x 0.1 at epoch ``lr_drop``) or ``cosine`` (to zero at the end).
        lr_drop: Epoch, counted from zero, at which ``step`` lowers the rate.
        warmup_epochs: Length of the linear warm-up.
        augmentation: Of training films.
        scoring: What is scored.
        devices: What computes.
        quiet: No progress bars.
    """

    preset: str = "object-cxr"
    out: Path = Path("runs/object-cxr")
    data: Path | None = None
    checkpoint: Path | None = None
    seed: int = 0
    seeds: int = 1
    one_of_seeds: bool = False
    limit: int | None = None

    data_seed: int = 0
    film_counts: tuple[int, int, int] = (8000, 1000, 1000)
    film_size: int = 1024

    arch: str = "resnet34"
    weights: str = "imagenet"
    image_size: int = 600
    epochs: int = 20
    patience: int | None = None
    batch_size: int = 16
    precision: str = "32-true"
    optimizer: str = "sgd"
    lr: float = 0.005
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "step"
    lr_drop: int = 5
    warmup_epochs: float = 1.0

    augmentation: Augmentation = Augmentation()
    scoring: Scoring = Scoring()
    devices: Devices = Devices()
    quiet: bool = False

    @property
    def data_root(self) -> Path:
        """Folder with the films: ``data``, or the synthetic set of the run that holds the classifier."""
        return self.data if self.data is not None else self._shared(self.classifier_dir) / "data"

    @property
    def classifier_dir(self) -> Path:
        """Run directory that holds the classifier."""
        return self.checkpoint if self.checkpoint is not None else self.out

    @property
    def cache_dir(self) -> Path:
        """Folder for decoded and resized films."""
        return self._shared(self.out) / CACHE

    def _shared(self, run: Path) -> Path:
        return run.parent if self.one_of_seeds else run

    def of_each_seed(self) -> list[Config]:
        """Settings of the runs of all seeds, each in a folder of its own below ``out``; of one seed, the settings."""
        if self.seeds == 1:
            return [self]
        return [
            self.replace(
                seed=seed,
                seeds=1,
                one_of_seeds=True,
                out=self.out / f"seed{seed}",
                checkpoint=None if self.checkpoint is None else self.checkpoint / f"seed{seed}",
            )
            for seed in range(self.seed, self.seed + self.seeds)
        ]

    def split_counts(self) -> dict[str, int]:
        """Films to write for each synthetic split, ``limit`` applied."""
        most = self.limit if self.limit is not None else max(self.film_counts)
        return {split: min(most, count) for split, count in zip(SPLITS, self.film_counts, strict=True)}

    def settings(self) -> dict[str, Any]:
        """All settings by name, those of the parts among them."""
        flat: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            flat.update(vars(value) if field.name in PARTS else {field.name: value})
        return flat

    def replace(self, **settings: Any) -> Config:
        """The same with some settings changed, by their names on the command line.

        Raises:
            TypeError: There is no such setting.
        """
        own = dict(settings)
        for part, kind in PARTS.items():
            names = [field.name for field in dataclasses.fields(kind) if field.name in own]
            changed = {name: own.pop(name) for name in names}
            own[part] = dataclasses.replace(getattr(self, part), **changed)
        return dataclasses.replace(self, **own)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values: paths as text, tuples as lists."""
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in self.settings().items()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


PARTS: dict[str, type] = {"augmentation": Augmentation, "scoring": Scoring, "devices": Devices}


WHERE_TO_GET_OBJECT_CXR = (
    "The preset object-cxr needs --data DIR: ask JF Healthcare's Object-CXR (MIDL 2020 challenge, CC BY-NC 4.0) from "
    "its organisers and put train.csv, dev.csv and test.csv beside the folders train/, dev/ and test/ with the films; "
    "the layout object-CXR_test/test.csv with object-CXR_test/images/ is read too."
)


def from_dict(plain: dict[str, Any], path: Path = Path("config.json")) -> Config:
    """Read back what :meth:`Config.to_dict` wrote.

    Args:
        plain: The settings as JSON values; ``annotations`` may stand beside them, as in ``config.json``.
        path: The file that they are from, for the sentence.

    Raises:
        UserError: A setting is unknown, as of another version.
        DamagedError: A setting has a value that it cannot have.
    """
    kinds = {name: kind for name, kind in get_type_hints(Config).items() if name not in PARTS}
    for part in PARTS.values():
        kinds.update(get_type_hints(part))
    values = {}
    for name, value in plain.items():
        if name == "annotations":
            continue
        if name not in kinds:
            raise UserError(f"{path} has the unknown setting {name!r}: it was written by another version.")
        try:
            values[name] = convert(value, kinds[name])
        except NotOfKindError as error:
            raise DamagedError(f"{path} is damaged ({flag(name)}: {error}): choose another --out.") from None
    config = Config().replace(**values)
    try:
        check(config)
    except UserError as error:
        raise DamagedError(f"{path} is damaged ({error})") from None
    return config


def check(config: Config) -> None:
    """Refuse settings that no run could use.

    Raises:
        UserError: Names the setting and what it may be.
    """
    settings = config.settings()
    for name, least in (
        ("image_size", 32),
        ("epochs", 1),
        ("batch_size", 2),
        ("score_batch_size", 1),
        ("budget", 20),
        ("measure_films", 2),
        ("num_nodes", 1),
        ("seeds", 1),
        ("film_size", 64),
    ):
        if settings[name] < least:
            raise UserError(f"{flag(name)} is {settings[name]}: it must be at least {least}.")
    if config.image_size > MOST_PIXELS:
        raise UserError(f"--image-size is {config.image_size}: it must be at most {MOST_PIXELS}.")
    if not 0 < config.lr < math.inf:
        raise UserError(f"--lr is {config.lr}: it must be above 0.")
    if config.limit is not None and config.limit < 2:
        raise UserError(f"--limit is {config.limit}: it must be at least 2, one film of each class.")
    if config.patience is not None and config.patience < 1:
        raise UserError(f"--patience is {config.patience}: it must be at least 1.")
    check_threads(config.devices.threads)
    for name in ("seed", "data_seed"):
        most = 2**32 - (config.seeds if name == "seed" else 1)
        if not 0 <= settings[name] <= most:
            raise UserError(f"{flag(name)} is {settings[name]}: it must be between 0 and {most}.")
    if config.precision not in PRECISIONS:
        raise UserError(f"--precision is {config.precision!r}: it must be one of {', '.join(PRECISIONS)}.")
    if config.scoring.truth not in get_args(Truth):
        raise UserError(f"--truth is {config.scoring.truth!r}: it must be box or shape.")
    if config.preset == "object-cxr" and config.data is None:
        raise UserError(WHERE_TO_GET_OBJECT_CXR)
    if config.preset == "films" and config.data is None:
        raise UserError("The preset films needs --data DIR, films in Object-CXR layout.")


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that torch cannot work with."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UserError(f"--threads is {threads}: it must be between 1 and {MOST_THREADS}.")


def flag(name: str) -> str:
    """The command line's spelling of a setting."""
    return "--" + name.replace("_", "-")
