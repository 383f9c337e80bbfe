"""Methods that are tried one after another, each for a share of the budget; the best one goes on with what is left.

The shares are counted in steps where the budget has them, so that a run that is resumed takes the same turns. What was
chosen, and how the others did, stands in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from model.finetuning.course import Course
from model.finetuning.methods import SHARE
from model.training.checkpoint import Checkpoint

KEPT = "kept."


class Budget(NamedTuple):
    """Steps and minutes of a whole fine-tune; None: not bounded."""

    steps: int | None
    minutes: float | None

    def of_one(self, methods: int) -> Budget:
        """What a training may use while it is tried."""
        if methods == 1:
            return self
        steps = None if self.steps is None else max(1, round(SHARE * self.steps))
        return Budget(steps, None if self.minutes is None else SHARE * self.minutes)

    def of_the_chosen(self, methods: int) -> Budget:
        """What is left for the method that goes on, its own trial among it."""
        one, others = self.of_one(methods), methods - 1
        steps = None if self.steps is None or one.steps is None else max(1, self.steps - others * one.steps)
        minutes = None if self.minutes is None or one.minutes is None else self.minutes - others * one.minutes
        return Budget(steps, minutes)


@dataclass(frozen=True)
class Trial:
    """How a method did in its share of the budget: estimated PSNR in dB at its end."""

    method: str
    score: float
    steps: int
    elapsed: float


@dataclass
class Contest:
    """The course under way, and the best of those that were tried before it.

    Args:
        methods: to try; a single one is not tried but taken.
        begin: a new course of a method with a budget.
    """

    methods: tuple[str, ...]
    budget: Budget
    begin: Callable[[str, Budget], Course]
    course: Course = field(init=False)
    finished: list[Trial] = field(default_factory=list)
    kept: Checkpoint | None = None

    def __post_init__(self) -> None:
        self.course = self._new(self.methods[0])

    @property
    def trying(self) -> bool:
        """Whether it is still open which method goes on."""
        return len(self.methods) > 1 and len(self.finished) < len(self.methods)

    @property
    def steps_before(self) -> int:
        """Steps of the other courses, which the one under way has not."""
        return sum(trial.steps for trial in self.finished if trial.method != self.course.method)

    @property
    def elapsed_before(self) -> float:
        """Seconds of training of the other courses."""
        return sum(trial.elapsed for trial in self.finished if trial.method != self.course.method)

    @property
    def trial_is_over(self) -> bool:
        """Whether the course under way has used up its share."""
        if not self.trying:
            return False
        share, trainer = self.budget.of_one(len(self.methods)), self.course.trainer
        by_steps = share.steps is not None and trainer.step >= share.steps
        return by_steps or (share.minutes is not None and trainer.elapsed >= 60 * share.minutes)

    def next(self) -> None:
        """End the trial under way, and begin the next one or go on with the best."""
        course = self.course
        best = max((trial.score for trial in self.finished), default=float("-inf"))
        self.finished.append(Trial(course.method, course.score, course.trainer.step, course.trainer.elapsed))
        if course.score > best:
            self.kept = course.checkpoint()
        if self.trying:
            self.course = self._new(self.methods[len(self.finished)])
            return
        assert self.kept is not None
        mine = self.kept.state["course"]
        self.course = self._new(mine["method"])
        self.course.restore(self.kept, mine)
        self.kept = None

    def _new(self, method: str) -> Course:
        return self.begin(method, self.budget.of_the_chosen(len(self.methods)))

    def checkpoint(self) -> tuple[Checkpoint, dict[str, Any]]:
        """The course's checkpoint, with what is kept beside it, and the contest in numbers."""
        whole = self.course.checkpoint()
        tensors = whole.tensors
        mine: dict[str, Any] = whole.state.pop("course") | {"methods": list(self.methods)}
        mine["finished"] = [asdict(trial) for trial in self.finished]
        if self.kept is not None:
            tensors = tensors | {KEPT + name: value for name, value in self.kept.tensors.items()}
            mine["kept"] = self.kept.state
        return Checkpoint(tensors, whole.state), mine

    def restore(self, found: Checkpoint, mine: dict[str, Any]) -> bool:
        """Continue where a checkpoint was taken. False: it is of other methods, or does not fit; nothing is changed.

        Of before 2026-12-01 there is none but of thinning, which did not have to win.
        """
        methods = tuple(mine.get("methods", self.methods[:1]))
        method = mine.get("method", methods[0])
        known = methods == self.methods if "methods" in mine else method == found.state["config"]["objective"]["name"]
        if not known or method not in self.methods:
            return False
        before, self.methods = self.methods, methods
        course = self._new(method)
        if not course.trainer.fits(found):
            self.methods = before
            return False
        course.restore(found, mine)
        self.course, self.finished = course, [Trial(**trial) for trial in mine.get("finished", [])]
        self.kept = None
        if "kept" in mine:
            tensors = {k.removeprefix(KEPT): v for k, v in found.tensors.items() if k.startswith(KEPT)}
            self.kept = Checkpoint(tensors, mine["kept"])
        return True
