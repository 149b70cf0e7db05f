"""A library or a model in the browser, and over HTTP: ``narrows serve``."""

from narrows.web.server import serve

__all__ = ["serve"]
