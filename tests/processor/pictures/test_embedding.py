"""Features in the plane: which points, stars, lines and thumbnails are drawn, and how."""

import numpy as np
import pytest
from matplotlib.offsetbox import AnnotationBbox
from PIL import Image

from processor.pictures.embedding import Scene, draw_embedding
from processor.pictures.plane import Plane

CAMERAS = ["camera 1", "camera 2"]


def scene(people=3, prompts=(), paths=()):
    """Identity i has images at (i, 0) in camera 1 and (i, 1) in camera 2; prompts at (i, 5)."""
    identities = [("street", i) for i in range(people) for _ in range(2)]
    points = [(float(i), float(camera)) for i in range(people) for camera in range(2)]
    points += [(float(i), 5.0) for i in prompts]
    plane = Plane(np.array(points), ("x", "y"))
    prompts = [("street", i) for i in prompts]
    return Scene(plane, identities, CAMERAS * people, paths, prompts)


def drawn(figure):
    """(marker, look, points) of everything that is drawn but lines."""
    return [
        (
            line.get_marker(),
            (line.get_markerfacecolor(), line.get_markeredgecolor()),
            [tuple(point) for point in line.get_xydata().tolist()],
        )
        for line in figure.axes[0].lines
        if line.get_marker() != "None"
    ]


def names(figure):
    """The texts next to identities."""
    return [text.get_text() for text in figure.axes[0].texts]


def test_shapes_are_cameras_and_looks_are_identities():
    figure = draw_embedding(scene(), title="t")
    looks = {points[0][0]: look for _, look, points in drawn(figure)}
    assert len(set(looks.values())) == 3
    assert sorted(drawn(figure)) == sorted(
        (marker, looks[i], [(i, y)]) for i in looks for y, marker in enumerate("os")
    )
    (kinds,) = figure.legends
    assert [text.get_text() for text in kinds.get_texts()] == CAMERAS
    assert names(figure) == ["0", "1", "2"]


def test_24_identities_and_their_prompts_look_different():
    """A prompt has the look of its identity."""
    figure = draw_embedding(scene(24, prompts=range(24)), title="t")
    images = {points[0][0]: look for marker, look, points in drawn(figure) if marker == "o"}
    stars = {points[0]: look for marker, look, points in drawn(figure) if marker == "*"}
    assert len(set(images.values())) == 24
    assert stars == {(i, 5): look for i, look in images.items()}
    assert figure.legends[0].get_texts()[-1].get_text() == "learned prompt"


def test_line_leads_from_each_star_to_the_images_of_its_identity():
    figure = draw_embedding(scene(3, prompts=[2, 0]), title="t")
    lines = [x.get_xydata().tolist() for x in figure.axes[0].lines if x.get_marker() == "None"]
    assert lines == [[[2, 5], [2, 0.5]], [[0, 5], [0, 0.5]]]


def test_thumbnail_is_the_image_at_the_medoid(tmp_path):
    """One image of each identity lies in the middle of the other two."""
    points, paths = [], []
    for person in range(2):
        for place, shade in ((0, 50), (2, 100), (1, 200)):
            points.append((9.0 * person, float(place)))
            path = tmp_path / f"{person}_{place}.png"
            Image.new("RGB", (20, 40), (shade, shade, 99 * person)).save(path)
            paths.append(str(path))
    identities = [("street", i // 3) for i in range(6)]
    one = Scene(Plane(np.array(points)), identities, CAMERAS[:1] * 6, paths)
    boxes = [
        x for x in draw_embedding(one, title="t").axes[0].artists if isinstance(x, AnnotationBbox)
    ]
    assert [box.xy for box in boxes] == [(0, 1), (9, 1)]
    colours = [box.offsetbox.get_data()[80, 40].tolist() for box in boxes]
    assert colours == [[200, 200, 0], [200, 200, 99]]


def test_axes_without_a_meaning_have_no_numbers():
    with_meaning = draw_embedding(scene(), title="t").axes[0]
    assert with_meaning.get_xlabel() == "x"
    assert len(with_meaning.get_xticks())
    tsne = Scene(Plane(scene().plane.points), scene().identities, scene().marks)
    axes = draw_embedding(tsne, title="t").axes[0]
    assert (axes.get_xlabel(), list(axes.get_xticks()), list(axes.get_yticks())) == ("", [], [])


def test_one_camera_needs_no_legend_of_shapes():
    one = scene()
    same = Scene(one.plane, one.identities, CAMERAS[:1] * 6)
    assert draw_embedding(same, title="t").legends == []


def test_data_sets_are_named_where_there_are_several():
    one = scene(2)
    both = [("street", 0), ("street", 0), ("mall", 0), ("mall", 0)]
    figure = draw_embedding(Scene(one.plane, both, one.marks), title="t")
    assert names(figure) == ["street 0", "mall 0"]


def test_more_cameras_than_shapes_share_them_and_say_so():
    identities = [("street", 0)] * 13
    plane = Plane(np.arange(26.0).reshape(13, 2), ("x", "y"))
    marks = [f"camera {camera}" for camera in range(1, 14)]
    figure = draw_embedding(Scene(plane, identities, marks), title="t")
    assert figure.legends[0].get_texts()[0].get_text() == "camera 1, camera 13"


@pytest.mark.parametrize("prompts", [(), range(6)])
def test_long_names_below_the_axes_stay_on_the_page(prompts):
    one = scene(6, prompts)
    marks = [f"synthetic_campus camera {i}" for i in range(6) for _ in range(2)]
    longer = Scene(one.plane, one.identities, marks, (), one.prompts)
    figure = draw_embedding(longer, title="t")
    figure.draw_without_rendering()
    page = figure.bbox
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert page.y0 <= box.y0 < box.y1 <= page.y1
