"""The one who looks at keys, and knows whether this gateway asks for any."""

import time

from service.hosts import is_loopback
from store.keys import Key, Keys
from store.settings import Settings
from store.tenants import Allowance

ASK_AGAIN_SECONDS = 1.0


class Gatekeeper:
    """Every call blocks: run it in a thread."""

    def __init__(self, keys: Keys, settings: Settings) -> None:
        self._keys = keys
        self._may_be_open = is_loopback(settings.host) or settings.allow_open
        self._closed = not self._may_be_open
        self._ask_again = 0.0

    def open(self) -> bool:
        """Whether everybody may come: no key was ever made, and strangers cannot reach this gateway (or may).

        The first key closes every gateway within a second, for good: revoking it does not open them again.
        """
        if not self._closed and time.monotonic() >= self._ask_again:
            self._closed = self._keys.configured()
            self._ask_again = time.monotonic() + ASK_AGAIN_SECONDS
        return not self._closed

    def authenticate(self, text: str) -> tuple[Key, Allowance] | None:
        """The key with this text and what its tenant may use, or None."""
        return self._keys.authenticate(text)
