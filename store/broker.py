"""The doorbell. A message is a job id and says only that there is work; the database knows which. A lost one costs a
sweep, never a job.

Celery on Redis, with no result backend: with one, a publisher waits 19 s for a broker that is down (measured on Celery
5.7); without, for as long as the timeouts below say.
"""

from __future__ import annotations

import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

from store import faults
from store.job import JobKind
from store.redis_url import for_celery
from store.settings import Settings

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
ENDINGS = "b2s:endings"
"""The channel on which workers announce the ids of ended jobs. Hearing it saves a wait; missing it costs one look."""

PICTURES = "b2s:pictures"
"""The bell of pictures to draw: a list that a thread of each denoise process waits at. Celery's child takes no message
for as long as its job runs, and nobody waits a minute for a picture."""

log = structlog.get_logger(__name__)


def celery_app(settings: Settings) -> Celery:
    """The Celery application that gateways publish with and workers run; one place for its configuration."""
    app = Celery("blind2sound", broker=for_celery(settings.redis_url))
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=JobKind.DENOISE,
        # Taken is taken: the lease in the database decides who runs a job. An acknowledgement decides nothing, and one
        # that met a restarting Redis left the worker waiting for ever (seen on kombu 5.7: its prefetch stayed used up).
        task_queues=[Queue(kind.value, routing_key=kind.value, no_ack=True) for kind in JobKind],
        worker_disable_prefetch=True,  # a ring taken early would not be heard by an idle worker
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=CONNECT_SECONDS,
        broker_transport_options={
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_keepalive": True,  # notices a Redis whose machine went away without a word
            "socket_timeout": None,  # a worker's BRPOP waits for as long as nobody rings
            "health_check_interval": 10,
            "max_retries": 1,
        },
        worker_cancel_long_running_tasks_on_connection_loss=True,  # of late acknowledgements only: we have none
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_proc_alive_timeout=120.0,  # a pool child imports torch before it says that it is up
    )
    return app


class Broker:
    """Rings for workers. Safe from any thread; never raises: a job whose ring failed is rung for by the sweep."""

    def __init__(self, settings: Settings) -> None:
        self._app = celery_app(settings)
        # A publisher tries once more, at once: the sweep is more patient than a request.
        self._app.conf.broker_transport_options |= {
            "socket_timeout": ANSWER_SECONDS,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        }
        self._redis = Redis.from_url(
            settings.redis_url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=ANSWER_SECONDS
        )

    def ring(self, kind: JobKind, job_id: str) -> bool:
        """Tell the workers of a kind that there is work; after the commit, off the event loop. False: not told."""
        try:  # the task of that name is in worker/tasks.py
            self._app.send_task(kind, args=[job_id], queue=kind, retry=False, ignore_result=True)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("ring_failed", job_id=job_id, kind=kind, reason=str(error))
            return False
        faults.point("rung")
        return True

    def announce(self, ended: str) -> None:
        """Tell the gateways that a job or a picture (by id) has ended, after the commit; unheard, they look for it."""
        try:
            self._redis.publish(ENDINGS, ended)
        except (RedisError, OSError) as error:
            log.warning("end_not_announced", job_id=ended, reason=str(error))

    def ring_for_picture(self, picture_id: str, again: bool = False) -> bool:
        """Tell the workers that there is a picture to draw; `again`: only if no ring waits. False: not told."""
        try:
            if not again or not self._redis.llen(PICTURES):
                self._redis.lpush(PICTURES, picture_id)
        except (RedisError, OSError) as error:
            log.warning("ring_failed", picture_id=picture_id, reason=str(error))
            return False
        return True

    def await_picture(self, seconds: float) -> bool:
        """Wait for a ring for a picture, and take it. False: none within `seconds`. Raises RedisError."""
        return self._redis.brpop([PICTURES], timeout=seconds) is not None

    def unheard(self, kind: JobKind) -> int | None:
        """Messages of a kind that no worker has taken yet; None: Redis does not answer."""
        try:
            return int(self._redis.llen(kind))
        except (RedisError, OSError):
            return None

    def take(self, kind: JobKind) -> bool:
        """Take one message that no worker has taken yet, as Celery would. False: there is none, or no Redis."""
        try:
            return self._redis.rpop(kind) is not None
        except (RedisError, OSError):
            return False

    def answers(self) -> bool:
        """Whether Redis answers (for /readyz)."""
        try:
            return bool(self._redis.ping())
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        """Drop the connections."""
        self._app.close()
        self._redis.close()
