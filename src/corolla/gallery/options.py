"""What the commands that make pictures can be told, each option once: a flag of a command, and a field in Python.

Quick to import. Images are named as for `corolla.data.listing.list_images`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corolla.errors import UsageError


def refuse_without_label(label: str | None, source: str | None, mirror: str | None) -> None:
    """Raise UsageError if it is said where images have moved that are not needed."""
    if label is None and (source is not None or mirror is not None):
        raise UsageError(f"{'mirror' if source is None else 'source'}: goes with a label; leave it out")


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How latents are drawn: from a prior, or around a theme, which a label or some images give.

    Raises UsageError if more than one of these is given, or source or mirror without a label.
    """

    prior: str = "standard"
    """standard, or one that is fitted to the model's codes: gaussian, gmm or flow; see `corolla fit-prior`."""
    label: str | None = None
    """A theme: draw around the training images that have this label."""
    like: Sequence[Path] = ()
    """A theme: draw around these images, named as for `corolla reconstruct`."""
    seed: int = 0
    """The same seed gives the same images."""
    temperature: float = 1.0
    """Scale of the standard deviation: below 1 plainer, above 1 wilder."""
    strict: bool = False
    """Stop at an image that cannot be read; otherwise it is left out with a warning."""
    source: str | None = None
    """With a label: where the training images are now, if they have moved."""
    mirror: str | None = None
    """With a label: folder or URL that holds the files of a downloaded source."""

    def __post_init__(self) -> None:
        if len(self.given) > 1:
            raise UsageError(f"{' and '.join(self.given)}: each says what to draw from; give one of them")
        refuse_without_label(self.label, self.source, self.mirror)

    @property
    def given(self) -> list[str]:
        """Those of prior, label and like that are not as by default."""
        ways = {"prior": self.prior != "standard", "label": self.label is not None, "like": bool(self.like)}
        return [name for name, is_given in ways.items() if is_given]


DRAWS = Draws()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How new images are shown."""

    count: int = 64
    """How many."""
    columns: int | None = None
    """Images side by side; by default the picture is about square."""
    npz: Path | None = None
    """Write the arrays `images` and `latents` to this file as well."""


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """How images pass through a model."""

    count: int = 16
    """At most this many images, spread over all."""
    seed: int | None = None
    """Decode a draw from q(z|x), in place of its mean."""
    npz: Path | None = None
    """Write the arrays `originals`, `images`, `latents` and `psnr_db` to this file as well."""
    strict: bool = False
    """Stop at an image that cannot be read; otherwise it is left out with a warning."""


@dataclass(frozen=True, kw_only=True)
class Traverse:
    """How latents are moved."""

    image: Path | None = None
    """Start from this image; by default from the middle of latent space."""
    latents: int = 10
    """How many latents, those with the largest KL first."""
    steps: int | None = None
    """Positions along each latent; by default 9 in a sheet, 48 in an animation."""
    span: float = 3.0
    """How far to go to either side, in standard deviations of the prior."""
    seed: int | None = None
    """Start from a random point: a draw from q(z|x) of the image, or from the prior."""
    npz: Path | None = None
    """Write the arrays `images`, `latents`, `values`, `base` and `kl_nats` to this file as well."""


@dataclass(frozen=True, kw_only=True)
class Interpolate:
    """How to walk from point to point."""

    count: int = 6
    """How many random points; of a folder, at most this many images, spread over it."""
    steps: int | None = None
    """Images from one point to the next, both included; by default 9 in a sheet, 24 in an animation."""
    loop: bool = False
    """Walk back to the first point at last."""
    method: Literal["spherical", "linear"] = "spherical"
    """Turn from point to point, or go straight."""
    npz: Path | None = None
    """Write the arrays `images` and `latents` to this file as well."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How to walk on a closed path."""

    count: int = 5
    """How many random points, at least 3; of a folder, at most this many images, spread over it."""
    steps: int | None = None
    """Images for each point; by default 24 in an animation, 8 in a sheet."""
    fps: float = 16.0
    """Images a second."""
    npz: Path | None = None
    """Write the arrays `images` and `latents` to this file as well."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.fps <= 50:
            raise UsageError(f"fps {self.fps:g}: give 0.1 to 50 images a second")


@dataclass(frozen=True, kw_only=True)
class Poster:
    """How a poster is filled."""

    size: str = "3000x2000"
    """Width and height in pixels, as screens and prints have it: 3000x2000."""
    columns: int | None = None
    """Images side by side; by default as many as make them about 128 pixels wide."""
    span: float = 0.0
    """How many tiles away images are alike: 0 for independent images, 2 or 3 for one that flows into the next."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """What direction in latent space, and how images are moved along it.

    Raises UsageError unless one of a label, two sets of images and a file says which.
    """

    label: str | None = None
    """Lead to the training images that have this label, from all others."""
    from_: Sequence[Path] = ()
    """Lead away from these images, named as for `corolla reconstruct`; needs `to`."""
    to: Sequence[Path] = ()
    """Lead to these images, named as for `corolla reconstruct`; needs `from`."""
    use: Path | None = None
    """A direction that `save` wrote, in place of finding one."""
    save: Path | None = None
    """Write the direction to this file, .safetensors."""
    images: Sequence[Path] = ()
    """Move these images, named as for `corolla reconstruct`; by default random ones."""
    count: int = 6
    """How many random images; of a folder, at most this many images, spread over it."""
    steps: int = 9
    """Positions along the direction."""
    span: float = 3.0
    """How far to go to either side, in standard deviations of the codes along the direction."""
    seed: int = 0
    """Fixes the random images."""
    temperature: float = 1.0
    """Scale of the prior's standard deviation that random images are drawn with."""
    npz: Path | None = None
    """Write the arrays `images`, `latents`, `shifts` and `axis` to this file as well."""
    strict: bool = False
    """Stop at an image that cannot be read; otherwise it is left out with a warning."""
    source: str | None = None
    """With a label: where the training images are now, if they have moved."""
    mirror: str | None = None
    """With a label: folder or URL that holds the files of a downloaded source."""

    def __post_init__(self) -> None:
        if [self.label is not None, bool(self.from_ or self.to), self.use is not None].count(True) != 1:
            raise UsageError("what direction? give one of a label, sets of images from and to, and a file to use")
        if bool(self.from_) != bool(self.to):
            raise UsageError(f"{'from without to' if self.from_ else 'to without from'}: a direction needs both")
        refuse_without_label(self.label, self.source, self.mirror)
