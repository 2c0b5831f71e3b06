"""How the run is repeated, and what to do next: commands, versions, the fingerprint of the images, the settings."""

from __future__ import annotations

import shlex
from html import escape
from pathlib import Path

from corolla.report.elements import paragraph, record, section
from corolla.report.subject import Subject


def shown_path(path: Path) -> str:
    """A folder as commands name it, ready for a shell: from the working folder on, or by its name alone."""
    absolute = path.absolute()
    below = absolute.is_relative_to(Path.cwd())
    text = absolute.relative_to(Path.cwd()).as_posix() if below else absolute.name
    return shlex.quote(text if text != "." else absolute.name)


def repeat(subject: Subject) -> str:
    """The section: the commands, what fixes the numbers, and the whole configuration."""
    folder, config = shown_path(subject.path), subject.model.config
    file = f"{folder}/config.yaml"
    commands = {
        "train it again, to the same bits on the same kind of machine": f"corolla train --config {file} --run again",
        "score it in full, and write this page anew": f"corolla evaluate {folder}",
        "this page alone": f"corolla report {folder}",
        "more of the same": f"corolla sample {folder} --count 100 --temperature 0.8 -o samples.png",
        "every latent, moving": f"corolla traverse {folder} -o traversal.gif",
        "a walk that ends where it began": f"corolla interpolate {folder} --loop -o loop.webp",
        "the same on your own images": "corolla train --source folder:PATH-TO-YOUR-PHOTOS",
    }
    if not subject.facts:  # a model folder alone
        del commands["train it again, to the same bits on the same kind of machine"]
    lines = "\n".join(
        f'<span class="comment"># {escape(what)}</span>\n{escape(command)}' for what, command in commands.items()
    )
    versions = subject.facts.get("versions") or subject.model.card.versions
    known = {
        "seed": str(config.seed),
        "images": f"{config.data.source}, {len(subject.cache.images):,} in all, recipe {config.data.recipe}",
        "splits": f"trained on {config.data.train_split}, held out {config.data.eval_split}",
        "fingerprint": str(subject.cache.manifest["fingerprint"]),
        "weights": subject.model.card.weights_sha256,
        "versions": ", ".join(f"{name} {version}" for name, version in dict(versions).items()),
    }
    # Where one machine keeps its files says nothing to another.
    whole = config.updated({"data.mirror": None}).to_yaml()
    return section(
        "repeat",
        "How to repeat it",
        paragraph("The configuration and the seed fix every number. From the folder where it was trained:"),
        f"<pre>{lines}</pre>\n",
        record({name: value for name, value in known.items() if value}),
        f"<details><summary>The whole configuration, as YAML</summary>\n<pre>{escape(whole)}</pre></details>\n",
    )
