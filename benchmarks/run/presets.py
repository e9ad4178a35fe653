"""The presets: recipes under a name, from which the settings of a run start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.run.config import Config, check
from benchmarks.run.errors import UserError

PRESETS: dict[str, dict[str, Any]] = {
    "object-cxr": {"out": Path("runs/object-cxr")},
    "synthetic": {
        "out": Path("runs/synthetic"),
        "film_counts": (1200, 200, 400),
        "film_size": 320,
        "arch": "slim_resnet18",
        "weights": "none",
        "image_size": 224,
        "epochs": 16,
        "optimizer": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.05,
        "schedule": "cosine",
        "brightness": 0.2,
        "contrast": 0.2,
        "rotate": 8.0,
        "translate": 0.05,
        "drawn": (1.0, 0.5),
        "drawn_contrast": (6.0, 1.0),
        "measure_films": 64,
    },
}

# Films of the user's own on a small machine: the synthetic recipe at a size at which thin objects survive, from the
# synthetic body, at a third of the rate; that body knows strong objects already.
PRESETS["films"] = {
    **{name: value for name, value in PRESETS["synthetic"].items() if name not in ("film_counts", "film_size")},
    "out": Path("runs/films"),
    "weights": "synthetic",
    "image_size": 448,
    "epochs": 12,
    "lr": 1e-3,
    "drawn": (0.5, 0.2),
    "drawn_contrast": (0.7, 0.5),
}


def make_config(preset: str, settings: dict[str, Any]) -> Config:
    """Build the settings of a run.

    Args:
        preset: ``synthetic``, ``films`` or ``object-cxr``.
        settings: Values that replace the preset's, by field name.

    Returns:
        The complete, checked configuration.

    Raises:
        UserError: A value makes no sense, or ``object-cxr`` has no data.
    """
    if preset not in PRESETS:
        raise UserError(f"There is no preset {preset!r}: choose one of {', '.join(sorted(PRESETS))}.")
    config = Config().replace(**{**PRESETS[preset], **settings, "preset": preset})
    check(config)
    return config
