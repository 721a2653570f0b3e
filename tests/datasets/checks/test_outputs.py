"""Outputs below folders that are read are refused."""

import pytest

from datasets.checks.outputs import refuse_inside_data


@pytest.fixture
def root(tmp_path):
    (tmp_path / "shop" / "anna").mkdir(parents=True)
    (tmp_path / "shop.csv").write_text("path,pid\n")
    (tmp_path / "link").symlink_to(tmp_path / "shop")
    return tmp_path


@pytest.mark.parametrize("place", ["shop", "shop:query", "{root}/shop", "{root}/link"])
@pytest.mark.parametrize("output", ["shop/sheets", "shop", "shop/anna/out.png", "link/deep/down"])
def test_output_below_a_folder_that_is_read_is_refused(root, place, output):
    with pytest.raises(ValueError) as error:
        refuse_inside_data(
            root / output, "--output", ["market1501", place.format(root=root)], str(root)
        )
    assert str(error.value).startswith(f"--output: {root / output} lies in {root / 'shop'}, ")
    assert str(error.value).endswith("choose a folder outside it")


@pytest.mark.parametrize("output", ["runs/1", "shop_sheets", "shop2/x.png", "anna"])
def test_output_elsewhere_is_accepted(root, output):
    refuse_inside_data(
        root / output, "--output", ["shop", "shop.csv", "market1501", "x.jpg"], str(root)
    )


def test_output_beside_a_table_of_images_is_accepted(root):
    refuse_inside_data(root / "sheets", "--output", [str(root / "shop.csv")], str(root))
