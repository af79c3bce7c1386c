"""The log files of the server. Runs in the front process."""

from mms.server.logs.logs import Logs
from mms.server.logs.summary import startup_summary

__all__ = ["Logs", "startup_summary"]
