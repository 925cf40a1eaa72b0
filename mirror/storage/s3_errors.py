"""Answers and failures of an S3 store, as errors of this project.

One table from S3's codes to ours, a second from HTTP statuses for answers without a code. The texts of credential services and of
non-S3 answers are never repeated: they may hold tokens.
"""

import ssl
from xml.etree.ElementTree import ParseError

import urllib3.exceptions as transport
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from mirror.errors import (
    AccessError,
    MirrorError,
    ObjectExistsError,
    ObjectNotFoundError,
    RepositoryNotFoundError,
    StoreBusyError,
    StoreError,
    UnreachableError,
)

__all__ = ["s3_error"]

_RIGHTS = {
    "put": "s3:PutObject",
    "put_new": "s3:PutObject",
    "get": "s3:GetObject",
    "get_range": "s3:GetObject",
    "get_suffix": "s3:GetObject",
    "head": "s3:GetObject",
    "list": "s3:ListBucket",
    "list_folders": "s3:ListBucket",
    "delete": "s3:DeleteObject",
    "create": "s3:CreateBucket",
    "exists": "s3:ListBucket",
    "region": "s3:GetBucketLocation",
    "versioning": "s3:GetBucketVersioning",
    "object_lock": "s3:GetBucketObjectLockConfiguration",
    "lifecycle": "s3:GetLifecycleConfiguration",
}

_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "MethodNotAllowed", "UnauthorizedAccess"}
_WRONG_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidTokenId", "InvalidToken", "InvalidClientTokenId"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_WRONG_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_WRONG_REGION = {
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "IllegalLocationConstraintException",
    "XAmzRegion",
}
_FULL = {"XMinioStorageFull", "InsufficientStorage", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded"}
_BUSY = {
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "ServiceUnavailable",
    "ServerBusy",
    "InternalError",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestThrottled",
    "BandwidthLimitExceeded",
    "OperationAborted",
    "ConditionalRequestConflict",
    "XMinioServerNotInitialized",
    "XMinioBackendDown",
    "InsufficientReadQuorum",
    "InsufficientWriteQuorum",
    "OperationTimedOut",
    "Busy",
}
_DAMAGED_ON_THE_WAY = {
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "InvalidDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "ContentChecksumMismatch",
}
_BUSY_STATUSES = {429, 500, 502, 503, 504, 507}


def s3_error(error: Exception, *, operation: str, what: str, address: str) -> MirrorError | None:
    """The error of this project that ``error`` means; None if it is none of the SDK's, the transport's or the parser's.

    Args:
        error: what was caught.
        operation: name of the method, a key of the table of rights.
        what: the object or prefix, for the message.
        address: of the store.
    """
    where = f"{operation} of {what} in {address}" if what else f"{operation} of {address}"
    if isinstance(error, S3Error):
        return _by_code(error.code or "", error.message or "", error.response.status, operation, what, where, address)
    if isinstance(error, ServerError):
        return _by_status(error.status_code, operation, where, None)
    if isinstance(error, InvalidResponseError):
        return _by_status(error._code, operation, where, "is the endpoint that of an S3 store?")
    if isinstance(error, transport.HTTPError):
        return _transport_error(error, where)
    if isinstance(error, (MinioException, ParseError, UnicodeDecodeError)):
        return StoreError(f"{where}: the answer is not one of S3's ({type(error).__name__})")
    return None


def _by_code(code: str, message: str, status: int, operation: str, what: str, where: str, address: str) -> MirrorError:
    said = f"{where}: {code}: {message}" if message else f"{where}: {code}"
    if code in ("NoSuchKey", "NoSuchVersion"):
        return ObjectNotFoundError(f"{address} has no object {what}")
    if code == "NoSuchBucket":
        return RepositoryNotFoundError(
            f"there is no bucket at {address}", hint="check the url; `mirror init` makes a new repository"
        )
    if code == "PreconditionFailed":
        return ObjectExistsError(f"{address} already has {what}")
    if code in _DENIED:
        right = _RIGHTS.get(operation, "the operation's right")
        more = " (and s3:ListBucket: without it a missing object is answered like this too)" if "Get" in right else ""
        return AccessError(f"{said} — the credentials lack {right}", hint=f"grant {right}{more}")
    if code in _WRONG_KEYS:
        return AccessError(
            f"{said} — the credentials are wrong",
            hint="check the access key and the secret key (and the session token, if any)",
        )
    if code in _EXPIRED:
        return AccessError(f"{said}", hint="the session token is too old: renew it, or use a provider that renews")
    if code in _WRONG_CLOCK:
        return AccessError(f"{said}", hint="set the clock of this machine (NTP): S3 refuses more than 15 minutes")
    if code in _WRONG_REGION:
        return AccessError(f"{said}", hint="set the region of the bucket")
    if code in _FULL:
        return StoreBusyError(f"{said}", hint="make room in the store or raise its quota; the work goes on by itself")
    if code in _BUSY:
        return StoreBusyError(said)
    if code in _DAMAGED_ON_THE_WAY:
        return UnreachableError(f"{said} — the body did not arrive as it was sent")
    return _by_status(status, operation, said, None)


def _by_status(status: int, operation: str, where: str, hint: str | None) -> MirrorError:
    said = f"{where}: HTTP status {status}"
    if status in _BUSY_STATUSES:
        return StoreBusyError(said)
    if status == 408:
        return UnreachableError(said)
    if status in (401, 403):
        return AccessError(said, hint=f"the credentials may lack {_RIGHTS.get(operation, 'a right')}")
    if status == 501 and operation == "put_new":
        return StoreError(f"{said} — the store does not know create-only puts (If-None-Match)")
    return StoreError(said, hint=hint)


def _transport_error(error: transport.HTTPError, where: str) -> MirrorError:
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return AccessError(
            f"{where}: the certificate is not trusted: {cause.verify_message}",
            hint="set ca_file to the authority that signed the store's certificate",
        )
    if isinstance(cause, ssl.SSLError):
        return UnreachableError(f"{where}: TLS failed: {cause.reason}", hint="is the endpoint https:// or http://?")
    if isinstance(error, transport.NewConnectionError):
        reason = cause.strerror if isinstance(cause, OSError) else None
        return UnreachableError(
            f"{where}: no connection: {reason or 'refused'}", hint="is the endpoint right, the store up?"
        )
    if isinstance(error, transport.ConnectTimeoutError):
        return UnreachableError(f"{where}: no connection in time")
    if isinstance(error, transport.ReadTimeoutError) or isinstance(cause, TimeoutError):
        return UnreachableError(f"{where}: no answer in time", hint="is the store up, and not overloaded or frozen?")
    if isinstance(cause, transport.IncompleteRead):
        return UnreachableError(f"{where}: the answer broke off")
    detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause).__name__
    return UnreachableError(f"{where}: the connection broke: {detail}")


def _innermost(error: BaseException) -> BaseException:
    """The cause at the bottom: urllib3 wraps by argument, by ``__cause__`` and by ``reason``."""
    for _ in range(8):
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        below = getattr(error, "reason", None)
        if inner is None and isinstance(below, BaseException):
            inner = below
        if inner is None:
            inner = error.__cause__
        if inner is None:
            return error
        error = inner
    return error
