"""Versions of the packages that a result may depend on."""

from __future__ import annotations

from importlib import metadata


def version(package: str) -> str | None:
    """Version of an installed package, or None; this project's own, which a checkout has without being installed."""
    if package == "normgrad_attr":
        from normgrad_attr import __version__  # late: it brings torch, and --help must answer at once

        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
