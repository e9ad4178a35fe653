"""The report as one self-contained page, with the tables and figures behind it as files of their own."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from benchmarks.breakdown import BREAKDOWNS, break_down, film_facts, film_groups
from benchmarks.charts import draw_breakdown, draw_cost, draw_ranking
from benchmarks.config import Config
from benchmarks.film_batch import Job
from benchmarks.gallery import MAP_SIDE, choose_films, gallery_entries, gallery_maps
from benchmarks.maps import FRAME
from benchmarks.methods import METHODS, Method
from benchmarks.pointing_game import PROTOCOLS, TOLERANCES
from benchmarks.run_directory import read_json
from benchmarks.significance import significance_table, tied_groups
from benchmarks.statistics import explaining, hit_matrix

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("state.js", "table.js", "charts.js", "gallery.js")

EXTRA = {
    "measures.csv": ("Other measures", "What the maps score by measures other than the Pointing Game."),
    "consistency.csv": (
        "Consistency",
        "How far the maps change with smoothing, weights, training seed and architecture.",
    ),
}
"""Tables that other steps may leave in the run directory, with a title and a sentence."""


def write_html(config: Config, job: Job, content: dict[str, Any], scores: pd.DataFrame, chance: pd.DataFrame) -> None:
    """Write ``report.html`` and what belongs to it into the run directory.

    Besides the page: ``significance.csv``, ``breakdown.csv``, ``tables.md``, and ``ranking``, ``cost`` and
    ``breakdown`` each as PNG and SVG.

    Args:
        config: Of the run.
        job: Network and films.
        content: What ``summary.json`` holds.
        scores: Rows of ``scores.parquet``.
        chance: Columns ``image``, ``tolerance``, ``chance``.
    """
    rows = pd.DataFrame(content["rows"])
    tests = significance_table(scores, config.seed)
    breakdown = break_down(scores, chance, film_groups(film_facts(job), scores))
    tests.to_csv(config.out / "significance.csv", index=False, float_format="%.6g")
    breakdown.to_csv(config.out / "breakdown.csv", index=False, float_format="%.6g")
    (config.out / "tables.md").write_text(markdown(tests, breakdown), encoding="utf-8")
    keys = ["protocol", "tolerance", "method"]
    rows = rows.merge(tests.drop(columns="accuracy"), on=keys)
    draw_ranking(rows, content["chance"], config.out / "ranking")
    draw_cost(rows, config.out / "cost")
    draw_breakdown(breakdown, config.out / "breakdown")
    methods = [METHODS[name] for name in METHODS if name in set(rows["method"])]
    data = {
        "run": _run(config, content),
        "protocols": list(PROTOCOLS)[::-1],
        "tolerances": list(TOLERANCES),
        "chance": content["chance"],
        "methods": [_method(method) for method in methods],
        "rows": rows.to_dict(orient="records"),
        "groups": [
            {
                "protocol": protocol,
                "tolerance": tolerance,
                "groups": tied_groups(hit_matrix(scores, protocol, tolerance)),
            }
            for protocol in PROTOCOLS
            for tolerance in TOLERANCES
        ],
        "breakdowns": BREAKDOWNS,
        "breakdown": _rounded(breakdown).to_dict(orient="records"),
        "extra": [_extra(config.out / name, *text) for name, text in EXTRA.items() if (config.out / name).is_file()],
        "gallery": _gallery(config, job, methods, scores),
        "remarks": _remarks(config, content),
    }
    (config.out / "report.html").write_text(page(data), encoding="utf-8")


def page(data: dict[str, Any]) -> str:
    """The page with its data, style and scripts inside; it needs nothing else."""
    texts = {name: (TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *SCRIPTS)}
    # A film may be called "</script>": inside of JSON, "<" can be written as an escape.
    plain = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    result = texts["page.html"].replace("/*STYLE*/", texts["style.css"])
    result = result.replace("/*SCRIPT*/", "\n".join(texts[name] for name in SCRIPTS))
    return result.replace("/*DATA*/", plain)


def markdown(tests: pd.DataFrame, breakdown: pd.DataFrame) -> str:
    """Tests against the best and accuracies by groups of films, as Markdown."""
    lines = ["# Which differences are real", ""]
    lines += ["McNemar's exact test against the best method on the same films, Holm's correction.", ""]
    for (protocol, tolerance), group in tests.groupby(["protocol", "tolerance"]):
        lines += [f"## Protocol `{protocol}`, {_within(int(tolerance))}", ""]
        lines += ["| method | accuracy, % | only the best hits | only it hits | p (Holm) | differs | ranks |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | --- | ---: |"]
        for row in group.itertuples():
            verdict = "best" if row.method == row.best else "yes" if row.differs else "not shown"
            lines.append(
                f"| {row.method} | {100 * row.accuracy:.1f} | {row.only_best} | {row.only_method} | {row.p_holm:.3g} "
                f"| {verdict} | {row.rank_low:.0f} to {row.rank_high:.0f} |"
            )
        lines.append("")
    lines += ["# Accuracy by groups of films", ""]
    for (name, protocol, tolerance), rows in breakdown.groupby(["breakdown", "protocol", "tolerance"], sort=False):
        wide = rows.pivot(index="method", columns="group", values="accuracy")
        groups = rows.drop_duplicates("group").set_index("group")
        wide = wide[list(groups.index)]
        lines += [f"## By {name}, protocol `{protocol}`, {_within(int(tolerance))}", ""]
        lines += [f"{BREAKDOWNS[str(name)].capitalize()}; percent.", ""]
        lines.append(
            f"| method | {' | '.join(f'{group} ({films} films)' for group, films in groups['films'].items())} |"
        )
        lines.append("| --- |" + " ---: |" * len(groups))
        for method, values in wide.iterrows():
            lines.append(f"| {method} | {' | '.join(f'{100 * value:.1f}' for value in values)} |")
        lines += [f"| (chance) | {' | '.join(f'{100 * value:.1f}' for value in groups['chance'])} |", ""]
    return "\n".join(lines)


def _gallery(config: Config, job: Job, methods: list[Method], scores: pd.DataFrame) -> dict[str, Any]:
    hits = hit_matrix(scores, "fair", 15)
    judges = [method.name for method in methods if method.family != "baseline"]
    names = choose_films(hits[judges] if judges else hits)
    position = {job.films.records[i].name: i for i in job.positives}
    positions = [position[name] for name in names]
    seconds = explaining(scores).groupby("method")["seconds"].median().to_dict()
    # The map of chance is drawn anew and would not fit the point that was scored.
    drawn = [method for method in methods if method.name != "random"]
    maps = gallery_maps(job, drawn, positions, seconds, config.cache_dir / "gallery", show=not config.quiet)
    total = len(job.positives)
    which = f"All {total} annotated films."
    if len(names) < total:
        which = (
            f"{len(names)} of {total} annotated films: a third that the fewest methods hit, a third on which they are "
            "most divided, a third evenly spaced over the rest."
        )
    ramp = (matplotlib.colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    return {
        "films": gallery_entries(job, positions, maps, scores),
        "side": MAP_SIDE,
        "ramp": base64.b64encode(ramp.tobytes()).decode(),
        "which": which,
    }


def _run(config: Config, content: dict[str, Any]) -> dict[str, Any]:
    classifier = content["classifier"]
    return {
        "arch": config.arch,
        "image_size": config.image_size,
        "auc": classifier["auc"],
        "accuracy": classifier["accuracy"],
        "images": content["images"],
        "excluded": content["films_without_annotation_excluded"],
        "truth": config.truth,
        "frame": FRAME,
    }


def _method(method: Method) -> dict[str, str]:
    return {
        "name": method.name,
        "title": " ".join(method.title.split()),
        "family": method.family,
        "cost": method.cost,
        "reduction": method.reduction,
    }


def _extra(path: Path, title: str, note: str) -> dict[str, Any]:
    table = pd.read_csv(path)
    rows = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row] for row in table.to_numpy()]
    return {"title": title, "note": note, "columns": [str(name) for name in table.columns], "rows": rows}


def _remarks(config: Config, content: dict[str, Any]) -> list[tuple[str, str]]:
    """Notes on this run: what could not run, odd maps, versions."""
    remarks = [(f"{name} could not run", reason) for name, reason in content["methods_that_could_not_run"].items()]
    for name, counts in content["maps"]["fair"].items():
        if any(counts.values()):
            text = f"{counts['constant']} maps are constant, {counts['non_finite']} not finite (these are misses)."
            remarks.append((f"Maps of {name}", text))
    path = config.out / "environment.json"
    if path.is_file():
        facts = {name: value for name, value in read_json(path).items() if value is not None}
        remarks.append(("Versions", ", ".join(f"{name} {value}" for name, value in facts.items())))
    return remarks


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    return table.round({"accuracy": 4, "ci_low": 4, "ci_high": 4, "chance": 4})


def _within(tolerance: int) -> str:
    return f"within {tolerance} px" if tolerance else "inside"
