"""A run folder and its model -> one HTML page that shows what was learnt; it needs neither a network nor a server."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corolla.apps.chart import line_chart
from corolla.apps.generate import interpolation, reconstruction, traversal
from corolla.apps.pictures import encode_animation, encode_picture, enlarged, grid, write_file
from corolla.apps.sheets import latent_label
from corolla.runs import RunFolder
from corolla.trained import TrainedModel

SAMPLES = 32
PAIRS = 8
ORIGINALS = 16
LATENTS = 10
MOVING_STEPS = 32
FPS = 14.0

_SUBJECTS = {"florets": "drawn flowers", "flowers102": "photos of flowers"}

_STYLE = """
:root { color-scheme: light dark; --ink: #22262e; --soft: #667080; --paper: #fbfaf7; --card: #ffffff; --line: #e4e1d9;
  --first: #b4236f; --second: #1f7a6d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e7e2; --soft: #9aa2ae; --paper: #14171b; --card: #1c2025;
  --line: #2e343c; --first: #ff7ab8; --second: #59c9b6; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.1rem 4rem; }
h1 { font-size: clamp(1.7rem, 5vw, 2.6rem); line-height: 1.15; margin: 0 0 .6rem; letter-spacing: -.02em; }
h2 { font-size: 1.3rem; margin: 3rem 0 .3rem; letter-spacing: -.01em; }
p { margin: .3rem 0 1rem; max-width: 44rem; }
.soft, figcaption, td.unit { color: var(--soft); }
.hero { display: flex; flex-wrap: wrap; gap: 1.6rem; align-items: center; }
.hero > div { flex: 1 1 20rem; }
.hero img { width: min(100%, 16rem); border-radius: 1rem; }
img { display: block; width: 100%; height: auto; border-radius: .35rem; background: var(--line); }
.tiles { display: grid; gap: .45rem; grid-template-columns: repeat(8, 1fr); }
.tiles figure { margin: 0; display: grid; gap: .2rem; }
figcaption { font-size: .78rem; text-align: center; }
.latent { display: grid; grid-template-columns: 5.2rem 1fr; gap: .2rem .7rem; align-items: center; margin: 0 0 .8rem; }
.latent .name { grid-column: 1 / -1; font-size: .85rem; }
.dead { opacity: .45; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid var(--line); padding: .5rem .6rem .5rem 0; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; font-weight: 600; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .9rem 1rem;
  overflow-x: auto; font-size: .88rem; line-height: 1.7; }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .grid { stroke: var(--line); }
svg .first { stroke: var(--first); } svg .second { stroke: var(--second); }
svg text.first { fill: var(--first); stroke: none; } svg text.second { fill: var(--second); stroke: none; }
footer { margin-top: 3rem; font-size: .85rem; }
@media (max-width: 40rem) { .tiles { grid-template-columns: repeat(4, 1fr); } }
@media (max-width: 30rem) { tr { display: grid; grid-template-columns: 1fr auto auto; }
  td.note { grid-column: 1 / -1; border: 0; padding-top: 0; } .latent { grid-template-columns: 4rem 1fr; } }
"""


def write_page(
    path: Path | str, run: RunFolder, model: TrainedModel, images: NDArray[np.uint8], *, seed: int = 0
) -> None:
    """Write the page of a finished run.

    Args:
        path: the HTML file.
        run: where the model was trained.
        model: the run's model.
        images: some of its images that it was not trained on, N×H×W×3.
        seed: fixes the samples.

    Raises:
        CorollaError: the file cannot be written.
    """
    sections = [
        _opening(run, model, seed),
        _tiles_section(
            "The images",
            f"Some of the {_subject(model)} that were kept aside: the model has never seen them.",
            [_image(image) for image in enlarged(images[:ORIGINALS])],
        ),
        _reconstructions(model, images[:PAIRS]),
        _tiles_section(
            "New images",
            f"Draw {model.latent_dim} random numbers, decode them, and an image comes out that nobody has made.",
            [_image(image) for image in enlarged(model.sample(SAMPLES, seed=seed))],
        ),
        _latents(model),
        _curve(run),
        _scores(model),
        _commands(run),
    ]
    title = escape(_title(model))
    document = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )
    write_file(path, document.encode())


def _subject(model: TrainedModel) -> str:
    return _SUBJECTS.get(model.config.data.source.split(":")[0], "images")


def _objective(model: TrainedModel) -> str:
    objective = model.config.objective
    return {"ae": "an auto-encoder", "vae": "a VAE"}.get(objective.name, f"a β-VAE with β = {objective.beta:g}")


def _title(model: TrainedModel) -> str:
    count = model.card.data.get("training_images")
    kind = _objective(model).split(" with ")[0]
    return f"What {kind} learnt from {f'{count:,} ' if count else ''}{_subject(model)}"


def _opening(run: RunFolder, model: TrainedModel, seed: int) -> str:
    card, config = model.card, model.config
    parameters = sum(parameter.numel() for parameter in model.vae.parameters())
    seconds = max((float(row["train_seconds"]) for row in run.rows() if row.get("train_seconds")), default=0.0)
    spent = f", which took {seconds / 60:.1f} minutes" if seconds >= 90 else f", which took {seconds:.0f} seconds"
    walk = interpolation(model, model.sample_latents(6, seed=seed), steps=13, loop=True)
    frames = list(enlarged(walk.images, 256))
    text = (
        f"This is {_objective(model)}: a {config.network.name} network of {parameters:,} parameters that turns each "
        f"image of {model.height}×{model.width} pixels into {model.latent_dim} numbers, and these numbers "
        f"back into an image. It saw {card.data.get('source', config.data.source)} for {card.step:,} "
        f"steps{spent if seconds else ''}."
    )
    return (
        f"<h1>{escape(_title(model))}</h1>\n"
        f'<div class="hero"><div><p>{escape(text)}</p>'
        f'<p class="soft">The moving picture is a walk through the space of these numbers: every frame is decoded '
        f"from one point.</p></div>{_moving(frames, 'a walk through latent space')}</div>\n"
    )


def _tiles_section(title: str, text: str, tiles: Sequence[str]) -> str:
    return f'<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n<div class="tiles">{"".join(tiles)}</div>\n'


def _reconstructions(model: TrainedModel, images: NDArray[np.uint8]) -> str:
    result = reconstruction(model, images)
    pairs = zip(enlarged(result.originals), enlarged(result.images), result.psnr_db, strict=True)
    tiles = [
        f"<figure>{_image(original)}{_image(returned)}<figcaption>{psnr_db:.1f} dB</figcaption></figure>"
        for original, returned, psnr_db in pairs
    ]
    text = (
        "Above, an image that was kept aside; below, what the decoder makes of its code. Fine detail costs more than "
        "it is worth to the objective, so it is the first thing to go."
    )
    return _tiles_section("Through the model and back", text, tiles)


def _latents(model: TrainedModel) -> str:
    swing = (3 * np.sin(2 * np.pi * np.arange(MOVING_STEPS) / MOVING_STEPS)).astype(np.float32)
    still = traversal(model, latents=LATENTS, steps=9)
    moving = traversal(model, latents=LATENTS, values=swing)
    rows = []
    for index, strip in enumerate(still.images):
        label = escape(latent_label(still, index))
        picture = _image(np.asarray(grid(strip, columns=len(strip), padding=0)), label)
        state = ' class="latent dead"' if still.dead[index] else ' class="latent"'
        movement = _moving(list(enlarged(moving.images[index])), label)
        rows.append(f'<div{state}><span class="name">{label}</span>{movement}{picture}</div>')
    text = (
        "One number moves from -3 to +3 standard deviations while the others stay at zero. Numbers that tell most "
        "about an image come first; the KL beside each says how much, in nats. A dead one is ignored by the decoder."
    )
    return f"<h2>What each number means</h2>\n<p>{escape(text)}</p>\n{''.join(rows)}\n"


def _curve(run: RunFolder) -> str:
    rows = run.rows()
    lines = {}
    for name, column in (("training images", "train_loss"), ("images kept aside", "loss")):
        points = [(float(row["step"]), float(row[column])) for row in rows if row.get(column)]
        lines[name] = [point for point in points if math.isfinite(point[1])]
    if min(map(len, lines.values())) < 2:
        return ""
    chart = line_chart(lines, x_label="step", y_label="loss, nats per image")
    return f"<h2>How it learnt</h2>\n<p>{escape('The loss over the training steps; lower is better.')}</p>\n{chart}\n"


def _scores(model: TrainedModel) -> str:
    scores = model.card.scores
    if not scores:
        return ""
    bits = scores.get("kl", 0.0) / math.log(2)
    floor = " Grey pixels keep it well above zero." if model.config.likelihood.name == "bernoulli" else ""
    known = {
        "loss": ("loss", ".1f", "nats", "What training makes small: the distortion, plus the rate times its weight."),
        "reconstruction": (
            "distortion",
            ".1f",
            "nats",
            f"How surprised the decoder is by the true image, given its code.{floor}",
        ),
        "kl": ("rate", ".2f", "nats", f"How much a code tells about its image: {bits:.0f} bits."),
        "psnr_db": ("PSNR", ".2f", "dB", "How close reconstructions are to the images; 6 dB more is half the error."),
        "bits_per_dim": (
            "bits per dimension",
            ".2f",
            "bits",
            "Rate and distortion together, per pixel and channel; guessing costs 8.",
        ),
        "active_latents": ("active latents", ".0f", f"of {model.latent_dim}", "Those that the decoder listens to."),
    }
    rows = [
        f'<tr><td>{label}</td><td class="number">{scores[name]:{form}}</td><td class="unit">{escape(unit)}</td>'
        f'<td class="note">{escape(note)}</td></tr>'
        for name, (label, form, unit, note) in known.items()
        if name in scores
    ]
    text = "Averages over the images that were kept aside."
    return f"<h2>Scores</h2>\n<p>{text}</p>\n<table>{''.join(rows)}</table>\n"


def _commands(run: RunFolder) -> str:
    folder = f'"{run.path}"' if " " in str(run.path) else str(run.path)
    commands = [
        f"corolla sample {folder} --count 100 --temperature 0.8 -o samples.png",
        f"corolla traverse {folder} -o traversal.gif",
        f"corolla interpolate {folder} --loop -o loop.webp",
        f"corolla info {folder}",
        "corolla train --source folder:PATH-TO-YOUR-PHOTOS",
        "corolla train --preset flowers",
    ]
    return f"<h2>Go on</h2>\n<p>Try these next.</p>\n<pre>{escape(chr(10).join(commands))}</pre>\n"


def _image(image: NDArray[np.uint8], label: str = "") -> str:
    picture = grid(image[None], padding=0, shown_px=1)
    return f'<img alt="{label}" src="{_data_uri(encode_picture(picture, "WEBP"))}">'


def _moving(frames: Sequence[NDArray[np.uint8]], label: str) -> str:
    """An animation, or its first frame where the reader prefers less motion."""
    pictures = [grid(frame[None], padding=0, shown_px=1) for frame in frames]
    still = _data_uri(encode_picture(pictures[0], "WEBP"))
    moving = _data_uri(encode_animation(pictures, "WEBP", fps=FPS))
    source = f'<source media="(prefers-reduced-motion: reduce)" srcset="{still}">'
    return f'<picture>{source}<img alt="{label}" src="{moving}"></picture>'


def _data_uri(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
