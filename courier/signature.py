"""Signatures as Standard Webhooks has them (https://www.standardwebhooks.com, spec version 1.0.0), scheme `v1`."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence


def headers(message_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The headers that let a receiver tell who sent `body`, when, and whether it came before.

    Args:
        timestamp: Unix time of this attempt in seconds; receivers refuse old ones.
        secrets: `whsec_…`; each signs, so that a receiver may still have the one before a rotation.
    """
    signed = b".".join([message_id.encode(), str(timestamp).encode(), body])
    signatures = (base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))
