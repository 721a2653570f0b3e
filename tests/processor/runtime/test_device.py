"""The device of MODEL.DEVICE and MODEL.DEVICE_ID."""

import pytest

from processor.runtime.device import choose_device


@pytest.mark.parametrize("number", ["-1", "a", "1.5", " -2,3"])
def test_number_of_a_gpu_is_explained(number):
    with pytest.raises(ValueError, match=r"MODEL\.DEVICE_ID .*: expected the number of a GPU"):
        choose_device("auto", number)
    assert choose_device("cpu", number).type == "cpu"  # where it has no meaning
