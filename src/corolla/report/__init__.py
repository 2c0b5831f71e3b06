"""A run folder -> one HTML page that shows what was learnt; it needs neither a network nor a server."""

from corolla.report.page import write_report

__all__ = ["write_report"]
