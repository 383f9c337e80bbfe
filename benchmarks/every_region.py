"""Does any region of an image come back farther from the truth than it went in? Random scenes tell.

    python -m benchmarks.every_region --scenes 600 [--model base-gray] [--first 0] [--normalize auto]

Of all blocks of 32 × 32 pixels: the share whose error exceeds the noisy block's by more than 5 % of the noise and
half a step of the type, the share whose mean moved by more than 1 % and five standard errors, and where they lie; and
how many blocks the report's regions name, and how many of those are worse.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

from model import Denoiser
from tests.harness.random_scenes import compare, draw, named_blocks


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--scenes", type=int, default=600)
    options.add_argument("--first", type=int, default=0, help="seed of the first")
    options.add_argument("--model", default="base-gray")
    options.add_argument("--normalize", default="auto")
    given = options.parse_args()
    denoiser = Denoiser.load(given.model, "cpu")
    blocks = worse = moved = named = truly = 0
    where: dict[str, list[str]] = defaultdict(list)
    for seed in range(given.first, given.first + given.scenes):
        case = draw(seed)
        result, report = denoiser.denoise_with_report(case.noisy, normalize=given.normalize)
        assert report is not None
        found, of_regions = compare(case, result), named_blocks(case, result, report.regions)
        named, truly = named + of_regions[0], truly + of_regions[1]
        blocks, worse, moved = blocks + found.blocks, worse + found.worse, moved + found.moved
        if found.worse or found.moved:
            where[case.kind].append(
                f"{seed}: {found.worse} worse (up to {found.largest:.2f} times), {found.moved} moved"
            )
    print(f"{blocks} blocks: {100 * worse / blocks:.3f} % worse, mean moved in {100 * moved / blocks:.3f} %")
    print(f"{named} blocks named ({100 * named / blocks:.2f} %), {truly} of them worse")
    for kind, cases in sorted(where.items()):
        print(kind, *cases, sep="\n    ")


if __name__ == "__main__":
    main()
