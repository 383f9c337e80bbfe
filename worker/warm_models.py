"""The last few models stay loaded; another one is fetched from the blob store when a job asks for it."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from pathlib import Path

import structlog

from model import Denoiser
from store.blobs import Blobs
from store.models import Model, Models

log = structlog.get_logger(__name__)


class WarmModels:
    """Denoisers by the checksum of their weights, the least recently used dropped first. For one thread."""

    def __init__(self, register: Models, blobs: Blobs, device: str, capacity: int) -> None:
        self._register = register
        self._blobs = blobs
        self._device = device
        self._capacity = capacity
        self._loaded: OrderedDict[str, Denoiser] = OrderedDict()

    def for_job(self, model_id: str | None, tenant: str, channels: int) -> Denoiser:
        """The denoiser a job asks for, or the base model for `channels`.

        Raises:
            ModelNotFound: deleted since the job was sent, or never there.
            WeightsError, BlobStoreError, BlobMissing: its weights cannot be had.
        """
        register = self._register
        return self.get(register.get(model_id, tenant) if model_id else register.default_for(channels))

    def default(self, channels: int) -> Model:
        """The base model for so many channels. Raises ModelNotFound."""
        return self._register.default_for(channels)

    def get(self, model: Model) -> Denoiser:
        """The denoiser of a registered model, loaded if it is not. Raises as `for_job`."""
        denoiser = self._loaded.pop(model.sha256, None) or self._load(model)
        self._loaded[model.sha256] = denoiser
        while len(self._loaded) > self._capacity:
            self._loaded.popitem(last=False)
        return denoiser

    def _load(self, model: Model) -> Denoiser:
        log.info("loading_model", model=model.id, sha256=model.sha256)
        with tempfile.TemporaryDirectory(prefix="b2s-model-") as folder:
            path = Path(folder) / f"{model.id}.safetensors"  # the file's stem becomes the denoiser's name
            path.write_bytes(self._blobs.get(model.weights_key))
            return Denoiser.load(path, self._device)
