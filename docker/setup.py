"""`python3 docker/setup.py [--gpu] [--site denoise.example.org]`: make the secrets that docker-compose.yml asks for.

Writes `.env` and `secrets/`, readable by their owner only, and never over what is there. Needs nothing but Python.
"""

import argparse
import os
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the files; 1 if there are some already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="workers on the NVIDIA GPU instead of the CPU")
    parser.add_argument("--site", default="localhost", help="the name under which the service is reached")
    chosen = parser.parse_args(arguments)
    if (root / ".env").exists() or (root / "secrets").exists():
        print("There is an .env or secrets/ already: they are left as they are. Move them away first.", file=sys.stderr)
        return 1
    password, access, secret = (secrets.token_urlsafe(24) for _ in range(3))
    values = {
        "B2S_SITE": chosen.site,
        "COMPOSE_PROFILES": "gpu" if chosen.gpu else "cpu",
        "POSTGRES_PASSWORD": password,
        "S3_ACCESS_KEY": access,
        "S3_SECRET_KEY": secret,
        "GRAFANA_PASSWORD": secrets.token_urlsafe(24),
    }
    _write(root / ".env", "".join(f"{name}={value}\n" for name, value in values.items()))
    (root / "secrets").mkdir(mode=0o755)
    # Docker mounts this file as it is: it has to be readable by the users inside (gateway image and Prometheus).
    _write(root / "secrets" / "operator.key", f"b2s_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}\n", mode=0o444)
    print("Written: .env and secrets/operator.key. Next: docker compose up -d --build")
    print(f"Grafana: user admin, password in .env. The operator's key (scope admin): {root / 'secrets/operator.key'}")
    return 0


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w") as file:
        file.write(text)


if __name__ == "__main__":
    raise SystemExit(main())
