"""A real MinIO that is killed, paused, locked or secured."""

import inspect
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from minio import Minio
from minio import time as sdk_time
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.versioningconfig import VersioningConfig

from mirror.errors import AccessError, MirrorError, ObjectExistsError, ObjectNotFoundError, UnreachableError
from mirror.storage.administration import admin_of
from mirror.storage.object_store import ObjectStore
from mirror.storage.opening import open_store
from mirror.storage.probing import probe
from mirror.storage.retrying import RetryingStore, RetryPolicy

if TYPE_CHECKING:
    from tests.servers.minio import MinioServer

pytestmark = pytest.mark.servers


def open_on(server: "MinioServer", bucket: str, **options: Any) -> ObjectStore:
    """A store of root, unless other keys are given."""
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    return open_store(f"s3://{bucket}", **{"endpoint": server.url, **keys, **options})


def test_privates_of_the_sdk_are_where_they_were() -> None:
    """What we use of the pinned SDK beside its public face has the same names and parameters."""
    execute = list(inspect.signature(Minio._execute).parameters)
    assert execute[:6] == ["self", "method", "bucket_name", "object_name", "body", "headers"]
    assert list(inspect.signature(Minio._build_headers).parameters) == ["self", "host", "headers", "body", "creds"]


def test_store_killed_in_a_put_and_back(new_minio: "Callable[..., MinioServer]") -> None:
    """A put under way when MinIO is killed fails or waits; with retries it succeeds when MinIO is back, whole."""
    server = new_minio()
    server.make_bucket("backup")
    retried = threading.Event()
    policy = RetryPolicy(first_pause_seconds=0.1, longest_pause_seconds=0.3)
    store = RetryingStore(open_on(server, "backup"), policy, on_retry=lambda retry: retried.set())
    body = bytes(range(256)) * 40_000
    stop = threading.Event()
    done: list[str] = []
    errors: list[BaseException] = []

    def put_many() -> None:
        try:
            while not stop.is_set():
                key = f"l0/{len(done):06}"
                store.put_new(key, body + key.encode())
                done.append(key)
        except MirrorError as error:
            errors.append(error)

    putting = threading.Thread(target=put_many)
    putting.start()
    while len(done) < 3:
        time.sleep(0.01)
    server.kill()
    assert retried.wait(10)
    before = len(done)
    server.start()
    deadline = time.monotonic() + 30
    while len(done) < before + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    putting.join(30)
    assert not errors
    assert len(done) >= before + 3
    assert [info.key for info in store.list("l0/")] == done
    assert all(store.get(key) == body + key.encode() for key in done)


def test_paused_store_is_unreachable_and_comes_back(new_minio: "Callable[..., MinioServer]") -> None:
    """A store that is there but does not move ends each call in time; afterwards the same store object works."""
    server = new_minio()
    server.make_bucket("backup")
    store = open_on(server, "backup", connect_seconds=0.5, stall_seconds=0.5, answer_seconds=0.5)
    store.put("a", b"1")
    server.pause()
    try:
        started = time.monotonic()
        for ask in (lambda: store.get("a"), lambda: store.put("b", bytes(30_000_000)), lambda: list(store.list(""))):
            with pytest.raises(UnreachableError, match="in time"):
                ask()
        assert time.monotonic() - started < 10
    finally:
        server.cont()
    assert store.get("a") == b"1"


def test_wrong_keys_say_so(minio: "MinioServer", bucket: str) -> None:
    """An unknown access key and a wrong secret are told apart from a missing right, without the secret."""
    for keys in ({"access_key": "nobody-here"}, {"secret_key": "wrong-secret-key"}):
        store = open_on(minio, bucket, **keys)
        for ask in (lambda s=store: s.put("a", b"1"), lambda s=store: s.head("a"), lambda s=store: list(s.list(""))):
            with pytest.raises(AccessError) as caught:
                ask()
            assert caught.value.hint
            assert "wrong-secret-key" not in f"{caught.value}{caught.value.hint}"


def test_worker_needs_put_get_list_only(minio: "MinioServer", bucket: str) -> None:
    """With put, get and list alone all but deleting works, also telling missing objects; the missing right is named."""
    statement = [
        {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]},
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"]},
    ]
    user = f"worker{bucket[-8:]}"
    secret = minio.create_user(user, {"Version": "2012-10-17", "Statement": statement})
    store = open_on(minio, bucket, access_key=user, secret_key=secret)
    store.put("l0/a", b"1")
    store.put_new("l0/b", b"2")
    assert store.get_suffix("l0/b", 10) == (b"2", 1)
    assert [info.key for info in store.list("l0/")] == ["l0/a", "l0/b"]
    assert list(store.list_folders("")) == ["l0"]
    for read in (store.get, store.head):
        with pytest.raises(ObjectNotFoundError):
            read("l0/c")
    with pytest.raises(AccessError, match="s3:DeleteObject"):
        store.delete("l0/a")
    behaviour = probe(store)
    assert behaviour.create_only
    assert behaviour.can_delete is False
    assert behaviour.left_behind is not None
    description = admin_of(store).describe()
    assert description.versioning is None
    assert any("s3:GetBucketVersioning" in note for note in description.notes)


def test_missing_rights_are_named(minio: "MinioServer", bucket: str) -> None:
    """Who may only list learns which right a put or a get needs."""
    user = f"lister{bucket[-8:]}"
    statement = [{"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"]}]
    secret = minio.create_user(user, {"Version": "2012-10-17", "Statement": statement})
    store = open_on(minio, bucket, access_key=user, secret_key=secret)
    open_on(minio, bucket).put("a", b"1")
    with pytest.raises(AccessError, match="s3:PutObject"):
        store.put("b", b"1")
    with pytest.raises(AccessError, match="s3:GetObject"):
        store.get("a")


def test_wrong_clock_is_named(minio: "MinioServer", bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is an hour off learns that it is the clock."""
    real = sdk_time.utcnow
    monkeypatch.setattr(sdk_time, "utcnow", lambda: real() - timedelta(hours=1))
    with pytest.raises(AccessError, match="RequestTimeTooSkewed") as caught:
        open_on(minio, bucket).put("a", b"1")
    assert "clock" in str(caught.value.hint)


@pytest.mark.parametrize("body_check", ["crc32c", "sha256", "md5"])
def test_body_damaged_on_the_way_is_not_stored(
    minio: "MinioServer", bucket: str, body_check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever check is chosen: a body of which a bit flipped on the way is refused, told as transient, not stored."""
    store = open_on(minio, bucket, body_check=body_check)
    store.put("whole", b"x" * 3_000_000)
    from mirror.storage import s3_http

    real = s3_http._SlicedSend.send

    def flip(self: Any, data: Any) -> None:
        real(self, data.replace(b"xxxx", b"xxyx", 1) if isinstance(data, bytes) and data.startswith(b"xxxx") else data)

    monkeypatch.setattr(s3_http._SlicedSend, "send", flip)
    with pytest.raises(UnreachableError, match="did not arrive"):
        store.put("damaged", b"x" * 3_000_000)
    monkeypatch.undo()
    assert [info.key for info in store.list("")] == ["whole"]
    store.put("damaged", b"x" * 3_000_000)
    assert store.get("damaged") == b"x" * 3_000_000


def test_tls_with_the_own_authority(new_minio: "Callable[..., MinioServer]", tmp_path: Path) -> None:
    """A certificate of an own authority is accepted with ca_file only; without it the hint names that setting."""
    from tests.servers.certificates import CertificateAuthority

    authority = CertificateAuthority(tmp_path / "ca")
    server = new_minio(authority=authority)
    server.make_bucket("backup")
    assert server.url.startswith("https://")
    with pytest.raises(AccessError, match="certificate is not trusted") as caught:
        open_on(server, "backup").put("a", b"1")
    assert "ca_file" in str(caught.value.hint)
    store = open_on(server, "backup", ca_file=str(authority.ca_path))
    body = bytes(3_000_000)
    store.put("a", body)
    with pytest.raises(ObjectExistsError):
        store.put_new("a", body)
    assert store.get("a") == body


def test_credentials_from_the_environment(
    minio: "MinioServer", bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``auto`` finds keys in either environment or in the credentials file; without any it says where it looked."""
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN"]
    for name in [*names, "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"]:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def opened(source: str = "auto") -> ObjectStore:
        return open_store(f"s3://{bucket}", endpoint=minio.url, credentials=source)  # type: ignore[arg-type]

    for source in ("environment", "file"):
        with pytest.raises(AccessError, match="no S3 credentials"):
            opened(source).put("a", b"1")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", minio.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", minio.secret_key)
        opened().put("a", b"1")
        opened("environment").put("a", b"1")
    with monkeypatch.context() as patch:
        patch.setenv("MINIO_ACCESS_KEY", minio.access_key)
        patch.setenv("MINIO_SECRET_KEY", minio.secret_key)
        opened().put("b", b"1")
    file.write_text(f"[default]\naws_access_key_id = {minio.access_key}\naws_secret_access_key = {minio.secret_key}\n")
    opened().put("c", b"1")
    opened("file").put("c", b"1")
    assert [info.key for info in opened().list("")] == ["a", "b", "c"]


def test_web_identity_token_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The SDK puts the token into the URL it asks, and that URL into its errors: neither our message nor a cause repeats it."""
    token = tmp_path / "token"
    token.write_text("the-secret-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    store = open_store("s3://backup", endpoint="http://127.0.0.1:1", credentials="web_identity")
    with pytest.raises(UnreachableError, match="credential service does not answer") as caught:
        store.get("a")
    error: BaseException | None = caught.value
    while error is not None:
        assert "the-secret-token" not in f"{error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_description_of_a_bucket(minio: "MinioServer", bucket: str) -> None:
    """Versioning, and a lifecycle rule that would delete the backup, are seen."""
    store = open_on(minio, bucket)
    plain = admin_of(store).describe()
    assert (plain.versioning, plain.object_lock, plain.expires_after_days, plain.notes) == (False, False, None, ())
    client = minio.client()
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    rules = [
        Rule(ENABLED, rule_filter=Filter(prefix=""), rule_id=f"{days}", expiration=Expiration(days=days))
        for days in (30, 7)
    ]
    client.set_bucket_lifecycle(bucket, LifecycleConfig(rules))
    described = admin_of(store).describe()
    assert described.versioning is True
    assert described.expires_after_days == 7


def test_bucket_with_object_lock_takes_puts(minio: "MinioServer", bucket: str) -> None:
    """A bucket that protects what is in it from deletion is seen as such and is written to as any other."""
    locked = f"{bucket}-locked"
    minio.client().make_bucket(locked, object_lock=True)
    store = open_on(minio, locked)
    store.put_new("a", b"1")
    assert store.get("a") == b"1"
    assert admin_of(store).describe().object_lock is True
