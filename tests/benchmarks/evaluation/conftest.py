from __future__ import annotations

import pytest

from benchmarks.methods import METHODS
from tests.benchmarks.colours import write_colours


@pytest.fixture(autouse=True, scope="module")
def methods_of_the_suite():
    """Methods of a test's own, which an evaluation registers, are gone behind its module."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Annotations of the coloured rectangles."""
    return write_colours(tmp_path_factory.mktemp("colours"))
