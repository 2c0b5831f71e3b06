"""The command `corolla`: functions are commands."""

from corolla.cli.program import app, main, run

__all__ = ["app", "main", "run"]
