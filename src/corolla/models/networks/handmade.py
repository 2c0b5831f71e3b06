"""A network that was made by hand, in Python: `corolla.fit(config, vae=...)`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NoReturn

from corolla.config import Network, register
from corolla.errors import UsageError


@register
class Handmade(Network):
    """Networks that Python code has made; they can only be given, not built."""

    title: ClassVar[str] = "a network made by hand"

    name: Literal["handmade"] = "handmade"

    def build(self, shape: Any) -> NoReturn:  # noqa: ARG002
        """Raise UsageError that says how to give them."""
        raise UsageError(
            "the network was made by hand; give it again: corolla.load(path, vae=...), or resume(run, vae=...)"
        )
