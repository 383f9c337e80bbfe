"""Layer in, layer out, with a real service; models made of layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from conftest import noisy, scene
from napari.components import ViewerModel
from napari.layers import Image
from napari_b2s.widget import Panel
from npe2 import PluginManager
from pytestqt.qtbot import QtBot


def error(image: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((image.astype(float) - truth) ** 2)))


def test_a_layer_comes_back_clean(panel: Panel, viewer: ViewerModel, finished: Callable[[], None]) -> None:
    data = noisy(96, 128)
    viewer.add_image(data, name="cells", scale=(0.5, 0.5))
    assert panel.layer.currentText() == "cells"
    panel.denoise_button.click()
    assert not panel.denoise_button.isEnabled() and panel.cancel_button.isEnabled()
    finished()
    made = viewer.layers["cells denoised"]
    assert made.data.shape == data.shape and made.data.dtype == data.dtype
    assert error(made.data, scene(96, 128)) < 0.5 * error(data, scene(96, 128))
    assert tuple(made.scale) == (0.5, 0.5)
    assert made.metadata["b2s"]["model"] == "base-gray" and made.metadata["b2s"]["report"]["alpha"] > 0
    assert "Denoised by base-gray; noise α" in panel.said.text() and panel.denoise_button.isEnabled()


def test_a_stack_keeps_its_axes(panel: Panel, viewer: ViewerModel, finished: Callable[[], None]) -> None:
    data = noisy(2, 3, 48, 64)
    viewer.add_image(data, name="movie")
    panel.denoise()
    finished()
    made = viewer.layers["movie denoised"].data
    assert made.shape == data.shape and error(made, scene(2, 3, 48, 64)) < 0.6 * error(data, scene(2, 3, 48, 64))


def test_colours_and_strength(panel: Panel, viewer: ViewerModel, finished: Callable[[], None]) -> None:
    data = np.dstack([noisy(64, 64, seed=n) for n in range(3)] + [np.full((64, 64), 255)]).astype(np.uint8)
    viewer.add_image(data, name="photo", rgb=True)
    panel.strength.setValue(0)
    panel.denoise()
    finished()
    assert np.array_equal(viewer.layers["photo denoised"].data, data)


def test_models_are_listed_and_a_chosen_one_has_its_quality(panel: Panel) -> None:
    names = [panel.model.itemText(at) for at in range(panel.model.count())]
    assert "base-gray" in names and "base-rgb" in names and panel.quality.isEnabled()
    panel.model.setCurrentIndex(panel.model.findData("base-gray"))
    assert not panel.quality.isEnabled()


def test_the_service_s_words_are_shown(panel: Panel, viewer: ViewerModel, finished: Callable[[], None]) -> None:
    viewer.add_image(noisy(32, 32), name="gray")
    panel.model.setCurrentIndex(panel.model.findData("base-rgb"))
    panel.denoise()
    finished()
    assert "base-rgb" in panel.said.text() and "gray denoised" not in viewer.layers


def test_a_cancel_ends_the_job(panel: Panel, viewer: ViewerModel, qtbot: QtBot, finished: Callable[[], None]) -> None:
    viewer.add_image(noisy(40, 512, 512), name="long")
    panel.denoise()
    qtbot.waitUntil(lambda: panel.said.text() == "Denoising", timeout=60_000)
    panel.cancel_button.click()
    finished()
    assert "long denoised" not in viewer.layers and "canceled" in panel.said.text()
    assert panel._client is not None and panel._client.jobs(limit=1)[0].state == "canceled"


def test_a_wrong_address_is_told_and_nothing_is_lost(viewer: ViewerModel, qtbot: QtBot) -> None:
    panel = Panel(viewer)
    qtbot.addWidget(panel)
    panel.url.setText("http://127.0.0.1:9")
    viewer.add_image(noisy(16, 16), name="here")
    panel.denoise()
    assert "127.0.0.1:9" in panel.said.text() and panel.running is None


def test_a_model_is_made_of_layers(panel: Panel, viewer: ViewerModel, finished: Callable[[], None]) -> None:
    for number in range(2):
        viewer.add_image(noisy(4, 96, 96, seed=number), name=f"set {number}")
    panel.training.selectAll()
    panel.name.setText("hills")
    panel.minutes.setValue(0.1)
    panel.finetune_button.click()
    finished()
    assert "its base" in panel.said.text(), panel.said.text()
    named = [panel.model.itemText(at) for at in range(panel.model.count())]
    assert any(text.startswith("hills") for text in named)
    viewer.add_image(noisy(96, 96, seed=9), name="new")
    panel.model.setCurrentIndex([text.startswith("hills") for text in named].index(True))
    panel.layer.setCurrentText("new")
    panel.denoise()
    finished()
    made: Image = viewer.layers["new denoised"]
    assert made.metadata["b2s"]["model"].startswith("mdl_") and error(made.data, scene(96, 96)) < 5


def test_a_renamed_layer_is_offered_by_its_name(panel: Panel, viewer: ViewerModel) -> None:
    layer = viewer.add_image(noisy(16, 16), name="before")
    layer.name = "after"
    assert panel.layer.currentText() == "after"


def test_napari_finds_the_panel() -> None:
    manager = PluginManager.instance()
    manager.discover()
    (widget,) = manager.get_manifest("napari-b2s").contributions.widgets or []
    assert (widget.display_name, widget.get_callable()) == ("Denoise", Panel)
