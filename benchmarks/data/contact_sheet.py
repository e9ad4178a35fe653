"""A picture of many films at a glance, with their annotations: what a set looks like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.data.films import decode
from benchmarks.data.object_cxr import Record

INK = "#3cc8ff"


def draw_contact_sheet(
    records: Sequence[Record], path: Path | str, *, columns: int = 6, rows: int = 4, tile: int = 300
) -> None:
    """Write a PNG of some films, evenly spaced among the records, first and last included.

    Rectangles, ellipses and polygons are drawn as annotated; a film without any has no mark. Films are stretched to
    squares as the classifier sees them.

    Args:
        records: As ``read_split`` returns them.
        path: The PNG to write.
        columns: Films in a row.
        rows: Most rows.
        tile: Side of a film in pixels.

    Raises:
        UserError: A film is missing or does not decode.
    """
    count = min(columns * rows, len(records))
    chosen = [records[round(k * (len(records) - 1) / max(count - 1, 1))] for k in range(count)]
    columns = min(columns, max(count, 1))
    sheet = Image.new("RGB", (columns * tile, -(-count // columns) * tile or tile))
    for position, record in enumerate(chosen):
        row, column = divmod(position, columns)
        sheet.paste(draw_annotated(record, tile), (column * tile, row * tile))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def draw_annotated(record: Record, tile: int) -> Image.Image:
    """One film (tile, tile) in RGB with its annotations."""
    film, (width, height) = decode(record.path, 2 * tile)
    image = Image.fromarray(film).resize((tile, tile), Image.Resampling.LANCZOS).convert("RGB")
    pen = ImageDraw.Draw(image)
    line = max(tile // 150, 1)
    for shape in record.shapes:
        points = [(x * tile / width, y * tile / height) for x, y in shape.points]
        if shape.kind == "polygon":
            pen.line([*points, points[0]], fill=INK, width=line)
            continue
        x1, y1, x2, y2 = shape.box
        box = (x1 * tile / width, y1 * tile / height, x2 * tile / width, y2 * tile / height)
        (pen.rectangle if shape.kind == "rectangle" else pen.ellipse)(box, outline=INK, width=line)
    return image
