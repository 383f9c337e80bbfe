"""Settings: one variable each, refused by name when they cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.database import connect
from store.errors import SettingsError
from store.settings import Settings, load_settings, variable


def test_the_default_keeps_everything_under_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path / 'b2s.sqlite3'}"
    assert settings.blobs == (tmp_path / "blobs").as_uri()


def test_variables_are_read_with_their_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2S_MAX_PIXELS", "1234")
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.setenv("B2S_DATABASE_URL", "postgres://u:p@db/b2s")
    settings = load_settings()
    assert (settings.max_pixels, settings.port) == (1234, 8123)
    assert settings.database == "postgresql+psycopg://u:p@db/b2s"


@pytest.mark.parametrize(
    ("name", "value"),
    [("B2S_MAX_PIXELS", "many"), ("B2S_LEASE_SECONDS", "-1"), ("PORT", "99999"), ("B2S_LOG_LEVEL", "loud")],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}={value} is not usable: "):
        load_settings()


def test_an_unknown_database_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="B2S_DATABASE_URL"):
        connect("mysql://db/b2s")


def test_every_setting_says_what_it_is_for_and_cannot_be_changed() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    assert (variable("port"), variable("max_pixels")) == ("PORT", "B2S_MAX_PIXELS")
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
