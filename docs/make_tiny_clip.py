"""Train the demo's CLIP on drawn people and captions; writes configs/demo/vit_tiny.safetensors.

None of its places and none of its people's outfits are in a data set of another part. Like the
texts of CLIP's training images, captions tell of the place and the light as well; so its features
are about more than the person, and ReID has something to learn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config.load import load_cfg
from datasets.synthetic.cameras import FLOORS, WALLS
from datasets.synthetic.captions import COLOURS, caption, name_colour
from datasets.synthetic.figures import Appearance
from datasets.synthetic.people import keyed_generator
from datasets.synthetic.places import DOMAINS, CameraStyle, Domain
from datasets.synthetic.render import DatasetSize, Plan, draw_shot, plan_shots
from model.build import build_backbone

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
RECIPE, WEIGHTS = ROOT / "configs/demo/vit_tiny.yml", ROOT / "configs/demo/vit_tiny.safetensors"
NUM_PLACES, CAMERAS = 250, 4
PEOPLE = DatasetSize(num_train_pids=48, num_test_pids=0, num_cameras=CAMERAS, images_per_camera=1)
EPOCHS, BATCH, RATE = 45, 256, 2e-3
UNSEEN = DatasetSize(num_train_pids=1, num_test_pids=200, num_cameras=1, images_per_camera=1)
SCENES = {
    "brick": "by a brick wall",
    "concrete": "by a concrete wall",
    "shop": "in front of a shop",
    "corridor": "in a corridor",
    "hedge": "by a hedge",
    "trees": "near trees",
    "metro": "in an underground station",
    "asphalt": "on asphalt",
    "pavement": "on a pavement",
    "tiles": "on tiles",
    "grass": "on grass",
    "path": "on a sandy path",
    "terrazzo": "on a stone floor",
}
TOLD = 0.8  # probability that a caption tells of the wall, of the floor, of the light
DARK, BRIGHT = 105, 130  # mean gray level of a photo
DRAWN_ELSEWHERE = [
    DatasetSize(train, test, num_cameras=1, images_per_camera=1, seed=seed)
    for train, test in ((1, 200), (50, 50), (100, 50), (300, 200))
    for seed in range(20)
]


def draw_place(number: int) -> Domain:
    """A place whose colours, walls and cameras are random."""
    rng = keyed_generator("place", number)

    def some(things: Sequence[T], count: int) -> tuple[T, ...]:
        return tuple(things[i] for i in rng.permutation(len(things))[:count])

    def around(low: float, high: float, width: float) -> tuple[float, float]:
        centre = rng.uniform(low, high)
        return centre - width, centre + width

    def colours(count: int) -> tuple[tuple[float, ...], ...]:
        shades = some([shade for shades in COLOURS.values() for shade in shades], count)
        return tuple(tuple(np.clip(shade + rng.normal(0, 0.04, 3), 0, 1)) for shade in shades)

    style = CameraStyle(
        walls=some(list(WALLS), 3),
        floors=some(list(FLOORS), 2),
        air=tuple(rng.uniform(0.3, 0.75, 3)),
        haze=rng.uniform(0.55, 0.75),
        tint=tuple(np.exp(rng.normal(0, 0.1, 3))),
        saturation=around(0.8, 1.15, 0.1),
        gamma=around(0.9, 1.1, 0.1),
        contrast=around(0.85, 1.05, 0.06),
        brightness=around(-0.05, 0.06, 0.03),
        blur=around(0.35, 0.8, 0.25),
        noise=around(0.01, 0.03, 0.007),
        scale=around(0.93, 0.96, 0.03),
    )
    patterned, bare, bags, hats = rng.uniform((0.4, 0.1, 0.4, 0.05), (0.7, 0.8, 0.8, 0.35))
    return Domain(f"place{number}", colours(12), colours(8), patterned, bare, bags, hats, style)


def outfit(who: Appearance) -> str:
    """The names of everything that captions tell of hair and clothes."""
    hidden = {"skin", "girth", "stature"}
    hidden |= {"accent"} if who.pattern == "plain" else set()
    hidden |= {"bag"} if who.bag_kind == "none" else set()
    told = {x.name: getattr(who, x.name) for x in fields(who) if x.name not in hidden}
    return str(
        {
            key: name_colour(value) if isinstance(value, tuple) else value
            for key, value in told.items()
        }
    )


def taken_outfits() -> frozenset[str]:
    """Outfits of everybody whom other parts draw."""
    people = {
        id(shot.appearance): shot.appearance  # in a shot of every camera
        for domain in DOMAINS.values()
        for size in DRAWN_ELSEWHERE
        for shot in plan_shots(Plan(domain, size, 128, 64))
    }
    return frozenset(map(outfit, people.values()))


@dataclass(frozen=True)
class Drawn:
    """A person of a place, with an image by each of its cameras: (CAMERAS, 3, 128, 64) bytes."""

    who: Appearance
    style: CameraStyle
    images: Tensor

    def describe(self, camera: int, rng: np.random.Generator) -> str:
        """The person and, each with probability `TOLD`, wall, floor and light of an image."""
        told = rng.random(3) < TOLD
        text = caption(self.who, rng)
        for known, surfaces in zip(told, (self.style.walls, self.style.floors), strict=False):
            text += f" {SCENES[surfaces[camera % len(surfaces)]]}" if known else ""
        level = self.images[camera].float().mean()
        light = "dark" if level < DARK else "bright" if level > BRIGHT else "clear"
        return f"{text}, a {light} photo" if told[2] else text


def draw(domain: Domain, size: DatasetSize, taken: frozenset[str] = frozenset()) -> list[Drawn]:
    """The people of a place, without those whose outfit is taken."""
    plan = Plan(domain, size, 128, 64)
    shots = [s for s in plan_shots(plan) if s.pid > 0 and outfit(s.appearance) not in taken]
    images = torch.from_numpy(np.stack([np.asarray(draw_shot(plan, shot)) for shot in shots]))
    groups = images.permute(0, 3, 1, 2).unflatten(0, (-1, size.num_cameras))
    people = [shot.appearance for shot in shots[:: size.num_cameras]]
    return [Drawn(who, domain.style, group) for who, group in zip(people, groups, strict=True)]


class DrawnClip:
    """A CLIP for images of 128 x 64 pixels."""

    def __init__(self) -> None:
        cfg = load_cfg(RECIPE, ["MODEL.PRETRAIN_PATH", "", "MODEL.PRETRAIN_CHOICE", "none"])
        backbone = build_backbone(cfg)
        assert backbone.text is not None
        self.encoder, self.clip = backbone.image_encoder, backbone.text.module
        self.used = torch.zeros(self.clip.vocab_size, dtype=torch.bool)

    def project_images(self, images: Tensor) -> Tensor:
        """Features of (N, 3, 128, 64) bytes."""
        return self.encoder((images.float() / 255 - 0.5) / 0.5).projected

    def project_captions(self, captions: list[str]) -> Tensor:
        """Features."""
        tokens = open_clip.tokenize(captions, self.clip.context_length)
        self.used[tokens] = True
        return self.clip.encode_text(tokens)

    def load(self, state: dict[str, Tensor]) -> None:
        """Weights of `state_dict`."""
        positions = state.pop("visual.positional_embedding")
        with torch.no_grad():
            self.encoder.positional_embedding.copy_(positions)
        self.clip.load_state_dict(state, strict=False)

    def state_dict(self) -> dict[str, Tensor]:
        """OpenAI's names in float16; words that no caption has are zero, which packs well."""
        state = self.clip.state_dict()
        state["visual.positional_embedding"] = self.encoder.positional_embedding
        state["token_embedding.weight"] = state["token_embedding.weight"] * self.used[:, None]
        return {name: tensor.detach().half().contiguous() for name, tensor in state.items()}


def train(model: DrawnClip, people: list[Drawn]) -> None:
    """CLIP's loss on batches of different people, each with a random camera, side and caption."""
    rng, loss_fn = keyed_generator("captions"), ClipLoss()
    parameters = {*model.encoder.parameters(), *model.clip.parameters()}
    steps = EPOCHS * (len(people) // BATCH)
    optimizer = torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.98), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, steps, pct_start=0.05, cycle_momentum=False
    )
    order: list[int] = []
    for step in range(steps):
        if len(order) < BATCH:
            order = rng.permutation(len(people)).tolist()
        batch, order = order[:BATCH], order[BATCH:]
        cameras = rng.integers(CAMERAS, size=BATCH).tolist()
        chosen = torch.stack([people[i].images[c] for i, c in zip(batch, cameras, strict=True)])
        mirrored = torch.from_numpy(rng.random(BATCH) < 0.5)[:, None, None, None]
        image_features = model.project_images(torch.where(mirrored, chosen.flip(3), chosen))
        texts = [people[i].describe(c, rng) for i, c in zip(batch, cameras, strict=True)]
        text_features = model.project_captions(texts)
        scale = model.clip.logit_scale.exp()
        loss = loss_fn(F.normalize(image_features), F.normalize(text_features), scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.clip.logit_scale.clamp_(0, np.log(100))
        if step % 100 == 0:
            write(f"step {step} of {steps}: loss {loss.item():.2f}")


@torch.no_grad()
def calibrate(model: DrawnClip, people: list[Drawn]) -> None:
    """Scale both projections so that products of features are CLIP's logits.

    CLIP-ReID compares features without normalizing them: its losses take products for logits.
    """
    rng = keyed_generator("calibration")
    images = torch.stack([person.images[0] for person in people[:500]])
    texts = [person.describe(0, rng) for person in people[:500]]
    image_norm = model.project_images(images).norm(dim=1).mean()
    text_norm = model.project_captions(texts).norm(dim=1).mean()
    root = (model.clip.logit_scale.exp()).sqrt()
    model.encoder.proj *= root / image_norm
    model.clip.text_projection *= root / text_norm


@torch.no_grad()
def retrieve(model: DrawnClip, domain: Domain) -> tuple[float, float]:
    """Shares of captions whose image is the first and among the first 10 of UNSEEN people."""
    people = draw(domain, UNSEEN)[1:]  # all but the one to train on
    rng = keyed_generator("retrieval")
    texts = model.project_captions([caption(person.who, rng) for person in people])
    images = model.project_images(torch.cat([person.images for person in people]))
    similarity = F.normalize(texts) @ F.normalize(images).T
    ranks = (similarity > similarity.diag()[:, None]).sum(1)
    return (ranks < 1).float().mean().item(), (ranks < 10).float().mean().item()


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Draw, train, measure and save."""
    taken = taken_outfits()
    with ProcessPoolExecutor(2) as pool:
        places = pool.map(
            partial(draw, size=PEOPLE, taken=taken), map(draw_place, range(NUM_PLACES))
        )
        people = [person for place in places for person in place]
    write(f"{len(people)} people of {NUM_PLACES} places; {len(taken)} outfits left out")
    torch.manual_seed(0)
    model = DrawnClip()
    train(model, people)
    calibrate(model, people)
    for name, domain in DOMAINS.items():
        first, ten = retrieve(model, domain)
        write(f"synthetic_{name}: Rank-1 {first:.1%}, Rank-10 {ten:.1%} of {UNSEEN.num_test_pids}")
    save_file(model.state_dict(), WEIGHTS)
    write(f"wrote {WEIGHTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
