"""A recipe drafted from a folder of images."""

import pytest

from kbn.errors import RecipeError
from kbn.recipe.datasets import load_dataset
from kbn.recipe.drafting_images import draft_images
from kbn.recipe.loading import load_recipe
from kbn.recipe.starting import write_recipe
from recipe.pictures import make_folder


def drafted(folder):
    recipe = load_recipe(write_recipe("mine", draft_images("mine", folder), {}))
    return recipe, load_dataset(recipe.dataset, recipe.search.seed, recipe.home)


def test_a_recipe_for_images_says_their_size_and_colours_and_loads_them(workspace):
    make_folder(workspace / "photos", ("ash", "elm"), each=20, size=(20, 35), channels=1)
    recipe, data = drafted(workspace / "photos")
    assert recipe.dataset.path == "../photos"
    assert (recipe.dataset.image_size, recipe.dataset.color_mode) == ([16, 32], "grayscale")
    assert data.sizes == (24, 8, 8)
    assert recipe.search.final.refit
    assert "40 grey images of 2 classes" in recipe.written
    assert "ash, elm" in recipe.written
    assert "accuracy of 0.50" in recipe.written
    assert recipe.about == "Tell the images of photos apart."


def test_parts_of_their_own_need_no_shares(workspace):
    for part in ("train", "val"):
        make_folder(workspace / "v.1" / part)
    recipe, data = drafted(workspace / "v.1")
    assert recipe.dataset.path == "../v.1/"
    assert data.sizes == (20, 20, 0)
    assert recipe.dataset.test is None
    assert not recipe.search.final.refit


def test_what_is_wrong_with_the_images_is_said_of_the_folder(workspace):
    make_folder(workspace / "photos")
    file = workspace / "photos" / "cats" / "03.png"
    file.write_text("I am no image at all.")
    with pytest.raises(RecipeError) as caught:
        draft_images("mine", workspace / "photos")
    (fault,) = map(str, caught.value.faults)
    folder = workspace / "photos"
    assert fault.startswith(f"{folder}: every image must be readable; got {file}: Unknown image")
