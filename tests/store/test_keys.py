"""Keys: nothing but the right, live text opens anything, and the text is nowhere to be found."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from store.errors import StoreError
from store.keys import DEFAULT_SCOPES, KeyNotFound, Keys, Scope, new_key
from store.schema import keys as table
from store.tenants import Allowance, TenantNotFound, Tenants
from tests.harness.stores import Store


@pytest.fixture
def keys(store: Store) -> Keys:
    return Keys(store.engine)


def test_a_key_opens_its_tenant_with_its_scopes(store: Store, keys: Keys) -> None:
    secret = keys.create("acme", [Scope.READ], label="scanner 4")
    Tenants(store.engine).set_allowance("acme", Allowance(requests_per_minute=7))
    found = keys.authenticate(secret)
    assert found is not None
    key, allowance = found
    assert (key.tenant, key.scopes, key.label) == ("acme", {Scope.READ}, "scanner 4")
    assert allowance == Allowance(requests_per_minute=7, unfinished_jobs=None, pixels_per_day=None)


def test_only_the_digest_is_kept(store: Store, keys: Keys) -> None:
    secret = keys.create("acme")
    with store.engine.connect() as connection:
        row = connection.execute(select(table)).one()
    assert secret.split("_", 2)[2] not in str(row)
    assert len(row.digest) == 64


def test_what_is_no_key_opens_nothing(keys: Keys) -> None:
    secret = keys.create("acme")
    other = new_key()
    swapped = "_".join([*secret.split("_")[:2], other.split("_", 2)[2]])
    for wrong in ("", "b2s_", other, swapped, secret[:-1], secret + "A", secret.upper(), f" {secret}", secret + "\n"):
        assert keys.authenticate(wrong) is None, wrong
    assert keys.authenticate(secret) is not None


def test_a_revoked_key_and_an_expired_one_are_over(keys: Keys) -> None:
    revoked, expired = keys.create("acme"), keys.create("acme", days=-0.001)
    first = keys.revoke(revoked.split("_")[1])
    assert keys.revoke(first.id).revoked_at == first.revoked_at  # twice is fine
    assert keys.authenticate(revoked) is None
    assert keys.authenticate(expired) is None
    with pytest.raises(KeyNotFound, match="ops keys list"):
        keys.revoke("000000000000")


def test_rotation_leaves_time_to_change_over(keys: Keys) -> None:
    old = keys.create("acme", [Scope.DENOISE], label="scanner")
    new = keys.rotate(old.split("_")[1])
    for secret in (old, new):
        found = keys.authenticate(secret)
        assert found is not None and (found[0].scopes, found[0].label) == ({Scope.DENOISE}, "scanner")
    last = keys.rotate(new.split("_")[1], grace_hours=0)
    assert keys.authenticate(new) is None and keys.authenticate(last) is not None
    keys.revoke(last.split("_")[1])
    with pytest.raises(KeyNotFound):
        keys.rotate(last.split("_")[1])


def test_an_expired_key_is_not_revived(keys: Keys) -> None:
    expired = keys.create("acme", days=-0.001).split("_")[1]
    with pytest.raises(KeyNotFound, match="no live key"):
        keys.rotate(expired)
    assert [key.id for key in keys.list()] == [expired]


def test_rotation_gives_nobody_more_time(keys: Keys) -> None:
    old = keys.create("acme", days=0.5).split("_")[1]
    ends = keys.list()[0].expires_at
    new = keys.rotate(old, grace_hours=24).split("_")[1]
    assert {key.id: key.expires_at for key in keys.list()} == {old: ends, new: ends}
    assert ends is not None
    newer = keys.rotate(new, grace_hours=1, days=30).split("_")[1]
    found = {key.id: key.expires_at for key in keys.list()}
    for key_id, hours in ((new, 1.0), (newer, 30 * 24.0)):
        at = found[key_id]
        assert at is not None and (at - ends).total_seconds() == pytest.approx(3600 * (hours - 12), abs=300)


def test_revoking_the_last_key_does_not_count_as_having_none(keys: Keys) -> None:
    assert not keys.configured()
    keys.revoke(keys.create("acme").split("_")[1])
    assert keys.configured()


def test_a_key_made_elsewhere_is_entered_once(keys: Keys) -> None:
    secret = new_key()
    for _ in range(2):
        assert keys.create("acme", text=secret) == secret
    assert [key.scopes for key in keys.list("acme")] == [frozenset(DEFAULT_SCOPES)]
    for wrong in ("secret", secret[:-3], secret + "x"):
        with pytest.raises(StoreError, match="no key"):
            keys.create("acme", text=wrong)


def test_tenants_have_plain_names_and_rows(store: Store, keys: Keys) -> None:
    for wrong in ("", "Acme", "a/b", "a" * 65, "ä"):
        with pytest.raises(StoreError, match="cannot name a tenant"):
            keys.create(wrong)
    keys.create("acme")
    assert Tenants(store.engine).list() == {"acme": Allowance()}
    assert Tenants(store.engine).allowance("unknown") == Allowance()
    with pytest.raises(TenantNotFound, match="make key TENANT=unknown"):
        Tenants(store.engine).set_allowance("unknown", Allowance())


def test_a_key_needs_its_tenant(store: Store, keys: Keys) -> None:
    keys.create("acme")
    with pytest.raises(Exception, match=r"(?i)foreign key"), store.engine.begin() as connection:
        connection.execute(text("DELETE FROM tenants"))
