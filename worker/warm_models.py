"""The last few models stay loaded; another one is fetched from the blob store when a job asks for it."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from pathlib import Path

import structlog

from model import Denoiser
from store.bases import Quality, Scene, base_for
from store.blobs import Blobs
from store.model import Model
from store.models import Models
from store.workers import MATRIX_UNITS
from worker.metrics import WorkerMetrics
from worker.stored_weights import stored_weights

log = structlog.get_logger(__name__)


class WarmModels:
    """Denoisers by the checksum of their weights, the least recently used dropped first. For one thread."""

    def __init__(
        self,
        register: Models,
        blobs: Blobs,
        device: str,
        capacity: int,
        precision: str = "auto",
        metrics: WorkerMetrics | None = None,
    ) -> None:
        """`device` and `precision` as `Denoiser.load` takes them."""
        self._register = register
        self._blobs = blobs
        self._device = device
        self._precision = precision
        self._capacity = capacity
        self._metrics = metrics
        self._loaded: OrderedDict[str, Denoiser] = OrderedDict()

    @property
    def register(self) -> Models:
        """Where models are looked up."""
        return self._register

    def warm_up(self, setting: str) -> str:
        """Load what jobs will ask for first where B2S_QUALITY is `setting`; the backend that networks run on here.

        Raises:
            ModelNotFound: no base model is registered.
        """
        backend = self.get(self._register.default_for(1)).backend
        best = setting == Quality.BEST or (setting == "auto" and backend in MATRIX_UNITS)
        quality, there = Quality.BEST if best else Quality.FAST, self._register.bases()
        names = dict.fromkeys(base_for(quality, scene, there) for scene in (Scene.GRAY, Scene.COLOR, Scene.CAMERA))
        for name in list(names)[: self._capacity]:
            if name is not None:
                self.get(there[name])
        return backend

    def get(self, model: Model) -> Denoiser:
        """The denoiser of a registered model, loaded if it is not.

        Raises:
            WeightsError, BlobStoreError, Refused, Retriable: its weights cannot be had.
        """
        denoiser = self._loaded.pop(model.sha256, None) or self._load(model)
        self._loaded[model.sha256] = denoiser
        while len(self._loaded) > self._capacity:
            self._loaded.popitem(last=False)
        return denoiser

    def _load(self, model: Model) -> Denoiser:
        log.info("loading_model", model=model.id, sha256=model.sha256)
        with tempfile.TemporaryDirectory(prefix="b2s-model-") as folder:
            name = model.id.partition("@")[0]  # whoever asked first, by a version or not: the checksum tells it
            path = Path(folder) / f"{name}.safetensors"  # the file's stem becomes the denoiser's name
            path.write_bytes(stored_weights(self._blobs, model, self._metrics))
            denoiser = Denoiser.load(path, self._device, self._precision)
        log.info("model_loaded", model=model.id, backend=denoiser.backend)
        return denoiser
