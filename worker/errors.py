"""Why an attempt stops before it has a result. Raised inside the work, caught by `worker.runner`.

Stopped
├── Canceled       somebody asked for it
├── LeaseLost      the job was given to another worker: write nothing
├── ShuttingDown   this worker has to go: hand the job back
├── GivesWay       a batch lets the jobs of others go first
├── Refused        the job cannot work, whoever tries: fail it, with words for the person who sent it
└── Retriable      another attempt may work
"""

from __future__ import annotations

from store.job import JobError


class Stopped(Exception):
    """Base of the reasons to stop."""


class Canceled(Stopped):
    """A cancel was requested."""


class LeaseLost(Stopped):
    """The attempt is no longer ours."""


class ShuttingDown(Stopped):
    """The grace time of a stopping worker is over."""


class GivesWay(Stopped):
    """Something of a batch is done, and others wait."""


class Refused(Stopped):
    """The job fails for good."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.error = JobError(code, detail)


class Retriable(Stopped):
    """The attempt failed for a reason that may pass.

    Attributes:
        fatal: the process cannot be trusted any more and must exit (a CUDA context after an error, for one).
    """

    def __init__(self, code: str, detail: str, fatal: bool = False) -> None:
        super().__init__(detail)
        self.error = JobError(code, detail)
        self.fatal = fatal
