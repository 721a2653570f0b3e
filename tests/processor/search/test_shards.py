"""Shards of an extraction: the work of many processes equals that of one, byte for byte."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from processor.metrics.normalize import normalize_features
from processor.search import joining
from processor.search.exact import search
from processor.search.extract import (
    Writing,
    append_to_file,
    batches_of,
    extract_shard,
    extract_to_file,
)
from processor.search.gallery import Gallery
from processor.search.joining import join_shards
from processor.search.shard_files import Shard, find_shards, shards_folder
from processor.search.stored_features import read_features

ENDINGS = ("npy", "csv", "json")


@pytest.fixture
def images(images_of, extractor, folder):
    return images_of(extractor, folder)


@pytest.fixture
def write(extractor, images, tmp_path):
    """`write(number, count)` writes a shard of tmp_path/features.shards."""

    def write_shard(number, count, writing=None, given=images):
        shard = Shard(number, count)
        own = batches_of(shard, len(given.samples), extractor.batch_size)
        extract_shard(extractor, given, shard, tmp_path / "features.shards", writing, own=own)

    return write_shard


@pytest.mark.parametrize(
    ("num_images", "batch_size", "count"),
    [(18, 4, 1), (18, 4, 3), (18, 4, 8), (3, 4, 2), (0, 4, 2)],
)
def test_shares_are_all_images_cut_between_batches(num_images, batch_size, count):
    parts = [batches_of(Shard(i, count), num_images, batch_size) for i in range(count)]
    assert [place for part in parts for place in part] == list(range(num_images))
    assert all(part.start % batch_size == 0 for part in parts if part)
    batches = [-(-len(part) // batch_size) for part in parts]
    assert max(batches) - min(batches) <= 1


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_joined_files_equal_those_of_one_process(
    extractor,
    images,
    write,
    tmp_path,
    count,
    half,
    ending,
):
    writing = Writing(half=half)
    extract_to_file(extractor, images, tmp_path / f"straight.{ending}", writing)
    for number in reversed(range(count)):
        write(number, count, writing)
    join_shards(tmp_path / "features.shards", tmp_path / f"features.{ending}")
    for own in ENDINGS if ending == "npy" else ["npz"]:
        straight, joined = (tmp_path / f"{name}.{own}" for name in ("straight", "features"))
        assert straight.read_bytes() == joined.read_bytes()
    assert not list(tmp_path.glob(".*"))
    stored = np.load(tmp_path / f"features.{ending}")
    kind = stored["features"].dtype if ending == "npz" else stored.dtype
    assert kind == (np.float16 if half else np.float32)


def test_shards_are_read_as_one_table(extractor, images, write, tmp_path):
    extract_to_file(extractor, images, tmp_path / "straight.npy")
    for number in range(3):
        write(number, 3)
    straight = read_features(tmp_path / "straight.npy")
    shards = read_features(tmp_path / "features.shards")
    np.testing.assert_array_equal(np.asarray(shards.features), straight.features)
    assert shards.samples == straight.samples
    assert shards.record["images"] == 18
    query = torch.from_numpy(straight.features[[2, 11]])
    one, other = (search(query, stored.features, 5) for stored in (straight, shards))
    assert torch.equal(one.indices, other.indices)
    assert torch.equal(one.distances, other.distances)
    assert one.indices[:, 0].tolist() == [2, 11]
    gallery = Gallery()
    gallery.add(shards.features, list(map(str, range(18))))
    assert [x[0].name for x in gallery.search(query, top=1)] == ["2", "11"]


def test_half_precision_is_close_and_half_the_size(extractor, images, tmp_path):
    extract_to_file(extractor, images, tmp_path / "full.npy")
    extract_to_file(extractor, images, tmp_path / "half.npy", Writing(half=True))
    full, half = (read_features(tmp_path / f"{name}.npy").features for name in ("full", "half"))
    read = np.asarray(half)
    assert read.dtype == np.float32
    assert 0 < np.abs(read - full).max() < 1e-3
    np.testing.assert_allclose(read, normalize_features(torch.from_numpy(read)), atol=1e-3)
    sizes = [(tmp_path / f"{name}.npy").stat().st_size for name in ("full", "half")]
    assert sizes[0] - 128 == 2 * (sizes[1] - 128)


def test_features_too_large_for_half_precision_are_refused(
    extractor, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(extractor, "normalize", False)
    embed = extractor.model.embed
    monkeypatch.setattr(extractor.model, "embed", lambda *given: 1e6 * embed(*given))
    with pytest.raises(ValueError, match="beyond the range of float16"):
        extract_to_file(extractor, images, tmp_path / "half.npy", Writing(half=True))


def test_more_shards_than_batches_leave_some_empty(write, tmp_path):
    for number in range(8):
        write(number, 8)
    counts = [len(np.load(file)) for file in find_shards(tmp_path / "features.shards")]
    assert sum(counts) == 18
    assert counts.count(0) == 3
    assert len(read_features(tmp_path / "features.shards").samples) == 18


def test_missing_and_unfinished_shards_are_named(write, tmp_path):
    write(0, 4)
    write(2, 4)
    folder = tmp_path / "features.shards"
    (folder / "00002-of-00004.done").unlink()
    for read in (read_features, lambda path: join_shards(path, tmp_path / "features.npy")):
        with pytest.raises(ValueError, match=r"3 of 4 shards are missing or unfinished") as error:
            read(folder)
        assert "00001-of-00004, 00002-of-00004, 00003-of-00004" in str(error.value)
    with pytest.raises(FileNotFoundError, match="no folder of shards"):
        read_features(tmp_path / "none.shards")
    (tmp_path / "empty.shards").mkdir()
    with pytest.raises(ValueError, match="holds no shards"):
        read_features(tmp_path / "empty.shards")


def test_another_division_is_refused(write):
    write(0, 2)
    with pytest.raises(ValueError, match="holds shards of 2 in all, not of 3"):
        write(0, 3)


def test_shards_of_other_images_are_refused(images, write, tmp_path):
    write(0, 2)
    fewer = images.part(range(17))
    with pytest.raises(ValueError, match="holds other features: images_sha256"):
        write(0, 2, given=fewer)
    write(1, 2)
    record = tmp_path / "features.shards" / "00001-of-00002.json"
    changed = {**json.loads(record.read_text()), "normalized": False}
    record.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="normalized is False there and True now"):
        read_features(tmp_path / "features.shards")


def test_complete_shard_is_not_computed_again(extractor, write, monkeypatch, caplog):
    caplog.set_level("INFO")
    write(1, 2)
    monkeypatch.setattr(extractor.model, "embed", lambda *_: pytest.fail("computed again"))
    write(1, 2)
    assert "00001-of-00002.npy is already complete: 10 images" in caplog.text


def test_a_shard_of_broken_images_only_is_empty(images_of, extractor, tmp_path, folder):
    """The whole is refused only if no shard has an image."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(4):
        (broken / f"{number}.png").write_bytes(b"")
    images = images_of(extractor, broken, folder / "01.png")
    places = tmp_path / "some.shards"
    for number, own in enumerate((range(4), range(4, 5))):
        extract_shard(extractor, images, Shard(number, 2), places, Writing("skip"), own=own)
    join_shards(places, tmp_path / "some.npy")
    stored = read_features(tmp_path / "some.npy")
    assert stored.paths == [str(folder / "01.png")]
    assert len(stored.record["bad_images"]) == 4
    extract_to_file(extractor, images, tmp_path / "straight.npy", Writing("skip"))
    for own in ENDINGS:
        straight, joined = (tmp_path / f"{name}.{own}" for name in ("straight", "some"))
        assert straight.read_bytes() == joined.read_bytes()


def test_shards_lie_beside_the_output(tmp_path):
    assert shards_folder(tmp_path / "a.b.npz") == tmp_path / "a.b.shards"


def test_joining_does_not_take_an_unfinished_file_for_the_result(
    extractor, images, write, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    for number in range(2):
        write(number, 2)
    embed, batches = extractor.model.embed, []

    def stop_after_one_batch(*given):
        batches.append(given)
        if len(batches) > 2:  # the first one measures the width
            raise InterruptedError
        return embed(*given)

    with monkeypatch.context() as patch:
        patch.setattr(extractor.model, "embed", stop_after_one_batch)
        with pytest.raises(InterruptedError):
            extract_to_file(extractor, images, tmp_path / "features.npy")
    with pytest.raises(ValueError, match=r"features\.npy is incomplete, with . of 18 images"):
        join_shards(tmp_path / "features.shards", tmp_path / "features.npy")
    extract_to_file(extractor, images, tmp_path / "features.npy")
    join_shards(tmp_path / "features.shards", tmp_path / "features.npy")
    assert "features.npy is already complete: 18 images" in caplog.text


def test_an_interrupted_joining_starts_anew(write, tmp_path, monkeypatch):
    for number in range(2):
        write(number, 2)
    places = tmp_path / "features.shards"
    with monkeypatch.context() as patch:
        patch.setattr("processor.search.joining._append_shard", interrupted)
        with pytest.raises(InterruptedError):
            join_shards(places, tmp_path / "features.npy")
    assert not (tmp_path / "features.npy").exists()
    replace, renamed = Path.replace, []

    def stop_after_one_file(source, target):
        if renamed and Path(target).stem == "features":
            raise InterruptedError
        if Path(target).stem == "features":
            renamed.append(target)
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop_after_one_file)
        with pytest.raises(InterruptedError):
            join_shards(places, tmp_path / "features.npy")
    assert renamed
    join_shards(places, tmp_path / "features.npy")
    assert len(read_features(tmp_path / "features.npy").samples) == 18


def test_shards_that_do_not_follow_each_other_are_refused(extractor, images, tmp_path):
    """Written with other batch sizes, they overlap; of other lists, they leave images out."""
    places = tmp_path / "features.shards"

    def extract(number, own, given=images):
        extract_shard(extractor, given, Shard(number, 2), places, own=own)

    fewer = images.part(range(17))
    for other in ((range(10, 18), images), (range(6, 18), images), (range(8, 17), fewer)):
        extract(0, range(8))
        extract(1, *other)
        for read in (read_features, lambda path: join_shards(path, tmp_path / "features.npy")):
            with pytest.raises(ValueError, match=r"00001-of-00002\.npy holds images .* of other"):
                read(places)
        shutil.rmtree(places)
    extract(0, range(8))
    extract(1, range(8, 12))  # the last ones are missing
    with pytest.raises(ValueError, match="holds images 8 to 12 of a list of 18"):
        read_features(places)
    shutil.rmtree(places)
    extract(0, range(8))
    extract(1, range(8, 18))
    assert len(read_features(places).samples) == 18


def test_precision_of_all_shards_is_the_same(write, tmp_path):
    write(0, 2)
    write(1, 2, Writing(half=True))
    with pytest.raises(ValueError, match="dtype is float16 there and float32 now"):
        join_shards(tmp_path / "features.shards", tmp_path / "features.npy")
    with pytest.raises(ValueError, match="dtype is float16 there and float32 now"):
        write(1, 2)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_file_of_another_precision_is_refused(extractor, images, tmp_path, ending):
    output = tmp_path / f"features.{ending}"
    extract_to_file(extractor, images, output, Writing(half=True))
    for extract in (extract_to_file, append_to_file):
        with pytest.raises(ValueError, match="dtype is float16 there and float32 now"):
            extract(extractor, images, output)


def test_shard_whose_table_was_cut_off_is_refused(write, tmp_path):
    for number in range(2):
        write(number, 2)
    table = tmp_path / "features.shards" / "00000-of-00002.csv"
    table.write_bytes(b"".join(table.read_bytes().splitlines(keepends=True)[:-2]))
    with pytest.raises(ValueError, match=r"00000-of-00002\.npy: 8 rows of features for 6 images"):
        join_shards(tmp_path / "features.shards", tmp_path / "features.npy")


def test_two_joins_at_once_are_refused(write, tmp_path, monkeypatch):
    write(0, 1)
    places, append = tmp_path / "features.shards", joining._append_shard

    def join_again(*given):
        with pytest.raises(ValueError, match=r"features\.shards is in use by process"):
            join_shards(places, tmp_path / "other.npy")
        append(*given)

    monkeypatch.setattr(joining, "_append_shard", join_again)
    join_shards(places, tmp_path / "features.npy")
    assert len(read_features(tmp_path / "features.npy").samples) == 18


def test_broken_images_of_a_shard_are_logged(images_of, extractor, tmp_path, folder, caplog):
    (tmp_path / "broken.png").write_bytes(b"")
    images = images_of(extractor, tmp_path / "broken.png", folder / "01.png")
    places = tmp_path / "some.shards"
    extract_shard(extractor, images, Shard(0, 1), places, Writing("skip"), own=range(2))
    assert f"skipped the broken image {tmp_path / 'broken.png'}" in caplog.text


def interrupted(*_):
    raise InterruptedError
