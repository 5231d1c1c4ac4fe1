"""The error tree: every failure says whose fault it is and what each transport answers.

Internals never reach a client: only ``message`` and ``details`` of a :class:`ServiceError` do.
"""

from collections.abc import Mapping
from typing import ClassVar

Detail = str | int | float | bool | None | list[str] | list[dict[str, str]]


class ServiceError(Exception):
    """Base of all errors that may be told to a client.

    ``wire_code`` is the ``code`` of the protocol's ERROR message, ``close_code`` the WebSocket close
    code when the error ends the connection (RFC 6455 section 7.4), ``http_status`` the status at the
    handshake or on a REST route.
    """

    wire_code: ClassVar[str] = "INTERNAL_ERROR"
    close_code: ClassVar[int] = 1011
    http_status: ClassVar[int] = 500
    client_fault: ClassVar[bool] = False
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, /, **details: Detail) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Detail] = details


class InternalError(ServiceError):
    """Our fault, cause in the log."""


class InvalidMessageError(ServiceError):
    """The message is malformed, unsupported, or not allowed in the session's state."""

    wire_code = "INVALID_MESSAGE"
    close_code = 1008
    http_status = 400
    client_fault = True


class InvalidSessionError(ServiceError):
    """The session id does not belong to this connection, or there is no session yet."""

    wire_code = "INVALID_SESSION"
    close_code = 1008
    http_status = 400
    client_fault = True


class AuthenticationError(ServiceError):
    """No token, or not a good one; ``details.reason`` says what is wrong with it, never what it holds."""

    wire_code = "INVALID_SESSION"
    close_code = 4401
    http_status = 401
    client_fault = True


class ForbiddenScopeError(ServiceError):
    """The token is good, but does not allow this; ``details.scope`` names what it lacks."""

    wire_code = "INVALID_SESSION"
    close_code = 1008
    http_status = 403
    client_fault = True


class ForbiddenOriginError(ServiceError):
    """The browser page that opens the socket is not one that CORS_ORIGINS allows."""

    wire_code = "INVALID_SESSION"
    close_code = 1008
    http_status = 403
    client_fault = True


class ModelNotFoundError(ServiceError):
    """No such avatar or engine here."""

    wire_code = "MODEL_NOT_FOUND"
    close_code = 1008
    http_status = 404
    client_fault = True


class ProcessingError(ServiceError):
    """Audio or video could not be processed."""

    wire_code = "PROCESSING_ERROR"
    retryable = True


class ConflictError(ServiceError):
    """What is asked for cannot be done at the same time as what runs already."""

    wire_code = "PROCESSING_ERROR"
    http_status = 409
    client_fault = True
    retryable = True


class UploadTooLargeError(ServiceError):
    """More bytes than are taken; ``details.max_bytes`` says how many are."""

    wire_code = "INVALID_MESSAGE"
    http_status = 413
    client_fault = True


class RateLimitError(ServiceError):
    """Too much at once; ``details.retry_after_ms`` says when to try again."""

    wire_code = "RATE_LIMIT_EXCEEDED"
    close_code = 1008
    http_status = 429
    client_fault = True
    retryable = True


class AtCapacityError(ServiceError):
    """All session slots are taken, or the server is draining."""

    wire_code = "RATE_LIMIT_EXCEEDED"
    close_code = 1013
    http_status = 503
    retryable = True


class EngineError(ServiceError):
    """An engine failed on a frame; the scheduler falls back to the next in its chain."""

    wire_code = "PROCESSING_ERROR"
    retryable = True


class BusClosedError(Exception):
    """The other side of the bus is gone. Never told to a client: the front moves the session."""


class ConfigurationError(Exception):
    """A setting is wrong; the message names it and what is allowed."""


class CheckpointError(Exception):
    """A model's file is missing or not what it should be; the message names it and where to get it."""


class DownloadError(Exception):
    """A file cannot be fetched, or is not the one that was wanted; the message says why."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """``status``: of the HTTP answer that refused it."""
        super().__init__(message)
        self.status = status


class MediaFileError(Exception):
    """A recording cannot be used. The message names the file and what is wrong with it."""


class MediaFileMissingError(MediaFileError):
    """There is no such file, or it may not be read."""


class NoAudioTrackError(MediaFileError):
    """The file is media, but nothing can be heard in it."""


class UndecodableMediaError(MediaFileError):
    """The file is no media that can be decoded, or is damaged."""
