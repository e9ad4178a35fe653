from __future__ import annotations

import numpy as np
from asked import asked
from colours import OBJECTS, SIDE, channel_of_target


def test_kept_maps_are_the_maps(data, tmp_path):
    result = asked(tmp_path, data, [channel_of_target], keep_maps=True)
    maps = result.maps("channel_of_target")
    assert maps.shape == (6, SIDE, SIDE)
    assert maps.dtype == np.float16
    for row, (_, _, (_, y1, x2, y2), right) in enumerate(OBJECTS):
        assert np.unravel_index(np.argmax(maps[row]), maps[row].shape) == ((y1 + y2) // 2, x2 - 1 + right)
        assert maps[row].max() == 1


def test_maps_that_scoring_made_before_are_kept_too(data, tmp_path):
    asked(tmp_path, data, [channel_of_target])
    assert np.isfinite(asked(tmp_path, data, [channel_of_target], keep_maps=True).maps("channel_of_target")).all()


def test_damaged_maps_are_computed_again(data, tmp_path, capsys):
    whole = np.array(asked(tmp_path, data, [channel_of_target], keep_maps=True).maps("channel_of_target"))
    (path,) = tmp_path.rglob("channel_of_target.*.npy")
    path.write_bytes(path.read_bytes()[:200])
    again = asked(tmp_path, data, [channel_of_target], keep_maps=True).maps("channel_of_target")
    np.testing.assert_array_equal(again, whole)
    assert f"{path} is damaged" in capsys.readouterr().out
