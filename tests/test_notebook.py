"""The notebook: its text and its .ipynb are one, it is light, and it runs from top to bottom."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import jupytext  # type: ignore[import-untyped]
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "beta_vae_oxford_flowers.ipynb"


def test_the_text_and_the_notebook_are_in_step() -> None:
    text = jupytext.read(NOTEBOOK.with_suffix(".py"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ]


def test_the_notebook_ships_without_outputs_and_light() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert NOTEBOOK.stat().st_size < 100_000
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.accelerator == "GPU", "Colab opens a notebook with a GPU only if it asks for one"


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "COROLLA_HOME": str(tmp_path / "home"),
        "COROLLA_NOTEBOOK_SOURCE": "florets:200",
        "COROLLA_NOTEBOOK_STEPS": "6",
        "COROLLA_NOTEBOOK_SIZE": "32",
        "COROLLA_NOTEBOOK_LATENTS": "6",
        "COROLLA_NOTEBOOK_RUNS": str(tmp_path / "runs"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        # The kernel is a program of its own: what it warns of is not this test's to judge.
        "PYTHONWARNINGS": "default",
        "JUPYTER_PLATFORM_DIRS": "1",
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a notebook shows its figures
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the machinery that talks to the kernel
        client.execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    # Data, recipe, curves, reconstructions, samples, two traversals, interpolation.
    assert len(pictures) == 8
    assert not [output for output in outputs if output.output_type == "error"]
    for objective in ("ae", "vae", "beta_vae"):
        rows = (tmp_path / "runs" / objective / "metrics.csv").read_text(encoding="utf-8").splitlines()
        assert rows[0].startswith("step,")
        assert rows[-1].startswith("6,")
