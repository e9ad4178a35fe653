"""The page of a run with many methods, made of that of a run with few."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.report.page import page


def embedded(text: str) -> dict[str, Any]:
    """The data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def write_page_with_many_methods(few: Path, many: Path, count: int) -> None:
    """Copy a page, each method several times under other names; the copies are a little worse and have no maps."""
    data = embedded(few.read_text())
    originals = [method["name"] for method in data["methods"]]
    copies = {f"copy_{i:02}": originals[i % len(originals)] for i in range(count - len(originals))}
    by_name = {method["name"]: method for method in data["methods"]}
    data["methods"] += [
        {**by_name[old], "name": new, "title": f"{by_name[old]['title']}, variant {new[-2:]} of some length"}
        for new, old in copies.items()
    ]
    for row in list(data["rows"]):
        for number, (new, old) in enumerate(copies.items()):
            if row["method"] == old:
                worse = {key: max(0.0, row[key] - 0.001 * number) for key in ("accuracy", "ci_low", "ci_high")}
                data["rows"].append({**row, **worse, "method": new})
    tables = [*data["breakdown"], *data["verdicts"], *data["measures"], *data["consistency"], data["froc"]]
    tables += [{"values": points} for film in data["gallery"]["films"] for points in film["points"].values()]
    for table in tables:
        table["values"].update({new: table["values"][old] for new, old in copies.items() if old in table["values"]})
    many.write_text(page(data))
