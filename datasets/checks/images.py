"""Faults of image files: broken, of odd shape, or equal to another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from statistics import median

from tqdm.auto import tqdm

from datasets.checks.report import ERROR, WARNING, Fault, name_image
from datasets.images.decode import BadImageError, read_image
from datasets.readers.image_files import describe_unread
from datasets.records import DataSplits, Sample
from datasets.sources import number_test_images

SMALLEST_SIDE = 16  # pixels; a ViT's patch
ODD_ASPECT = 2.5  # factor between an image's height / width and the median
STRETCH = 2.0  # factor between the median and the height / width of the model's input
_FILES_PER_JOB = 32


@dataclass(frozen=True, slots=True)
class FileFacts:
    """An image file after decoding.

    Attributes:
        height: in pixels; 0 if the file cannot be decoded.
        width: likewise.
        content: SHA-256 of its pixels; empty if it cannot be decoded.
        error: why it cannot be decoded; empty if it can.
    """

    height: int
    width: int
    content: str
    error: str = ""


Facts = Mapping[str, FileFacts]
"""By path."""


def find_broken_files(splits: DataSplits, facts: Facts, *, skip: bool) -> Iterator[Fault]:
    """Files that cannot be decoded; `skip` = a run leaves them out."""
    paths = _paths(splits)
    broken = [f"{path}: {facts[path].error}" for path in paths if facts[path].error]
    if broken:
        yield Fault(
            WARNING if skip else ERROR,
            "unreadable file",
            splits.name,
            f"{len(broken):,} of {len(paths):,} images cannot be decoded",
            tuple(broken),
            "replace or remove them"
            + ("" if skip else ", or set INPUT.ON_BAD_IMAGE skip to leave them out"),
        )


def find_unread_files(splits: DataSplits) -> Iterator[Fault]:
    """Files of own data that no image is read from."""
    if splits.unread:
        yield Fault(
            WARNING,
            "files not read",
            splits.name,
            describe_unread(splits.unread),
            splits.unread,
            "if they are images, convert them, e.g. to PNG; a file in PLUGINS may teach Pillow "
            "another format, as pillow-heif does",
        )


def find_size_faults(
    splits: DataSplits, facts: Facts, image_size: tuple[int, int]
) -> Iterator[Fault]:
    """Images that are tiny or of odd shape; `image_size` is the (height, width) of the input."""
    known = {path: facts[path] for path in _paths(splits) if not facts[path].error}
    if not known:
        return
    aspects = {path: fact.height / fact.width for path, fact in known.items()}
    usual, wanted = median(aspects.values()), image_size[0] / image_size[1]
    tiny = [path for path, fact in known.items() if min(fact.height, fact.width) < SMALLEST_SIDE]
    odd = [path for path, aspect in aspects.items() if _factor(aspect, usual) > ODD_ASPECT]
    for kind, paths, what, remedy in (
        (
            "tiny image",
            tiny,
            f"images are less than {SMALLEST_SIDE} pixels high or wide",
            "leave them out: they show too little",
        ),
        (
            "odd aspect",
            odd,
            f"images differ in height / width from the median, {usual:.3g}, by more than a factor "
            f"of {ODD_ASPECT}",
            "check that each shows one whole identity",
        ),
    ):
        if paths:
            where = tuple(f"{path}: {known[path].height} x {known[path].width}" for path in paths)
            yield Fault(WARNING, kind, splits.name, f"{len(paths):,} {what}", where, remedy)
    if _factor(usual, wanted) > STRETCH:
        yield Fault(
            WARNING,
            "stretched images",
            splits.name,
            f"height / width is {usual:.3g} (median), that of the model's input {wanted:.3g} "
            f"({image_size[0]} x {image_size[1]})",
            (),
            "set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST to that shape",
        )


def _factor(aspect: float, other: float) -> float:
    return max(aspect / other, other / aspect)


def find_equal_images(
    splits: DataSplits, facts: Facts, *, ignore_same_camera: bool
) -> Iterator[Fault]:
    """Images of equal pixels that distort scores or labels.

    Args:
        splits: the data set.
        facts: of its files.
        ignore_same_camera: TEST.IGNORE_SAME_CAMERA; for data sets with the junk rule.
    """
    test = number_test_images(splits)
    query = _by_content(test[: len(splits.query)], facts)
    gallery = _by_content(test[len(splits.query) :], facts)
    training = _by_content(splits.train, facts)
    rule = ignore_same_camera and splits.ignore_same_camera
    yield from _twins(
        "equal images in training and test",
        splits.name,
        "test images are training images too",
        [
            (image, training[content][0])
            for part in (query, gallery)
            for content in part
            if content in training
            for image in part[content]
        ],
        "scores will be too high: put each image on one side",
    )
    yield from _twins(
        "query in gallery",
        splits.name,
        "queries are in the gallery too",
        [
            (image, twin)
            for content in query
            for image in query[content]
            for twin in islice(_matches(image, gallery.get(content, []), rule=rule), 1)
        ],
        "scores will be too high: remove them from query or gallery",
    )
    people = [image for image in test if image.pid not in splits.distractors]
    yield from _twins(
        "equal images of different identities",
        splits.name,
        "images are equal to an image of another identity",
        [
            (image, images[0])
            for images in _by_content([*splits.train, *people], facts).values()
            for image in images[1:]
            if image.pid != images[0].pid
        ],
        "one of the two labels is wrong, or both identities are the same",
    )


def find_shared_images(sources: Sequence[DataSplits], facts: Facts) -> Iterator[Fault]:
    """Training images of several data sets that are equal; their identities would be two."""
    first: dict[str, tuple[Sample, str]] = {}
    twins = []
    for source in sources:
        for content, images in _by_content(source.train, facts).items():
            image, name = first.setdefault(content, (images[0], source.name))
            if name != source.name:
                twins.append((images[0], image))
    yield from _twins(
        "equal images in two training sets",
        ", ".join(source.name for source in sources),
        "training images are in two data sets, under two identities",
        twins,
        "losses would push an identity away from itself: leave one of the data sets out",
    )


def _twins(
    kind: str, data: str, what: str, twins: Sequence[tuple[Sample, Sample]], remedy: str
) -> Iterator[Fault]:
    if twins:
        where = tuple(f"{name_image(image)} = {name_image(twin)}" for image, twin in twins)
        yield Fault(WARNING, kind, data, f"{len(twins):,} {what}", where, remedy)


def _matches(query: Sample, images: Iterable[Sample], *, rule: bool) -> Iterator[Sample]:
    """Other images of the query's identity which the junk `rule` does not leave out."""
    for image in images:
        is_junk = rule and image.camid == query.camid
        if image.path != query.path and image.pid == query.pid and not is_junk:
            yield image


def _by_content(images: Sequence[Sample], facts: Facts) -> dict[str, list[Sample]]:
    """Readable images by their pixels."""
    groups = defaultdict(list)
    for image in images:
        if facts[image.path].content:
            groups[facts[image.path].content].append(image)
    return dict(groups)


def _paths(splits: DataSplits) -> list[str]:
    """The distinct image files."""
    images = (*splits.train, *splits.query, *splits.gallery)
    return list(dict.fromkeys(image.path for image in images))


def read_files(
    paths: Iterable[str], num_workers: int, check: Callable[[], None] = lambda: None
) -> dict[str, FileFacts]:
    """Decode files completely, with a progress bar on a terminal.

    Args:
        paths: the files; each is read once.
        num_workers: threads.
        check: called between files; may raise to stop.
    """
    files = list(dict.fromkeys(paths))
    jobs = [files[i : i + _FILES_PER_JOB] for i in range(0, len(files), _FILES_PER_JOB)]
    facts: dict[str, FileFacts] = {}
    with (
        ThreadPoolExecutor(max(num_workers, 1)) as pool,
        tqdm(total=len(files), desc="decoding images", leave=False, disable=None) as bar,
    ):
        tasks = [pool.submit(_read_all, job) for job in jobs]
        try:
            for job, task in zip(jobs, tasks, strict=True):
                facts.update(zip(job, task.result(), strict=True))
                bar.update(len(job))
                check()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return facts


def _read_all(paths: Sequence[str]) -> list[FileFacts]:
    return [read_file(path) for path in paths]


def read_file(path: str) -> FileFacts:
    """Decode a file completely."""
    try:
        image = read_image(path)
        content = sha256(image.tobytes() + repr(image.size).encode()).hexdigest()
        return FileFacts(image.height, image.width, content)
    except BadImageError as error:
        return FileFacts(0, 0, "", str(error.__cause__).replace(f"{path!r}", "the file"))
