"""Load reports, in full and as one line."""

from model import LoadReport, load_weights


def test_report_counts_and_names_tensors():
    report = LoadReport(("a.b", "c"), ("d",), (), ("e",), ("f", "g", "h", "i", "j"))
    assert str(report) == (
        "2 tensors loaded; 1 reshaped (e); 5 skipped (f, g, h, i, ...); 1 missing (d)"
    )


def test_summary_of_plain_clip_names_the_parts(build, tiny_clip_file):
    assert load_weights(build(), tiny_clip_file).summary() == (
        "loaded image encoder, prompt words, text encoder; not loaded: classifiers, BNNecks, "
        "prompts; position embeddings resized"
    )


def test_summary_of_fine_tuning_on_other_identities(tmp_path, build, reid_state, save):
    path = save(tmp_path, reid_state)
    assert load_weights(build(num_classes=10), path).summary() == (
        "loaded classifiers, BNNecks, image encoder, prompts, prompt words, text encoder"
    )
    assert load_weights(build(num_classes=7), path).summary() == (
        "loaded BNNecks, image encoder, prompt words, text encoder; "
        "not loaded: classifiers, prompts"
    )


def test_summary_between_the_two_kinds_of_models(
    tmp_path, build, build_unsupervised, reid_state, save
):
    without_labels = build_unsupervised()
    assert load_weights(without_labels, save(tmp_path, reid_state)).summary() == (
        "loaded image encoder; not loaded: pooling, BNNecks; ignored: classifiers, prompts, "
        "prompt words, text encoder"
    )
    path = save(tmp_path, without_labels.state_dict(), "dsgl.pth")
    assert load_weights(build("MODEL.TEXT_TOWER", "False"), path).summary() == (
        "loaded image encoder; not loaded: classifiers, BNNecks; ignored: pooling"
    )


def test_summary_names_parts_it_does_not_know():
    report = LoadReport(("backbone.conv.weight",), ("head.bias",), (), (), ())
    assert report.summary() == "loaded backbone; not loaded: head"
