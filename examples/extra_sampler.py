"""A sampler of your own: batches of one camera each.

python train_clipreid.py --config_file configs/demo/vit_tiny.yml PLUGINS examples/extra_sampler.py \
    DATALOADER.SAMPLER by_camera
"""

from random import Random

from clipreid.plugins import EpochPlan, EpochPlanner, SamplerOptions, TrainingSet, register_sampler


class CameraSampler(EpochPlanner):
    """Shuffled batches of one camera each; images that fill no batch are left out this epoch."""

    def __init__(self, camids: list[int], batch_size: int, seed: int) -> None:
        super().__init__(seed)
        self.camids = camids
        self.batch_size = batch_size

    def plan_epoch(self) -> EpochPlan:
        """The batches of `self.epoch`, as image positions; the same on every process."""
        rng = Random(f"cameras {self.seed} {self.epoch}")
        batches: list[list[int]] = []
        for camera in sorted(set(self.camids)):
            images = [i for i, camid in enumerate(self.camids) if camid == camera]
            rng.shuffle(images)
            whole = len(images) - len(images) % self.batch_size
            batches += [images[i : i + self.batch_size] for i in range(0, whole, self.batch_size)]
        rng.shuffle(batches)
        return EpochPlan(batches, {"batches": len(batches)})


@register_sampler("by_camera", p_x_k=False)  # not P x K batches, hence no triplet loss
def make_sampler(data: TrainingSet, options: SamplerOptions) -> CameraSampler:
    """Made once per run."""
    return CameraSampler(data.camids, options.batch_size, options.seed)
