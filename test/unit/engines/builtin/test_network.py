"""The numpy network: streaming equals running at once, and the weights file is checked."""

import importlib.resources
import json
from typing import Any

import numpy as np
import pytest

from musetalk_service.engines.builtin.mouth_table import CLASSES
from musetalk_service.engines.builtin.network import LOOK_AHEADS, MouthNetwork, load_network


def _weights() -> dict[str, Any]:
    asset = importlib.resources.files("musetalk_service") / "assets" / "builtin" / "mouth_net.npz"
    with importlib.resources.as_file(asset) as path, np.load(path, allow_pickle=False) as file:
        return dict(file)


def _frames(count: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((count, 40)).astype(np.float32)


def test_posteriors_are_probabilities() -> None:
    network = load_network()
    _, posteriors = network.run(network.initial(), _frames(50))
    assert posteriors.shape == (50, len(LOOK_AHEADS), len(CLASSES))
    np.testing.assert_allclose(posteriors.sum(axis=2), 1.0, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 17, 40])
def test_streaming_equals_running_at_once(steps: int) -> None:
    network = load_network()
    frames = _frames(160)
    _, whole = network.run(network.initial(), frames)
    state, parts = network.initial(), []
    for start in range(0, len(frames), 2 * steps):
        state, posteriors = network.run(state, frames[start : start + 2 * steps])
        parts.append(posteriors)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_running_leaves_the_given_state_alone() -> None:
    network = load_network()
    state, _ = network.run(network.initial(), _frames(20))
    first = network.run(state, _frames(20))[1]
    np.testing.assert_array_equal(network.run(state, _frames(20))[1], first)


def test_the_network_is_causal() -> None:
    network = load_network()
    frames = _frames(80)
    changed = frames.copy()
    changed[60:] += 1.0
    one, other = (network.run(network.initial(), x)[1] for x in (frames, changed))
    np.testing.assert_allclose(one[:60], other[:60], atol=1e-5)
    assert np.abs(one[60:] - other[60:]).max() > 1e-3


def test_the_network_is_loaded_once() -> None:
    assert load_network() is load_network()


def test_the_weights_say_where_they_come_from() -> None:
    metadata = load_network().metadata
    assert "train.py" in metadata["command"] and metadata["version"]


def test_weights_for_other_classes_are_refused() -> None:
    weights = _weights()
    metadata = json.loads(str(weights["metadata"]))
    metadata["classes"] = metadata["classes"][::-1]
    weights["metadata"] = np.array(json.dumps(metadata))
    with pytest.raises(ValueError, match="classes"):
        MouthNetwork(weights)


def test_weights_for_other_look_aheads_are_refused() -> None:
    weights = _weights()
    metadata = json.loads(str(weights["metadata"]))
    metadata["look_aheads_ms"] = [60]
    weights["metadata"] = np.array(json.dumps(metadata))
    with pytest.raises(ValueError, match="look-aheads"):
        MouthNetwork(weights)


def test_weights_of_another_shape_are_refused() -> None:
    weights = _weights()
    weights["output.weight"] = weights["output.weight"][:, :-1]
    with pytest.raises(ValueError, match="shapes"):
        MouthNetwork(weights)
