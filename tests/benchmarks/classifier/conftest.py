from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import write_films


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))
