"""A trained model -> a folder of ONNX files, the recipe, what is known of the model, and values to check it by.

The folder is there whole, and agrees with the model, or it is not there at all.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from corolla import __version__
from corolla.config.registry import find
from corolla.data import corolla_home
from corolla.errors import DataError, ModelError, StaleError, UsageError, plural
from corolla.export.graphs import (
    BATCH,
    OPSET,
    Graph,
    check_extra,
    decoder_graph,
    encoder_graph,
    sampler_graph,
    to_onnx,
)
from corolla.export.parity import (
    DECODER,
    ENCODER,
    SAMPLER,
    TOLERANCES,
    Differences,
    differences,
    expected_of,
    graph_facts,
)
from corolla.files import check_new_folder, replacing_folder
from corolla.models.priors import fitted_prior_names
from corolla.progress import OnProgress, steps_of
from corolla.trained import TrainedModel
from corolla.trained.artefacts import check_weights
from corolla.trained.model import Images
from corolla.trained.model_folder import pack_model
from corolla.trained.own_images import evaluation_images

FORMAT = 1
METADATA, RECIPE, REFERENCE = "metadata.json", "recipe.json", "reference.npz"
CHECKED_IMAGES = 16
REFERENCE_IMAGES = 4


@dataclass(frozen=True)
class Exported:
    """What was exported, or checked.

    Attributes:
        folder: Where it is.
        files: Names of the files in it.
        images: Which images it was checked on, in words.
        differences: The largest differences from the model on these.
        tolerance: The largest differences that are allowed.
        left_out: A sentence about each thing that is not in the folder.
    """

    folder: Path
    files: tuple[str, ...]
    images: str
    differences: Differences
    tolerance: Differences
    left_out: tuple[str, ...] = ()


def export_model(
    model: TrainedModel,
    folder: Path | str,
    *,
    half: bool = False,
    images: Images | None = None,
    progress: OnProgress | None = None,
) -> Exported:
    """Write a model as ONNX into a new folder, run it in ONNX Runtime, and compare what it gives with the model.

    Args:
        model: The model.
        folder: A new folder, or an empty one. It holds `encoder.onnx`, `decoder.onnx`, `prior-NAME.onnx` for each
            fitted Gaussian or mixture, `recipe.json`, `metadata.json`, and `reference.npz` for `check_export`.
        half: Keep weights in float16, in half the space; they are used in float32.
        images: What to compare on; by default 16 images of the evaluation split, or samples where that is not here.
        progress: Called with how many steps are done.

    Raises UsageError if the folder is not new or the extra `export` is missing, ModelError if the model cannot be
    written as ONNX or the differences are above `TOLERANCES`, and WriteError. Then nothing is left in the folder.
    """
    check_extra()
    folder = Path(folder)
    check_new_folder(folder)
    priors, left_out = _samplers(model)
    graphs = {ENCODER: encoder_graph(model), DECODER: decoder_graph(model)}
    graphs |= {SAMPLER.format(name): cast("Graph", sampler_graph(prior)) for name, prior in priors.items()}
    facts = _facts(model, half)
    pixels, which = _checked_images(model, images, progress)
    step = steps_of(progress, "exporting, steps", len(graphs) + 1)
    with replacing_folder(folder) as unfinished:
        described: dict[str, Any] = {}
        for done, (name, graph) in enumerate(graphs.items()):
            step(done)
            proto = to_onnx(graph, _texts(facts), half=half)
            (unfinished / name).write_bytes(proto.SerializeToString(deterministic=True))
            described[name] = {"inputs": _tensors(proto.graph.input), "outputs": _tensors(proto.graph.output)}
        step(len(graphs))
        (unfinished / RECIPE).write_text(_recipe(model), encoding="utf-8")
        reference = expected_of(model, model.sample(REFERENCE_IMAGES, seed=0), priors)
        (unfinished / REFERENCE).write_bytes(_packed(reference))
        # On the reference too, so that a later check of it does not fail.
        largest = differences(unfinished, [*graphs], reference, expected_of(model, pixels, priors))
        tolerance = TOLERANCES[facts["weights"]]
        largest.check(tolerance, folder)
        files = sorted(path.name for path in unfinished.iterdir())
        metadata = facts | {
            "graphs": described,
            "left_out": left_out,
            "checked": {"images": which, "differences": asdict(largest), "tolerance": asdict(tolerance)},
            "sha256": {name: _sha256(unfinished / name) for name in files},
        }
        (unfinished / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    return Exported(folder, (*files, METADATA), which, largest, tolerance, tuple(left_out))


def check_export(
    folder: Path | str,
    *,
    against: TrainedModel | None = None,
    images: Images | None = None,
    progress: OnProgress | None = None,
) -> Exported:
    """Check an exported folder: its files are those that were written, and ONNX Runtime gives what the model gives.

    Without a model, that is compared with what the model gave for samples of its own when it was exported; with it,
    on images as `export_model` does.

    Raises ModelError if a file is missing or altered or the differences are too large, StaleError if the model's
    weights are not those that were exported, and UsageError if the extra `export` is missing or images are given
    without a model.
    """
    check_extra()
    if images is not None and against is None:
        raise UsageError("images are compared with what a model gives for them; give the model too, as `against`")
    folder = Path(folder)
    metadata = _read_metadata(folder)
    if against is None:
        with np.load(folder / REFERENCE) as packed:
            expected = dict(packed)
        which = f"{plural(len(expected['images']), 'sample')} of the model, kept in {REFERENCE}"
    else:
        check_weights(folder, metadata["weights_sha256"], _fingerprint(against), "export the model again")
        pixels, which = _checked_images(against, images, progress)
        priors, _ = _samplers(against)
        expected = expected_of(against, pixels, priors)
        for name in set(metadata["graphs"]) - {ENCODER, DECODER, *expected}:
            raise StaleError(f"{folder / name}: the model has no such prior now", remedy="export the model again")
    largest, tolerance = differences(folder, metadata["graphs"], expected), TOLERANCES[metadata["weights"]]
    largest.check(tolerance, folder)
    return Exported(folder, (*metadata["sha256"], METADATA), which, largest, tolerance, tuple(metadata["left_out"]))


def _read_metadata(folder: Path) -> dict[str, Any]:
    """What the folder says of itself, once every file is known to be the one that was written. Raises ModelError."""

    def fault(name: str, problem: str) -> ModelError:
        return ModelError(f"{folder / name}: {problem}", path=folder / name, remedy="export the model again")

    try:
        metadata: dict[str, Any] = json.loads((folder / METADATA).read_bytes())
        if metadata["format"] != FORMAT:
            raise fault(METADATA, f"not of format {FORMAT}, which this Corolla writes")
        sums, graphs = dict(metadata["sha256"]), [*metadata["graphs"]]
        facts = _texts({name: metadata[name] for name in metadata["facts"]})
        _ = TOLERANCES[metadata["weights"]], metadata["left_out"], metadata["weights_sha256"]
    except FileNotFoundError:
        raise fault(METADATA, "missing: this is no folder that was exported") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise fault(METADATA, f"damaged or not readable: {error!r}") from None
    for name in sorted({ENCODER, DECODER, RECIPE, REFERENCE, *graphs, *sums}):
        if Path(name).name != name or not (folder / name).is_file():
            raise fault(name, "missing")
        if _sha256(folder / name) != sums.get(name):
            raise fault(name, f"altered: not the file that {METADATA} describes")
    for name in graphs:
        if graph_facts(folder / name) != facts:
            raise fault(METADATA, f"altered: says other things of the model than {name} does")
    return metadata


def _samplers(model: TrainedModel) -> tuple[dict[str, Any], list[str]]:
    """The fitted priors whose samplers can be written, by name, and a sentence about each that is left out."""
    priors, left_out = {}, []
    for name in fitted_prior_names():
        if not model.has_prior(name):
            continue
        if name not in ("gaussian", "gmm"):
            left_out.append(f"prior {name}: its sampler is left out; only a Gaussian and a mixture are written as ONNX")
            continue
        try:
            priors[name] = model.prior(name)
        except StaleError as error:
            left_out.append(f"prior {name}: its sampler is left out: {error}")
    return priors, left_out


def _facts(model: TrainedModel, half: bool) -> dict[str, Any]:
    """What `metadata.json` and the metadata of each graph say."""
    kind = find("source", model.config.data.source.split(":")[0])
    facts = {
        "format": FORMAT,
        "corolla": __version__,
        "opset": OPSET,
        "weights": "float16" if half else "float32",
        "weights_sha256": _fingerprint(model),
        "height": model.height,
        "width": model.width,
        "channels": model.pixel_format.channels,
        "bits": model.pixel_format.bits,
        "latent_dim": model.latent_dim,
        "batch": f"any length: the dimension {BATCH}",
        "config": model.config.model_dump(mode="json"),
        "data": model.config.data.source,
        "data_licence": kind.licence,
    }
    return facts | {"facts": [*facts]}


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as an ONNX file holds them: texts, and JSON for what is more than a text."""
    return {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items() if name != "facts"
    }


def _fingerprint(model: TrainedModel) -> str:
    """SHA-256 of the model's weights as they are saved; of a model that was never saved, as they would be."""
    if model.card.weights_sha256:
        return model.card.weights_sha256
    return hashlib.sha256(pack_model(model.vae, model.card)["model.safetensors"]).hexdigest()


def _recipe(model: TrainedModel) -> str:
    """The text of `recipe.json`."""
    how = model.preprocessing
    steps = [
        {"operation": step.operation, "parameters": dict(step.parameters), "what": step.description}
        for step in how.recipe.steps
    ]
    note = (
        "Turns an upright picture of any size into the levels height×width×channels that encoder.onnx takes. The steps "
        "are not part of the graph: they are Pillow's, and ONNX has no operation that resizes in the same way. What is "
        "said of `reading` (transparency, colour profiles, broken files) is about files alone."
    )
    values = {"note": note, "name": how.recipe.name, **how.settings, "steps": steps}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _checked_images(
    model: TrainedModel, images: Images | None, progress: OnProgress | None
) -> tuple[NDArray[Any], str]:
    """The images to compare on, as levels, and what they are in words."""
    if images is not None:
        pixels = model.levels(images)
        return pixels, f"{plural(len(pixels), 'image')} that were given"
    data = model.config.data
    kind = find("source", data.source.split(":")[0])
    if not kind.downloaded or any(corolla_home().glob(f"{kind.prepared or '-'}/complete.json")):
        try:
            pixels = evaluation_images(model, CHECKED_IMAGES, progress=progress)
            if len(pixels):
                return pixels, f"{plural(len(pixels), 'image')} of the evaluation split"
            reason = "the evaluation split is empty"
        except (DataError, UsageError) as error:  # moved or removed: the model can be exported all the same
            reason = error.problem
    else:
        reason = f"{data.source} is not downloaded here"
    pixels = model.sample(CHECKED_IMAGES, seed=1)
    return pixels, f"{plural(len(pixels), 'sample')} of the model, as its own images cannot be read ({reason})"


def _tensors(values: Any) -> dict[str, Any]:
    """Type and shape of a graph's inputs or outputs, by name."""
    from onnx import helper

    described = {}
    for value in values:
        tensor = value.type.tensor_type
        shape = [each.dim_param or each.dim_value for each in tensor.shape.dim]
        described[value.name] = {"type": str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), "shape": shape}
    return described


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **cast("dict[str, Any]", arrays))
    return buffer.getvalue()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
