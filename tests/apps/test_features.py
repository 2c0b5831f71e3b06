from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_info

from corolla import cli
from corolla.apps.features import (
    embed,
    feature_blocks,
    nearest_images,
    read_features,
    read_fingerprint,
    search_sheet,
    write_features,
)
from corolla.errors import DataError, ModelError, UsageError, WriteError
from corolla.trained import TrainedModel

SUFFIXES = [".npz", ".parquet"]
PARTS = "corolla.trained.encoding.PART_ENTRIES"


@pytest.fixture(autouse=True)
def _needs_the_extra(request: pytest.FixtureRequest) -> None:
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("suffix") == ".parquet":
        pytest.importorskip("pyarrow", reason="the extra `features` is not installed")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Eleven images, some larger than the model's, in an order that is not that of their names."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    paths = []
    for number in range(11):
        shape = (16, 16, 3) if number % 2 else (20, 30, 3)
        path = folder / f"{(7 * number) % 11:02d}.png"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


def _names(paths: list[Path]) -> tuple[str, ...]:
    return tuple(path.as_posix() for path in paths)


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_model_in_the_order_given(model: TrainedModel, files: list[Path]) -> None:
    (block,) = embed(model, files, variance=True)
    q = model.posterior(files)
    assert block.paths == _names(files)
    np.testing.assert_allclose(block.means, q.mean.numpy(), atol=1e-6)
    assert block.variances is not None
    np.testing.assert_allclose(block.variances, q.logvar.exp().numpy(), rtol=1e-5)
    (bare,) = embed(model, [files[0]])
    assert bare.variances is None


@pytest.mark.parametrize("workers", [1, 3])
def test_images_are_read_as_blocks_are_taken(
    model: TrainedModel, files: list[Path], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("corolla.trained.encoding.BATCH_SIZE", 4)
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield files[taken % 11]

    blocks = embed(model, endless(), workers=workers)
    for number in range(1, 4):
        assert len(next(blocks).paths) == 4
        assert taken <= 4 * (number + 2 * workers)
    blocks.close()  # type: ignore[attr-defined]


def test_blocks_are_cut_by_entries_whatever_can_be_read(
    model: TrainedModel, files: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("corolla.trained.encoding.BATCH_SIZE", 4)
    for place in (1, 4, 5, 6, 7):
        files[place].write_bytes(b"no image")
    blocks = list(embed(model, files))
    assert [len(block.paths) for block in blocks] == [3, 0, 3]
    assert sum((block.paths for block in blocks), ()) == _names([files[place] for place in (0, 2, 3, 8, 9, 10)])
    assert [record.message for record in caplog.records] == [
        f"{files[place]}: not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image, or damaged; left out"
        for place in (1, 4, 5, 6, 7)
    ]
    with pytest.raises(DataError, match=f"{files[1].name}: .*repair or remove it"):
        list(embed(model, files, on_error="refuse"))


def test_the_threads_of_others_stay_as_they_are(model: TrainedModel, files: list[Path]) -> None:
    def openmp() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "openmp"]

    before = torch.get_num_threads(), openmp()
    list(embed(model, files, workers=2))
    assert (torch.get_num_threads(), openmp()) == before


def test_codes_that_are_not_finite_are_refused(model: TrainedModel, files: list[Path]) -> None:
    for parameter in model.vae.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        list(embed(model, files))
    with pytest.raises(UsageError, match="0 workers"):
        list(embed(model, files, workers=0))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_give_back_what_was_embedded(
    model: TrainedModel,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    variance: bool,
) -> None:
    monkeypatch.setattr(PARTS, 4)
    monkeypatch.setattr("corolla.apps.features.files._BLOCK_ROWS", 3)
    output = tmp_path / "new" / f"features{suffix}"
    done: list[tuple[str, int, int | None]] = []
    written = write_features(model, files, output, variance=variance, progress=lambda *call: done.append(call))
    assert (written.rows, written.left_out, written.found) == (11, 0, 0)
    assert done == sorted(done)
    assert done[-1] == ("embedding", 11, 11)
    features = read_features(output)
    assert features.paths == _names(files)
    assert features.fingerprint == read_fingerprint(output) == model.card.weights_sha256
    q = model.posterior(files)
    assert features.means.dtype == np.float32
    np.testing.assert_allclose(features.means, q.mean.numpy(), atol=1e-6)
    assert (features.variances is not None) == variance
    if features.variances is not None:
        np.testing.assert_allclose(features.variances, q.logvar.exp().numpy(), rtol=1e-5)
    assert max(len(block.paths) for block in feature_blocks(output)) <= 3
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_an_npz_file_is_plain_numpy(model: TrainedModel, files: list[Path], tmp_path: Path) -> None:
    write_features(model, files, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert sorted(file) == ["fingerprint", "means", "paths"]
        assert file["paths"].tolist() == list(_names(files))
        np.testing.assert_array_equal(file["means"], read_features(tmp_path / "x.npz").means)


def test_a_parquet_file_has_a_column_for_each_latent(model: TrainedModel, files: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `features` is not installed")
    write_features(model, files, tmp_path / "x.parquet", variance=True)
    table = parquet.read_table(tmp_path / "x.parquet")
    numbers = [f"{number:03d}" for number in range(6)]
    assert table.column_names == ["path", *(f"z{n}" for n in numbers), *(f"var{n}" for n in numbers)]
    assert {str(field.type) for field in table.schema} == {"string", "float"}
    np.testing.assert_array_equal(table["z004"], read_features(tmp_path / "x.parquet").means[:, 4])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_broken_off_call_goes_on_and_makes_the_same_file(
    model: TrainedModel, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(PARTS, 3)
    files[1].write_bytes(b"no image")
    whole, output = tmp_path / f"whole{suffix}", tmp_path / f"x{suffix}"
    write_features(model, files, whole)

    def stop(_title: str, done: int, _total: int | None) -> None:
        if done > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(model, files, output, progress=stop)
    assert not output.exists()
    partial = tmp_path / f"x{suffix}.partial"
    assert len(list(partial.glob("0*.npz"))) >= 2
    written = write_features(model, files, output)
    assert (written.rows, written.left_out) == (10, 1)
    assert written.found >= 5
    assert not partial.exists()
    assert output.read_bytes() == whole.read_bytes()


def _broken_off(model: TrainedModel, files: list[Path], output: Path) -> Path:
    """All parts are made, and then the joining fails."""
    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("corolla.apps.features.write.join", fail)
        with pytest.raises(KeyboardInterrupt):
            write_features(model, files, output)
    return output.with_name(output.name + ".partial")


def test_damaged_and_altered_parts_are_made_anew(
    model: TrainedModel, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PARTS, 3)
    output = tmp_path / "x.npz"
    first, second, third, _ = sorted(_broken_off(model, files, output).glob("0*.npz"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:50])
    np.savez(third, paths=np.array(["a"]), faults=np.array([], "U1"), means=np.zeros((1, 6), np.float32))
    written = write_features(model, files, output)
    assert (written.rows, written.found) == (11, 2)
    np.testing.assert_allclose(read_features(output).means, model.encode(files), atol=1e-6)


def test_another_model_list_file_or_wish_starts_anew(
    model: TrainedModel, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PARTS, 6)
    output = tmp_path / "x.npz"
    other = TrainedModel(model.vae, replace(model.card, weights_sha256="0" * 64))
    _broken_off(model, files, output)
    assert write_features(other, files, output).found == 0
    assert read_fingerprint(output) == "0" * 64
    _broken_off(model, files, output)
    assert write_features(model, files[1:], output).found == 0
    _broken_off(model, files, output)
    assert write_features(model, [*files, files[0]], output).found == 6
    _broken_off(model, files, output)
    assert write_features(model, files, output, variance=True).found == 0
    _broken_off(model, files, output)
    Image.new("RGB", (40, 40), "red").save(files[0])
    assert write_features(model, files, output).found == 5
    assert not output.with_name("x.npz.partial").exists()


def test_parts_are_removed_and_what_else_lies_there_is_kept(
    model: TrainedModel, files: list[Path], tmp_path: Path
) -> None:
    partial = _broken_off(model, files, tmp_path / "x.npz")
    (partial / "notes.txt").write_text("mine")
    (partial / ".000000-ab.npz.7.tmp").write_bytes(b"what a kill left")
    write_features(model, files, tmp_path / "x.npz")
    assert sorted(path.name for path in partial.iterdir()) == ["notes.txt", "parts.lock"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_process_leaves_what_the_next_goes_on_with(
    model: TrainedModel, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PARTS, 2)
    output, partial = tmp_path / "x.npz", tmp_path / "x.npz.partial"
    program = f"""
import sys, time
from pathlib import Path
from corolla.apps.features import write_features
from corolla.trained import encoding, load
encoding.PART_ENTRIES = 2
paths = [Path(line) for line in sys.stdin.read().split("\\n")]
write_features(load({str(tmp_path / "model")!r}), paths, {str(output)!r}, progress=lambda *_: time.sleep(0.2))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write("\n".join(map(str, files)).encode())
        process.stdin.close()
        while process.poll() is None and len(list(partial.glob("0*.npz"))) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not output.exists()
    written = write_features(model, files, output)
    assert written.rows == 11
    assert written.found >= 4
    np.testing.assert_allclose(read_features(output).means, model.encode(files), atol=1e-6)
    assert not partial.exists()


def test_nothing_to_write_leaves_nothing(model: TrainedModel, files: list[Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="no images given"):
        write_features(model, [], tmp_path / "x.npz")
    files[0].write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 images can be used"):
        write_features(model, [files[0], tmp_path / "none.png"], tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"00\.png: empty; repair"):
        write_features(model, files, tmp_path / "x.npz", on_error="refuse")
    with pytest.raises(UsageError, match=r"written as \.parquet, \.npz"):
        write_features(model, files, tmp_path / "x.csv")
    unsaved = TrainedModel(model.vae, replace(model.card, weights_sha256=""))
    with pytest.raises(ModelError, match="never saved"):
        write_features(unsaved, files, tmp_path / "x.npz")
    with pytest.raises(WriteError, match="cannot be written"):
        write_features(model, files, files[1] / "x.npz")
    assert sorted(tmp_path.iterdir()) == before


def test_a_resumed_fault_is_told_again_and_refused(
    model: TrainedModel, files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files[3].write_bytes(b"no image")
    _broken_off(model, files, tmp_path / "x.npz")
    with pytest.raises(DataError, match=files[3].name):
        write_features(model, files, tmp_path / "x.npz", on_error="refuse")
    caplog.clear()
    write_features(model, files, tmp_path / "x.npz")
    assert [files[3].name in record.message for record in caplog.records] == [True]


def test_a_missing_extra_is_named(
    model: TrainedModel, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"the extra `features`.*pip install -e '.\[features\]'"):
        write_features(model, files, tmp_path / "x.parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_hold_no_features_are_errors(
    model: TrainedModel, files: list[Path], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    with pytest.raises(DataError, match=r"x\.\w+: cannot be read"):
        read_features(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="damaged"):
        read_features(path)
    write_features(model, files, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged"):
        read_features(path)


def test_other_arrays_are_no_features(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros(3))
    with pytest.raises(DataError, match="no array `means`"):
        read_features(path)
    np.savez(path, means=np.zeros((3, 2)), paths=np.array(["a", "b", "c"]))
    with pytest.raises(DataError, match="holds no features"):
        read_features(path)


# --- search -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("k", [1, 4, 50])
def test_the_nearest_are_those_of_all_distances(
    model: TrainedModel, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, k: int
) -> None:
    monkeypatch.setattr("corolla.apps.features.files._BLOCK_ROWS", 3)
    output = tmp_path / f"x{suffix}"
    write_features(model, files, output)
    query = np.full((16, 16, 3), 90, np.uint8)
    code = model.encode(query).astype(np.float64)
    distances = np.linalg.norm(model.encode(files) - code, axis=1)
    order = np.argsort(distances)[:k]
    found = nearest_images(model, query, output, k)
    assert [one.path for one in found] == [files[place].as_posix() for place in order]
    np.testing.assert_allclose([one.distance for one in found], distances[order], rtol=1e-4, atol=1e-6)


def test_an_image_is_nearest_to_itself_and_equals_come_in_order(
    model: TrainedModel, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corolla.apps.features.files._BLOCK_ROWS", 2)
    write_features(model, [files[2], files[5], files[4], files[5], files[5]], tmp_path / "x.npz")
    with Image.open(files[5]) as same:  # of a file, what is embedded from it is left out
        found = nearest_images(model, same, tmp_path / "x.npz", 3)
    assert [one.path for one in found] == [files[5].as_posix()] * 3
    assert max(one.distance for one in found) < 1e-5


def test_features_of_another_model_are_refused(model: TrainedModel, files: list[Path], tmp_path: Path) -> None:
    write_features(model, files, tmp_path / "x.npz")
    other = TrainedModel(model.vae, replace(model.card, weights_sha256="f" * 64))
    own = model.card.weights_sha256[:16]
    with pytest.raises(ModelError, match=f"made with the model {own}, but this one is {'f' * 16}; give the model"):
        nearest_images(other, files[0], tmp_path / "x.npz")


def test_wrong_questions_are_refused(model: TrainedModel, files: list[Path], tmp_path: Path) -> None:
    write_features(model, files, tmp_path / "x.npz")
    with pytest.raises(UsageError, match="0 nearest images"):
        nearest_images(model, files[0], tmp_path / "x.npz", 0)
    with pytest.raises(UsageError, match="2 images: give one"):
        nearest_images(model, files[:2], tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"none\.png"):
        nearest_images(model, tmp_path / "none.png", tmp_path / "x.npz")


def test_the_sheet_shows_codes_where_files_are_gone(model: TrainedModel, files: list[Path], tmp_path: Path) -> None:
    write_features(model, files, tmp_path / "x.npz")
    found = nearest_images(model, files[0], tmp_path / "x.npz", 11)
    whole, decoded = search_sheet(model, files[0], found)
    assert decoded == []
    files[3].unlink()
    sheet, decoded = search_sheet(model, files[0], found)
    assert decoded == [files[3].as_posix()]
    assert sheet.size == whole.size
    assert sheet.tobytes() != whole.tobytes()


# --- the commands -----------------------------------------------------------------------------------------------------


def _rows(path: Path) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    features = read_features(path)
    return features.paths, features.means


@pytest.mark.usefixtures("model")
def test_the_commands_take_every_kind_of_list(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with tarfile.open("x.tar", "w") as tar:
        tar.add("photos")
    names = sorted(f"photos/{path.name}" for path in files)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    assert cli.run(["embed", "model", "photos", "-o", "a.npz"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "wrote a.npz (11 images, 1 left out, 6 latents)\n"
    assert captured.err.startswith("corolla: photos/broken.jpg: not a JPEG")
    paths, means = _rows(Path("a.npz"))
    assert list(paths) == names
    for words, stdin in (
        (["x.tar"], b""),
        (["photos/*.png"], b""),
        (["-"], "\n".join([*names, "", "photos/none.png"]).encode()),
        ([*names[:4], "-"], "\r\n".join(names[4:]).encode()),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        assert cli.run(["embed", "model", *words, "-o", "b.npz"]) == 0, words
        again, codes = _rows(Path("b.npz"))
        assert list(again) == names, words
        np.testing.assert_allclose(codes, means, atol=1e-6)
    capsys.readouterr()
    for words, code, text in (
        (["photos", "-o", "c.npz", "--strict"], 1, r"broken.jpg: not a JPEG"),
        (["nothing.png", "-o", "c.npz"], 1, "nothing.png: no such file"),
        (["nothing*.png", "-o", "c.npz"], 1, "nothing*.png: matches nothing"),
        (["photos", "-o", "c.csv"], 2, "c.csv: features are written as"),
        (["-o", "c.npz"], 2, "no images given"),
        (["photos", "-o", "c.npz", "--workers", "0"], 2, "0 workers"),
    ):
        assert cli.run(["embed", "model", *words]) == code
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz", "model", "photos", "x.tar"]


@pytest.mark.usefixtures("model", "files")
def test_search_prints_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["embed", "model", "photos", "-o", "a.npz"]) == 0
    capsys.readouterr()
    assert cli.run(["search", "model", "photos/05.png", "--in", "a.npz", "-k", "20"]) == 0
    assert sorted(line.split()[1] for line in capsys.readouterr().out.splitlines()) == [
        path.as_posix() for path in sorted(Path("photos").iterdir()) if path.name != "05.png"
    ]
    Path("photos/05.png").rename("query.png")
    assert cli.run(["search", "model", "query.png", "--in", "a.npz", "-k", "3", "-o", "sheet.png"]) == 0
    said = capsys.readouterr()
    first, *_, last = said.out.splitlines()
    distance, path = first.split()
    assert float(distance) < 1e-4
    assert path == "photos/05.png"
    assert said.err == "corolla: photos/05.png: no readable file here; the sheet shows what its code decodes to\n"
    assert last == "wrote sheet.png (3 images)"
    with Image.open("sheet.png") as image:
        assert image.width > 4 * 96
    assert cli.run(["search", "model", "query.png", "--in", "a.npz", "-o", "sheet.txt"]) == 2
    assert cli.run(["search", "model", "none.png", "--in", "a.npz"]) == 1
