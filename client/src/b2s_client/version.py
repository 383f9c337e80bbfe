"""The version of this client; `pyproject.toml` and the User-Agent read it here."""

__version__ = "0.2.0"
