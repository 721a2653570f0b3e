"""Features in the plane: projections, and what is drawn where."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from processor.pictures.embedding import (
    Plane,
    Scene,
    draw_embedding,
    project_to_plane,
    without_gap,
)


def blobs(count=12, width=16):
    """Two groups of features far from each other."""
    noise = torch.randn(2 * count, width, generator=torch.Generator().manual_seed(0))
    noise[:count, 0] += 50
    return noise


def test_pca_keeps_what_lies_in_a_plane():
    turn = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0))).Q
    flat = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    plane = project_to_plane(flat @ turn.T + 7, "pca")
    assert np.abs(plane.points) == pytest.approx(flat.abs().numpy(), abs=1e-5)
    assert plane.axes == ("component 1 (90% of the variance)", "component 2 (10% of the variance)")


def test_equal_features_are_one_point():
    assert np.abs(project_to_plane(torch.ones(5, 3), "pca").points).max() == 0


def test_tsne_keeps_groups_apart_and_repeats_itself():
    first, second = (project_to_plane(blobs(), "tsne", seed=3).points for _ in range(2))
    assert np.array_equal(first, second)
    left, right = first[:12], first[12:]
    gap = np.linalg.norm(left.mean(0) - right.mean(0))
    assert gap > np.linalg.norm(left - left.mean(0), axis=1).max()


def test_few_images_are_an_error():
    with pytest.raises(ValueError, match="3 images are too few"):
        project_to_plane(torch.eye(3), "tsne")


def test_gap_between_kinds_is_closed():
    """Texts are the images' directions behind an offset of their own and a scale."""
    noise = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    images, texts = F.pad(noise, (2, 0)), F.pad(noise, (2, 0))
    images[:, 0] = texts[:, 1] = 20
    assert (F.normalize(images) @ F.normalize(texts).T).max() < 0.2
    one, other = without_gap(images, 5 * texts)
    assert (one @ other.T).argmax(1).tolist() == list(range(30))
    assert (one * other).sum(1).min() > 0.95
    torch.testing.assert_close(one.norm(dim=1), torch.ones(30))


def scene(people=3, prompts=()):
    """Identity i has images at (i, 0) in camera 0 and (i, 1) in camera 1; prompts at (i, 5)."""
    identities = [("street", i) for i in range(people) for _ in range(2)]
    points = [(float(i), float(camera)) for i in range(people) for camera in range(2)]
    points += [(float(i), 5.0) for i in prompts]
    marks = ["0", "1"] * people
    plane = Plane(np.array(points), ("x", "y"))
    return Scene(plane, identities, marks, [("street", i) for i in prompts])


def drawn(figure):
    """(marker, look, points) of everything that is drawn."""
    return [
        (
            line.get_marker(),
            (line.get_markerfacecolor(), line.get_markeredgecolor()),
            [tuple(point) for point in line.get_xydata().tolist()],
        )
        for line in figure.axes[0].lines
    ]


def test_shapes_are_cameras_and_looks_are_identities():
    figure = draw_embedding(scene(), title="t", mark="camera")
    looks = {points[0][0]: look for _, look, points in drawn(figure)}
    assert len(set(looks.values())) == 3
    assert sorted(drawn(figure)) == sorted(
        (marker, looks[i], [(i, y)]) for i in looks for y, marker in enumerate("os")
    )
    people, kinds = figure.legends
    assert [text.get_text() for text in people.get_texts()] == ["0", "1", "2"]
    assert [text.get_text() for text in kinds.get_texts()] == ["0", "1"]
    assert kinds.get_title().get_text() == "camera"
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "1", "2"]


def test_24_identities_and_their_prompts_look_different():
    """A prompt has the look of its identity."""
    figure = draw_embedding(scene(24, prompts=range(24)), title="t", mark="camera")
    images = {points[0][0]: look for marker, look, points in drawn(figure) if marker == "o"}
    stars = {points[0]: look for marker, look, points in drawn(figure) if marker == "*"}
    assert len(set(images.values())) == 24
    assert stars == {(i, 5): look for i, look in images.items()}
    assert figure.legends[1].get_texts()[-1].get_text() == "learned prompt"


def test_one_camera_needs_no_legend_of_shapes():
    one = scene()
    same = Scene(one.plane, one.identities, ["0"] * 6)
    assert len(draw_embedding(same, title="t", mark="camera").legends) == 1


def test_data_sets_are_named_where_there_are_several():
    one = scene(2)
    both = [("street", 0), ("street", 0), ("mall", 0), ("mall", 0)]
    figure = draw_embedding(Scene(one.plane, both, one.marks), title="t", mark="camera")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["street 0", "mall 0"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "0"]


def test_more_cameras_than_shapes_share_them_and_say_so():
    identities = [("street", 0)] * 13
    plane = Plane(np.arange(26.0).reshape(13, 2), ("x", "y"))
    marks = [str(camera) for camera in range(13)]
    figure = draw_embedding(Scene(plane, identities, marks), title="t", mark="camera")
    assert figure.legends[1].get_texts()[0].get_text() == "0, 12"


def test_long_names_below_the_axes_stay_on_the_page():
    one = scene(people=6)
    marks = [f"synthetic_campus {i}" for i in range(6) for _ in range(2)]
    figure = draw_embedding(Scene(one.plane, one.identities, marks), title="t", mark="camera")
    figure.draw_without_rendering()
    page = figure.bbox
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
