"""A run folder -> one HTML page that shows what was learnt; it needs neither a network nor a server."""

from corolla.report.page import SECTIONS, Section, write_report
from corolla.report.rendering import environment
from corolla.report.subject import Subject

__all__ = ["SECTIONS", "Section", "Subject", "environment", "write_report"]
