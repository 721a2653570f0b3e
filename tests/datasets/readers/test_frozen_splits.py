"""The frozen splits: their content, and that no other file is accepted."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.readers import frozen_splits
from datasets.readers.frozen_splits import NUM_SPLITS, format_splits
from datasets.readers.frozen_splits.__main__ import ALL, main

ROOT = Path(__file__).parents[3]
FROZEN = {frozen.name: frozen for frozen in ALL}
SIZES = {"viper": (range(632), 316), "prid": (range(1, 201), 100), "ilids": (range(1, 120), 60)}


@pytest.fixture
def copied_files(tmp_path, monkeypatch):
    folder = tmp_path / "splits"
    shutil.copytree(frozen_splits.FOLDER, folder)
    monkeypatch.setattr(frozen_splits, "FOLDER", folder)
    return folder


@pytest.mark.parametrize("name", FROZEN)
def test_shipped_file_is_the_generators_output_and_has_the_recorded_hash(name):
    shipped = (ROOT / "datasets" / "readers" / "frozen_splits" / f"{name}.json").read_bytes()
    shipped = shipped.replace(b"\r\n", b"\n")
    assert shipped == format_splits(FROZEN[name].draw())
    assert hashlib.sha256(shipped).hexdigest() == FROZEN[name].sha256
    assert FROZEN[name].load() == FROZEN[name].draw() == json.loads(shipped)


@pytest.mark.parametrize("name", SIZES)
def test_ten_different_halves_of_the_identities(name):
    identities, num_test = SIZES[name]
    splits = FROZEN[name].load()
    assert len(splits) == NUM_SPLITS == 10
    assert len({tuple(test) for test in splits}) == 10
    for test in splits:
        assert test == sorted(set(test))
        assert len(test) == num_test
        assert set(test) < set(identities)
    tested = [pid for test in splits for pid in test]
    assert {tested.count(pid) for pid in identities} <= set(range(1, 10))


def test_drawn_identities_are_pinned():
    assert [FROZEN[name].load()[0][:4] for name in ("viper", "prid", "ilids")] == [
        [0, 1, 2, 3],
        [2, 4, 6, 11],
        [5, 6, 7, 10],
    ]
    assert [FROZEN[name].load()[9][-2:] for name in ("viper", "prid", "ilids")] == [
        [629, 630],
        [197, 198],
        [116, 118],
    ]


def test_splits_do_not_depend_on_the_hash_seed():
    code = (
        "import json, sys\n"
        "from datasets.readers.frozen_splits.__main__ import ALL\n"
        "json.dump({x.name: [x.load(), x.draw()] for x in ALL}, sys.stdout)\n"
    )
    for seed in ("1", "4242"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(result.stdout) == {x.name: [x.load()] * 2 for x in ALL}


def test_changed_file_is_an_error(copied_files):
    path = copied_files / "prid.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"200", b"199", 1))
    with pytest.raises(ValueError, match=r"prid\.json has been changed: its SHA-256 is") as error:
        FROZEN["prid"].load()
    assert FROZEN["prid"].sha256 in str(error.value)
    assert "python -m datasets.readers.frozen_splits --write" in str(error.value)
    assert FROZEN["viper"].load() == FROZEN["viper"].draw()


def test_line_endings_do_not_change_the_hash(copied_files):
    path = copied_files / "ilids.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert FROZEN["ilids"].load() == FROZEN["ilids"].draw()


def test_note_has_the_hash():
    assert FROZEN["viper"].note == "10 frozen splits (sha256 ede75d7d9c17fe3a)"


def test_command_checks_without_writing(copied_files):
    assert main([]) == 0
    changed, missing = FROZEN["viper"].file, FROZEN["ilids"].file
    changed.write_text("[]")
    assert main([]) == 1
    assert changed.read_text() == "[]"
    changed.write_bytes(format_splits(FROZEN["viper"].draw()))
    missing.unlink()
    assert main([]) == 1
    assert not missing.exists()
    assert changed.parent == copied_files


def test_command_restores_files_with_write(copied_files):
    shipped = {name: frozen.file.read_bytes() for name, frozen in FROZEN.items()}
    FROZEN["prid"].file.write_text("[]")
    FROZEN["viper"].file.unlink()
    assert main(["--write"]) == 0
    assert {path.stem: path.read_bytes() for path in copied_files.glob("*.json")} == shipped


def test_command_runs_without_warnings():
    command = [sys.executable, "-W", "error", "-m", "datasets.readers.frozen_splits"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stderr.count(": ok\n") == len(FROZEN)
    assert "DIFFERS" not in result.stderr
