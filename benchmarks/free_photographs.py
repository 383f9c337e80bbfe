"""Collect photographs under free licences to train on: those of Debian's wallpaper packages, halved.

`python -m benchmarks.free_photographs OUT` downloads the packages by `apt-get download`, unpacks them, halves each
photograph (its own noise and JPEG's blocks go with that), and writes it as PNG beside `sources.json`: package,
author, licence.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

# Photographs alone, by package: renderings and drawings have no texture that a camera would see.
PHOTOGRAPHS = {
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk.jpg", "Dragonfly_by_Bolly.jpg", "Picture_0B_by_freespace.jpg",
        "Picture_1A_by_freespace.jpg", "Wine_by_Jakkub_Mede.jpg", "aitzgorri_by_Aitzol_Berasategi.jpg",
        "analogpattern_by_Peter_Nerlich.jpg", "free_by_Peter_Nerlich.jpg", "friends_by_Aitzol_Berasategi.jpg",
        "greentock_by_Peter_Nerlich.jpg", "life_by_Aitzol_Berasategi.jpg", "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        "seeding_by_Clements_Engelhardt.jpg", "sunset_by_Aitzol_Berasategi.jpg", "umang_by_Abhishek_Mudgal.jpg",
    ),
    "lomiri-wallpapers-20.04": ("Infinite-Sea_by_Aury88.jpg", "Kleiber_by_Lukas_Baubkus.jpg"),
    "mate-backgrounds": (
        "nature/Blinds.jpg", "nature/Dune.jpg", "nature/LadyBird.jpg", "nature/RainDrops.jpg", "nature/Storm.jpg",
        "nature/TwoWings.jpg", "nature/Wood.jpg", "abstract/Elephants_5640x3172.jpg",
    ),
    "plasma-workspace-wallpapers": (
        "Autumn/contents/images/2560x1600.jpg", "BytheWater/contents/images/2560x1600.jpg",
        "ColorfulCups/contents/images/2560x1600.jpg", "EveningGlow/contents/images/2560x1600.jpg",
        "FallenLeaf/contents/images/2560x1600.jpg", "Kite/contents/images/2560x1600.jpg",
        "OneStandsOut/contents/images/2560x1600.jpg", "Path/contents/images/2560x1600.jpg",
        "summer_1am/contents/images/2560x1600.jpg",
    ),
}  # fmt: skip
LARGEST = 2400  # pixels along the longer side of what is kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    sources: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for package, names in PHOTOGRAPHS.items():
            root = unpack(package, Path(scratch))
            licences = read_copyright(root / f"usr/share/doc/{package}/copyright")
            for name in names:
                path = next(p for p in root.rglob(Path(name).name) if str(p).endswith(name))
                target = f"{package}-{name.split('/')[0] if 'contents' in name else Path(name).stem}.png"
                halve(path).save(out / target)
                sources[target] = {"package": package, "file": name} | licence_of(licences, name)
    (out / "sources.json").write_text(json.dumps(sources, indent=1) + "\n")
    print(f"{len(sources)} photographs in {out}")


def unpack(package: str, scratch: Path) -> Path:
    """A package's files, in a folder of its name."""
    subprocess.run(["apt-get", "download", "-q", package], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    archive = next(scratch.glob(f"{package}_*.deb"))
    root = scratch / package
    subprocess.run(["dpkg", "-x", str(archive), str(root)], check=True)
    return root


def halve(path: Path) -> Image.Image:
    """The photograph at half its size, or at `LARGEST`."""
    image = Image.open(path).convert("RGB")
    factor = min(0.5, LARGEST / max(image.size))
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def read_copyright(path: Path) -> list[dict[str, str]]:
    """The `Files` stanzas of a Debian copyright file (DEP 5): their fields, continuation lines joined."""
    stanzas, fields, key = [], {}, ""
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if not line.strip():
            stanzas += [fields] if "Files" in fields else []
            fields, key = {}, ""
        elif line[0].isspace() and key:
            fields[key] += " " + line.strip()
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return stanzas


def licence_of(stanzas: list[dict[str, str]], name: str) -> dict[str, str]:
    """Author and licence of a file: the last stanza with a pattern that names it, as DEP 5 has it."""
    parts = set(Path(name).parts)
    found: dict[str, str] = {}
    for stanza in stanzas:
        for pattern in stanza["Files"].split():
            last = pattern.rstrip("/*").rsplit("/", 1)[-1]
            if pattern == "*" or pattern.endswith(name) or last in parts:
                found = {"author": stanza.get("Copyright", ""), "licence": stanza.get("License", "").split(" ")[0]}
    return found


if __name__ == "__main__":
    main()
