"""`python docker/healthcheck.py URL`: exit 0 if it answers 200. The images have no curl, and need none."""

import sys
from urllib.request import urlopen


def main() -> int:
    """0: healthy."""
    try:
        with urlopen(sys.argv[1], timeout=4) as answer:  # nosec B310  # the URL is the image's own
            return 0 if answer.status == 200 else 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
