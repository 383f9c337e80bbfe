"""`python3 docker/setup.py [--gpu] [--site denoise.example.org] [--alert-webhook URL] [--alert-email ADDRESS …]`

Makes the secrets that docker-compose.yml asks for: `.env` and `secrets/`, never over what is there; to an older `.env`
it adds those that are missing. Only who is told of alerts can be changed later: run it again with `--alert-…`. Needs
nothing but Python.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROUTES = Path(__file__).parent / "alertmanager.json"
SECRETS = (
    "POSTGRES_PASSWORD",
    "S3_ROOT_USER",
    "S3_ROOT_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "GRAFANA_PASSWORD",
)
"""Hex: a value that began with a dash would be an option to `mc`."""
NOBODY_IS_TOLD = "Alerts reach nobody yet: python3 docker/setup.py --alert-webhook URL (or --alert-email ADDRESS)"


def main(arguments: list[str] | None = None, root: Path = ROOT, ask: Callable[[str], str] = getpass.getpass) -> int:
    """Write the files; 1 if there are some already, whole, and no other receiver of alerts is named."""
    chosen = _parser().parse_args(arguments)
    told = bool(chosen.alert_webhook or chosen.alert_email)
    if (root / ".env").exists() or (root / "secrets").exists():
        added = _complete(root / ".env")
        if added:
            print(f"Added to .env: {', '.join(added)}. Next: docker compose up -d --build")
        if not told and (root / "secrets" / "alertmanager.yml").exists():
            if added:
                return 0
            print("There is an .env or secrets/ already: they are left as they are.", file=sys.stderr)
            return 1
        _write_alerts(root, chosen, ask)
        print("Written: secrets/alertmanager.yml. Next: docker compose up -d --force-recreate alertmanager")
        if not told:
            print(NOBODY_IS_TOLD)
        return 0
    _write(root / ".env", "".join(f"{name}={value}\n" for name, value in _values(chosen).items()))
    # Docker mounts the files as they are: they have to be readable by the users inside. The folder keeps others out.
    (root / "secrets").mkdir(mode=0o700)
    _write(root / "secrets" / "operator.key", f"b2s_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}\n", mode=0o444)
    _write_alerts(root, chosen, ask)
    print("Written: .env and secrets/. Next: docker compose up -d --build")
    print(f"Grafana: user admin, password in .env. The operator's key (scope admin): {root / 'secrets/operator.key'}")
    if not told:
        print(NOBODY_IS_TOLD)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="workers on the NVIDIA GPU instead of the CPU")
    parser.add_argument("--site", default="localhost", help="the name under which the service is reached")
    parser.add_argument("--alert-webhook", metavar="URL", help="POST alerts there, as Alertmanager's webhook has it")
    parser.add_argument("--alert-email", metavar="ADDRESS", help="mail alerts there; needs --smtp")
    parser.add_argument("--smtp", metavar="HOST:PORT", help="the mail server; it has to know TLS")
    parser.add_argument("--smtp-user", metavar="NAME", help="log in there; the password is asked for")
    parser.add_argument("--smtp-from", metavar="ADDRESS", help="the sender; default: the receiver's own address")
    return parser


def _values(chosen: argparse.Namespace) -> dict[str, str]:
    """What stands in `.env`."""
    return {
        "B2S_SITE": chosen.site,
        "COMPOSE_PROFILES": "gpu" if chosen.gpu else "cpu",
        **{name: secrets.token_hex(24) for name in SECRETS},
    }


def _complete(env: Path) -> list[str]:
    """Add the secrets that an `.env` of an older version lacks; their names."""
    text = env.read_text() if env.exists() else ""
    missing = [name for name in SECRETS if not re.search(rf"^\s*(?:export\s+)?{name}=", text, re.MULTILINE)]
    if missing and env.exists():
        ended = text if text.endswith("\n") or not text else text + "\n"
        lines = "".join(f"{name}={secrets.token_hex(24)}\n" for name in missing)
        env.with_suffix(".new").unlink(missing_ok=True)
        _write(env.with_suffix(".new"), ended + lines, mode=env.stat().st_mode & 0o777)
        env.with_suffix(".new").replace(env)
        return missing
    return []


def alerts(chosen: argparse.Namespace, ask: Callable[[str], str]) -> dict[str, Any]:
    """Alertmanager's configuration: the routes of the repository, and the receiver that was chosen.

    Raises:
        SystemExit: mail without a mail server.
    """
    config: dict[str, Any] = json.loads(ROUTES.read_text())
    (receiver,) = config["receivers"]
    if chosen.alert_webhook:
        receiver["webhook_configs"] = [{"url": chosen.alert_webhook, "send_resolved": True}]
    if chosen.alert_email:
        if not chosen.smtp:
            raise SystemExit("--alert-email needs --smtp HOST:PORT")
        receiver["email_configs"] = [{"to": chosen.alert_email, "send_resolved": True}]
        sender = {"smtp_smarthost": chosen.smtp, "smtp_from": chosen.smtp_from or chosen.alert_email}
        if chosen.smtp_user:
            password = ask(f"Password of {chosen.smtp_user} at {chosen.smtp}: ")
            sender |= {"smtp_auth_username": chosen.smtp_user, "smtp_auth_password": password}
        config["global"] = sender
    return config


def _write_alerts(root: Path, chosen: argparse.Namespace, ask: Callable[[str], str]) -> None:
    path = root / "secrets" / "alertmanager.yml"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    text = json.dumps(alerts(chosen, ask), indent=2) + "\n"  # JSON is YAML
    path.unlink(missing_ok=True)
    _write(path, text, mode=0o444)


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w") as file:
        file.write(text)


if __name__ == "__main__":
    raise SystemExit(main())
