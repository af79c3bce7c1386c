"""The two errors of the archive format. Raised by the command line tool and, through it, in the front process."""


class ModelArchiverError(Exception):
    """Raise when a model cannot be packaged; the message is for the person at the command line."""


class InvalidModelException(ModelArchiverError):
    """Raise when an archive or its manifest is unusable. The server answers 400 with this class name as `type`."""
