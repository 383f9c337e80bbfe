"""The work of a fine-tune: noisy images in, a model out, and an honest word on whether it is better than its base."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from images.archive import ArchiveLimits
from images.limits import Limits
from model.errors import ModelError
from model.errors import Stopped as TrainingStopped
from model.finetuning.finetune import FineTuneConfig, FineTuner, FineTuneResult
from store import faults
from store.bases import Quality, scene_of
from store.blobs import Blobs, attempt_key, weights_key
from store.errors import QuotaExceeded
from store.ids import new_id
from store.job import Job, Outcome, Progress
from store.model import Model, NewModel
from store.models import Models
from store.options import FROM_SCRATCH, FineTuneOptions
from store.settings import Settings
from store.training_file import TrainingFile
from worker import finetune_picture
from worker.attempt import Attempt
from worker.checkpoints import Checkpoints
from worker.choice import named_model, pinned_or_current, stands_in
from worker.errors import Refused
from worker.metrics import WorkerMetrics
from worker.scratch import scratch_folder
from worker.set_channels import UNLIKE, brightness_ratio, has_camera_noise, show_one_scene
from worker.stages import Stages
from worker.stored_weights import stored_weights
from worker.training_set import Gathering, TrainingSet

POINTS_A_DOUBLING = 200
"""Progress is told every second at first and more rarely later, so that hours of training are a chart, not a flood."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Base:
    """The model that a fine-tune starts from, or, from scratch, only has to beat; its weights lie at `path`."""

    model: Model
    path: Path
    from_scratch: bool
    remark: str | None = None

    @property
    def started_from(self) -> str | None:
        """Id of the model whose weights were the first ones."""
        return None if self.from_scratch else self.model.id


class FineTuneWork:
    """Runs fine-tune jobs, one at a time."""

    def __init__(self, blobs: Blobs, register: Models, settings: Settings, metrics: WorkerMetrics) -> None:
        self._blobs = blobs
        self._register = register
        self._settings = settings
        self._metrics = metrics

    def __call__(self, attempt: Attempt, stages: Stages) -> Outcome:
        """Validate, train, evaluate and publish; another attempt's newest checkpoint is gone on with.

        Raises:
            Refused, OptionsNotUnderstood, ModelNotFound, WeightsError: the job cannot work.
            BlobStoreError, Retriable: another attempt may work.
            Stopped: the attempt should not go on.
        """
        options = FineTuneOptions.read(attempt.job.options)
        with scratch_folder(self._settings.scratch_dir) as folder:
            with stages("validate"):
                found = self._validate(attempt, folder)
                base = self._base(attempt.job, options, found, folder)
            with stages("train"):
                result = self._train(attempt, options, found, base)
            with stages("publish"):
                return self._publish(attempt, options, found, base, result, stages)

    def _validate(self, attempt: Attempt, folder: Path) -> TrainingSet:
        job, settings = attempt.job, self._settings
        if job.input_key is None:
            raise Refused("input_gone", "The images of this job were deleted before a worker took it.")
        files = [TrainingFile(**file) for file in json.loads(self._blobs.get(job.input_key))["files"]]
        attempt.enter("validating", Progress(0, len(files), "file"))
        limits = Limits(max_bytes=settings.most_upload_bytes, max_pixels=settings.max_pixels)
        archives = ArchiveLimits(settings.max_set_images, settings.max_set_bytes, settings.most_upload_bytes)
        gathering = Gathering(self._blobs, folder, limits, archives)
        try:
            gathering.add_all(files, lambda done: attempt.tell(Progress(done, len(files), "file")))
            _settle(attempt, gathering.pixels_seen)
            found = gathering.finish(settings.min_set_pixels)
        finally:
            gathering.close()
        self._metrics.observe_files(found.kept, len(found.verdicts) - found.kept)
        log.info("set_validated", kept=found.kept, left_out=len(found.verdicts) - found.kept, pixels=found.pixels)
        return found

    def _base(self, job: Job, options: FineTuneOptions, found: TrainingSet, folder: Path) -> Base:
        """The model to start from. Raises Refused if it cannot take the images, and as `stored_weights`."""
        channels = found.channels
        from_scratch = job.model == FROM_SCRATCH
        named = None if from_scratch else job.model
        quality = Quality(options.quality or Quality.FAST)
        if named:
            model, remark = named_model(self._register, job, named), None
        else:
            one = show_one_scene(found.images)
            scene = scene_of(channels if one else 1, camera=channels == 3 and one and has_camera_noise(found.images))
            model = pinned_or_current(self._register, job, quality, scene)
            remark = stands_in(quality, model)
        if not model.fits(channels):
            raise Refused(
                "base_does_not_fit",
                f"{model.id} takes images of {model.channels} channels, and these have {channels}; leave `base_model` "
                "out to have one chosen.",
            )
        path = folder / f"{model.id}.safetensors"
        path.write_bytes(stored_weights(self._blobs, model, self._metrics))
        return Base(model, path, from_scratch, remark)

    def _train(self, attempt: Attempt, options: FineTuneOptions, found: TrainingSet, base: Base) -> FineTuneResult:
        config = FineTuneConfig(
            base=base.path,
            from_scratch=base.from_scratch,
            channels=base.model.channels,
            name=options.name or attempt.job.id,
            max_minutes=options.minutes,
            max_steps=options.max_steps,
            method=options.method or "auto",
            noise=options.noise or "auto",
            seed=options.seed,
            frames=options.frames or "auto",
            threads=self._settings.finetune_threads or None,
            precision=self._settings.cpu_precision,
            checkpoint_seconds=self._settings.checkpoint_seconds,
        )
        points = _Points(attempt, found)
        attempt.enter("training", Progress(0, options.max_steps, "step"))
        checkpoints = Checkpoints(self._blobs, attempt.job.id)
        try:
            images, files = found.for_channels(base.model.channels)
            series = found.series(base.model.channels, said=options.frames not in (None, "auto", "none"))
            tuner = FineTuner(config, images, after_read=found.release, groups=files, series=series)
            if newest := checkpoints.newest():
                resumed = tuner.restore(newest)
                log.info(
                    "training_resumed" if resumed else "training_begun_anew",
                    reason="" if resumed else "another split, base or method",
                )
            return tuner.run(
                on_point=points,
                on_checkpoint=lambda data: self._keep(attempt, checkpoints, data, tuner.trainer.step),
                should_stop=lambda: attempt.stopping,
            )
        except TrainingStopped:
            attempt.stop()
        except ModelError as error:
            raise Refused("not_trainable", str(error)) from error

    def _keep(self, attempt: Attempt, checkpoints: Checkpoints, data: bytes, step: int) -> None:
        stored = checkpoints.write(data)
        if stored:
            attempt.got_further(step)
        self._metrics.observe_checkpoint(stored)
        faults.point("checkpointed")

    def _publish(
        self,
        attempt: Attempt,
        options: FineTuneOptions,
        found: TrainingSet,
        base: Base,
        result: FineTuneResult,
        stages: Stages,
    ) -> Outcome:
        """Store weights and report; the model exists once `Jobs.finish` enters it together with the job's success."""
        job, steps = attempt.job, attempt.progress
        attempt.enter("publishing", steps)
        model = _new_model(job, options.name or job.id, base, result)
        report = _report(found, base, result, model) | {"seed": options.seed}
        files = {
            weights_key(model.id): result.weights,
            attempt_key(job.id, job.attempt, "report.json"): json.dumps(report | {"timings": stages.seconds}).encode(),
            attempt_key(job.id, job.attempt, "report.png"): finetune_picture.draw(report, result.previews),
        }
        for key, data in files.items():
            self._blobs.put(key, data)
        faults.point("stored")
        self._metrics.observe_model(result.promoted)
        return Outcome(
            result_key=model.weights_key,
            report_key=attempt_key(job.id, job.attempt, "report.json"),
            picture_key=attempt_key(job.id, job.attempt, "report.png"),
            result=_facts(model, report),
            timings=stages.seconds,
            progress=steps,
            model=model,
        )


def _settle(attempt: Attempt, pixels: int) -> None:
    """Count what was found, which for an archive nobody knew before. Raises Refused if it is over the quota."""
    try:
        attempt.settle_pixels(pixels)
    except QuotaExceeded as error:
        raise Refused("quota_exceeded", f"The set has {pixels:,} pixels. {error}") from error


class _Points:
    """A training's points as progress of its job: each change of phase, each score, the others ever more rarely."""

    def __init__(self, attempt: Attempt, found: TrainingSet) -> None:
        self._attempt = attempt
        self._found = found
        self._begun = time.monotonic()
        self._told = 0.0
        self._phase = "training"

    def __call__(self, point: Mapping[str, Any]) -> None:
        self._found.release()
        progress = Progress(
            int(point["step"]), point["steps"], "step", {k: v for k, v in point.items() if k not in _IN_PROGRESS}
        )
        elapsed = time.monotonic() - self._begun
        if point["phase"] != self._phase:
            self._phase = point["phase"]
            self._attempt.enter(self._phase, progress)
        elif point.get("score") is not None:
            self._attempt.tell_now(progress)
        elif elapsed - self._told >= max(1.0, elapsed / POINTS_A_DOUBLING):
            self._attempt.tell(progress)
        else:
            return
        self._told = elapsed


_IN_PROGRESS = ("phase", "step", "steps")


def _new_model(job: Job, name: str, base: Base, result: FineTuneResult) -> NewModel:
    model_id = new_id("mdl")
    return NewModel(
        id=model_id,
        name=name,
        channels=base.model.channels,
        base_model=base.started_from,
        card=result.card | {"promoted": result.promoted, "job_id": job.id, "base_sha256": base.model.sha256},
        weights_key=weights_key(model_id),
        weights_bytes=len(result.weights),
        sha256=hashlib.sha256(result.weights).hexdigest(),
    )


def _report(found: TrainingSet, base: Base, result: FineTuneResult, model: NewModel) -> dict[str, Any]:
    """What `/jobs/{id}/report` answers."""
    return {
        "model": model.id,
        "model_sha256": model.sha256,
        "base_model": base.model.id,
        "base_sha256": base.model.sha256,
        "from_scratch": base.from_scratch,
        "promoted": result.promoted,
        "scores": result.scores,
        "noise": result.noise,
        "learning": result.learning,
        "frames": result.card["frames"],
        "history": result.history,
        "set": {
            "kept": found.kept,
            "left_out": len(found.verdicts) - found.kept,
            "images": len(found.images),
            "pixels": found.pixels,
            "channels": found.channels,
            "dtype": found.dtype,
        },
        "files": [verdict.to_dict() for verdict in found.verdicts],
        "warnings": _warnings(found, result, base),
    }


def _warnings(found: TrainingSet, result: FineTuneResult, base: Base) -> list[str]:
    left_out = len(found.verdicts) - found.kept
    warnings = [base.remark] if base.remark else []
    if result.noise["shape"]["treated_as"] == "correlated" and result.learning["used"] == "blind2sound":
        warnings.append(
            "Blind2Sound rests on noise that is independent from pixel to pixel, and this set's is not: "
            "`method=thinning` splits it by the shape that was found."
        )
    if result.doubt:
        warnings.append(f"{result.doubt}, so the new model was not promoted: use the base, or send more images.")
    elif not result.promoted:
        warnings.append(
            "The new model did not beat its base on images that it did not learn from: use the base, or send more "
            "images and train longer."
        )
    if base.model.channels < found.channels and (unlike := brightness_ratio(found.images)) > UNLIKE:
        warnings.append(
            f"The brightness of the channels differs by a factor of {unlike:.0f}, and one model was made for all of "
            "them: send each channel as a set of its own."
        )
    if left_out:
        warnings.append(f"{left_out} of {len(found.verdicts)} files were left out; `files` says why.")
    return warnings


def _facts(model: NewModel, report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "media_type": "application/octet-stream",
        "extension": ".safetensors",
        "bytes": model.weights_bytes,
        "sha256": model.sha256,
        "model": model.id,
        "alpha": report["noise"].get("alpha"),
        "sigma": report["noise"].get("sigma"),
        "method": report["learning"]["used"],
        "frames": report["frames"],
        "noise": report["noise"].get("said"),
        **{name: report[name] for name in ("promoted", "scores", "set", "warnings")},
    }
