"""The description of features changes with everything they depend on."""

import torch

from processor.checkpoints.description import describe_features
from processor.checkpoints.load import open_model


def test_description_changes_with_everything_features_depend_on(saved, tmp_path):
    """Text encoder, prompts, classifiers and training sizes do not count; all else does."""
    described = describe_features(open_model(saved[0]))
    assert described["INPUT.SIZE_TEST"] == "[256, 128]"
    content = torch.load(saved[0], weights_only=True)
    for prefix in ("text_encoder.", "prompt_learner.", "classifier"):
        for name, values in content["model"].items():
            if name.startswith(prefix) and values.is_floating_point():
                values += 1
    torch.save(content, tmp_path / "other_text.pth")
    other_text = open_model(str(tmp_path / "other_text.pth"))
    assert describe_features(other_text) == described
    for name in ("cv_embed", "bottleneck.running_mean", "image_encoder.proj"):
        other = open_model(saved[0])
        with torch.no_grad():
            other.model.state_dict()[name].view(-1)[0] += 1
        assert {
            key for key, value in describe_features(other).items() if described[key] != value
        } == {"weights"}
    typed = ["TEST.NECK_FEAT", "after", "INPUT.PIXEL_MEAN", "[0.1, 0.2, 0.3]"]
    found = describe_features(open_model(saved[0], opts=typed))
    assert found["weights"] == described["weights"]
    assert {key for key in found if found[key] != described[key]} == set(typed[::2])
