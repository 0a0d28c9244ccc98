"""Tracking stores in recipes: which there are, and that nobody sees their passwords."""

import json

import pydantic
import pytest

from kbn.errors import RecipeError
from kbn.recipe.loading import load_recipe
from kbn.recipe.sections import TrackingSpec
from kbn.uris import masked

SECRET = "s3cret"  # noqa: S105  of nothing


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db", "http://127.0.0.1:5000", "https://mlflow.example.org/base",
        "databricks", "uc:profile",
        "databricks://profile", "databricks-uc", "postgresql://host/db", "mysql+pymysql://host/db",
        "mssql+pyodbc://host/db", "postgresql+psycopg2://host/db",
    ],
)  # fmt: skip
def test_stores_that_mlflow_knows_are_valid(uri):
    assert TrackingSpec(uri=uri).uri == uri


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        (f"postgres://user:{SECRET}@host/db", "Write postgresql://"),
        (f"htp://user:{SECRET}@host", "http:// and the address of a server"),
        (f"redis://user:{SECRET}@host", "For example sqlite:///mlflow.db"),
        ("localhost:5000", "http:// and the address of a server"),
        ("./mlruns", "For example sqlite:///mlflow.db"),
        (f"http://user:{SECRET}@[host", "For example sqlite:///mlflow.db"),
        (f"http://user:{SECRET} x@host", "Write %20 for a space"),
    ],
)
def test_other_stores_are_rejected_with_a_hint_and_without_their_password(recipe_file, uri, hint):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_file, [f"tracking.uri={json.dumps(uri)}"])
    (fault,) = caught.value.faults
    assert fault.key == "tracking.uri"
    assert hint in fault.hint
    assert SECRET not in str(fault)
    with pytest.raises(pydantic.ValidationError) as raised:
        TrackingSpec(uri=uri)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"postgresql://user:{SECRET}@host/db", "postgresql://***@host/db"),
        (f"http://{SECRET}@host", "http://***@host"),
        (f"http://user:{SECRET}/@{SECRET}@host", "http://***@host"),
        (f"http://host?a=1&access_token={SECRET}&b=2", "http://host?a=1&access_token=***&b=2"),
        (f"mysql://host/db?password={SECRET}", "mysql://host/db?password=***"),
        ("http://host:5000/path", "http://host:5000/path"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
    ],
)
def test_passwords_are_shown_as_stars(uri, shown):
    assert masked(uri) == shown
    assert masked({"uri": [uri, 1, None]}) == {"uri": [shown, 1, None]}


def test_a_recipe_is_shown_and_sent_without_passwords(recipe_file):
    uri = f"postgresql://user:{SECRET}@host/db"
    variants = f"{{a: {{}}, b: {{tracking.uri: '{uri}'}}}}"
    recipe_file.write_text(
        f"{recipe_file.read_text()}\ntracking: {{uri: '{uri}'}}\n"
        f"compare: {{seeds: 2, variants: {variants}}}\n"
    )
    recipe = load_recipe(recipe_file)
    assert recipe.tracking.uri == uri
    for text in (*recipe.texts.values(), json.dumps(recipe.shown), repr(recipe.tracking)):
        assert SECRET not in text
    assert "***@host/db" in recipe.texts["recipe.yaml"]
    assert recipe.variant("b", 1).texts.keys() == {"recipe.resolved.json"}
    with pytest.raises(RecipeError) as caught:  # a space is missing: all of it is a key
        load_recipe(recipe_file, [f"tracking={{uri:{uri}: 1}}", f"search.trials={uri}"])
    assert SECRET not in str(caught.value)
