"""A folder of outputs has one owner at a time."""

import json
import subprocess
import sys
from pathlib import Path

from processor.runtime.lock import LOCK_FILE, locked_folder
from processor.search.gallery import RECORD_FILE

ROOT = Path(__file__).parents[2]


def test_second_run_in_a_folder_is_refused_by_the_name_of_the_first(script, base_opts, tmp_path):
    with locked_folder(tmp_path, "OUTPUT_DIR"):
        finished = script("train_clipreid.py", *base_opts, "OUTPUT_DIR", tmp_path)
    assert finished.status == 1
    assert f"error: OUTPUT_DIR: {tmp_path} is in use by process " in finished.output
    assert list(tmp_path.iterdir()) == []


def test_two_enrolments_at_once_lose_no_rows(straight, people, tmp_path):
    images = sorted((people / "query").glob("*.jpg"))[:2]
    words = ["enrol", straight / "last.pth", "--gallery", tmp_path / "gallery", "--name"]
    started = [
        subprocess.Popen(
            [sys.executable, "run.py", *map(str, [*words, image.stem, image])],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for image in images
    ]
    for process in started:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    names = json.loads((tmp_path / "gallery" / RECORD_FILE).read_text())["names"]
    assert sorted(names) == [image.stem for image in images]
    assert not (tmp_path / "gallery" / LOCK_FILE).exists()
