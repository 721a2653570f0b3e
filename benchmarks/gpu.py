"""Measurements on a GPU: see benchmarks/gpu.sh.

Each part runs in a process of its own with a time limit, and adds a line to the results as soon as
it has a number. Weights and pixels are random. Steps are measured without waiting for the GPU in
between, after warming up.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import processor.tools.environment  # noqa: F401  # before torch is imported

# isort: split
import numpy as np
import torch
from PIL import Image
from torch import Tensor, distributed, nn

from config import load_cfg
from datasets.samplers import nearest_identities
from loss import contrastive_loss
from loss.build import build_image_losses
from model import CLIPReID, build_model
from processor.clustering import group, jaccard_distance
from processor.evaluation import evaluate_features, rerank
from processor.runtime import gathering
from processor.runtime.device import choose_device, describe_device
from processor.runtime.precision import Precision
from processor.runtime.wrapping import compile_encoder
from processor.training.image_stage import ImagesToLosses, freeze_text_side
from processor.training.prompt_stage import freeze_all_but_prompts
from solver.build import build_image_optimizer

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "results.jsonl"
RANDOM = ["MODEL.PRETRAIN_CHOICE", "none", "MODEL.PRETRAIN_PATH", ""]
TINY_CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}


@dataclass(frozen=True)
class Run:
    """What all parts need.

    Attributes:
        folder: of the results.
        tiny: small sizes, for a dry run.
        device: where to compute.
    """

    folder: Path
    tiny: bool
    device: torch.device

    def add(self, part: str, what: str, value: float, unit: str, **more: Any) -> None:
        """Write a result and print it."""
        row = {"part": part, "what": what, "value": value, "unit": unit, **more}
        with (self.folder / RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{part}: {what}: {value:.4g} {unit} {more or ''}", flush=True)

    def model_opts(self, name: str) -> list[str]:
        """Overrides for a network at full size, or for a tiny one."""
        if not self.tiny:
            return ["MODEL.NAME", name, *RANDOM]
        model = self.folder / "small.json"
        model.write_text(json.dumps(TINY_CLIP), encoding="utf-8")
        sizes = ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]
        return ["MODEL.NAME", str(model), *RANDOM, *sizes]

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, action: Callable[[], object], warm: int = 1, times: int = 3) -> float:
        """Mean seconds of an action."""
        for _ in range(0 if self.tiny else warm):
            action()
        self.synchronize()
        times = 1 if self.tiny else times
        started = time.perf_counter()
        for _ in range(times):
            action()
        self.synchronize()
        return (time.perf_counter() - started) / times

    @contextmanager
    def peak(self, found: dict[str, float]) -> Iterator[None]:
        """Record the peak of the device's memory during a block as `peak_gb`."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        yield
        if on_gpu:
            found["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)


def tests(run: Run) -> None:
    """The suite's tests for a GPU."""
    one = ["tests/processor/metrics/test_reranking.py", "--noconftest"]
    chosen = one if run.tiny else []
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    counts = {
        word: int((re.search(rf"(\d+) {word}", done.stdout) or [0, 0])[1])
        for word in ("passed", "failed", "skipped", "error")
    }
    failures = re.findall(r"^(?:FAILED|ERROR) (.*)$", done.stdout, re.MULTILINE)
    run.add("tests", "pytest -m gpu", counts["passed"], "passed", **counts, failures=failures)
    if done.returncode:
        sys.exit(f"pytest: status {done.returncode}\n{done.stdout[-1_000:]}{done.stderr[-1_000:]}")


def image_step(
    run: Run,
    model: CLIPReID,
    dtype: torch.dtype | None,
    batch: int,
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
) -> Callable[[], Tensor]:
    """A step of stage 2 that returns its loss, on random pixels of one batch."""
    cfg = load_cfg(None, [*run.model_opts("ViT-B-16"), "DATALOADER.SAMPLER", "softmax_triplet"])
    freeze_text_side(model)
    encoder = model.image_encoder
    num_classes = model.classifier.out_features
    losses = build_image_losses(
        cfg, num_classes, encoder.width, with_text=True, joint_width=encoder.joint_width
    )
    texts = torch.randn(num_classes, encoder.joint_width, device=run.device)
    to_losses = wrap(ImagesToLosses(model, losses, texts))
    optimizer = build_image_optimizer(cfg, model)
    precision = Precision(dtype, run.device)
    images = torch.randn(batch, 3, *cfg.INPUT.SIZE_TRAIN, device=run.device)
    labels = torch.arange(batch // 4, device=run.device).repeat_interleave(4)

    def step() -> Tensor:
        with precision.autocast():
            parts, _ = to_losses(images, None, None, labels, None)
        loss = torch.stack(list(parts.values())).sum()
        precision.step(loss, [optimizer])
        return loss.detach()

    return step


def new_model(run: Run, name: str, *, recipe: str | None = None) -> CLIPReID:
    """A network with random weights on the device."""
    torch.manual_seed(0)
    cfg = load_cfg(recipe, run.model_opts(name))
    model = build_model(cfg, 12 if run.tiny else 751, 6, 1).to(run.device)
    assert isinstance(model, CLIPReID)
    return model


def formats(run: Run) -> dict[str, tuple[torch.dtype | None, bool]]:
    """Name -> number format, and whether to compile."""
    if run.device.type != "cuda":
        return {"float32": (None, False), "bf16": (torch.bfloat16, False)}
    return {
        "float32": (None, False),
        "fp16, as CLIP-ReID": (torch.float16, False),
        "bf16": (torch.bfloat16, False),
        "bf16, compiled": (torch.bfloat16, True),
    }


def steps(run: Run) -> None:
    """Steps of both stages."""
    batch = 8 if run.tiny else 64
    for name in ("ViT-B-16", "RN50"):
        for title, (dtype, compiled) in formats(run).items():
            model = new_model(run, name).train()
            if compiled:
                compile_encoder(model)
            step = image_step(run, model, dtype, batch)
            found: dict[str, float] = {}
            with run.peak(found):
                seconds = run.seconds(step, warm=6, times=20)
            what = f"stage-2 step, {name}, batch {batch}, {title}"
            run.add("steps", what, batch / seconds, "images/s", **found)
            del model, step
    prompt_steps(run, batch)


def prompt_steps(run: Run, batch: int) -> None:
    """Stage 1 on cached image features."""
    for title, (dtype, compiled) in formats(run).items():
        if compiled:
            continue
        model = new_model(run, "ViT-B-16").eval()
        freeze_all_but_prompts(model)
        width = model.image_encoder.joint_width
        num_classes = model.classifier.out_features
        labels = torch.randint(num_classes, (batch,), device=run.device)
        images = torch.randn(batch, width, device=run.device)
        precision = Precision(dtype, run.device)
        prompts = [x for x in model.parameters() if x.requires_grad]
        optimizer = torch.optim.Adam(prompts, lr=1e-4)
        with torch.no_grad():
            prefix = model.encode_prefix()

        def step(
            model: CLIPReID = model,
            precision: Precision = precision,
            labels: Tensor = labels,
            images: Tensor = images,
            optimizer: torch.optim.Optimizer = optimizer,
            prefix: Any = prefix,
        ) -> None:
            with precision.autocast():
                texts = model.encode_text(labels, prefix)
            loss = contrastive_loss(images, texts, labels, labels)
            loss = loss + contrastive_loss(texts, images, labels, labels)
            precision.step(loss, [optimizer])

        found: dict[str, float] = {}
        with run.peak(found):
            seconds = run.seconds(step, warm=5, times=50)
        what = f"stage-1 step, ViT-B-16, batch {batch}, {title}"
        run.add("steps", what, batch / seconds, "images/s", **found)


def extraction(run: Run) -> None:
    """Features of images that are on the device."""
    batch = 8 if run.tiny else 256
    for title, (dtype, compiled) in formats(run).items():
        model = new_model(run, "ViT-B-16").eval()
        if compiled:
            compile_encoder(model)
        precision = Precision(dtype, run.device)
        size = (64, 32) if run.tiny else (256, 128)
        images = torch.randn(batch, 3, *size, device=run.device)

        def embed(
            model: CLIPReID = model, images: Tensor = images, precision: Precision = precision
        ) -> None:
            with torch.no_grad(), precision.autocast():
                model.embed(images)

        found: dict[str, float] = {}
        with run.peak(found):
            seconds = run.seconds(embed, warm=4, times=15)
        what = f"features, ViT-B-16, batch {batch}, {title}"
        run.add("extraction", what, batch / seconds, "images/s", **found)


def unit_rows(run: Run, count: int, dim: int, num_pids: int) -> tuple[Tensor, np.ndarray]:
    """Features of length 1 in clusters on the device, and their pids."""
    generator = torch.Generator(run.device).manual_seed(0)
    pids = torch.arange(count, device=run.device) % num_pids
    rows = torch.randn(num_pids, dim, device=run.device, generator=generator)[pids]
    rows += 2 * torch.randn(count, dim, device=run.device, generator=generator)
    return rows / rows.norm(dim=1, keepdim=True), pids.cpu().numpy()


def metrics(run: Run) -> None:
    """Evaluation, re-ranking and clustering at the sizes of two benchmarks."""
    sizes = {"Market-1501": (3_368, 15_913, 751), "MSMT17": (11_659, 82_161, 3_060)}
    if run.tiny:
        sizes = {"tiny": (30, 120, 10)}
    for name, (num_query, num_gallery, num_pids) in sizes.items():
        rows, pids = unit_rows(run, num_query + num_gallery, 1_280, num_pids)
        camids = np.arange(len(pids)) % 6
        sides = (slice(0, num_query), slice(num_query, None))
        features = [rows[side] for side in sides]
        ids = [values[side] for values in (pids, camids) for side in sides]
        works: dict[str, Callable[[], object]] = {
            "evaluation": lambda features=features, ids=ids: evaluate_features(*features, *ids),
            "re-ranking, all distances": lambda features=features: rerank(*features, 20, 6),
        }
        for what, work in works.items():
            found: dict[str, float] = {}
            with run.peak(found):
                seconds = run.seconds(work, times=2)
            run.add("metrics", f"{what}, {name}", seconds, "s", **found)
    for count in (200,) if run.tiny else (12_936, 32_621):
        clusters(run, count)


def clusters(run: Run, count: int) -> None:
    """The clustering of DSGL."""
    rows, _ = unit_rows(run, count, 64 if run.tiny else 2_048, count // 17)
    distances = jaccard_distance(rows, max_distance=0.6)  # warms up
    found: dict[str, float] = {}
    with run.peak(found):
        seconds = run.seconds(lambda: jaccard_distance(rows, max_distance=0.6), warm=0, times=1)
    run.add("metrics", f"Jaccard distances of {count:,} images", seconds, "s", **found)
    seconds = run.seconds(lambda: group(distances, 0.6), warm=0, times=1)
    run.add("metrics", f"DBSCAN of {count:,} images", seconds, "s")


def graph(run: Run) -> None:
    """The graph of DFGS."""
    count = 500 if run.tiny else 100_000
    features = torch.randn(count, 512, device=run.device)
    seconds = run.seconds(lambda: nearest_identities(features), times=2)
    run.add("graph", f"ten nearest of {count:,} identities", seconds, "s")


def ddp(run: Run) -> None:
    """One process in a group: averaged gradients and gathered rows give the plain losses."""
    backend = "cpu:gloo,cuda:nccl" if run.device.type == "cuda" else "gloo"
    file = run.folder / "rendezvous"
    file.unlink(missing_ok=True)
    distributed.init_process_group(backend, init_method=f"file://{file}", rank=0, world_size=1)
    try:
        losses = []
        for wrap in (lambda module: module, gathering.average_gradients):
            model = new_model(run, "ViT-B-16").train()
            step = image_step(run, model, None, 8, wrap)
            losses.append([float(step()) for _ in range(3)])
        rows = torch.arange(6.0, device=run.device).view(3, 2)
        assert torch.equal(gathering._all_rows(rows, [3]), rows)
        gap = max(abs(a - b) for a, b in zip(*losses, strict=True))
        run.add("ddp", f"{backend}, one process: largest difference of a loss", gap, "")
    finally:
        distributed.destroy_process_group()


def large(run: Run) -> None:
    """ViT-L/14 trains without overflow."""
    recipe = str(ROOT / "configs/person/vit_l14.yml")
    batch = 8 if run.tiny else 64
    for title, (dtype, compiled) in formats(run).items():
        if compiled or dtype is None:
            continue
        model = new_model(run, "ViT-L-14", recipe=None if run.tiny else recipe).train()
        step = image_step(run, model, dtype, batch)
        found: dict[str, float] = {}
        with run.peak(found):
            losses = [float(step()) for _ in range(2 if run.tiny else 4)]
        if not all(np.isfinite(losses)):
            raise RuntimeError(f"ViT-L/14, {title}: losses {losses}")
        seconds = run.seconds(step, warm=2, times=5)
        what = f"stage-2 step, ViT-L-14, batch {batch}, {title}, losses finite"
        run.add("large", what, batch / seconds, "images/s", **found)


def write_image(job: tuple[Path, int]) -> None:
    """An image of random colours."""
    path, seed = job
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((128, 256), Image.Resampling.BILINEAR).save(path, quality=90)


def schedule(run: Run) -> None:
    """Both stages at the size of Market-1501, projected from measured epochs."""
    people, images = (12, 48) if run.tiny else (751, 12_936)
    folder = run.folder / "random_people"
    parts = {"bounding_box_train": images, "query": 4, "bounding_box_test": 8}
    jobs = []
    for part, count in parts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        own = people if part == "bounding_box_train" else 2
        jobs += [
            (folder / part / f"{1 + i % own:04d}_c{1 + i // own % 6}s1_{i:06d}_00.jpg", i)
            for i in range(count)
        ]
    with ThreadPoolExecutor() as pool:
        list(pool.map(write_image, jobs))
    epochs = 2
    for cache in ("auto",) if run.tiny else ("auto", "none"):
        output = run.folder / f"schedule_{cache}"
        options = {
            "DATASETS.NAMES": str(folder),
            "SOLVER.STAGE1.MAX_EPOCHS": epochs,
            "SOLVER.STAGE2.MAX_EPOCHS": epochs,
            "SOLVER.STAGE2.EVAL_PERIOD": 1_000,
            "INPUT.CACHE": cache,
            "DATALOADER.NUM_WORKERS": 2 if run.tiny else 14,
            "MODEL.COMPILE": run.device.type == "cuda",
            "OUTPUT_DIR": str(output),
        }
        words = [str(word) for option in options.items() for word in option]
        batches = ["SOLVER.STAGE2.IMS_PER_BATCH", "16"] if run.tiny else []
        command = [sys.executable, str(ROOT / "train_clipreid.py"), "--config_file"]
        command += [str(ROOT / "configs/person/vit_clipreid.yml")]
        command += [*run.model_opts("ViT-B-16"), *words, *batches]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(done.stdout[-2_000:] + done.stderr[-2_000:])
        lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
        last = {line["stage"]: line for line in lines}  # the first epoch warms up
        first, second = (last[stage]["seconds"] for stage in (1, 2))
        fixed = max(whole - epochs * (first + second), 0)
        place = f"INPUT.CACHE {cache}"
        speed = last[2]["images_per_second"]
        run.add("schedule", f"stage 2, images from {place}", speed, "images/s")
        minutes = (fixed + 120 * first + 60 * second) / 60
        what = f"120 + 60 epochs of {images:,} images, {place}, projected"
        more = {"epoch_1_s": first, "epoch_2_s": second, "fixed_s": fixed}
        run.add("schedule", what, minutes, "min", **{k: round(v, 2) for k, v in more.items()})


PARTS: dict[str, tuple[Callable[[Run], None], int]] = {
    "graph": (graph, 30),
    "metrics": (metrics, 70),
    "extraction": (extraction, 70),
    "steps": (steps, 110),
    "large": (large, 45),
    "ddp": (ddp, 25),
    "schedule": (schedule, 110),
    "tests": (tests, 60),
}
"""Name -> function and seconds."""
MOST_SECONDS = 480  # of all parts together


def report(run: Run, failures: dict[str, str]) -> None:
    """Write gpu.json and gpu.md of what there is."""
    file = run.folder / RESULTS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows = list(map(json.loads, lines))
    machine = f"{describe_device(run.device)}, torch {torch.__version__}"
    content = {"machine": machine, "results": rows, "failures": failures}
    (run.folder / "gpu.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    text = [machine, "", "| part | what | value | unit | peak GB |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (row["part"], row["what"], f"{row['value']:.4g}", row["unit"])
        text.append(f"| {' | '.join(cells)} | {row.get('peak_gb', '')} |")
    text += [f"\n{part} failed: {reason}" for part, reason in failures.items()]
    (run.folder / "gpu.md").write_text("\n".join(text) + "\n", encoding="utf-8")


def run_part(run: Run, names: list[str], limit: float) -> str:
    """Run parts in a new process; returns why it failed, or "" ."""
    command = [sys.executable, str(Path(__file__)), "--parts", *names, "--folder", str(run.folder)]
    log = run.folder / f"{names[0]}.log"
    with log.open("w", encoding="utf-8") as file:
        started = subprocess.Popen(
            [*command, *(["--tiny"] if run.tiny else [])],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = started.wait(limit)
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"
        finally:  # also when this program is stopped
            if started.poll() is None:
                os.killpg(started.pid, 9)
                started.wait()
    return f"status {status}: {log.read_text(encoding='utf-8')[-1_500:]}" if status else ""


def main() -> None:
    """Run all parts and write the table; exit with status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, help="folder of the results")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a dry run")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = (arguments.folder or arguments.output or ROOT / "runs" / "gpu").resolve()
    run = Run(folder, arguments.tiny, choose_device("cpu" if arguments.tiny else "auto"))
    if arguments.parts:
        for name in arguments.parts:
            PARTS[name][0](run)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS).unlink(missing_ok=True)
    failures: dict[str, str] = {}
    ends = time.monotonic() + MOST_SECONDS
    groups = [list(PARTS)] if run.tiny else [[name] for name in PARTS]
    for names in groups:
        limit = min(sum(PARTS[name][1] for name in names), ends - time.monotonic())
        reason = run_part(run, names, limit) if limit > 5 else "no time left"
        if reason:
            failures[names[0]] = reason
        report(run, failures)
    print((folder / "gpu.md").read_text(encoding="utf-8"))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
