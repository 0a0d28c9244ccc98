import re

import numpy as np
import pytest

from kbn.errors import RecipeError
from kbn.recipe.loading import load_recipe
from kbn.run.preflight import prepare

# a recipe whose data and model are its own
RECIPE = """\
name: own
dataset: {path: data.npz}
model: {python: model:build}
objective: {metric: val_accuracy, direction: max}
search: {trials: 2, epochs: 1}
space:
  units: {type: int, low: 2, high: 4}
"""
MODEL = """\
import keras

def build(hp, input_shape, classes):
    return keras.Sequential([
        keras.Input(input_shape),
        keras.layers.Dense(hp.get("units")),
        keras.layers.Dense(classes, activation="softmax"),
    ])
"""
COMPILED = MODEL.replace("return ", "model = ") + """\
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""  # fmt: skip


@pytest.fixture
def home(tmp_path):
    """A directory with a recipe, its data of three classes, and its model."""
    y = np.arange(30) % 3
    x = np.random.default_rng(0).normal(size=(30, 4)) + y[:, None]
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.savez(tmp_path / "halves.npz", x=x, y=y > 0)
    np.savez(tmp_path / "quantity.npz", x=x, y=y + 0.5)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "own.yaml").write_text(RECIPE)
    return tmp_path


def faults_of(home, recipe=RECIPE, model=MODEL):
    """What is told of a recipe and its model, a line each; nothing is written."""
    (home / "own.yaml").write_text(recipe)
    (home / "model.py").write_text(model)
    before = written(home)
    try:
        prepare(load_recipe(home / "own.yaml"))
        faults = []
    except RecipeError as error:
        faults = [str(fault).removeprefix(f"{home}/") for fault in error.faults]
    assert written(home) == before
    return [re.sub(r"(layer|functional)_\d+", r"\1", fault) for fault in faults]


def written(home):
    return {path: path.stat().st_mtime_ns for path in home.rglob("*")}


def with_space(*lines):
    """The recipe with more hyperparameters, in lines 8 and following."""
    return RECIPE + "".join(f"  {line}\n" for line in lines)


def own(**replaced):
    """The recipe with other values of its sections."""
    lines = [
        f"{line.partition(':')[0]}: {replaced[line.partition(':')[0]]}"
        if line.partition(":")[0] in replaced
        else line
        for line in RECIPE.splitlines()
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("model", [MODEL, COMPILED], ids=["compiled by kbn", "compiled"])
def test_sound_data_and_a_sound_model_are_prepared(home, model):
    (home / "model.py").write_text(model)
    data = prepare(load_recipe(home / "own.yaml"))
    assert (data.shape, data.outputs, len(data.x_val)) == ((4,), 3, 6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model = ", 'hp.Int("mine", 1, 2) and hp.Int("mine", 1, 3)\n    model = '),
        ('"softmax"),\n    ])', '"softmax"),\n    ], name="own")'),
        ("classes, activation", "classes + 2, activation"),  # more than there are classes
    ],
)
def test_a_model_that_is_compiled_may_be_as_it_likes(home, old, new):
    assert old in COMPILED
    assert faults_of(home, model=COMPILED.replace(old, new)) == []


def test_two_classes_may_have_one_output_where_the_models_own_loss_takes_it(home):
    binary = COMPILED.replace("sparse_categorical", "binary").replace(
        'classes, activation="softmax"', '1, activation="sigmoid"'
    )
    assert faults_of(home, own(dataset="{path: halves.npz}"), binary) == []


def test_a_regression_may_have_other_outputs_where_the_models_own_loss_takes_them(home):
    quantity = own(dataset="{path: quantity.npz}", objective="{metric: val_loss, direction: min}")
    model = COMPILED.replace('classes, activation="softmax"', "2").replace(
        '"sparse_categorical_crossentropy", metrics=["accuracy"]', "loss"
    )
    loss = "def loss(y, z): return keras.ops.mean((y - z[:, :1]) ** 2 + z[:, 1:] ** 2)\n"
    assert faults_of(home, quantity, model + loss) == []
    (fault,) = faults_of(home, quantity, model.replace(", loss", ', "mse"'))
    assert "its model must give one number for an example; got outputs of the shape" in fault


# recipe, model, and the lines that must come of it; all of them name the file and the line
BUILD = "own.yaml:3: model.python: "
BUILDS = f"{BUILD}must build a model with every hyperparameter's default; got "
MEND = "Fix the function: build(hp, input_shape, classes)."
BROKEN = {
    "no data": (
        own(dataset="{path: nowhere.npz}"), MODEL,
        "own.yaml:2: dataset.path: must be a file; got '{home}/nowhere.npz'. Fix the path.",
    ),
    "more validation than examples": (
        own(dataset="{path: data.npz, validation: 40}"), MODEL,
        "own.yaml:2: dataset.validation: must leave examples on both sides, as many as there are "
        "classes; got 40 of 30 examples. Choose about 0.2, or remove classes with few examples.",
    ),
    "a cnn without images": (
        own(model="{name: cnn}").replace("units", "layers"), MODEL,
        "own.yaml:2: dataset: a cnn needs examples of the shape (height, width, channels); "
        "got (4,). Add dataset.shape, as in shape: [8, 8, 1].",
    ),
    "nothing to test the best model on": (
        own(search="{trials: 2, epochs: 1, final: {refit: true}}"), MODEL,
        "own.yaml:5: search.final.refit: needs a test part of the data; got true. "
        "Add dataset.test: 0.2.",
    ),
    "a metric of classes, of a quantity": (
        own(dataset="{path: quantity.npz}", model="{name: mlp}"), MODEL,
        "own.yaml:4: objective.metric: must be a metric that training reports; "
        "got 'val_accuracy'. Use one of: loss, mae, val_loss, val_mae. "
        "Or, if the target is a class, write dataset.task: classification.",
    ),
    "a metric of quantities, of a class": (
        own(model="{name: mlp}", objective="{metric: val_mae, direction: min}"), MODEL,
        "own.yaml:4: objective.metric: must be a metric that training reports; got 'val_mae'. "
        "Use one of: accuracy, loss, val_accuracy, val_loss. "
        "Or, if the target is a quantity, write dataset.task: regression.",
    ),
    "no module": (
        own(model="{python: absent:build}"), MODEL,
        f"{BUILD}absent must be importable; got ModuleNotFoundError: No module named 'absent'. "
        "Fix it, or the name.",
    ),
    "no such function": (
        own(model="{python: model:biuld}"), MODEL,
        f"{BUILD}must name a function of model; got 'biuld'. Did you mean build?",
    ),
    "no data and no such function": (
        own(dataset="{path: nowhere.npz}", model="{python: model:biuld}"), MODEL,
        "own.yaml:2: dataset.path: must be a file; got '{home}/nowhere.npz'. Fix the path.",
        f"{BUILD}must name a function of model; got 'biuld'. Did you mean build?",
    ),
    "a function that raises": (
        RECIPE, MODEL.replace('hp.get("units")', "1 // 0"),
        f"{BUILDS}ZeroDivisionError: integer division or modulo by zero (model.py:6). {MEND}",
    ),
    "a function that leaves": (
        RECIPE, MODEL.replace('hp.get("units")', "exit(3)"),
        f"{BUILDS}SystemExit: 3 (model.py:6). {MEND}",
    ),
    "a function that Keras refuses": (
        RECIPE, MODEL.replace('hp.get("units")', "-1"),
        f"{BUILDS}ValueError: Received an invalid value for `units`, expected a positive integer. "
        f"Received: units=-1 (model.py:6). {MEND}",
    ),
    "a function of other arguments": (
        RECIPE, MODEL.replace("hp, input_shape, classes", "hp"),
        f"{BUILDS}TypeError: build() takes 1 positional argument but 3 were given. {MEND}",
    ),
    "a name that is not in space": (
        RECIPE, MODEL.replace('"units"', '"width"'),
        f"{BUILDS}KeyError: 'width does not exist.' (model.py:6). {MEND}",
    ),
    "no model": (
        RECIPE, MODEL.replace("return ", "model = "),
        f"{BUILD}must return a Keras model; got NoneType. Fix the function.",
    ),
    "something else": (
        RECIPE, "def build(*_): return 'model'\n",
        f"{BUILD}must return a Keras model; got str. Fix the function.",
    ),
    "examples of another shape": (
        RECIPE, MODEL.replace("keras.Input(input_shape)", "keras.Input((5,))"),
        f"{BUILD}its model must take examples of the shape (4,); got ValueError: "
        "Input 0 with name 'input_layer' of layer 'functional' is incompatible with the layer: "
        "expected shape=(None, 5), found shape=(None, 4). Fix it.",
    ),
    "too few outputs": (
        RECIPE, MODEL.replace("classes, activation", "2, activation"),
        f"{BUILD}its model must give 3 numbers for an example, one a class; "
        "got outputs of the shape (None, 2). End it with keras.layers.Dense(classes).",
    ),
    "too few outputs of a compiled model": (
        RECIPE, COMPILED.replace("classes, activation", "2, activation"),
        f"{BUILD}its model must give 3 numbers for an example, one a class; "
        "got outputs of the shape (None, 2). End it with keras.layers.Dense(classes).",
    ),
    "too many outputs": (
        RECIPE, MODEL.replace("classes, activation", "4, activation"),
        f"{BUILD}its model must give 3 numbers for an example, one a class; "
        "got outputs of the shape (None, 4). End it with keras.layers.Dense(classes).",
    ),
    "two outputs": (
        RECIPE, MODEL.replace("return keras.Sequential([", "model = keras.Sequential([") +
        "    return keras.Model(model.inputs, [*model.outputs, *model.outputs])\n",
        f"{BUILD}a model that kbn compiles must have one output; got several. "
        "Compile it, or keep one.",
    ),
    "a call that raises": (
        RECIPE, "import keras\nclass Net(keras.Model):\n    def call(self, x): return x.no\n"
        "def build(hp, *_): return hp.get('units') and Net()\n",
        f"{BUILD}its model must take examples of the shape (4,); got AttributeError: "
        "'SymbolicTensor' object has no attribute 'no' (model.py:3). Fix it.",
    ),
    "outputs of a quantity": (
        own(dataset="{path: quantity.npz}", objective="{metric: val_mae, direction: min}"),
        MODEL.replace("classes, activation", "2, activation"),
        f"{BUILD}its model must give one number for an example; "
        "got outputs of the shape (None, 2). End it with keras.layers.Dense(classes).",
    ),
    "a loss that takes no classes": (
        RECIPE, COMPILED.replace("sparse_categorical", "categorical"),
        f"{BUILD}training must take its model's outputs and the targets; got ValueError: "
        "Arguments `target` and `output` must have the same rank (ndim). "
        "Received: target.shape=(1,), output.shape=(1, 3). Fix it.",
    ),
    "a loss that nobody knows": (
        RECIPE, COMPILED.replace("sparse_categorical_crossentropy", "crossentropi"),
        f"{BUILD}training must take its model's outputs and the targets; got ValueError: "
        "Could not interpret loss identifier: crossentropi. Fix it.",
    ),
    "a metric that the model does not report": (
        RECIPE, COMPILED.replace('["accuracy"]', "[]"),
        "own.yaml:4: objective.metric: must be a metric that training reports; "
        "got 'val_accuracy'. Use one of: loss, val_loss.",
    ),
    "a misspelt metric": (
        own(objective="{metric: val_acuracy, direction: max}"), COMPILED,
        "own.yaml:4: objective.metric: must be a metric that training reports; "
        "got 'val_acuracy'. Did you mean val_accuracy?",
    ),
    "hyperparameters that nothing reads": (
        with_space("depth: {type: int, low: 1, high: 2}", "width: 8"), MODEL,
        'own.yaml:8: space.depth: nothing uses this name. Read it in the function with '
        'hp.get("depth"), or remove it.',
        'own.yaml:9: space.width: nothing uses this name. Read it in the function with '
        'hp.get("width"), or remove it.',
    ),
    "a learning rate of a compiled model": (
        with_space("learning_rate: {type: float, low: 0.1, high: 1}"), COMPILED,
        'own.yaml:8: space.learning_rate: nothing uses this name. Read it in the function with '
        'hp.get("learning_rate"), or remove it.',
    ),
    "an optimizer that kbn does not have": (
        with_space("optimizer: {type: choice, values: [adam, ftrl]}"), MODEL,
        "own.yaml:8: space.optimizer.values: optimizer must be one of adam, adamw, nadam, adamax, "
        "lamb, lion, muon, rmsprop, adagrad, sgd; got 'ftrl'. Use one of: adagrad, adam, adamax, "
        "adamw, lamb, lion, muon, nadam, rmsprop, sgd.",
    ),
    "a learning rate that is none": (
        with_space("learning_rate: {type: float, low: -1, high: 1}"), MODEL,
        "own.yaml:8: space.learning_rate.low: learning_rate must be > 0; got -1.0. Change low.",
    ),
    "a hyperparameter with two ranges": (
        RECIPE, MODEL.replace('hp.get("units")', 'hp.Int("units", 2, 64)'),
        "own.yaml:7: space.units: the function declares it too, with other values. "
        'Read it there with hp.get("units"), or remove it here.',
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "model", "lines"), [(r, m, ls) for r, m, *ls in BROKEN.values()], ids=BROKEN
)
def test_what_needs_the_data_or_the_model_is_told_before_the_first_trial(
    home, recipe, model, lines
):
    assert faults_of(home, recipe, model) == [line.replace("{home}", str(home)) for line in lines]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("momentum: {type: float, low: 0, high: 1, when: {kind: sgd}}",
         'hp.get("kind") == "sgd" and hp.get("momentum")'),
        ("momentum: {type: float, low: 0, high: 1}",
         'hp.get("kind") == "sgd" and hp.get("momentum")'),
        ("momentum: {type: float, low: 0, high: 1}",
         'hp.get("kind") and hp.get("units") > 2 and hp.values["momentum"]'),
        ("momentum: {type: float, low: 0, high: 1}",
         'hp.get("kind") and hp.Float("momentum", 0, 1)'),
        ("momentum: {type: float, low: 0, high: 1}", "dict(hp.values)"),
        ("momentum: {type: float, low: 0, high: 1}", "(lambda **values: 0)(**hp.values)"),
    ],
    ids=["conditional", "in one branch", "at higher values", "declared alike", "all", "arguments"],
)  # fmt: skip
def test_a_hyperparameter_counts_as_used_if_any_values_lead_to_it(home, line, read):
    recipe = with_space("kind: {type: choice, values: [adam, sgd]}", line)
    model = COMPILED.replace("    model = ", f"    {read}\n    model = ")
    assert faults_of(home, recipe, model) == []
    assert len(faults_of(home, recipe, COMPILED)) == 2


def test_every_variant_is_tried_before_the_first_is_searched(home):
    compare = """\
compare:
  seeds: 2
  variants:
    good: {}
    bad: {dataset.path: nowhere.npz}
    worse: {model.python: "model:biuld"}
"""
    faults = faults_of(home, RECIPE + compare)
    assert [fault.partition(";")[0] for fault in faults] == [
        "own.yaml:12: dataset.path: must be a file",
        "own.yaml:13: model.python: must name a function of model",
    ]
    (home / "own.yaml").write_text(RECIPE + compare.partition("    bad")[0] + "    same: {}\n")
    assert prepare(load_recipe(home / "own.yaml")).outputs == 3


def test_a_recipe_of_python_alone_is_told_by_its_name():
    from kbn.recipe.schema import Recipe

    recipe = Recipe(
        name="quick",
        dataset={"path": "nowhere.csv"},
        model={"name": "softmax"},
        objective={"metric": "val_accuracy", "direction": "max"},
        search={"trials": 1, "epochs": 1},
        space={"learning_rate": {"type": "float", "low": 0.1, "high": 1}},
    )
    with pytest.raises(RecipeError) as caught:
        prepare(recipe)
    (fault,) = caught.value.faults
    assert str(fault) == "quick: dataset.path: must be a file; got 'nowhere.csv'. Fix the path."
