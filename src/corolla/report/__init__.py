"""A run folder -> one HTML page that shows what was learnt; it needs neither a network nor a server."""

from corolla.report.facts import RunFacts, describe
from corolla.report.page import SECTIONS, environment, write_report
from corolla.report.subject import Section, Subject

__all__ = ["SECTIONS", "RunFacts", "Section", "Subject", "describe", "environment", "write_report"]
