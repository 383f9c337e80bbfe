"""The panel: a layer in, a layer out; and models made of noisy layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import GeneratorWorker, create_worker

from b2s_client import Client, FineTuned
from b2s_client.errors import B2SError
from b2s_client.types import FineTuneOptions, Model, Options
from napari_b2s import work
from napari_b2s.layers import data_of, look_of, pages_of, pixels_of
from napari_b2s.work import Cleaned, Step

if TYPE_CHECKING:
    from napari.components import ViewerModel

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8000"
QUALITIES = {"as the service decides": None, "fast": "fast", "best": "best"}
BY_ITSELF = "as the service decides"


class Panel(QWidget):
    """Denoises the chosen layer, and makes models of chosen layers. napari gives the viewer."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.running: GeneratorWorker[Any, Any, Any] | None = None
        self._client: Client | None = None
        self._stop = Event()
        self.url = QLineEdit(os.environ.get("B2S_URL", DEFAULT_URL))
        self.key = QLineEdit(os.environ.get("B2S_API_KEY", ""))
        self.key.setEchoMode(QLineEdit.EchoMode.Password)
        self.key.setPlaceholderText("none is needed on your own machine")
        self.connect_button = _button("Connect", self.connect)
        self.layer, self.model, self.quality = QComboBox(), QComboBox(), QComboBox()
        self.quality.addItems(list(QUALITIES))
        self.model.currentIndexChanged.connect(self._models_have_their_quality)
        self.strength = _number(0, 1, 1.0, 0.05, "Share of the noise to take out")
        self.denoise_button = _button("Denoise", self.denoise)
        self.cancel_button = _button("Cancel", self.cancel)
        self.progress = QProgressBar()
        self.said = QLabel("Connect to see the service's models.")
        self.training, self.name = QListWidget(), QLineEdit()
        self.training.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.name.setPlaceholderText("what to call the model")
        self.minutes = _number(0.1, 600, 15, 1, "Longest training, in minutes")
        self.finetune_button = _button("Make a model", self.finetune)
        self._lay_out()
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.connect(self.list_layers)
        self.list_layers()
        self._show_models([])
        self._working(False)

    def connect(self) -> bool:
        """Ask the service for its models; whether it answers."""
        if self._client is not None:
            self._client.close()
        self._client = None
        try:
            client = Client(self.url.text().strip() or None, self.key.text().strip() or None)
            models = client.models()
        except (B2SError, ValueError) as error:
            self._say(str(error))
            return False
        self._client = client
        self._show_models(models)
        self._say(f"Connected: {len(models)} models.")
        return True

    def list_layers(self, _event: object = None) -> None:
        """Offer the viewer's image layers, as they are now."""
        layers = [layer for layer in self.viewer.layers if isinstance(layer, Image)]
        chosen = self.layer.currentText()
        self.layer.clear()
        self.training.clear()
        for layer in layers:
            layer.events.name.connect(self.list_layers)
            self.layer.addItem(layer.name)
            self.training.addItem(layer.name)
        self.layer.setCurrentText(chosen if self.layer.findText(chosen) >= 0 else self.layer.itemText(0))

    def denoise(self) -> None:
        """Denoise the chosen layer into a new one."""
        if (layer := self._layer_named(self.layer.currentText())) is None:
            self._say("There is no image layer: open an image first.")
        elif (pixels := self._told(pixels_of, layer)) is not None:
            self._start(work.denoise, pixels, self._options(), self._add(layer))

    def finetune(self) -> None:
        """Make a model of the selected layers' pages."""
        names = [item.text() for item in self.training.selectedItems()]
        layers = [layer for name in names if (layer := self._layer_named(name)) is not None]
        if not layers:
            self._say("Select the noisy layers to learn from.")
            return
        options = FineTuneOptions(max_minutes=self.minutes.value())
        if self.name.text().strip():
            options["name"] = self.name.text().strip()
        pages = [self._told(pages_of, layer) for layer in layers]
        if all(one is not None for one in pages):
            images = [page for one in pages if one is not None for page in one]
            self._start(work.finetune, images, options, self._choose_made)

    def cancel(self) -> None:
        """End what runs; the service hears of it."""
        if self.running is not None:
            self._say("Canceling …")
            self._stop.set()

    def closeEvent(self, event: Any) -> None:  # noqa: N802  # Qt's name
        """A panel that goes ends its work."""
        self.cancel()
        super().closeEvent(event)

    def _start(
        self,
        begin: Callable[[Client, Any, Any, Event], Generator[Step, None, Any]],
        sent: Any,
        options: Options | FineTuneOptions,
        done: Callable[[Any], None],
    ) -> None:
        """Run a generator of `work` off the window's thread; `done` gets what it returns."""
        if self._client is None and not self.connect():
            return
        self._stop.clear()
        worker: GeneratorWorker[Any, Any, Any] = create_worker(
            begin, self._client, sent, options, self._stop, _start_thread=False, _connect={
                "yielded": self._show, "returned": done, "errored": self._failed, "finished": self._finished,
            },
        )  # fmt: skip
        self.running = worker
        self._working(True)
        worker.start()

    def _told(self, read: Callable[[Image], T], layer: Image) -> T | None:
        """What `read` finds in a layer, or None and its words on the panel."""
        try:
            return read(layer)
        except ValueError as error:
            self._say(str(error))
            return None

    def _options(self) -> Options:
        options = Options(strength=self.strength.value())
        if model := self.model.currentData():
            options["model"] = model
        elif quality := QUALITIES[self.quality.currentText()]:
            options["quality"] = quality  # type: ignore[typeddict-item]
        return options

    def _add(self, layer: Image) -> Callable[[Cleaned], None]:
        def add(cleaned: Cleaned) -> None:
            self.viewer.add_image(data_of(cleaned.pixels, layer), **look_of(layer, cleaned.facts))
            self._say("\n".join([cleaned.sentence, *(f"⚠ {text}" for text in cleaned.warnings)]))

        return add

    def _choose_made(self, made: FineTuned) -> None:
        gain = made.scores.get("gain_db")
        told = f" by {gain:+.2f} dB (estimated on images held back)" if gain is not None else ""
        assert self._client is not None
        self._show_models(self._client.models())
        if made.promoted:
            self.model.setCurrentIndex(self.model.findData(made.model))
            words = f"{made.model} beats its base{told}; it is chosen now."
        else:
            words = f"{made.model} is not better than its base{told}, so it is not chosen."
        self._say(
            "\n".join([words, *filter(None, [made.noise, made.frames]), *(f"⚠ {text}" for text in made.warnings)])
        )

    def _show_models(self, models: list[Model]) -> None:
        chosen = self.model.currentData()
        self.model.clear()
        self.model.addItem(BY_ITSELF, None)
        for model in models:
            refused = " (not better than its base)" if model.promoted is False else ""
            self.model.addItem(f"{model.name}{refused}", model.id)
        self.model.setCurrentIndex(max(0, self.model.findData(chosen)))

    def _models_have_their_quality(self, _index: int = 0) -> None:
        self.quality.setEnabled(self.model.currentData() is None)

    def _layer_named(self, name: str) -> Image | None:
        return next((one for one in self.viewer.layers if isinstance(one, Image) and one.name == name), None)

    def _show(self, step: Step) -> None:
        self.progress.setRange(0, 0 if step.share is None else 100)
        self.progress.setValue(round(100 * (step.share or 0)))
        self._say(step.words)

    def _failed(self, error: BaseException) -> None:
        self._say(str(error) or type(error).__name__)

    def _finished(self) -> None:
        self.running = None
        self._working(False)

    def _working(self, works: bool) -> None:
        for button in (self.denoise_button, self.finetune_button, self.connect_button):
            button.setEnabled(not works)
        self.cancel_button.setEnabled(works)
        self.progress.setVisible(works)

    def _say(self, words: str) -> None:
        self.said.setText(words)

    def _lay_out(self) -> None:
        self.said.setWordWrap(True)
        self.said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        service = _group("Service", ("Address", self.url), ("API key", self.key), ("", self.connect_button))
        buttons = QHBoxLayout()
        buttons.addWidget(self.denoise_button)
        buttons.addWidget(self.cancel_button)
        denoising = _group(
            "Denoise", ("Layer", self.layer), ("Model", self.model), ("Quality", self.quality),
            ("Strength", self.strength),
        )  # fmt: skip
        learning = _group(
            "Make a model of noisy layers", ("Layers", self.training), ("Name", self.name), ("Minutes", self.minutes),
            ("", self.finetune_button),
        )  # fmt: skip
        column = QVBoxLayout(self)
        for part in (service, denoising):
            column.addWidget(part)
        column.addLayout(buttons)
        for widget in (self.progress, self.said, learning):
            column.addWidget(widget)
        column.addStretch()


def _button(text: str, pressed: Callable[[], object]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda _checked=False: pressed())
    return button


def _number(least: float, most: float, value: float, step: float, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(least, most)
    box.setSingleStep(step)
    box.setValue(value)
    box.setToolTip(tip)
    return box


def _group(title: str, *rows: tuple[str, QWidget]) -> QGroupBox:
    group = QGroupBox(title)
    form = QFormLayout(group)
    for label, widget in rows:
        form.addRow(label, widget)
    return group
