"""Helpers for images, arrays and text that archives of MMS 0.x import by these names."""
