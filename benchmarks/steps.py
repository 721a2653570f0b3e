"""Training steps and feature extraction against their plain formulations: benchmarks/steps.py.

ViT-B/16 at full size with random weights, on random pixels. Both do the same work in one
process; the order alternates, ratios are of medians, and losses or features are compared. Plain
means: all 77 tokens of a prompt, gradients for all weights of the text tower, float32.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import load_cfg
from loss import contrastive_loss
from loss.build import build_image_losses
from model import CLIPReID, build_model
from processor.runtime.device import choose_device, describe_device
from processor.runtime.precision import Precision, choose_precision
from processor.training.image_stage import ImagesToLosses, freeze_text_side
from processor.training.prompt_stage import freeze_all_but_prompts
from solver.build import build_image_optimizer

NUM_CLASSES = 751
OPTS = ["MODEL.PRETRAIN_CHOICE", "none", "DATALOADER.SAMPLER", "softmax_triplet"]


def alternate(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds by name; every function runs once before the clock starts."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name in list(ways) + list(ways) * repeats:
        synchronize()
        started = time.perf_counter()
        ways[name]()
        synchronize()
        seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}


def synchronize() -> None:
    """Wait for the GPU, if any."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def plain_text_features(model: CLIPReID, labels: Tensor) -> Tensor:
    """(B,) labels -> (B, E) through all 77 tokens, word by word as CLIP does it."""
    prompts, text = model.text_parts()
    count = len(labels)
    before = prompts.token_prefix.expand(count, -1, -1)
    after = prompts.token_suffix.expand(count, -1, -1)
    x = torch.cat([before, prompts.cls_ctx[labels], after], dim=1) + text.positional_embedding
    mask = torch.full((x.shape[1], x.shape[1]), -torch.inf, device=x.device).triu(1)
    for block in text.transformer.resblocks:
        x = block(x, attn_mask=mask)
    return text.ln_final(x)[:, prompts.prompt.end] @ text.text_projection


def prompt_step(device: torch.device, repeats: int) -> None:
    """Stage 1: forward and backward of both contrasts, batch 64."""
    model = build_model(load_cfg("configs/person/vit_clipreid.yml", OPTS), NUM_CLASSES, 1, 1)
    fast = model.to(device).eval()
    plain = copy.deepcopy(fast)
    del plain.image_encoder
    for parameter in plain.parameters():
        parameter.requires_grad_(requires_grad=True)
    freeze_all_but_prompts(fast)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(NUM_CLASSES, (64,), generator=generator).to(device)
    images = torch.randn(64, 512, generator=generator).to(device)
    images = F.normalize(images) * 10
    with torch.no_grad():
        prefix = fast.encode_prefix()
    losses: dict[str, float] = {}

    def contrast(name: str, texts: Tensor, model: CLIPReID) -> None:
        loss = contrastive_loss(images, texts, labels, labels)
        loss = loss + contrastive_loss(texts, images, labels, labels)
        model.zero_grad(set_to_none=True)
        loss.backward()
        losses[name] = loss.item()

    def ours(dtype: torch.dtype | None) -> None:
        with Precision(dtype, device).autocast():
            distinct, places = labels.unique(return_inverse=True)
            texts = fast.encode_text(distinct, prefix)[places]
        contrast(f"ours {dtype}", texts, fast)

    ways = {
        "plain": lambda: contrast("plain", plain_text_features(plain, labels), plain),
        "float32": lambda: ours(None),
        "bfloat16": lambda: ours(torch.bfloat16),
    }
    seconds = alternate(ways, repeats)
    for name, key in (("float32", "ours None"), ("bfloat16", "ours torch.bfloat16")):
        difference = abs(losses[key] - losses["plain"]) / losses["plain"]
        work = f"stage-1 step, batch 64, {name}"
        report(work, seconds["plain"], seconds[name], difference, "relative loss difference")


def image_step(device: torch.device, repeats: int, batch_size: int) -> None:
    """Stage 2: forward, backward and optimizer step, against float32 without fused kernels."""
    cfg = load_cfg("configs/person/vit_clipreid.yml", OPTS)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, 3, 256, 128, generator=generator).to(device)
    labels = torch.arange(batch_size // 4).repeat_interleave(4).to(device)
    texts = torch.randn(NUM_CLASSES, 512, generator=generator).to(device)
    losses: dict[str, float] = {}

    def step_of(name: str, dtype: torch.dtype | None, *, fused: bool) -> Callable[[], None]:
        torch.manual_seed(0)
        model = build_model(cfg, NUM_CLASSES, 1, 1).to(device).train()
        freeze_text_side(model)
        losses_of_cfg = build_image_losses(
            cfg,
            NUM_CLASSES,
            model.image_encoder.width,
            with_text=True,
            joint_width=model.image_encoder.joint_width,
        )
        images_to_losses = ImagesToLosses(model, losses_of_cfg, texts)
        optimizer = build_image_optimizer(cfg, model)
        for group in optimizer.param_groups:
            group["fused"] = fused
        precision = Precision(dtype, device)

        def step() -> None:
            with precision.autocast():
                parts, _ = images_to_losses(images, None, None, labels, None)
            loss = torch.stack(list(parts.values())).sum()
            losses.setdefault(name, loss.item())
            precision.step(loss, [optimizer])

        return step

    dtype = choose_precision("auto", device)
    ways = {
        "plain": step_of("plain", None, fused=False),
        "auto": step_of("auto", dtype, fused=True),
    }
    seconds = alternate(ways, repeats)
    name = f"stage-2 step, ViT-B/16, batch {batch_size}, {dtype or 'float32'}"
    relative = abs(losses["auto"] - losses["plain"]) / losses["plain"]
    report(name, seconds["plain"], seconds["auto"], relative, "relative loss difference")


def extraction(device: torch.device, repeats: int, batch_size: int) -> None:
    """Features of a batch in evaluation mode."""
    cfg = load_cfg("configs/person/vit_clipreid.yml", OPTS)
    model = build_model(cfg, NUM_CLASSES, 1, 1).to(device).eval()
    images = torch.randn(batch_size, 3, 256, 128, generator=torch.Generator().manual_seed(0))
    images = images.to(device)
    features: dict[str, Tensor] = {}

    def embed(name: str, dtype: torch.dtype | None) -> None:
        with torch.no_grad(), Precision(dtype, device).autocast():
            features[name] = model.embed(images).float()

    dtype = choose_precision("auto", device)
    ways = {"plain": lambda: embed("plain", None), "auto": lambda: embed("auto", dtype)}
    seconds = alternate(ways, repeats)
    cosine = F.cosine_similarity(features["plain"], features["auto"]).min().item()
    name = f"features, ViT-B/16, batch {batch_size}, {dtype or 'float32'}"
    report(name, seconds["plain"], seconds["auto"], cosine, "least cosine")


def report(work: str, plain: float, ours: float, agreement: float, what: str) -> None:
    """A row of the table."""
    print(f"| {work} | {plain:.2f} | {ours:.3f} | {plain / ours:.1f} | {what} {agreement:.1e} |")


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16, help="images in a step of stage 2")
    parser.add_argument("--only", choices=("prompts", "images", "features"))
    arguments = parser.parse_args()
    device = choose_device("auto")
    print(f"{describe_device(device)}, torch {torch.__version__}\n")
    print("| work | plain s | here s | ratio | agreement |")
    print("|---|---|---|---|---|")
    if arguments.only in (None, "prompts"):
        prompt_step(device, arguments.repeats)
    if arguments.only in (None, "images"):
        image_step(device, arguments.repeats, arguments.batch)
    if arguments.only in (None, "features"):
        extraction(device, arguments.repeats, arguments.batch)


if __name__ == "__main__":
    main()
