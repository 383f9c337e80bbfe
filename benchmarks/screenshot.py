"""The page as the README shows it: a real service denoises a photograph in a real Chromium.

    pip install --no-deps --target PEERS scikit-image
    python -m benchmarks.screenshot --packages PEERS --out docs/page.png      # Chromium on PATH, or B2S_CHROMIUM

The photograph is that of `benchmarks.before_after` (Stefan van der Walt, CC0), with the noise of few photons added.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.before_after import PHOTOGRAPH, few_photons
from lab.files import page as pixels_of
from tests.harness.service_process import running_service

BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome")
WINDOW = {"width": 1280, "height": 1000}
PATIENCE_MS = 120_000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="where scikit-image is installed")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    chromium = os.environ.get("B2S_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        parser.error("no Chromium on PATH: install one (apt install chromium), or name it with B2S_CHROMIUM=/path")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        upload = Path(folder) / "cat.png"
        Image.fromarray(few_photons(pixels_of(options.packages / PHOTOGRAPH), 0)).save(upload)
        data = Path(folder) / "data"
        data.mkdir()
        with running_service(data) as service:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=WINDOW, color_scheme="light")
            page.goto(service.url)
            page.set_input_files("#files", upload)
            page.get_by_text("cat.png is done").wait_for(state="attached", timeout=PATIENCE_MS)
            heading = page.get_by_role("heading", name="Before and after", exact=True)
            heading.evaluate("element => window.scrollTo(0, element.getBoundingClientRect().top + scrollY - 16)")
            page.wait_for_timeout(1000)  # what is drawn after the result
            page.screenshot(path=options.out)
            browser.close()


if __name__ == "__main__":
    main()
