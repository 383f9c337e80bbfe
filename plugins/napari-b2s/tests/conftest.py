"""The plugin against a running service, whose address `make test-napari` gives in B2S_URL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest
from napari.components import ViewerModel
from napari_b2s.widget import Panel
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot

SECONDS = 120


@pytest.fixture
def viewer() -> ViewerModel:
    """napari without its window: its canvas needs a graphics card."""
    return ViewerModel()


@pytest.fixture
def panel(viewer: ViewerModel, qtbot: QtBot) -> Iterator[Panel]:
    """The panel, connected."""
    made = Panel(viewer)
    qtbot.addWidget(made)
    assert made.connect(), made.said.text()
    yield made
    made.cancel()


@pytest.fixture
def finished(panel: Panel, qtbot: QtBot) -> Callable[[], None]:
    """Waits until the panel's work is done."""

    def wait() -> None:
        qtbot.waitUntil(lambda: panel.running is None, timeout=1000 * SECONDS)

    return wait


def scene(*shape: int) -> NDArray[np.float64]:
    """Smooth hills, photons a pixel."""
    rows, columns = np.mgrid[: shape[-2], : shape[-1]] / 12
    return np.broadcast_to(60 + 40 * np.sin(rows) * np.cos(columns), shape)


def noisy(*shape: int, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).poisson(scene(*shape)).astype(np.uint16)
