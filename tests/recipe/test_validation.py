import pytest

from recipe.loaders import COMPARE, faults_of

# what is replaced in the valid recipe, by what, and the lines that report it
INVALID = {
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
        ":6: search.trials: must be a whole number; got 'many'. Write it like 8.",
    ),
    "low above high": (
        "low: 1e-4, high: 1", "low: 1, high: 1e-4",
        ":8: space.learning_rate.low: low < high must hold; got 1.0. Swap or widen them.",
    ),
    "log scale from zero": (
        "low: 1e-4", "low: 0",
        ":8: space.learning_rate.low: scale log needs low > 0; got 0.0. "
        "Change low, or use another scale.",
    ),
    "complement_log scale to one": (
        "scale: log", "scale: complement_log",
        ":8: space.learning_rate.high: scale complement_log needs high < 1; got 1.0. "
        "Change high, or use another scale.",
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
        "Use one of: adam_epsilon, batch_size, beta_1, beta_2, clipnorm, clipvalue, decay, "
        "global_clipnorm, label_smoothing, learning_rate, optimizer, schedule, warmup, "
        "weight_decay.",
    ),
    "integer hyperparameter as a float": (
        "{type: choice, values: [16, 32]}", "{type: float, low: 16, high: 32}",
        ":9: space.batch_size.type: must be a whole number; got 'float'. Use type: int.",
    ),
    "optimizer that nobody knows": (
        "batch_size: {type: choice, values: [16, 32]}",
        "optimizer: {type: choice, values: [adam, adm]}",
        ":9: space.optimizer.values: optimizer must be one of adam, adamw, nadam, adamax, lamb, "
        "lion, muon, rmsprop, adagrad, sgd; got 'adm'. "
        "Did you mean adam?",
    ),
    "value that no training takes": (
        "low: 1e-4, high: 1, scale: log", "low: -1, high: 1",
        ":8: space.learning_rate.low: learning_rate must be > 0; got -1.0. Change low.",
    ),
    "infinite bound": (
        "high: 1,", "high: 1e999,",
        ":8: space.learning_rate.high: must be a finite number; got inf. Change the value.",
    ),
    "truth where a number is wanted": (
        "[16, 32]", "[true, false]",
        ":9: space.batch_size.values: must be a whole number; got true. Change the value.",
        ":9: space.batch_size.values: must be a whole number; got false. Change the value.",
    ),
    "key that is no word": (
        "values: [16, 32]", "values: [16, 32], [a]: 3",
        ":9: space.batch_size: a key must be a word; got something else. "
        "Write a word, or put it in quotes.",
    ),
    "word that claims to be a number": (
        "trials: 3", "trials: !!int x",
        ":6: search.trials: must be plain data; got the tag !!int. Remove the tag.",
    ),
    "condition on what is not there": (
        "values: [16, 32]", "values: [16, 32], when: {optimizer: sgd}",
        ":9: space.batch_size.when.optimizer: must name a choice declared above; got 'optimizer'. "
        "Declare it first.",
    ),
    "batch norm where nothing is hidden": (
        "{name: softmax}", "{name: softmax, norm: {}}",
        ":4: model.norm: softmax has no layer that kbn could normalize. Remove norm.",
    ),
    "objective the wrong way round": (
        "direction: max", "direction: min",
        ":5: objective.direction: higher val_accuracy is better; got 'min'. "
        "Write direction: max.",
    ),
    "key that stands twice": (
        "trials: 3", "trials: 3, trials: 4",
        ":6: search.trials: a key may occur only once; got it again. "
        "Remove one; the other is in line 6.",
    ),
    "tab": (
        "  learning_rate", "\tlearning_rate",
        ":8: must be YAML; got found character '\\t' that cannot start any token. "
        "Indent with spaces, not with tabs.",
    ),
    "share that is none": (
        "validation: 0.2", "validation: 1.5",
        ":3: dataset.validation: must be a share in (0, 1), a number of examples, or a file; "
        "got 1.5. "
        "Write it like 0.2, or like 300.",
    ),
    "share of nothing": (
        "validation: 0.2", "validation:",
        ":3: dataset.validation: must be a share in (0, 1), a number of examples, or a file; "
        "got null. "
        "Write it like 0.2, or like 300.",
    ),
    "shares of all": (
        "validation: 0.2", "validation: 0.5, test: 0.5",
        ":3: dataset.test: validation and test must leave examples to train on; got 0.5. "
        "Lower one.",
    ),
    "test part of data that have one": (
        "name: iris,", "name: mnist, test: 0.2,",
        ":3: dataset.test: these data have a test part of their own; got 0.2. Remove test.",
    ),
    "data from nowhere": (
        "name: iris, ", "",
        ":3: dataset: needs one of name, path, python. Add one.",
    ),
    "data from two places": (
        "name: iris,", "name: iris, path: iris.csv,",
        ":3: dataset: needs one of name, path, python; got ['name', 'path']. Keep one.",
    ),
    "data of an unknown kind": (
        "name: iris,", "path: iris.xlsx,",
        ":3: dataset.path: must end with .csv, .parquet, .npz; got 'iris.xlsx'. "
        "Save the data as one of these; the path of a folder of images ends with /.",
    ),
    "column of what has none": (
        "name: iris,", "name: iris, target: species,",
        ":3: dataset.target: only a table has columns; got 'species'. Remove target.",
    ),
    "reference that names no function": (
        "name: iris,", "python: iris.py,",
        ":3: dataset.python: must be module:function; got 'iris.py'. "
        "Write it like model:build, or models/model.py:build.",
    ),
    "examples of no size": (
        "name: iris,", "name: iris, shape: [2, 0],",
        ":3: dataset.shape.1: must be greater than or equal to 1; got 0. Change the value.",
    ),
    "word where keys are wanted": (
        "{name: softmax}", "softmax",
        ":4: model: must be a mapping of keys; got 'softmax'. "
        "Write it like {key: value}; for examples see: kbn ls",
    ),
    "name that leads elsewhere": (
        "name: quick", "name: ../quick",
        ":2: name: may contain only letters, digits, _ and -, at most 80, and not start with -; "
        "got '../quick'. Choose another name.",
    ),
    "name that is an option": (
        "name: quick", "name: --fresh",
        ":2: name: may contain only letters, digits, _ and -, at most 80, and not start with -; "
        "got '--fresh'. Choose another name.",
    ),
    "name that is a device": (
        "name: quick", "name: Com1",
        ":2: name: may not be the name of a device on Windows, where no file can have it; "
        "got 'Com1'. Choose another name.",
    ),
    "name that is a number": (
        "name: quick", "name: 3",
        ":2: name: must be a word; got 3. Write one, in quotes if it looks like a number.",
    ),
    "truth of YAML 1.1": (
        "space:", "tracking: {enabled: no}\nspace:",
        ":7: tracking.enabled: must be true or false; got 'no'. Write one of them.",
    ),
    "number with a point": (
        "trials: 3", "trials: 3.0",
        ":6: search.trials: must be a whole number; got 3.0. Write it like 8.",
    ),
    "number of five thousand digits": (
        "trials: 3", f"trials: {'9' * 5000}",
        ":6: search.trials: must be a whole number; got inf. Write it like 8.",
    ),
    "number that no float holds": (
        "[16, 32]", "[16, 9007199254740993]",
        ":9: space.batch_size.values.1: a whole number must be in [-9007199254740992, "
        "9007199254740992]; got 9007199254740993. Change the value.",
    ),
    "null where there is another word for it": (
        "seed: 1", "surrogate: none",
        ":6: search.surrogate: must be one of the known words; got 'none'. Use one of: gp, null.",
    ),
    "tier that is none": (
        "scale: log", "scale: log, tier: 4",
        ":8: space.learning_rate.tier: must be one of the known words; got 4. "
        "Use one of: 1, 2, 3.",
    ),
    "low without high": (
        "high: 1, ", "",
        ":8: space.learning_rate.high: this key is needed. Add it.",
    ),
    "hyperparameter without a type": (
        "type: choice, ", "",
        ":9: space.batch_size.type: this key is needed. Add type: float, int or choice.",
    ),
    "choice of one": (
        "[16, 32]", "[16]",
        ":9: space.batch_size.values: a choice needs two values; got [16]. "
        "Add one; or, for a fixed value, write just the value, as in units: 64.",
    ),
    "choice that holds a list": (
        "[16, 32]", "[[16], 32]",
        ":9: space.batch_size.values.0: must be a word, a number, true or false; got [16]. "
        "Write one value.",
    ),
    "fixed value of the wrong type": (
        "{type: choice, values: [16, 32]}", "0.5",
        ":9: space.batch_size: must be a whole number; got 0.5. Change the value.",
    ),
    "fixed value out of its domain": (
        "{type: choice, values: [16, 32]}", "0",
        ":9: space.batch_size: batch_size must be >= 1; got 0. Change the value.",
    ),
    "range where a word is wanted": (
        "batch_size: {type: choice, values: [16, 32]}", "optimizer: {type: int, low: 1, high: 2}",
        ":9: space.optimizer.type: must be a word; got 'int'. Use a choice of words.",
    ),
    "nothing to search": (
        "  learning_rate: {type: float, low: 1e-4, high: 1, scale: log}\n"
        "  batch_size: {type: choice, values: [16, 32]}\n", " {}\n",
        ":7: space: needs at least one hyperparameter. Add learning_rate.",
    ),
    "condition on itself": (
        "values: [16, 32]", "values: [16, 32], when: {batch_size: 16}",
        ":9: space.batch_size.when.batch_size: must name a choice declared above; "
        "got 'batch_size'. Remove it: nothing can depend on itself.",
    ),
    "condition on a range": (
        "values: [16, 32]", "values: [16, 32], when: {learning_rate: 0.1}",
        ":9: space.batch_size.when.learning_rate: must name a choice declared above; "
        "got 'learning_rate'. Remove it, or make learning_rate a choice: its type is float.",
    ),
    "condition on a fixed value": (
        "batch_size: {type: choice, values: [16, 32]}",
        "optimizer: sgd\n  momentum: {type: float, low: 0, high: 0.9, when: {optimizer: sgd}}",
        ":10: space.momentum.when.optimizer: must name a choice declared above; got 'optimizer'. "
        "Remove it, or make optimizer a choice: its type is fixed.",
    ),
    "condition on what stands below": (
        "learning_rate: {type: float, low: 1e-4, high: 1,",
        "learning_rate: {type: float, low: 1e-4, high: 1, when: {batch_size: 16},",
        ":8: space.learning_rate.when.batch_size: must name a choice declared above; "
        "got 'batch_size'. Move batch_size above learning_rate.",
    ),
    "circle of conditions": (
        "batch_size: {type: choice, values: [16, 32]}",
        "batch_size: {type: choice, values: [16, 32], when: {optimizer: sgd}}\n"
        "  optimizer: {type: choice, values: [sgd, adam], when: {batch_size: 16}}",
        ":9: space.batch_size.when.optimizer: must name a choice declared above; "
        "got 'optimizer'. Break the circle: optimizer depends on batch_size.",
    ),
    "condition on a value that is none": (
        "space:", "space:\n  optimizer: {type: choice, values: [sgd, adam], when: {}}\n"
        "  momentum: {type: float, low: 0, high: 0.9, when: {optimizer: sdg}}",
        ":9: space.momentum.when.optimizer: must be a value of optimizer; got 'sdg'. "
        "Did you mean sgd?",
    ),
    "condition on a number of another type": (
        "values: [16, 32]}", "values: [16, 32]}\n"
        "  decay: {type: float, low: 0.1, high: 1, when: {batch_size: 16.0}}",
        ":10: space.decay.when.batch_size: must be a value of batch_size; got 16.0. "
        "Did you mean 16?",
    ),
    "hyperparameter of two words": (
        "batch_size:", "batch size:",
        ":9: space.batch size: may contain only letters, digits, _ and -, at most 80, and not "
        "start with -; got 'batch size'. Choose another name.",
    ),
    "condition without a value": (
        "values: [16, 32]", "values: [16, 32], when: {optimizer: []}",
        ":9: space.batch_size.when.optimizer: needs a value; got []. "
        "Add one, or remove the condition.",
    ),
    "metric that training does not report": (
        "val_accuracy", "val_acuracy",
        ":5: objective.metric: must be a metric that training reports; got 'val_acuracy'. "
        "Did you mean val_accuracy?",
    ),
    "score that no model reaches": (
        "seed: 1", "until: {val_accuracy: 99}",
        ":6: search.until.val_accuracy: must be reachable: val_accuracy is at best 1; got 99.0. "
        "Change the value.",
    ),
    "fixed number of another optimizer": (
        "search:", "training: {rho: 0.9}\nsearch:",
        ":6: training.rho: nothing uses it: the optimizer is adam; got 0.9. Remove it.",
    ),
    "decay without a schedule": (
        "search:", "training: {schedule: constant, decay: 0.5}\nsearch:",
        ":6: training.decay: nothing uses it: the schedule is constant; got 0.5. Remove it.",
    ),
    "value that is both fixed and searched": (
        "search:", "training: {learning_rate: 0.1}\nsearch:",
        ":6: training.learning_rate: stands in space too. Keep one of the two.",
    ),
    "weight of a class that is no number": (
        "search:", "training: {class_weight: {a: heavy}}\nsearch:",
        ":6: training.class_weight.a: must be a number; got 'heavy'. Write it like 0.1.",
    ),
    "callback by name and from Python": (
        "search:", "training: {callbacks: [{name: EarlyStopping, python: own.py:f}]}\nsearch:",
        ":6: training.callbacks.0: needs one of name, python. Keep one.",
    ),
    "one callback where a list is wanted": (
        "search:", "training: {callbacks: EarlyStopping}\nsearch:",
        ":6: training.callbacks: must be a list; got 'EarlyStopping'. "
        "Put it in brackets, as in [a, b].",
    ),
    "model trained anew without a test part": (
        "seed: 1", "final: {refit: true}",
        ":6: search.final.refit: needs a test part of the data; got true. Add dataset.test: 0.2.",
    ),
    "keys that are merged": (
        "{type: choice, values: [16, 32]}", "{<<: {type: choice}, values: [16, 32]}",
        ":9: space.batch_size: mappings cannot be merged; got <<. "
        "Write the keys out; an alias can stand for a whole value.",
    ),
    "key that is a number": (
        "search:", "3: 4\nsearch:",
        ":6: a key must be a word; got 3. Write a word, or put it in quotes.",
    ),
    "key that stands twice, deep": (
        "low: 1e-4,", "low: 1e-4, low: 1e-3,",
        ":8: space.learning_rate.low: a key may occur only once; got it again. "
        "Remove one; the other is in line 8.",
    ),
    "second document": (
        "space:", "---\nspace:",
        ":7: must be YAML; got found another document. Keep one document, without ---.",
    ),
    "bracket that stays open": (
        "[16, 32]}", "[16, 32",
        ":10: must be YAML; got expected ',' or ']', but got '<stream end>'. "
        "Close what is opened in line 9.",
    ),
    "value that begins with a sign": (
        "name: quick", "name: %quick",
        ":2: must be YAML; got found character '%' that cannot start any token. "
        "Put the value in quotes.",
    ),
    "alias of nothing": (
        "[16, 32]", "*sizes",
        ":9: must be YAML; got found undefined alias 'sizes'. Fix the YAML here.",
    ),
    "character that no text holds": (
        "name: quick", "name: qu\0ick",
        ":2: must be YAML; got the character U+0000. Remove it.",
    ),
}  # fmt: skip

# what follows the valid recipe
INVALID_AFTER = {
    "comparison of one": (
        COMPARE,
        ":12: compare.variants: needs at least 2; got {'plain': {}}. Add one.",
    ),
    "variant whose name leads elsewhere": (
        f"{COMPARE}    a/b: {{}}\n",
        ":14: compare.variants.a/b: may contain only letters, digits, _ and -, at most 80, and "
        "not start with -; got 'a/b'. Choose another name.",
    ),
    "variant of an unknown key": (
        f"{COMPARE}    fast:\n      search.trials: 4\n      search.epoch: 1\n",
        ":16: compare.variants.fast.search.epoch: unknown key; got 'epoch'. Did you mean epochs?",
    ),
    "variant that no recipe could be": (
        f"{COMPARE}    fast: {{dataset.name: irises}}\n    slow: {{search.epochs: 0}}\n",
        ":14: compare.variants.fast.dataset.name: must name a known data set; got 'irises'. "
        "Did you mean iris?",
        ":15: compare.variants.slow.search.epochs: must be greater than or equal to 1; got 0. "
        "Change the value.",
    ),
    "variant that does not fit the rest": (
        f"{COMPARE}    fast: {{objective.metric: val_loss}}\n",
        ":14: compare.variants.fast.objective.direction: lower val_loss is better; "
        "got 'max'. Write direction: min.",
    ),
    "variant of another name": (
        f"{COMPARE}    fast: {{name: fast}}\n",
        ":14: compare.variants.fast.name: a variant cannot set this; got 'name'. Remove it.",
    ),
    "variant that compares": (
        f"{COMPARE}    fast: {{compare.seeds: 4}}\n",
        ":14: compare.variants.fast.compare.seeds: a variant cannot set this; "
        "got 'compare.seeds'. Remove it.",
    ),
    "no model to watch, and values of nothing": (
        f"{COMPARE}    fast: {{}}\n  distribution: {{epochs: 1, values: {{learnin_rate: 0.1}}}}\n",
        ":15: compare.distribution: needs a model with hidden layers, not softmax. "
        "Remove distribution.",
        ":15: compare.distribution.values.learnin_rate: must name a hyperparameter of space; "
        "got 'learnin_rate'. Did you mean learning_rate?",
    ),
    "too many seeds": (
        f"{COMPARE.replace('2', '5000000000')}    fast: {{}}\n",
        ":11: compare.seeds: must be less than or equal to 1000; got 5000000000. Change the value.",
    ),
    "threshold that is no number": (
        f"{COMPARE}    fast: {{}}\n  threshold: .nan\n",
        ":15: compare.threshold: must be a number; got '.nan'. Write it like 0.1.",
    ),
    "nothing where keys are wanted": (
        "tracking:\n",
        ":10: tracking: must be a mapping of keys; got null. "
        "Write it like {key: value}; for examples see: kbn ls",
    ),
}


@pytest.mark.parametrize(("old", "new", "lines"), [(o, n, ls) for o, n, *ls in INVALID.values()],
                         ids=INVALID)  # fmt: skip
def test_a_fault_is_reported_in_one_line_with_its_hint(recipe_file, old, new, lines):
    text = recipe_file.read_text()
    assert old in text
    recipe_file.write_text(text.replace(old, new))
    assert faults_of(recipe_file) == [f"{recipe_file}{line}" for line in lines]


@pytest.mark.parametrize(("more", "lines"), [(m, ls) for m, *ls in INVALID_AFTER.values()],
                         ids=INVALID_AFTER)  # fmt: skip
def test_faults_in_optional_sections_are_reported_too(recipe_file, more, lines):
    recipe_file.write_text(recipe_file.read_text() + more)
    assert faults_of(recipe_file) == [f"{recipe_file}{line}" for line in lines]


def test_all_faults_of_a_file_are_reported_at_once_in_the_order_of_its_lines(recipe_file):
    text = recipe_file.read_text().replace("iris", "irises").replace("trials", "trails")
    recipe_file.write_text(text + "  momentm: {type: float, low: 0, high: 2, scale: log}\n")
    keys = [fault.split(": ")[1] for fault in faults_of(recipe_file)]
    assert keys == ["dataset.name", "search.trials", "search.trails", "space.momentm.low"]


def test_violations_between_parts_are_reported_with_those_inside_parts(recipe_file):
    text = recipe_file.read_text() + "  momentum: {type: float, low: 0, high: 0.9}\n"
    text = text.replace("val_accuracy", "val_acuracy").replace("trials: 3", "trials: 3, trials: 4")
    text = text.replace("iris", "irises").replace("low: 1e-4", "low: 2")
    recipe_file.write_text(text + f"{COMPARE}    slow: {{search.epochs: 0}}\n")
    keys = [fault.split(": ")[1] for fault in faults_of(recipe_file)]
    assert keys == [
        "dataset.name",
        "objective.metric",
        "search.trials",
        "space.learning_rate.low",
        "space.momentum",
        "compare.variants.slow.search.epochs",
    ]


def test_what_a_hyperparameter_may_be_depends_on_the_model(recipe_file):
    text = recipe_file.read_text().replace("{name: softmax}", "{name: mlp}")
    recipe_file.write_text(text + "  norm_momentum: 0.9\n  unitz: 8\n")
    faults = faults_of(recipe_file)
    assert [fault.split(": ")[1] for fault in faults] == [
        "space.norm_momentum",
        "space.unitz",
    ]
    assert "Did you mean units?" in faults[1]
    recipe_file.write_text(
        text.replace("name: mlp", "name: mlp, norm: {}") + "  norm_momentum: 2\n"
    )
    (fault,) = faults_of(recipe_file)
    assert "space.norm_momentum: norm_momentum must be in [0, 1]; got 2" in fault
    own = text.replace("name: mlp", "python: model:build").replace("[16, 32]", "[0.5, 1.5]")
    recipe_file.write_text(own + "  anything: 8\n")
    (fault, _) = faults_of(recipe_file)
    assert "space.batch_size.values: must be a whole number; got 0.5" in fault


@pytest.mark.parametrize(
    "more",
    [
        "  optimizer: {type: choice, values: [sgd]}\n"
        "  momentum: {type: float, low: 0, high: 0.9}\n",
        "  optimizer: {type: choice, values: [sgd]}\n"
        "  momentum: {type: float, low: 0, high: 0.9, when: {optimizer: sgd}}\n",
        "  layers: {type: choice, values: [1]}\n"
        "  decay: {type: float, low: 0.1, high: 1, when: {layers: 1}}\n",
    ],
    ids=["optimizer", "condition on the optimizer", "another condition"],
)
def test_a_fault_of_a_hyperparameter_is_not_repeated_for_its_dependents(recipe_file, more):
    recipe_file.write_text(recipe_file.read_text().replace("softmax}", "mlp}") + more)
    (fault,) = faults_of(recipe_file)
    assert fault.startswith(f"{recipe_file}:10: space.")
    assert ".values: a choice needs two values" in fault
