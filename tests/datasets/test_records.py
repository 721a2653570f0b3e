"""Records of the data layer."""

from datasets.records import natural_order


def test_names_are_sorted_with_numbers_by_value():
    names = ["camera 10", "Moby", "camera 9", "10", "9", "Özil"]
    assert sorted(names, key=natural_order) == ["9", "10", "Moby", "camera 9", "camera 10", "Özil"]
