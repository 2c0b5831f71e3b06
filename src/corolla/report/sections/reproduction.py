"""How a run is reproduced, and what to do next: commands, versions, the fingerprint of the images, the settings."""

from __future__ import annotations

import shlex
from pathlib import Path

from corolla.report.subject import Section, Subject


def shown_path(path: Path) -> str:
    """A folder as commands name it, quoted for a shell: relative to the working folder, or by its name alone."""
    absolute = path.absolute()
    below = absolute.is_relative_to(Path.cwd())
    text = absolute.relative_to(Path.cwd()).as_posix() if below else absolute.name
    return shlex.quote(text if text != "." else absolute.name)


def reproduction(subject: Subject) -> Section:
    """The commands and the record of a run; a model folder alone cannot be trained again by one command."""
    folder, config = shown_path(subject.path), subject.model.config
    commands = {}
    if subject.facts:
        purpose = "train it again, to the same bits on the same kind of machine"
        commands[purpose] = f"corolla train --config {folder}/config.yaml --run again"
    commands |= {
        "score it in full, and write this page again": f"corolla evaluate {folder}",
        "this page alone": f"corolla report {folder}",
        "more samples": f"corolla sample {folder} --count 100 --temperature 0.8 -o samples.png",
        "every latent, moving": f"corolla traverse {folder} -o traversal.gif",
        "a walk that ends where it began": f"corolla interpolate {folder} --loop -o loop.webp",
        "the same on your own images": "corolla train --source folder:PATH-TO-YOUR-PHOTOS",
    }
    versions = subject.facts.get("versions") or subject.model.card.versions
    record = {
        "seed": str(config.seed),
        "images": f"{config.data.source}, {len(subject.cache.images):,} in all, recipe {config.data.recipe}",
        "splits": f"trained on {config.data.train_split}, held out {config.data.eval_split}",
        "fingerprint": str(subject.cache.manifest["fingerprint"]),
        "weights": subject.model.card.weights_sha256,
        "versions": ", ".join(f"{name} {version}" for name, version in dict(versions).items()),
    }
    values = {
        "commands": commands,
        "record": {name: value for name, value in record.items() if value},
        # Where one machine keeps its files says nothing to another.
        "configuration": config.updated({"data.mirror": None}).to_yaml(),
    }
    return Section("repeat", "How to reproduce it", "reproduction.html.j2", values)
