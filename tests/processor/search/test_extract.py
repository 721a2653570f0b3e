"""Extraction of lists of images into a file, with interruptions."""

import json

import numpy as np
import pytest

from config import ConfigError
from datasets.image_lists import ImageList
from datasets.records import Sample
from processor.search.extract import (
    Writing,
    append_to_file,
    extract_in_memory,
    extract_to_file,
)
from processor.search.feature_file import FeatureFile, read_record
from processor.search.images import join_lists
from processor.search.stored_features import read_features


@pytest.mark.parametrize("name", ["features.npz", "features.npy"])
def test_file_holds_the_extractors_features(images_of, extractor, folder, tmp_path, name):
    extract_to_file(extractor, images_of(extractor, folder), tmp_path / name)
    stored = read_features(tmp_path / name)
    paths = sorted(map(str, folder.iterdir()))
    assert stored.paths == paths
    np.testing.assert_array_equal(stored.features, extractor(paths).numpy())
    assert {(x.pid, x.camid, x.identity, x.camera) for x in stored.samples} == {(-1, -1, "", "")}
    assert stored.record["autocast"] == "off"
    in_memory = extract_in_memory(extractor, images_of(extractor, folder))
    np.testing.assert_array_equal(in_memory.features, stored.features)
    assert in_memory.paths == paths
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_interrupted_extraction_gives_the_same_file(
    images_of, extractor, folder, tmp_path, monkeypatch, ending
):
    images = images_of(extractor, folder)
    extract_to_file(extractor, images, tmp_path / f"straight.{ending}")
    output = tmp_path / f"features.{ending}"
    computed = []
    embed = extractor.model.embed

    class KilledError(Exception):
        pass

    def stop_after_two_batches(batch, *ids):
        if len(computed) and len(computed) % 2 == 0 and computed[-1]:
            computed.append(0)
            raise KilledError
        computed.append(len(batch))
        return embed(batch, *ids)

    monkeypatch.setattr(extractor.model, "embed", stop_after_two_batches)
    starts = 0
    while not output.is_file() or ending == "npy":
        starts += 1
        try:
            extract_to_file(extractor, images, output)
            break
        except KilledError:
            assert starts < 5
    assert sum(computed) == 18
    assert starts > 1
    assert output.read_bytes() == (tmp_path / f"straight.{ending}").read_bytes()


def test_complete_file_is_not_computed_again(
    images_of, extractor, folder, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    images = images_of(extractor, folder)
    outputs = [tmp_path / "features.npz", tmp_path / "features.npy"]
    for output in outputs:
        extract_to_file(extractor, images, output)
    before = [output.read_bytes() for output in outputs]
    monkeypatch.setattr(extractor.model, "embed", lambda *_: pytest.fail("computed again"))
    for output in outputs:
        extract_to_file(extractor, images, output)
    assert [output.read_bytes() for output in outputs] == before
    assert "features.npz is already complete: 18 images" in caplog.text
    assert "features.npy: continuing after 18 of 18 images" in caplog.text


def test_a_file_of_other_images_is_rejected(images_of, extractor, folder, tmp_path):
    images = images_of(extractor, folder)
    for output in (tmp_path / "features.npz", tmp_path / "features.npy"):
        extract_to_file(extractor, images, output)
        with pytest.raises(
            ValueError, match="images is 18 there and 1 now; choose another --output"
        ):
            extract_to_file(extractor, images_of(extractor, folder / "03.png"), output)
        reversed_ = join_lists(extractor, [ImageList(images.samples[::-1])])
        with pytest.raises(ValueError, match="images_sha256 is"):
            extract_to_file(extractor, reversed_, output)


def test_broken_images_stop_or_are_skipped(images_of, extractor, folder, tmp_path, caplog):
    """An error keeps the rows before it; skipping continues there without the broken image."""
    (tmp_path / "broken.jpg").write_text("not an image")
    images = images_of(extractor, *sorted(folder.iterdir())[:9], tmp_path / "broken.jpg", folder)
    output = tmp_path / "features.npy"
    with pytest.raises(RuntimeError, match=r"cannot decode .*broken\.jpg"):
        extract_to_file(extractor, images, output)
    assert read_record(output)["images_done"] == 8
    extract_to_file(extractor, images, output, Writing("skip"))
    stored = read_features(output)
    assert stored.paths == sorted(map(str, folder.iterdir()))
    whole = extractor(stored.paths).numpy()
    np.testing.assert_allclose(stored.features, whole, atol=1e-5, rtol=0)
    assert stored.record["bad_images"] == [str(tmp_path / "broken.jpg")]
    assert f"skipped the broken image {tmp_path / 'broken.jpg'}" in caplog.text


def test_only_broken_images_raise(images_of, extractor, tmp_path):
    (tmp_path / "broken.jpg").write_text("not an image")
    images = images_of(extractor, tmp_path / "broken.jpg")
    with pytest.raises(ValueError, match="no image could be read"):
        extract_to_file(extractor, images, tmp_path / "features.npz", Writing("skip"))
    with pytest.raises(ValueError, match="no image could be read"):
        extract_in_memory(extractor, images, on_bad_image="skip")


def test_unknown_suffix_is_rejected(images_of, extractor, folder, tmp_path):
    with pytest.raises(ValueError, match=r"--output .*\.h5: the name must end in \.npz or \.npy"):
        extract_to_file(extractor, images_of(extractor, folder), tmp_path / "features.h5")


def test_cameras_are_known_in_the_training_data_sets_only(extractor, tmp_path, monkeypatch):
    samples = [Sample("a", 4, 0, 0), Sample("b", 4, 2, 1), Sample("c", 5, 3, 0)]
    lists = [ImageList(samples, name) for name in ("market1501", "", "dukemtmc")]
    joined = join_lists(extractor, lists)
    assert joined.samples == samples * 3
    assert joined.camids == [2, 4, -1, *[-1] * 6]
    assert joined.viewids == [0, 1, 0, *[-1] * 6]
    (tmp_path / "shop").mkdir()  # not the `shop` of the training
    monkeypatch.setenv("REID_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="two data sets are called shop"):
        join_lists(extractor, [ImageList(samples, str(tmp_path / "shop"))])


def named(folder, *rows):
    """A CSV next to the images with lines `image,pid,camid`."""
    file = folder.parent / f"{rows[0].replace(',', '_')}.csv"
    lines = [f"{folder}/{row}" for row in rows]
    file.write_text("\n".join(["path,pid,camid", *lines]), encoding="utf-8")
    return file


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_appending_gives_the_rows_of_one_extraction(images_of, extractor, folder, tmp_path, ending):
    first = named(folder, "00.png,Özil,door", "01.png,Moby,yard")
    second = named(folder, "01.png,Moby,yard", "02.png,Ahab,gate", "03.png,Moby,door")
    output = tmp_path / f"features.{ending}"
    for file in (first, second, second):
        append_to_file(extractor, images_of(extractor, file), output)
    stored = read_features(output)
    paths = [str(folder / f"0{number}.png") for number in range(4)]
    assert stored.paths == paths
    assert [x.identity for x in stored.samples] == ["Özil", "Moby", "Ahab", "Moby"]
    assert [x.camera for x in stored.samples] == ["door", "yard", "gate", "door"]
    assert [x.pid for x in stored.samples] == [1, 0, 2, 0]  # Moby keeps the number of the file
    np.testing.assert_allclose(stored.features, extractor(paths).numpy(), atol=1e-6)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_interrupted_appending_is_continued(
    images_of, extractor, folder, tmp_path, monkeypatch, ending
):
    output = tmp_path / f"features.{ending}"
    paths = sorted(folder.iterdir())
    append_to_file(extractor, images_of(extractor, *paths[:2]), output)
    with monkeypatch.context() as patched:
        patched.setattr(FeatureFile, "append", killed(FeatureFile.append, 1))
        with pytest.raises(KeyboardInterrupt):
            append_to_file(extractor, images_of(extractor, *paths), output)
    append_to_file(extractor, images_of(extractor, *paths), output)
    assert read_features(output).paths == list(map(str, paths))


def test_nothing_is_lost_when_a_second_append_is_interrupted(
    images_of, extractor, folder, tmp_path, monkeypatch
):
    output, paths = tmp_path / "features.npz", sorted(folder.iterdir())
    append_to_file(extractor, images_of(extractor, *paths[:4]), output)
    append_to_file(extractor, images_of(extractor, *paths[:8]), output)
    with monkeypatch.context() as patched:  # killed while the rows are unpacked
        patched.setattr(FeatureFile, "append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            append_to_file(extractor, images_of(extractor, *paths), output)
    append_to_file(extractor, images_of(extractor, *paths), output)
    assert read_features(output).paths == list(map(str, paths))


def interrupt(*_):
    raise KeyboardInterrupt


def test_appending_keeps_earlier_names_and_says_so(images_of, extractor, folder, tmp_path, caplog):
    output = tmp_path / "features.npy"
    append_to_file(extractor, images_of(extractor, named(folder, "00.png,Moby,")), output)
    append_to_file(extractor, images_of(extractor, named(folder, "00.png,Willy,")), output)
    assert read_features(output).names == ["Moby"]
    assert "1 images keep their earlier names" in caplog.text


def killed(append, batches):
    """`append` that is interrupted after some batches of images that are not in the file yet."""

    def wrapped(self, features, samples, bad_images=()):
        if self.images_done and wrapped.left == 0:
            raise KeyboardInterrupt
        wrapped.left -= bool(self.images_done)
        append(self, features, samples, bad_images)

    wrapped.left = batches
    return wrapped


def test_appending_refuses_another_models_file_and_an_unfinished_extraction(
    images_of, extractor, folder, tmp_path
):
    images = images_of(extractor, *sorted(folder.iterdir())[:3])
    extract_to_file(extractor, images, tmp_path / "a.npy")
    record = json.loads((tmp_path / "a.json").read_text())
    other = {**record, "model": {**record["model"], "weights": "other"}}
    (tmp_path / "a.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="cannot be compared"):
        append_to_file(extractor, images, tmp_path / "a.npy")
    (tmp_path / "a.json").write_text(json.dumps({**record, "images": 5}))
    with pytest.raises(ValueError, match="incomplete, with 3 of 5 images"):
        append_to_file(extractor, images, tmp_path / "a.npy")


def test_names_of_several_lists_have_one_number_each(images_of, extractor, folder):
    first = named(folder, "00.png,Özil,1", "01.png,Moby,2")
    second = named(folder, "02.png,Ahab,2", "03.png,Özil,3")
    samples = images_of(extractor, first, second).samples
    assert [(x.identity, x.pid) for x in samples] == [
        ("Özil", 1),
        ("Moby", 0),
        ("Ahab", 2),
        ("Özil", 1),
    ]
