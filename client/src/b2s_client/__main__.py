"""`python -m b2s_client`: the same as `b2s`."""

from .cli import main

if __name__ == "__main__":
    main()
