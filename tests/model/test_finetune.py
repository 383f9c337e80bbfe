"""Fine-tuning on noisy images alone, on tiny settings: what it promises about resuming, stopping and judging."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.arrays.pixels import Pixels
from model.errors import InvalidOption, Stopped
from model.finetuning import finetune
from model.finetuning.finetune import FineTuneConfig, FineTuner
from model.finetuning.heldout import Scores, judge
from model.inference.denoiser import Denoiser
from model.noise.poisson_gaussian import PoissonGaussian
from model.training import checkpoint


def noisy_set(count: int = 10, side: int = 64, alpha: float = 0.15) -> list[Pixels]:
    rng = np.random.default_rng(3)
    coarse = rng.random((count, 1, side // 8, side // 8)).astype(np.float32)
    clean = coarse.repeat(8, 2).repeat(8, 3) * 0.8 + 0.1
    return list(PoissonGaussian(alpha, 0.02).add(clean, rng))


def config(**values: Any) -> FineTuneConfig:
    tiny = {"base": "base-gray", "channels": 1, "max_minutes": None, "max_steps": 8, "crop": 32, "batch": 2}
    return FineTuneConfig(**(tiny | values))


def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "EVALUATE_EVERY", 3)
    images, kept = noisy_set(), []
    whole = FineTuner(config(checkpoint_seconds=0.0), images).run(on_checkpoint=kept.append)
    again = FineTuner(config(), images)
    assert again.restore(kept[4])
    assert again.trainer.step == 5
    resumed = again.run()
    assert resumed.scores == whole.scores and resumed.history == whole.history
    a, b = (_tensors(r.weights) for r in (whole, resumed))
    assert a == b


def test_a_checkpoint_of_another_split_is_not_gone_on_with() -> None:
    """What it was trained on would now be judged by, as after an upgrade that splits sets in another way."""
    images, kept = noisy_set(), []
    FineTuner(config(checkpoint_seconds=0.0), images).run(on_checkpoint=kept.append)
    other = FineTuner(config(), images, groups=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    assert not other.restore(kept[0])
    assert other.trainer.step == 0


def test_a_checkpoint_of_before_bases_were_named_is_gone_on_with_and_one_of_another_base_is_not() -> None:
    """As after an upgrade that ships other weights under the base's name, or a larger network."""
    images, kept = noisy_set(), []
    FineTuner(config(checkpoint_seconds=0.0), images).run(on_checkpoint=kept.append)
    tensors, state = checkpoint.from_bytes(kept[0])
    tuner = FineTuner(config(), images)

    def resumes(tensors: dict[str, Any], **changed: Any) -> bool:
        mine = {key: value for key, value in (state["finetune"] | changed).items() if value is not None}
        return tuner.restore(checkpoint.to_bytes(checkpoint.Checkpoint(tensors, state | {"finetune": mine})))

    assert not resumes(tensors, base="0" * 64)
    larger = {
        name: value.repeat(2, *[1] * (value.dim() - 1)) if value.dim() else value for name, value in tensors.items()
    }
    assert not resumes(larger, base=None)
    assert tuner.trainer.step == 0
    assert resumes(tensors, base=None) and tuner.trainer.step == 1


def test_the_result_loads_and_carries_its_card(tmp_path: Path) -> None:
    result = FineTuner(config(name="mine"), noisy_set()).run()
    path = tmp_path / "mine.safetensors"
    path.write_bytes(result.weights)
    model = Denoiser.load(path, device="cpu")
    assert model.card["base"]["name"] == "base-gray" and model.card["scores"] == result.scores
    assert model.card["images"] == {"count": 10, "held_out": 2, "shapes": ["64x64x1 float32"]}
    image = noisy_set(1)[0][0]
    assert model.denoise(image).shape == image.shape
    assert len(result.previews) == 3 and result.previews[0][0].shape == (64, 64, 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts mapped pages as Linux does")
def test_a_mapped_set_is_let_go_of_while_it_is_looked_at(tmp_path: Path) -> None:
    count, side = 12, 2048
    with (tmp_path / "set").open("wb+") as file:
        file.write(np.random.default_rng(3).integers(0, 4096, count * side * side, np.uint16).tobytes())
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0)
    images = list(np.frombuffer(mapped, np.uint16).reshape(count, 1, side, side))
    before, seen = _mapped_bytes(), []

    def let_go() -> None:
        seen.append(_mapped_bytes() - before)
        mapped.madvise(mmap.MADV_DONTNEED)

    FineTuner(config(), images, let_go)
    assert len(seen) == 3 * count  # for its normalisation, the shape of its noise, and its noise lines
    assert max(seen) < 4 * images[0].nbytes < count * images[0].nbytes / 2  # loading the model maps pages, too


def _mapped_bytes() -> int:
    """Resident pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile"))


def test_a_stop_is_heard_between_two_steps() -> None:
    steps: list[int] = []
    tuner = FineTuner(config(), noisy_set())
    with pytest.raises(Stopped):
        tuner.run(should_stop=lambda: tuner.trainer.step >= 3 or steps.append(1) is not None)
    assert tuner.trainer.step == 3


def test_a_model_that_was_ruined_is_not_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate far too high makes every score worse: the base is kept, and the verdict says no."""
    monkeypatch.setattr(finetune, "EVALUATE_EVERY", 4)
    tuner = FineTuner(config(lr=0.3), noisy_set())
    result = tuner.run()
    assert not result.promoted and tuner.best_step == 0
    assert result.scores["gain_db"] == 0.0


def test_promotion_needs_two_witnesses_and_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    errors, nll = rng.normal(0.1, 0.02, 64), rng.normal(-2, 0.1, 64)

    def promoted(
        factor: float,
        psnr: float,
        likelihood: float = -0.01,
        ratio: float = 1.0,
        noise: float = 0.0,
        base_ratio: float = 1.0,
    ) -> bool:
        base = Scores(errors, nll, 30.0, 0.0, base_ratio)
        after = errors * factor + rng.normal(0, noise, 64)
        return judge(base, Scores(after, nll + likelihood, psnr, 0.0, ratio)).promoted

    assert promoted(0.9, 30.4)
    assert not promoted(1.0, 30.1, noise=0.05)  # chance
    assert not promoted(1.1, 29.6)  # worse
    assert not promoted(0.999, 30.004)  # too little to matter
    assert not promoted(0.5, 33.0, likelihood=0.001)  # the masked pixels disagree
    assert not promoted(0.5, 33.0, ratio=1.3)  # structure was taken out
    assert promoted(0.9, 30.4, ratio=1.04, base_ratio=0.94)  # the base left noise in; this is nearer to what there is
    assert not promoted(0.9, 30.4, ratio=0.88, base_ratio=0.94)  # more noise left in than by the base


def test_a_set_too_small_to_judge_says_so() -> None:
    result = FineTuner(config(), noisy_set(1, 64)).run()
    assert not result.promoted and result.doubt and "places that do not overlap" in result.doubt


def test_files_of_many_pages_stay_whole() -> None:
    groups = [image // 3 for image in range(30)]
    tuner = FineTuner(config(), noisy_set(30), groups=groups)
    held = {groups[i] for i in tuner.split.held_out_indices}
    assert len(held) == 2 and not held & {groups[i] for i in tuner.split.training_indices}


def test_a_base_of_other_channels_is_refused() -> None:
    with pytest.raises(InvalidOption, match="takes 1 channels"):
        FineTuner(config(channels=3), noisy_set())


def _tensors(data: bytes) -> dict[str, bytes]:
    from safetensors.torch import load

    return {name: value.numpy().tobytes() for name, value in load(data).items()}
