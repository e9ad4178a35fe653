"""Threads and modes of torch, and what goes wrong with devices: those that are not there, and those that are full."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks.run.config import Config, Devices, check_threads, flag
from benchmarks.run.errors import UserError

if TYPE_CHECKING:
    import torch
    from lightning.fabric import Fabric


def use_threads(threads: int | None) -> None:
    """Have torch compute with so many threads, or as many as it chooses.

    Raises:
        UserError: There are none, or too many.
    """
    check_threads(threads)
    if threads is None:
        return
    import torch  # late: settings are read without it

    torch.set_num_threads(threads)


@contextmanager
def in_full() -> Iterator[None]:
    """Compute with gradients and in float32, whatever modes of torch a caller in Python is in.

    Under ``torch.inference_mode`` there are no gradients to explain by, and autocast rounds what is compared.
    """
    import torch

    with torch.inference_mode(False), ExitStack() as modes:
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        yield


def check_devices(config: Config) -> None:
    """Refuse devices that are not there before any work is done.

    Raises:
        UserError: They cannot be had.
    """
    if config.devices.for_lightning() == Devices().for_lightning():
        return
    open_fabric(config)


def open_fabric(config: Config) -> Fabric:
    """Lightning's Fabric on the devices and machines of the configuration.

    Raises:
        UserError: They cannot be had.
    """
    from lightning.fabric import Fabric  # late: the report reads results without it, and it takes 100 MB

    with plain_device_errors(config):
        return Fabric(**config.devices.for_lightning())


def one_device(config: Config) -> torch.device:
    """The device of this process alone.

    Raises:
        UserError: It cannot be had.
    """
    from lightning.fabric import Fabric

    with plain_device_errors(config):
        return Fabric(accelerator=config.devices.accelerator, devices=1).device


@contextmanager
def plain_device_errors(config: Config) -> Iterator[None]:
    """Turn what Lightning raises on devices that are not there into a sentence."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException  # late: it takes 100 MB

    # It would recommend tensor cores, which maps do without on purpose and training asks for itself.
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    try:
        yield
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        asked = config.devices
        flags = " ".join(f"{flag(name)} {getattr(asked, name)}" for name in ("accelerator", "devices", "strategy"))
        raise UserError(
            f"{flags} cannot be had on this machine ({' '.join(str(error).split())}): choose others, or leave them out."
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is a lack of memory, of the machine or of a device."""
    from torch import OutOfMemoryError  # late: settings are read without it

    # torch reports a full CPU as a plain RuntimeError.
    return isinstance(error, (MemoryError, OutOfMemoryError)) or "t allocate memory" in str(error)
