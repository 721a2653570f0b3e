"""The service names uploaded images and refuses other files."""

import io
import re

import pytest
from PIL import Image

from clipreid import Extractor, Gallery

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")


@pytest.fixture
def post(checkpoint):
    """`post(content)` -> the answer for an upload; the gallery knows a red image."""
    from fastapi.testclient import TestClient

    from examples.service import build_service

    gallery = Gallery(Extractor(checkpoint, "cpu"))
    gallery.add([Image.new("RGB", (32, 64), "red")], "Moby")
    client = TestClient(build_service(gallery, 0.1))
    return lambda content: client.post("/identify", files={"image": ("who.png", content)})


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (40, 90), colour).save(file, "png")
    return file.getvalue()


def test_known_image_gets_its_name_and_another_is_unknown(post):
    assert post(png("red")).json() == {"name": "Moby"}
    assert post(png("blue")).json() == {"name": "unknown"}


@pytest.mark.parametrize("content", [b"not an image", b"", png("red")[:100]])
def test_upload_that_is_not_an_image_is_refused_with_the_reason(post, content):
    answer = post(content)
    assert answer.status_code == 415
    assert re.fullmatch(r"who\.png is not an image: [\w ,()]+", answer.json()["detail"])


def test_missing_upload_is_a_client_error(post):
    assert 400 <= post(None).status_code < 500
