"""What the store refuses, in words for the person who asked.

StoreError
├── SettingsError        a variable has a value that cannot work
├── JobNotFound          no such job for this tenant
├── QueueFull            the backlog is at its bound; come back later
│   └── TenantQueueFull  the tenant's share of it is
├── QuotaExceeded        the tenant used up its pixels of the day
├── StorageFull          the tenant stores as many bytes as it may
├── TooManyJobs          the tenant has as many unfinished jobs as it may
├── TooManyPictures      as many pictures of the tenant wait to be drawn as may
├── IdempotencyConflict  the same key came with another body
├── OptionsNotUnderstood an option of a job has a value that this program does not know
├── BlobMissing          no bytes under this key
└── BlobStoreError       the blob store did not do what was asked; trying again may help
"""

from __future__ import annotations

from datetime import datetime


class StoreError(Exception):
    """Base of all errors of this package."""


class SettingsError(StoreError):
    """A setting has a value that cannot work; the message names the variable."""


class JobNotFound(StoreError):
    """No job with this id belongs to the tenant."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id}.")
        self.job_id = job_id


class QueueFull(StoreError):
    """The backlog is at its bound.

    Attributes:
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, bound: int, retry_after: int) -> None:
        super().__init__(f"{bound} jobs are waiting already; try again in {retry_after} s.")
        self.bound = bound
        self.retry_after = retry_after


class TenantQueueFull(QueueFull):
    """The tenant's share of the backlog is at its bound: others may still queue jobs."""

    def __init__(self, bound: int, retry_after: int) -> None:
        super().__init__(bound, retry_after)
        self.args = (f"{bound} of your jobs are waiting already; try again in {retry_after} s.",)


class QuotaExceeded(StoreError):
    """The job is larger than what is left of the tenant's pixels of the day.

    Attributes:
        resets_at: when the next day begins (UTC).
    """

    def __init__(self, pixels_per_day: int, resets_at: datetime) -> None:
        super().__init__(
            f"Your {pixels_per_day:,} pixels a day do not leave room for this; GET /usage says how many are left. The "
            f"next day begins at {resets_at:%Y-%m-%dT%H:%M:%SZ}; send a smaller image, or ask the operator for more."
        )
        self.resets_at = resets_at


class StorageFull(StoreError):
    """The tenant would store more bytes than it may."""

    def __init__(self, stored: int, more: int, bound: int) -> None:
        super().__init__(
            f"You store {stored:,} bytes, and {more:,} more would be over the {bound:,} that you may; GET /usage says "
            "how many are left. Delete jobs, datasets or models that you no longer need, or ask the operator for more."
        )


class TooManyJobs(StoreError):
    """The tenant has as many queued and running jobs as it may.

    Attributes:
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, bound: int, retry_after: int) -> None:
        super().__init__(
            f"You have {bound} unfinished jobs, as many as you may; wait for one to end, or cancel one of GET /jobs."
        )
        self.retry_after = retry_after


class TooManyPictures(StoreError):
    """As many of the tenant's pictures wait to be drawn as may.

    Attributes:
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, bound: int, retry_after: int) -> None:
        super().__init__(f"{bound} of your pictures are waiting to be drawn; try again in {retry_after} s.")
        self.retry_after = retry_after


class IdempotencyConflict(StoreError):
    """An idempotency key was used before with another body."""

    def __init__(self, key: str, job_id: str) -> None:
        super().__init__(f"Idempotency key {key!r} belongs to job {job_id}, made from another body; use a new key.")
        self.job_id = job_id


class OptionsNotUnderstood(StoreError):
    """An option of a job has a value that this program does not know; the message names both."""


class BlobMissing(StoreError):
    """There are no bytes under this key."""


class BlobStoreError(StoreError):
    """The blob store failed (network, permission, full disk); the same call may succeed later."""
