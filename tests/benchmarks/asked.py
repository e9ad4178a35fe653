"""An evaluation of the coloured rectangles, as tests ask for it."""

from __future__ import annotations

from colours import CLASSES, SIDE, Colours

from benchmarks.evaluation.evaluate import evaluate

QUIET = {"accelerator": "cpu", "quiet": True}
INPUT = {"size": (SIDE, SIDE)}
SETTINGS = {"classes": CLASSES, "preparation": INPUT, **QUIET}


def asked(out, data, methods, **settings):
    settings = {**SETTINGS, **settings}
    return evaluate(settings.pop("model", None) or Colours(), data, methods, out=out, **settings)
