"""The HTTP side of the front process: the only rooms that know requests and responses."""
