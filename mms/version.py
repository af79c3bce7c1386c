"""The version of the distribution; read by the build, the front end and the workers."""

__version__ = "2.0.0"
