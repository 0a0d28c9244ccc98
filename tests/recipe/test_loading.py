import pytest

from kbn.errors import RecipeError
from kbn.recipe.loading import load_recipe


def faults_of(file, *overrides):
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, overrides)
    return [str(fault) for fault in caught.value.faults]


def test_every_recipe_that_kbn_ships_is_sound(recipes):
    names = [load_recipe(file).name for file in sorted(recipes.glob("*.yaml"))]
    assert names == ["digits_mlp", "digits_softmax"]


def test_yaml_reads_numbers_and_words_as_yaml_1_2_does(recipe_file):
    text = recipe_file.read_text().replace("name: quick", "name: no")
    recipe_file.write_text(text)
    recipe = load_recipe(recipe_file)
    assert recipe.name == "no"  # YAML 1.1 says False
    assert recipe.space["learning_rate"].low == 1e-4  # YAML 1.1 says "1e-4"


def test_overrides_replace_and_add_values(recipe_file):
    recipe = load_recipe(
        recipe_file,
        ["search.trials=5", "space.learning_rate.high=1e-1", "tracking.enabled=false"],
    )
    assert recipe.search.trials == 5
    assert recipe.space["learning_rate"].high == 0.1
    assert not recipe.tracking.enabled
    assert load_recipe(recipe_file, ["search.trials=010"]).search.trials == 10  # not octal


# what is replaced in the sound recipe, by what, and the one line that must come of it
BROKEN = {
    "unknown data set": (
        "{name: iris,", "{name: iriss,",
        ":3: dataset.name: must name a known data set; got 'iriss'. Did you mean iris?",
    ),
    "unknown model": (
        "{name: softmax}", "{name: softmx}",
        ":4: model.name: must name a known model; got 'softmx'. Did you mean softmax?",
    ),
    "unknown key": (
        "search: {trials: 3,", "search: {trials: 3, epoch: 2,",
        ":6: search.epoch: unknown key; got 'epoch'. Did you mean epochs?",
    ),
    "missing key": (
        "{trials: 3, ", "{",
        ":6: search.trials: this key is needed. Add it.",
    ),
    "wrong type": (
        "trials: 3", "trials: many",
        ":6: search.trials: must be a valid integer; got 'many'. Change the value.",
    ),
    "low above high": (
        "low: 1e-4, high: 1", "low: 1, high: 1e-4",
        ":8: space.learning_rate.low: low < high must hold; got 1.0. Swap or widen them.",
    ),
    "log scale from zero": (
        "low: 1e-4", "low: 0",
        ":8: space.learning_rate.low: scale log needs low > 0; got 0.0. "
        "Move low or use another scale.",
    ),
    "complement_log scale to one": (
        "scale: log", "scale: complement_log",
        ":8: space.learning_rate.high: scale complement_log needs high < 1; got 1.0. "
        "Move high or use another scale.",
    ),
    "unknown scale": (
        "scale: log", "scale: logg",
        ":8: space.learning_rate.scale: must be one of the known words; got 'logg'. "
        "Did you mean log?",
    ),
    "unknown type": (
        "type: choice", "type: chioce",
        ":9: space.batch_size.type: must name a known type; got 'chioce'. Did you mean choice?",
    ),
    "values alike": (
        "[16, 32]", "[16, 16]",
        ":9: space.batch_size.values: values must differ; got [16, 16]. Remove the repeated ones.",
    ),
    "values of two types": (
        "[16, 32]", "[16, big]",
        ":9: space.batch_size.values: values must be of one type; got [16, 'big']. "
        "Write 1.0 for 1 among floats.",
    ),
    "hyperparameter that nothing uses": (
        "batch_size:", "batchsize:",
        ":9: space.batchsize: nothing uses this name; got 'batchsize'. Did you mean batch_size?",
    ),
    "hyperparameter of another optimizer": (
        "batch_size: {type: choice, values: [16, 32]}",
        "momentum: {type: float, low: 0.5, high: 0.9}",
        ":9: space.momentum: nothing uses this name; got 'momentum'. "
        "Use one of: adam_epsilon, batch_size, beta_1, beta_2, decay, learning_rate, optimizer.",
    ),
    "integer hyperparameter as a float": (
        "{type: choice, values: [16, 32]}", "{type: float, low: 16, high: 32}",
        ":9: space.batch_size: must be int; got 'float'. Use type: int.",
    ),
    "optimizer that nobody knows": (
        "batch_size: {type: choice, values: [16, 32]}",
        "optimizer: {type: choice, values: [adam, adm]}",
        ":9: space.optimizer.values: optimizer must be one of adam, sgd; got 'adm'. "
        "Did you mean adam?",
    ),
    "value that no training takes": (
        "low: 1e-4, high: 1, scale: log", "low: -1, high: 1",
        ":8: space.learning_rate.low: learning_rate must be > 0; got -1.0. Move low.",
    ),
    "infinite bound": (
        "high: 1,", "high: 1e999,",
        ":8: space.learning_rate.high: must be a finite number; got inf. Change the value.",
    ),
    "truth where a number is wanted": (
        "[16, 32]", "[true, false]",
        ":9: space.batch_size: must be int; got 'choice'. Use type: int.",
    ),
    "key that is no word": (
        "values: [16, 32]", "values: [16, 32], [a]: 3",
        ":9: space.batch_size: a key must be a word; got sequence. Write a word.",
    ),
    "word that claims to be a number": (
        "trials: 3", "trials: !!int x",
        ":6: search.trials: must be plain data; got tag !!int. Remove the tag.",
    ),
    "condition on what is not there": (
        "values: [16, 32]", "values: [16, 32], when: {optimizer: sgd}",
        ":9: space.batch_size.when.optimizer: must name a choice declared above; got 'optimizer'. "
        "Declare it first.",
    ),
    "batch norm where nothing is hidden": (
        "{name: softmax}", "{name: softmax, norm: {}}",
        ":4: model.norm: softmax has no layer to normalize. Remove norm.",
    ),
    "objective the wrong way round": (
        "direction: max", "direction: min",
        ":5: objective.direction: val_accuracy is better the other way round; got 'min'. "
        "Write direction: max.",
    ),
    "key that stands twice": (
        "trials: 3", "trials: 3, trials: 4",
        ":6: search.trials: a key may stand once; got it again. "
        "Remove one; the other is in line 6.",
    ),
    "tab": (
        "  learning_rate", "\tlearning_rate",
        ":8: must be YAML; got found character '\\t' that cannot start any token. "
        "Mend the YAML here.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line"), BROKEN.values(), ids=BROKEN)
def test_a_fault_is_told_in_one_line_with_its_cure(recipe_file, old, new, line):
    text = recipe_file.read_text()
    assert old in text
    recipe_file.write_text(text.replace(old, new))
    assert faults_of(recipe_file) == [f"{recipe_file}{line}"]


def test_all_faults_of_a_file_are_told_at_once_in_the_order_of_its_lines(recipe_file):
    text = recipe_file.read_text().replace("iris", "irises").replace("trials", "trails")
    recipe_file.write_text(text + "  momentm: {type: float, low: 0, high: 2, scale: log}\n")
    keys = [fault.split(": ")[1] for fault in faults_of(recipe_file)]
    assert keys == ["dataset.name", "search.trials", "search.trails", "space.momentm.low"]


def test_a_fault_of_an_override_is_reported_as_such(recipe_file):
    assert faults_of(recipe_file, "search.trails=3", "search.epochs=0") == [
        "command line: search.epochs: must be greater than or equal to 1; got 0. Change the value.",
        "command line: search.trails: unknown key; got 'trails'. Did you mean trials?",
    ]
    (fault,) = faults_of(recipe_file, "search.trials")
    assert fault == (
        "command line: must be key=value; got 'search.trials'. Write it like search.trials=4"
    )
    (fault,) = faults_of(recipe_file, "search.trials=[4")
    assert fault.startswith("command line: search.trials: must be YAML; got expected ',' or ']'")
    (fault,) = faults_of(recipe_file, "name.first=x")
    assert "name must be a mapping to have keys; got 'quick'" in fault


@pytest.mark.parametrize(
    ("content", "expected"),
    {
        "empty": (b"", ":1: must be a mapping of keys; got nothing"),
        "list": (b"- a\n- b\n", ":1: must be a mapping of keys; got list"),
        "binary": (b"\x7fELF\xff\xfe", ": must be UTF-8 text; got other bytes"),
        "loop": (b"a: &a {b: *a}\n", ": must be finite; got a loop"),
        "code": (
            b"a: !!python/object/apply:os.abort []\n",
            ":1: a: must be plain data; got tag !!python/object/apply:os.abort. Remove",
        ),
    }.values(),
)
def test_a_file_that_holds_no_recipe_is_refused(tmp_path, content, expected):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    (fault,) = faults_of(file)
    assert fault.startswith(f"{file}{expected}")


def test_a_recipe_that_does_not_exist_is_refused():
    (fault,) = faults_of("nowhere.yaml")
    assert fault.startswith("nowhere.yaml: must be a readable file; got no such file or directory.")
