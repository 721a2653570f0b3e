"""What samplers put into batches, and how alike the identities in them are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from datasets.build import build_train_sampler
from datasets.build_resident import build_resident_images
from datasets.samplers import nearest_identities
from datasets.samplers.identity_graph import mean_hits
from datasets.sources import TrainingSet
from model import CLIPReID
from processor.build import build_identity_features, build_identity_graph, build_precision
from processor.image_stage import all_text_features
from processor.pictures.batches import SampledBatch

FEATURES = ("text", "image")
SAMPLERS = {"random P x K": "softmax_triplet", "DFGS": "dfgs_text", "GS": "gs_text"}


def extract_identity_features(
    cfg: CfgNode, model: CLIPReID, data: TrainingSet, kind: str, epoch: int
) -> Tensor:
    """What identities are compared by in an epoch: (I, D), of length 1 with DFGS.NORMALIZE.

    Args:
        cfg: DATALOADER and, for images, INPUT and SOLVER count.
        model: on its device.
        data: the training images; for "text", those that the prompts were learned on.
        kind: one of `FEATURES`.
        epoch: for "image", decides which images stand for their identities.
    """
    device = next(model.parameters()).device
    own = _with_options(cfg, "DATALOADER.SAMPLER", f"dfgs_{kind}", "INPUT.CACHE", "none")
    features = build_identity_features(
        own,
        model,
        data,
        build_resident_images(own, data, device),
        all_text_features(model) if kind == "text" else None,
        build_precision(own, device),
    )(epoch)
    return F.normalize(features) if cfg.DATALOADER.DFGS.NORMALIZE else features


def sample_batches(
    cfg: CfgNode, data: TrainingSet, features: Tensor, epoch: int
) -> list[SampledBatch]:
    """First batches of random P x K, DFGS and GS, as training would draw them in an epoch.

    Args:
        cfg: DATALOADER, SOLVER.STAGE2.IMS_PER_BATCH and SOLVER.SEED count.
        data: the training images.
        features: of `extract_identity_features`.
        epoch: counted from 1.

    Raises:
        ValueError: the identities do not fill a batch.
    """
    columns = min(cfg.DATALOADER.DFGS.NUM_NEIGHBOURS, len(features) - 1)
    nearest = nearest_identities(features, columns).tolist()
    sampled = []
    for name, sampler in SAMPLERS.items():
        own = _with_options(cfg, "DATALOADER.SAMPLER", sampler)
        if sampler.startswith("gs"):  # it fills batches with neighbours, near both ways or not
            own = _with_options(own, "DATALOADER.DFGS.MUTUAL", "False")
        plan = build_train_sampler(own, data)
        graph = build_identity_graph(own, data, plan, lambda _: features)
        if graph is not None:
            graph.refresh(epoch)
        plan.set_epoch(epoch)
        batches = list(plan)
        labels = [
            [data.labels[i] for i in batch[:: cfg.DATALOADER.NUM_INSTANCE]] for batch in batches
        ]
        distances = [nearest_in_batch(features, batch) for batch in labels]
        sampled.append(
            SampledBatch(
                name,
                batches[0],
                labels[0],
                distances[0].tolist(),
                float(torch.cat(distances).mean()),
                mean_hits(labels, nearest),
            )
        )
    return sampled


def nearest_in_batch(features: Tensor, labels: Sequence[int]) -> Tensor:
    """Euclidean distance (P,) from every identity of a batch to the nearest other one in it.

    Args:
        features: (I, D), one row per label.
        labels: (P,), two or more.
    """
    rows = features[list(labels)].double()  # rows that are nearly equal stay apart
    distances = torch.cdist(rows, rows)
    return distances.fill_diagonal_(torch.inf).amin(1)


def _with_options(cfg: CfgNode, *options: str) -> CfgNode:
    """The configuration with `KEY VALUE ...` on top."""
    changed = cfg.clone()
    changed.defrost()
    changed.merge_from_list(list(options))
    changed.freeze()
    return changed
