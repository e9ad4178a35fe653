"""The results of a speed run as Markdown, as tables in the terminal, and as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.run.files import write_figure
from benchmarks.run.text_tables import markdown_table, terminal_table
from benchmarks.speed.contenders import CELLS, cell_name
from normgrad_attr.functional import AGGREGATES, EXTRACTS

_CURVES = {
    "inference": ("plain inference", "0.5", ":"),
    "minimal": ("minimal pass", "tab:orange", "--"),
    "normgrad": ("NormGrad, last layer", "tab:blue", "-"),
    "combined": ("CombinedNormGrad", "tab:blue", "-"),
    "captum": ("Captum LayerGradCam, one by one", "tab:red", "-."),
}


def bound_cells(content: dict[str, Any]) -> list[list[str]]:
    """The table of bounds as text, a header first."""
    cells = [["measure", "measured", "bound", "", "details"]]
    for row in content["bounds"]:
        value = "" if row["value"] is None else f"{row['value']:.3g}"
        cells.append([row["measure"], value, row["bound"], row["status"], row["note"]])
    return cells


def cost_cells(content: dict[str, Any], network: str) -> list[list[str]]:
    """The rows of one network as text, a header first, without single cells of the grid."""
    cells = [["", "ms per batch", "ms per image", "x inference", "peak MiB", "x inference"]]
    for row in content["networks"][network]:
        if row["row"] in CELLS:
            continue
        if row["absent"]:
            cells.append([row["title"], row["absent"], "", "", "", ""])
            continue
        ratio = row["time_ratio"]
        cells.append(
            [
                row["title"],
                f"{row['milliseconds']:.1f}",
                f"{row['milliseconds_per_image']:.2f}",
                f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
                f"{row['peak_mib']:.1f}",
                "" if row["memory_ratio"] is None else f"{row['memory_ratio']:.2f}",
            ]
        )
    return cells


def grid_cells(content: dict[str, Any], network: str) -> list[list[str]]:
    """Time of each cell of the grid as a multiple of plain inference, a header first."""
    rows = {row["row"]: row for row in content["networks"][network]}
    cells = [["x inference", *AGGREGATES]]
    for extract in EXTRACTS:
        ratios = [rows[cell_name(extract, aggregate)]["time_ratio"]["median"] for aggregate in AGGREGATES]
        cells.append([extract, *(f"{ratio:.2f}" for ratio in ratios)])
    return cells


def conditions(content: dict[str, Any]) -> str:
    """One sentence on what the bounds are set for, and what was measured instead, if so."""
    asked, settings = content["conditions"]["asked"], content["settings"]

    def case(network: str, batch: int, size: int, threads: int) -> str:
        return f"{network}, {batch} x 3 x {size} x {size}, {threads} threads"

    wanted = case(asked["network"], asked["batch"], asked["image_size"], asked["threads"])
    measured = case(settings["networks"][0], settings["batch"], settings["image_size"], settings["threads"])
    if content["conditions"]["met"]:
        return f"Set for and measured with {wanted}."
    return f"The bounds are set for {wanted}; this run measured {measured}, so a failure need not mean anything."


def control(content: dict[str, Any]) -> str:
    """One sentence on how far ratios of times can be trusted."""
    ratio = content["control"]
    return (
        f"Control: one and the same computation, timed as two rows, gives the ratio {ratio['median']:.3f} "
        f"(quartiles {ratio['low']:.3f} to {ratio['high']:.3f}); ratios of times above are no more exact than that."
    )


def markdown(content: dict[str, Any]) -> str:
    """The report as Markdown."""
    settings, versions = content["settings"], content["environment"]
    head = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    lines = [
        "# What an attribution costs",
        "",
        f"Batches of {settings['batch']} x 3 x {settings['image_size']} x {settings['image_size']}, random weights, "
        f"{settings['threads']} threads ({head}). All rows are timed in turn, in an order shuffled for each round; "
        "times are medians, ratios medians of the ratios within each round, with quartiles in brackets; rows with a "
        "bound are timed two at a time for it. Memory is the peak of resident memory above the idle process, each row "
        "in a process of its own. The packages of others do what they do by default: pytorch-grad-cam and torchcam "
        "scale their maps as well, pytorch-grad-cam resizes them and computes gradients of all weights.",
        "",
        "## Bounds",
        "",
        conditions(content),
        "",
        *markdown_table(bound_cells(content)),
        "",
        control(content),
        "",
    ]
    for network in content["networks"]:
        lines += [f"## {network}", ""]
        for cells in (cost_cells(content, network), grid_cells(content, network)):
            lines += [*markdown_table(cells), ""]
    lines += ["![Cost against batch size, image size and number of layers](speed.png)", ""]
    return "\n".join(lines)


def print_tables(content: dict[str, Any]) -> None:
    """Print the costs of each network and the bounds."""
    console = Console()
    for network in content["networks"]:
        # Without times per image and quartiles, to be narrow enough for 80 columns.
        short = [[row[0], row[1], row[3].partition(" [")[0], *row[4:]] for row in cost_cells(content, network)]
        console.print(terminal_table(network, short))
    console.print(terminal_table(conditions(content), [row[:-1] for row in bound_cells(content)]))
    console.print(control(content), markup=False, highlight=False)


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw the time against batch size, pixels and number of layers as PNG."""
    settings = content["settings"]
    network, batch, size = settings["networks"][0], settings["batch"], settings["image_size"]
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3)
    labels = {
        "batch": f"images in a batch ({size} x {size})",
        "image_size": f"megapixels per image (batch of {batch})",
        "layers": f"layers ({batch} x 3 x {size} x {size})",
    }
    for axis, (name, label) in zip(axes, labels.items(), strict=True):
        for row, points in content["curves"][name].items():
            title, colour, style = _CURVES[row]
            x = [point["x"] ** 2 / 1e6 if name == "image_size" else point["x"] for point in points]
            y = [point["milliseconds"] for point in points]
            axis.plot(x, y, style, color=colour, marker="o", ms=3.5, label=title)
        axis.set(xlabel=label, ylabel="ms per batch", xlim=(0, None), ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
        if content["curves"][name]:
            axis.legend(frameon=False, fontsize=8)
    figure.suptitle(f"Time of one attribution, {network}, {settings['threads']} threads", fontsize=11)
    write_figure(path, figure, dpi=130)
