"""The plugin's tests: a real service from the product's environment, napari in one of its own (`make test-napari`).

    python plugins/napari-b2s/run_tests.py .venv-napari [PYTEST ARGUMENTS]

Qt and napari never come into the product's environment: two programs that only talk HTTP share no packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PLUGIN = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from tests.harness.service_process import running_service  # noqa: E402


def main() -> int:
    python = installed(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory(prefix="b2s-napari-") as folder, running_service(Path(folder)) as service:
        environment = os.environ | {"B2S_URL": service.url, "QT_QPA_PLATFORM": "offscreen"}
        return subprocess.run([python, "-m", "pytest", *sys.argv[2:]], cwd=PLUGIN, env=environment).returncode


def installed(folder: Path) -> Path:
    """The Python of an environment with the plugin, the client as it is here, and napari."""
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "-e", f"{ROOT / 'client'}[arrays]", "-e", f"{PLUGIN}[test]"],
        check=True,
    )
    return python


if __name__ == "__main__":
    sys.exit(main())
