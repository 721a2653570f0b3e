"""What the sub-commands have in common: names of arguments, places of files, plain refusals."""

import argparse
from pathlib import Path

import pytest

from processor.tools.command_line import parse_anywhere, place_output
from run import TOOLS, build_parser

CHECKPOINT_FIRST = sorted(set(TOOLS) - {"batches", "curves", "data-check", "protocol", "results"})


def options_of(name):
    """The sub-command's arguments by their first names."""
    parser = argparse.ArgumentParser()
    TOOLS[name].add_arguments(parser)
    return {
        action.option_strings[0] if action.option_strings else action.dest: action
        for action in parser._actions
    }


@pytest.mark.parametrize("name", TOOLS)
def test_configuration_is_overridden_in_one_way(name):
    options = options_of(name)
    assert {"--set", "--device", "--batch_size", "--num_workers"}.isdisjoint(options)
    if "opts" in options:
        assert "KEY VALUE" in options["opts"].metavar
    else:
        assert name in ("curves", "results")  # they read folders of runs


@pytest.mark.parametrize("name", CHECKPOINT_FIRST)
def test_checkpoint_comes_first(name):
    first = next(option for option in options_of(name) if not option.startswith("-"))
    assert first == "checkpoint"


@pytest.mark.parametrize(
    "typed",
    [
        "rank-list last.pth --top 0",
        "rank-list last.pth --queries -1",
        "search last.pth --query a --gallery b --top 0",
        "attention last.pth a --limit 0",
        "batches last.pth --epoch 0",
        "batches last.pth --identities -3",
        "embedding last.pth --max_identities 0",
    ],
)
def test_numbers_of_things_are_positive(typed, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_anywhere(build_parser(), typed.split())
    assert exit_.value.code == 2
    *_, option, number = typed.split()
    error = capsys.readouterr().err
    assert f"argument {option}" in error
    assert f": expected at least 1, got {number}\n" in error


@pytest.mark.parametrize(
    "typed",
    [
        "extract last.pth a.jpg b/ --output x.npz TEST.NECK_FEAT after",
        "extract last.pth a.jpg b/ TEST.NECK_FEAT after --output x.npz",
        "extract --output x.npz last.pth a.jpg b/ TEST.NECK_FEAT after",
    ],
)
def test_overrides_stand_anywhere(typed):
    parsed = parse_anywhere(build_parser(), typed.split())
    assert (parsed.checkpoint, parsed.images) == ("last.pth", ["a.jpg", "b/"])
    assert parsed.opts == ["TEST.NECK_FEAT", "after"]
    assert parsed.output == "x.npz"


def test_output_is_beside_the_checkpoint_unless_said():
    assert place_output(None, "runs/demo/last.pth", "search") == Path("runs/demo/search")
    assert place_output("here", "runs/demo/last.pth", "search") == Path("here")
