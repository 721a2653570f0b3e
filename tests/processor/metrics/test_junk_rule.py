from dataclasses import replace

import numpy as np
import pytest

from processor.metrics.identities import Identities
from processor.metrics.junk_rule import Candidates, count_valid_queries, is_junk

# query 0: pid 7, camera 1; query 1: pid 8, camera 2
IDS = [7, 8], [8, 7, 9, 7], [1, 2], [2, 1, 1, 3]


def test_junk_has_the_pid_and_the_camid_of_the_query():
    chunk = Candidates.find(Identities.check(*IDS)).chunk(slice(0, 2))
    assert chunk.positions[chunk.present].tolist() == [1, 3, 0]
    assert chunk.positions[chunk.junk].tolist() == [1, 0]
    assert chunk.positions[chunk.match].tolist() == [3]


def test_nothing_is_junk_without_the_rule():
    ids = Identities.check(*IDS, ignore_same_camera=False)
    assert not is_junk(ids, slice(0, 1), np.array([[1, 3]])).any()
    assert Candidates.find(ids).chunk(slice(0, 2)).match.sum() == 3


def test_queries_with_a_match_after_the_rule_are_valid():
    assert count_valid_queries(Identities.check(*IDS)) == 1
    assert count_valid_queries(Identities.check(*IDS, ignore_same_camera=False)) == 2
    with pytest.raises(ValueError, match="0 of 1 queries have a gallery image"):
        count_valid_queries(Identities.check([8], [8], [2], [2]))
    with pytest.raises(ValueError, match=r"^0 queries, 1 gallery images$"):
        count_valid_queries(Identities.check([], [8], [], [2]))


def test_the_querys_own_image_is_junk():
    ids = Identities.check([7, 8, 7], [8, 7, 9, 7], [0] * 3, [0] * 4, ignore_same_camera=False)
    ids = replace(ids, own_places=np.array([3, -1, 1]))
    chunk = Candidates.find(ids).chunk(slice(0, 3))
    matches = [row[match].tolist() for row, match in zip(chunk.positions, chunk.match, strict=True)]
    assert matches == [[1], [0], [3]]


def test_messages_have_names():
    ids = Identities.check([0], [1], [0], [0])
    ids = replace(ids, pid_names={0: "Moby", 1: "Özil"}, camid_names={0: "door"})
    with pytest.raises(ValueError, match=r"pids in the query \{Moby\}, in the gallery \{Özil\}"):
        count_valid_queries(ids)
    ids = replace(ids, gallery_pids=ids.query_pids)
    with pytest.raises(ValueError, match=r"cameras in the query \{door\}, in the gallery \{door\}"):
        count_valid_queries(ids)
