from __future__ import annotations

import pytest
from scored import SOME
from tiny_run import make_run

from benchmarks.scoring.score import score


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run whose scores came in one piece, in one process; tests leave it as it is."""
    config = make_run(tmp_path_factory.mktemp("finished"), methods=SOME)
    score(config)
    return config
