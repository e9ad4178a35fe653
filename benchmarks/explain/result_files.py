"""Files that ``explain`` writes: never over what it has not written, nor over another film's result."""

from __future__ import annotations

import hashlib
import html
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.explain.explainer import Explainer
from benchmarks.explain.marked_film import draw
from benchmarks.explain.structured_report import require_highdicom, structured_report
from benchmarks.explain.verdict import NOTICE, Explanation
from benchmarks.films.decode import SUFFIXES
from benchmarks.films.grey import Film
from benchmarks.run.errors import UserError, printable
from benchmarks.run.files import whole_file, write_json, write_rows, write_text
from normgrad_attr import __version__

MAKER = "normgrad_attr explain"
"""By which its files are known again."""
TABLE, PAGE = "explained.csv", "explained.html"
COLUMNS = (
    "film", "path", "sop_instance_uid", "verdict", "probability", "unsure", "places", "notes", "json", "overlay"
)  # fmt: skip
SCORE_MEANS = (
    "height of the method's map there: 1 is the highest point of this film's map and 0 the lowest, so scores compare "
    "places on one film only; they are no probabilities"
)


class Results:
    """A folder of results.

    Args:
        folder: Made when missing; it may hold anything else, such as the films.
        dicom: Write structured reports, too.

    Raises:
        UserError: The folder cannot be made, or holds a table or page of other origin under the names of these; reports
            are asked for and highdicom is missing.
    """

    def __init__(self, folder: Path, dicom: bool = False) -> None:
        self.folder = folder
        self.dicom = dicom
        if dicom:
            require_highdicom()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out: {folder} cannot be made ({error.strerror}).") from None
        for path in (folder / TABLE, folder / PAGE):
            if path.exists() and not _is_own(path):
                raise UserError(f"{path} was not written by explain, and is to stay: choose another --out.")

    def write(self, result: Explanation, path: Path, explainer: Explainer) -> Path:
        """Write the JSON and the overlay of a film.

        Returns:
            Path of the overlay.

        Raises:
            UserError: They cannot be written.
        """
        identity = film_identity(path, result.film)
        stem = self._stem(path, identity)
        overlay = self.folder / f"{stem}.overlay.png"
        content = as_json(result, path, identity, explainer)
        content["overlay"] = overlay.name
        picture = draw(result, path.name, explainer.method)
        info = PngInfo()
        info.add_text("Software", MAKER)
        info.add_text("Film", identity)
        with whole_file(overlay) as stream:
            picture.save(stream, "PNG", pnginfo=info, compress_level=1)  # the higher ones take most of the time
        write_json(self.folder / f"{stem}.json", content)
        if self.dicom and result.film.is_dicom:
            report = structured_report(result, path, explainer.method)
            with whole_file(self.folder / f"{stem}.report.dcm") as stream:
                report.save_as(stream)
        return overlay

    def _stem(self, path: Path, identity: str) -> str:
        """The film's name, with a digest behind it where the name is another's already."""
        name = path.stem if path.suffix.lower() in SUFFIXES else path.name
        name = "".join(c if printable(c) == c and c not in '\\/:*?"<>|' else "_" for c in name) or "film"
        short = name
        while len(short.encode()) > 200:
            short = short[:-1]
        for stem in (name, f"{short}-{identity[:8]}", f"{short}-{identity[:16]}"):
            files = [self.folder / f"{stem}{ending}" for ending in (".json", ".overlay.png", ".report.dcm")]
            if len(stem.encode()) <= 220 and all(_free_or_of(file, identity) for file in files):
                return stem
        raise UserError(f"{self.folder} holds other files by the name of the result for {path}: choose another --out.")

    def write_summary(self) -> None:
        """Write the table and the page of all films that have results in the folder, from this call and earlier ones.

        Raises:
            UserError: They cannot be written.
        """
        results = []
        for path in self.folder.glob("*.json"):
            content = _own_json(path)
            if content is not None:
                results.append((path.name, content))
        results.sort(key=lambda item: (-item[1]["probability"], item[0]))
        rows = [_row(name, content) for name, content in results]
        cells = ([_harmless_cell(row[column]) for column in COLUMNS] for row in rows)
        write_rows(self.folder / TABLE, COLUMNS, cells)
        write_text(self.folder / PAGE, _page(rows))


def film_identity(path: Path, film: Film) -> str:
    """A digest of where a film is and what it shows: an IM0001.dcm of the next patient is another film."""
    digest = hashlib.sha256(f"{path.resolve()}\n{film.uid}\n{film.grey.shape}\n".encode(errors="surrogateescape"))
    digest.update(film.grey.tobytes())
    return digest.hexdigest()


def as_json(result: Explanation, path: Path, identity: str, explainer: Explainer) -> dict[str, Any]:
    """The result of a film as JSON values."""
    height, width = result.film.grey.shape
    measured = explainer.measured
    return {
        "made_by": MAKER,
        "version": __version__,
        "notice": NOTICE,
        "film": printable(path.name),
        "path": printable(path.resolve()),
        "sop_instance_uid": printable(result.film.uid) or None,
        "identity": identity,
        "notes": list(result.film.notes),
        "width": width,
        "height": height,
        "verdict": result.verdict,
        "probability": round(result.probability, 6),
        "unsure": result.unsure,
        "unsure_range": list(result.unsure_range),
        "sentence": result.sentence,
        "peaks": [
            {"rank": rank, "x": peak.x, "y": peak.y, "score": round(peak.score, 4), "box": list(peak.box)}
            for rank, peak in enumerate(result.peaks, start=1)
        ],
        "score_means": SCORE_MEANS,
        "method": explainer.method,
        "classifier": {
            "arch": explainer.config.arch,
            "image_size": explainer.config.image_size,
            "checkpoint_sha256": explainer.checkpoint,
            **{name: getattr(measured, name) for name in ("auc", "accuracy", "split")},
        },
    }


def _own_json(path: Path) -> dict[str, Any] | None:
    """The content of a result, or None where the file is something else."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 2**20:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(content, dict) and content["made_by"] == MAKER and isinstance(content["probability"], float)
        return content if whole and {"film", "path", "verdict", "unsure", "peaks", "notes"} <= set(content) else None
    except (OSError, ValueError, KeyError, RecursionError):
        return None


def is_own_overlay(path: Path) -> bool:
    """Whether a picture is one that ``explain`` drew, and so no film."""
    return _overlay_of(path) is not None


def _overlay_of(path: Path) -> str | None:
    """Identity of the film that an overlay shows; None where a picture is something else."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return str(picture.info.get("Film")) if picture.info.get("Software") == MAKER else None
    except Exception:  # whatever it is, it is no overlay
        return None


def _free_or_of(path: Path, identity: str) -> bool:
    """Whether a name is free, or holds an earlier result of the same film."""
    if path.is_symlink():
        return False
    try:
        if not path.exists():
            return True
    except OSError:  # too long a name
        return False
    if path.suffix == ".png":
        return _overlay_of(path) == identity
    if path.suffix == ".dcm":  # the JSON beside it says whose it is
        path = path.with_name(f"{path.name.removesuffix('.report.dcm')}.json")
    content = _own_json(path)
    return content is not None and content.get("identity") == identity


def _is_own(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        beginning = stream.read(2000).decode("utf-8", "replace")
    return beginning.startswith(",".join(COLUMNS)) or f'content="{MAKER}"' in beginning


def _row(name: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        **{column: content.get(column) for column in COLUMNS},
        "sop_instance_uid": content.get("sop_instance_uid") or "",
        "unsure": "yes" if content["unsure"] else "no",
        "places": len(content["peaks"]),
        "notes": "; ".join(content["notes"]),
        "json": name,
        "overlay": content.get("overlay") or "",
    }


def _harmless_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _page(rows: list[dict[str, Any]]) -> str:
    """One page that shows all films, those that the model suspects most at the top."""
    body = "\n".join(
        f'<tr><td><a href="{quote(row["overlay"])}"><img loading="lazy" alt="" src="{quote(row["overlay"])}"></a></td>'
        + "".join(
            f"<td>{html.escape(str(text))}</td>"
            for text in (
                row["film"], f"{row['verdict']}{', unsure' if row['unsure'] == 'yes' else ''}",
                f"{100 * row['probability']:.0f} %", row["places"], row["notes"],
            )
        )
        + f'<td><a href="{quote(row["json"])}">JSON</a></td></tr>'
        for row in rows
    )  # fmt: skip
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{MAKER}">
<title>Explained films</title>
<style>
body {{ font: 15px system-ui, sans-serif; margin: 2em auto; max-width: 70em; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .4em .8em; border-bottom: 1px solid #ccc; text-align: left; overflow-wrap: anywhere; }}
img {{ width: 20em; display: block; }}
</style>
</head>
<body>
<h1>Explained films</h1>
<p>{NOTICE}</p>
<table>
<thead><tr>
<th>overlay</th><th>film</th><th>verdict</th><th>foreign object</th><th>places</th><th>notes</th><th></th>
</tr></thead>
<tbody>
{body}
</tbody>
</table>
</body>
</html>
"""
