import numpy as np
import pytest
import torch

from processor.metrics.identities import Identities


def test_ids_become_int64_arrays():
    ids = Identities.check(torch.tensor([1, 2]), [3], np.array([0.0, 4.0]), np.array([5], np.uint8))
    columns = (ids.query_pids, ids.gallery_pids, ids.query_camids, ids.gallery_camids)
    assert [column.tolist() for column in columns] == [[1, 2], [3], [0, 4], [5]]
    assert {column.dtype for column in columns} == {np.dtype(np.int64)}
    assert ids.ignore_same_camera


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="gallery_camids: 2 entries for 1 gallery images"):
        Identities.check([1], [2], [0], [0, 1])
    with pytest.raises(ValueError, match="query_pids: 1 entries for 3 query images"):
        Identities.check([1], [2], [0], [0], sizes=(3, 1))
