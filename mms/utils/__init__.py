"""Helpers that archives of MMS 0.x import by these names."""

from mms.utils import timeit_decorator

__all__ = ["timeit_decorator"]
