"""Prompt sentences, their tokens, and their constant words."""

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from config import load_cfg
from model.build import prompt_noun
from model.prompt import PromptLearner, prompt_sentence, tokenize_prompt

START, END, X, PERIOD = 49406, 49407, 343, 269
A_PHOTO_OF_A = [320, 1125, 539, 320]


def ids(text):
    return open_clip.tokenizer.SimpleTokenizer().encode(text)


@pytest.mark.parametrize(("noun", "token"), [("person", 2533), ("vehicle", 5299)])
def test_prompts_equal_the_originals(noun, token):
    prompt = tokenize_prompt(noun)
    assert prompt.sentence == f"A photo of a X X X X {noun}."
    expected = [START, *A_PHOTO_OF_A, X, X, X, X, token, PERIOD, END]
    assert prompt.tokens[0, :12].tolist() == expected
    assert prompt.tokens.shape == (1, 77)
    assert not prompt.tokens[0, 12:].any()
    assert (prompt.start, prompt.end) == (5, 11)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cow", "A photo of a X X X X cow."),
        ("  cow ", "A photo of a X X X X cow."),
        ("white delivery van", "A photo of a X X X X white delivery van."),
        ("An infrared picture of {context} cattle.", "An infrared picture of X X X X cattle."),
        ("{context} seen from above", "X X X X seen from above"),
        ("a photo of {context}", "a photo of X X X X"),
        ("A photo of a X X X X person.", "A photo of a X X X X person."),
    ],
)
def test_sentence_is_tokenized_around_its_context(text, sentence):
    assert prompt_sentence(text) == sentence
    prompt = tokenize_prompt(text)
    tokens = prompt.tokens[0].tolist()
    before, after = sentence.split("X X X X")
    assert prompt.start == 1 + len(ids(before))
    assert tokens[prompt.start : prompt.start + 4] == [X] * 4
    assert tokens[: prompt.start] == [START, *ids(before)]
    assert tokens[prompt.start + 4 : prompt.end] == ids(after)
    assert tokens[prompt.end] == END
    assert not any(tokens[prompt.end + 1 :])


@pytest.mark.parametrize("text", ["cow " * 80, "{context}" + " cow" * 80])
def test_too_long_a_prompt_is_refused(text):
    with pytest.raises(ValueError, match=r"MODEL\.PROMPT.*tokens; the text tower takes 77"):
        tokenize_prompt(text)


def test_longest_prompt_that_fits():
    prompt = tokenize_prompt("cow " * 66)  # start, 4 words, 4 X, 66 nouns, period, end = 77
    assert prompt.end == 76
    with pytest.raises(ValueError, match="78 tokens"):
        tokenize_prompt("cow " * 67)
    assert tokenize_prompt("cow", context_length=12).tokens.shape == (1, 12)
    with pytest.raises(ValueError, match="12 tokens; the text tower takes 11"):
        tokenize_prompt("cow", context_length=11)


@pytest.mark.parametrize("text", ["a{context} cow", "{context}cow", "the 7{context}x cow"])
def test_context_must_be_a_separate_word(text):
    with pytest.raises(ValueError, match=r"MODEL\.PROMPT.*\{context\}"):
        tokenize_prompt(text)


@pytest.mark.parametrize("text", ["A {x} photo", "{ctx} cow", "cow}"])
def test_unknown_placeholder_is_refused(text):
    with pytest.raises(ValueError, match=r"MODEL\.PROMPT.*the placeholder is \{context\}"):
        tokenize_prompt(text)


def test_second_placeholder_is_refused():
    with pytest.raises(ValueError, match=r"MODEL\.PROMPT.*more than once"):
        tokenize_prompt("a {context} cow and a {context} calf")


@settings(max_examples=20)
@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="{}"),
        min_size=1,
        max_size=20,
    )
)
def test_any_noun_leaves_four_learned_tokens(noun):
    prompt = tokenize_prompt(noun)
    assert prompt.tokens[0, prompt.start : prompt.start + 4].tolist() == [X] * 4
    assert prompt.tokens[0, prompt.end] == END


@pytest.mark.parametrize(
    ("names", "noun"),
    [
        ("market1501", "person"),
        ("veri", "vehicle"),
        ("VehicleID", "vehicle"),
        ("('veri', 'VehicleID')", "vehicle"),
        ("('veri', 'market1501')", "person"),
        ("/data/cows", "person"),
    ],
)
def test_noun_follows_the_data_sets(names, noun):
    assert prompt_noun(load_cfg(None, ["DATASETS.NAMES", names])) == noun


def test_option_overrides_the_noun():
    opts = ["DATASETS.NAMES", "veri", "MODEL.PROMPT", "cow"]
    assert prompt_noun(load_cfg(None, opts)) == "cow"
    assert prompt_noun(load_cfg(None, opts), "vehicle") == "cow"


def test_given_noun_wins_over_the_names():
    assert prompt_noun(load_cfg(None, ["DATASETS.NAMES", "trucks"]), "vehicle") == "vehicle"


def test_tokenizer_equals_the_originals(golden_json):
    # open_clip spells the two special tokens differently within a text.
    spellings = {"<|startoftext|>": "<start_of_text>", "<|endoftext|>": "<end_of_text>"}
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=77)
    short = open_clip.tokenizer.SimpleTokenizer(context_length=16)
    cases = golden_json("tokenizer")["cases"]
    assert len(cases) == 74
    for case in cases:
        text = case["text"]
        for original, spelling in spellings.items():
            text = text.replace(original, spelling)
        assert tokenizer.encode(text) == case["encode"], text
        assert len(tokenizer.encode(text)) + 2 == case["n_with_specials"], text
        tokens = tokenizer([text])[0].tolist()
        expected = case["tokenize77_truncate"]
        assert tokens == expected + [0] * (77 - len(expected)), text
        if case["tokenize77"] is not None:
            assert case["tokenize77"] == expected
        else:
            with pytest.raises(ValueError, match="tokens"):
                tokenize_prompt(text)
        assert short([text])[0].tolist() == case["tokenize16_truncate"], text


def test_prompt_holds_context_and_constant_words():
    torch.manual_seed(0)
    table = nn.Embedding(49408, 8)
    prompt = tokenize_prompt("white delivery van")
    learner = PromptLearner(prompt, table, num_classes=3)
    assert learner.token_prefix.shape == (1, 5, 8)
    assert learner.token_suffix.shape == (1, 68, 8)
    assert learner.cls_ctx.shape == (3, 4, 8)
    assert {name for name, _ in learner.named_parameters()} == {"cls_ctx"}
    words = learner(torch.tensor([2, 0, 2]))
    assert words.shape == (3, 4 + 5, 8)  # context; three words, period, end
    assert torch.equal(words[0], words[2])
    assert torch.equal(words[1, :4], learner.cls_ctx[0])
    assert torch.equal(words[0, 4:], table.weight[prompt.tokens[0, 9:14]])


def test_context_is_initialized_with_deviation_002():
    learner = PromptLearner(tokenize_prompt("person"), nn.Embedding(49408, 64), num_classes=200)
    assert learner.cls_ctx.std().item() == pytest.approx(0.02, rel=0.02)
    assert abs(learner.cls_ctx.mean().item()) < 1e-3
