"""Name packages that are not installed; entry scripts import this file first."""

from __future__ import annotations

import sys
from importlib.util import find_spec

PACKAGES = [  # what every command needs, by the names that Python imports
    *("torch", "torchvision", "yacs", "timm", "ftfy", "regex", "tqdm", "open_clip"),
    *("safetensors", "numpy", "PIL", "yaml", "huggingface_hub", "psutil"),
]
TRAINING_PACKAGES = {  # what training, evaluation and plots need in addition, and how to install it
    "skimage": "scikit-image",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
    "matplotlib": "matplotlib",
}
ACTIVATE = r".venv\Scripts\activate" if sys.platform == "win32" else "source .venv/bin/activate"


def check_packages() -> None:
    """Exit with the remedy if a package is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        sys.exit(
            f"error: not installed for {sys.executable}: {', '.join(missing)}\n"
            f"Activate the environment that has them ({ACTIVATE}), or install them: "
            "pip install -r requirements.txt"
        )


check_packages()
