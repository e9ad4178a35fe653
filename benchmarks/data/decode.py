"""Decodes films of any depth and colour to 8-bit grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.run.errors import UserError


def load_film(path: Path | str) -> npt.NDArray[np.uint8]:
    """Decode a film to 8-bit grey.

    Deeper films (16-bit PNG) are stretched from their own range, since many fill only 10 or 12 bits.

    Args:
        path: Grey or colour JPEG or PNG of any depth.

    Returns:
        uint8 array (height, width).

    Raises:
        UserError: The file is missing, truncated or no image.
    """
    return decode(Path(path))[0]


def decode(path: Path, at_least: int | None = None) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """As ``load_film``, together with the (width, height) of the stored film, to which annotations refer.

    ``at_least`` lets a JPEG be decoded at a half, quarter or eighth of its size as long as both sides keep this many
    pixels, which is several times faster on full-size films.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            if at_least is not None:
                image.draft("L", (at_least, at_least))
            if image.mode.startswith(("I", "F")):
                deep = np.asarray(image, dtype=np.float64)
                low, high = deep.min(), deep.max()
                return np.round((deep - low) * (255 / max(high - low, 1e-12))).astype(np.uint8), size
            return np.asarray(image.convert("L")), size
    except FileNotFoundError:
        raise UserError(f"The film {path} is missing.") from None
    # PIL reports broken files by all of these, depending on the format and on where they break.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"The film {path} cannot be decoded ({error}); is it truncated?") from None
