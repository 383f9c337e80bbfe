"""`python -m client`: the former name of `python -m b2s_client`, and of `b2s`."""

from b2s_client.cli import main

if __name__ == "__main__":
    main()
