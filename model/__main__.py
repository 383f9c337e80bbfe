"""`python -m model`: denoise, estimate, train, evaluate and export from the shell."""

from __future__ import annotations

from model.cli import app

if __name__ == "__main__":
    app()
