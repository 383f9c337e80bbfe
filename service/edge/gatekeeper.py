"""The one who looks at keys, and knows whether this gateway asks for any."""

import hashlib
import time

from sqlalchemy.exc import SQLAlchemyError

from store.keys import Key, Keys
from store.loopback import is_loopback
from store.settings import Settings
from store.tenants import Allowance

ASK_AGAIN_SECONDS = 1.0
REMEMBER_SECONDS = 600.0

Found = tuple[Key, Allowance]


class Gatekeeper:
    """Every call but `recently_open` blocks: run it in a thread.

    While the database is away the last answers still hold: what they open then is /metrics, which an operator needs
    most at that moment; everything else asks the database itself.
    """

    def __init__(self, keys: Keys, settings: Settings) -> None:
        self._keys = keys
        self._closed = not (is_loopback(settings.host) or settings.allow_open)
        self._ask_again = 0.0
        self._remembered: dict[bytes, tuple[float, Found]] = {}  # by digest; no more than there are live keys

    def open(self) -> bool:
        """Whether everybody may come: no key was ever made, and strangers cannot reach this gateway (or may).

        The first key closes every gateway within a second, for good: revoking it does not open them again.
        """
        if not self._closed and time.monotonic() >= self._ask_again:
            try:
                self._closed = self._keys.configured()
            except SQLAlchemyError:
                if self._ask_again == 0.0:  # it was never known
                    raise
            self._ask_again = time.monotonic() + ASK_AGAIN_SECONDS
        return not self._closed

    @property
    def closed(self) -> bool:
        """Whether keys are asked for, as far as is known; asks nobody."""
        return self._closed

    def recently_open(self) -> bool:
        """Whether `open` said yes within the last second: from memory, so it needs no thread."""
        return not self._closed and time.monotonic() < self._ask_again

    def authenticate(self, text: str) -> Found | None:
        """The key with this text and what its tenant may use, or None."""
        digest = hashlib.sha256(text.encode()).digest()
        try:
            found = self._keys.authenticate(text)
        except SQLAlchemyError:
            at, remembered = self._remembered.get(digest, (float("-inf"), None))
            if remembered is None or time.monotonic() - at > REMEMBER_SECONDS:
                raise
            return remembered
        if found is None:
            self._remembered.pop(digest, None)
        else:
            self._remembered[digest] = (time.monotonic(), found)
        return found
