"""Bytes under keys: a folder by default, S3, Google or Azure storage by URL. A key names its job and attempt.

jobs/<job id>/input            the upload; of a fine-tune, the list of its files
jobs/<job id>/files/<number>   a file of a fine-tune's or a batch's upload; of a batch's archive <number>-<number>
jobs/<job id>/done/<number>/…  what an attempt (…/<attempt>/) made of a file of a batch; counts when `job_files` says so
jobs/<job id>/<attempt>/…      what one attempt made; counts only when the job's row names it
jobs/<job id>/pictures/…       what was drawn of its result, on request; counts when a row of `pictures` names it
jobs/<job id>/checkpoints/…    where a fine-tune can be taken up again, by any worker
datasets/<set id>/<upload id>  an image of a dataset
models/<name>.safetensors      weights, named by their SHA-256 (shipped) or the model's id (fine-tuned); never change
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from store.errors import BlobMissing, BlobStoreError, SettingsError

if TYPE_CHECKING:  # exist for type checkers only
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

CHUNK_BYTES = 1 << 20
_TORN = re.compile(r".+#\d+")


def input_key(job_id: str) -> str:
    """Key of a job's upload."""
    return f"jobs/{job_id}/input"


def attempt_key(job_id: str, attempt: int, name: str) -> str:
    """Key of a file that one attempt at a job makes."""
    return f"jobs/{job_id}/{attempt}/{name}"


def picture_key(picture_id: str, attempt: int) -> str:
    """Key of what one attempt draws of a picture, whose id is its job's and a name."""
    job_id, name = picture_id.split("/")
    return f"jobs/{job_id}/pictures/{name}-{attempt}.png"


def file_key(job_id: str, number: int) -> str:
    """Key of a file of an upload that has several."""
    return f"jobs/{job_id}/files/{number:06d}"


def done_key(job_id: str, number: int, attempt: int, name: str) -> str:
    """Key of a file that one attempt makes of a file of a batch."""
    return f"jobs/{job_id}/done/{number:06d}/{attempt}/{name}"


def checkpoints_prefix(job_id: str) -> str:
    """Where the checkpoints of a fine-tune lie, whichever attempt wrote them."""
    return f"jobs/{job_id}/checkpoints"


def dataset_prefix(dataset_id: str) -> str:
    """Where the bytes of a dataset lie."""
    return f"datasets/{dataset_id}"


def weights_key(name: str) -> str:
    """Key of a model's weights. `name`: their SHA-256 for a shipped model, the model's id for a fine-tuned one.

    A fine-tuned model's key is its own, so an attempt that failed may delete what it stored without a look at others.
    """
    return f"models/{name}.safetensors"


@dataclass(frozen=True)
class BlobInfo:
    """Size in bytes, entity tag and time of the last change of a blob."""

    key: str
    size: int
    etag: str | None
    modified: datetime


class Blobs:
    """A blob store. Every call is synchronous and safe from any thread."""

    def __init__(self, url: str) -> None:
        """Open the store at `url`: `file:///…` (made if missing), `s3://bucket/prefix`, `gs://…`, `az://…`.

        Credentials come from the environment, as each cloud's own tools read them (`AWS_ACCESS_KEY_ID`, …).

        Raises:
            SettingsError: the URL means no store, or its folder cannot be written.
        """
        self._store = _open(url)
        self._folder = _folder(url)

    def put(self, key: str, data: bytes | IO[bytes]) -> None:
        """Write bytes, or an open file from its position on, whole or not at all; readers see the old or the new.

        Raises:
            BlobStoreError: they are not stored.
        """
        with _translated(key, reading=False):
            obstore.put(self._store, key, data)

    def get(self, key: str) -> bytes:
        """All bytes of a blob.

        Raises:
            BlobMissing: there are none under this key.
            BlobStoreError: the store failed.
        """
        with _translated(key):
            return bytes(obstore.get(self._store, key).bytes())

    def range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive). Raises as `get` does."""
        with _translated(key):
            return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def stream(self, key: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """The bytes in chunks. Raises as `get` does, on the first chunk."""
        with _translated(key):
            for chunk in obstore.get(self._store, key).stream(min_chunk_size=chunk_bytes):
                yield bytes(chunk)

    def head(self, key: str) -> BlobInfo:
        """Facts about a blob without its bytes. Raises as `get` does."""
        with _translated(key):
            return _info(obstore.head(self._store, key))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; those that do not exist are deleted already.

        Raises:
            BlobStoreError: the store failed; some may be left.
        """
        wanted = list(keys)
        with _translated(", ".join(wanted[:3]), reading=False):
            try:
                obstore.delete(self._store, wanted)  # one request for up to 1000 keys on S3
            except FileNotFoundError:  # a folder minds, and stops at the first one that is gone
                for key in wanted:
                    with suppress(FileNotFoundError):
                        obstore.delete(self._store, key)

    def below(self, prefix: str) -> Iterator[BlobInfo]:
        """Every blob below a prefix (a whole path segment). Raises BlobStoreError."""
        with _translated(prefix, reading=False):
            for batch in obstore.list(self._store, prefix=prefix):
                yield from (_info(item) for item in batch)

    def delete_job(self, job_id: str) -> None:
        """Delete whatever any attempt at a job left. Raises BlobStoreError."""
        self.delete([blob.key for blob in self.below(f"jobs/{job_id}")])
        self.delete_torn(f"jobs/{job_id}")

    def delete_torn(self, prefix: str = "", older_seconds: float = 0.0) -> int:
        """Delete the parts of blobs whose writer died while it wrote them; how many.

        A folder keeps them under names that no listing shows (`result.png#1`). A bucket keeps them as unfinished
        multipart uploads, which a lifecycle rule of the bucket removes.

        Raises:
            BlobStoreError: the folder cannot be changed.
        """
        if self._folder is None:
            return 0
        deleted = 0
        with _translated(prefix or "the blob folder", reading=False):
            for path in self._folder.joinpath(prefix).rglob("*#*"):
                with suppress(FileNotFoundError):  # its writer has just finished
                    if _TORN.fullmatch(path.name) and time.time() - path.stat().st_mtime >= older_seconds:
                        path.unlink()
                        deleted += 1
        return deleted

    def check(self) -> None:
        """Ask the store for one listing: raises BlobStoreError when it cannot answer (for /readyz)."""
        with _translated("health", reading=False):
            for _ in obstore.list(self._store, prefix="health", chunk_size=1):
                return


def _open(url: str) -> ObjectStore:
    parts = urlparse(url)
    if parts.scheme != "file":
        try:
            client: ClientConfig = {"timeout": "60s", "connect_timeout": "5s", "allow_http": True}
            # A store that hangs costs a request about a minute, not one for every retry
            retry: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
            store: ObjectStore = from_url(url, config=None, client_options=client, retry_config=retry)
            return store
        except (BaseError, ValueError) as error:
            raise SettingsError(f"B2S_BLOB_URL={url} names no blob store: {error}") from None
    folder = Path(url2pathname(parts.path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"The blob folder {folder} cannot be made: {error.strerror}; set B2S_DATA_DIR.") from None
    return LocalStore(folder, automatic_cleanup=True)


def _folder(url: str) -> Path | None:
    """The folder that `url` names; None: it is a bucket."""
    parts = urlparse(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _info(meta: obstore.ObjectMeta) -> BlobInfo:
    return BlobInfo(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])


@contextmanager
def _translated(key: str, reading: bool = True) -> Iterator[None]:
    """Say in our words what went wrong with `key`."""
    try:
        yield
    except FileNotFoundError as error:
        if reading and "NoSuchBucket" not in str(error):
            raise BlobMissing(f"There are no bytes under {key}.") from None
        raise BlobStoreError(f"The blob store failed on {key}: {error}") from error
    except (BaseError, OSError) as error:
        raise BlobStoreError(f"The blob store failed on {key}: {error}") from error
