"""Noise2Void by CAREamics, run by `benchmarks.peers` in an environment of its own: nothing of this project is imported.

    python -m venv N2V
    N2V/bin/pip install careamics       # 0.3; torch 2.6 to 2.13
    N2V/bin/python benchmarks/peers_n2v.py FOLDER 3 10

FOLDER/in.npz holds `training` and `test`, (N, H, W) each. After 3 CPU minutes of training and after 10 the network is
put aside, and denoises the test images in the end: FOLDER/out.npz holds `results`, (marks, N, H, W), and
FOLDER/out.json what it cost. Patches of 64 × 64 in batches of 8 and all else as in CAREamics' guide.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from careamics.careamist import CAREamist
from careamics.config.factories import create_advanced_n2v_config
from lightning.pytorch.callbacks import Callback

EPOCHS = 10_000  # more than there is time for: the last mark ends the training
SEED = 1  # CAREamics takes no 0


class Marks(Callback):
    """Puts the network aside after so many CPU minutes each, and stops after the last."""

    def __init__(self, folder: Path, minutes: list[float]) -> None:
        self.folder = folder
        self.minutes = minutes
        self.started = time.process_time()
        self.reached: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        spent = (time.process_time() - self.started) / 60
        if len(self.reached) < len(self.minutes) and spent >= self.minutes[len(self.reached)]:
            path = self.folder / f"mark{len(self.reached)}.ckpt"
            self.reached.append({"minutes": spent, "steps": trainer.global_step, "path": str(path)})
            trainer.save_checkpoint(path)
        trainer.should_stop = len(self.reached) == len(self.minutes)


def main(folder: Path, minutes: list[float]) -> None:
    torch.set_num_threads(1)
    data = np.load(folder / "in.npz")
    config = create_advanced_n2v_config(
        "peer", data_type="array", axes="SYX", patch_size=[64, 64], batch_size=8, num_epochs=EPOCHS, num_workers=0,
        seed=SEED, trainer_params={"accelerator": "cpu"},
    )  # fmt: skip
    marks = Marks(folder, minutes)
    careamist = CAREamist(config, work_dir=folder, callbacks=[marks], enable_progress_bar=False)
    careamist.train(train_data=data["training"])
    started = time.process_time()
    results = [predictions(careamist, data["test"], mark["path"]) for mark in marks.reached]
    spent = time.process_time() - started
    np.savez(folder / "out.npz", results=np.stack(results))
    found = {
        "marks": marks.reached,
        "seconds_per_megapixel": spent / len(results) / data["test"].size * 1e6,
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in ("careamics", "lightning", "torch")),
    }
    (folder / "out.json").write_text(json.dumps(found))


def predictions(careamist: CAREamist, test: np.ndarray, checkpoint: str) -> np.ndarray:
    """(N, H, W), whole images one at a time."""
    found, _ = careamist.predict(test, axes="SYX", batch_size=1, num_workers=0, checkpoint=checkpoint)
    return np.concatenate([np.asarray(image).reshape(-1, *test.shape[1:]) for image in found])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]), [float(minutes) for minutes in sys.argv[2:]])
