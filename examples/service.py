"""Name the person, car or animal in an upload; needs fastapi, python-multipart and uvicorn.

python examples/service.py runs/demo/last.pth people/ 0.35  # a gallery that `save` wrote
curl -F image=@who.jpg http://127.0.0.1:8000/identify       # {"name": "Moby"}
"""

import sys

from fastapi import FastAPI, HTTPException, UploadFile
from PIL import Image

from clipreid import Extractor, Gallery


def read_upload(upload: UploadFile) -> Image.Image:
    """The image in an upload; raises HTTPException 415 with the reason if it is not one."""
    try:
        with Image.open(upload.file) as image:
            return image.copy()  # decodes all of it
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).partition(" <")[0]  # without the upload's address in memory
        raise HTTPException(415, f"{upload.filename} is not an image: {reason}") from error


def build_service(gallery: Gallery, threshold: float) -> FastAPI:
    """POST /identify: the nearest name within the threshold, else "unknown"."""
    service = FastAPI()

    @service.post("/identify")
    def identify(image: UploadFile) -> dict[str, str]:
        return {"name": gallery.identify([read_upload(image)], threshold)[0] or "unknown"}

    return service


if __name__ == "__main__":
    import uvicorn

    known = Gallery.load(sys.argv[2], Extractor(sys.argv[1]))
    uvicorn.run(build_service(known, float(sys.argv[3])))
