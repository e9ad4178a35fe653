from __future__ import annotations

import pytest
from colours import write_colours


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Annotations of the coloured rectangles."""
    return write_colours(tmp_path_factory.mktemp("colours"))
