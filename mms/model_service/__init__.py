"""Base classes of MMS 0.x services, for archives that are older than the handler API. Worker process."""
