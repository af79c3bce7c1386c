"""What can go wrong in the front process. Each class carries the HTTP status and the `type` of its JSON error body.

    Exception
     +-- ConfigurationError                    a setting is wrong; the server does not start
     +-- MMSError                              becomes `{"code": status, "type": type, "message": str}`
          +-- BadRequestException              400
          |    +-- InvalidModelException       400
          |    +-- DownloadModelException      400
          +-- ResourceNotFoundException        404  no such route
          |    +-- ModelNotFoundException      404  no such model, or no such archive
          +-- MethodNotAllowedException        405
          +-- RequestTimeoutException          408
          +-- ConflictStatusException          409
          +-- RequestEntityTooLarge            413  answered without a body
          +-- ServiceUnavailableException      503  no worker, or the queue is full
          +-- InternalServerException          500
               +-- InsufficientStorageException      507  out of memory, of the host or of a GPU
               +-- WorkerDied                        500  the worker ended, or took too long, during a request
               +-- WorkerInitializationException     500 or 507  a worker could not load its model

The class name is the `type` on the wire, as in MMS. The three classes below `InternalServerException`
are sent under its name.
"""


class ConfigurationError(Exception):
    """A setting is missing, malformed or cannot work. The text is what follows `Invalid configuration: `."""


class MMSError(Exception):
    """An error that is answered to a client; the text is the `message` of the answer."""

    status: int = 500

    @property
    def type(self) -> str:
        """The name of the error on the wire."""
        return type(self).__name__


class BadRequestException(MMSError):
    """The client sent something that cannot be right."""

    status = 400


class InvalidModelException(BadRequestException):
    """The archive or its manifest is broken or incomplete."""


class DownloadModelException(BadRequestException):
    """The archive could not be fetched from its URL."""


class ResourceNotFoundException(MMSError):
    """This port has no such route."""

    status = 404

    def __init__(self, message: str = "Requested resource is not found, please refer to API document.") -> None:
        super().__init__(message)


class ModelNotFoundException(ResourceNotFoundException):
    """No model has this name, or the model store holds no such archive."""


class MethodNotAllowedException(MMSError):
    """The route exists, but not for this method."""

    status = 405

    def __init__(self, message: str = "Requested method is not allowed, please refer to API document.") -> None:
        super().__init__(message)


class RequestTimeoutException(MMSError):
    """A management call did not finish in its time."""

    status = 408


class ConflictStatusException(MMSError):
    """The model name is taken."""

    status = 409


class RequestEntityTooLarge(MMSError):
    """The body is larger than `max_request_size`. MMS answers a bare 413: no body, no headers of its own."""

    status = 413


class ServiceUnavailableException(MMSError):
    """No worker is there to serve the request, or the queue of the model is full."""

    status = 503


class InternalServerException(MMSError):
    """The server or a worker failed; not the client's fault."""

    @property
    def type(self) -> str:
        return InternalServerException.__name__


class InsufficientStorageException(InternalServerException):
    """A worker ran out of memory."""

    status = 507


class WorkerDied(InternalServerException):
    """The worker process ended, or was ended because it took too long, while it held the request."""

    def __init__(self, message: str = "Worker died.") -> None:
        super().__init__(message)


class WorkerInitializationException(InternalServerException):
    """A worker could not be started or could not load its model; `traceback` is the worker's own, or empty."""

    def __init__(self, message: str, code: int = 500, traceback: str = "", *, in_initialize: bool = False) -> None:
        super().__init__(message)
        self.status = code
        self.traceback = traceback
        self.in_initialize = in_initialize
