import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbn.recipe.code import load_function
from recipe.loaders import load, violations_of

CODE = """\
import keras, numpy as np, tensorflow as tf

rng = np.random.default_rng(0)
y = np.arange(60) % 3
x = (rng.normal(size=(60, 4)) + y[:, None]).astype("float32")
parts = slice(0, 36), slice(36, 48), slice(48, 60)

def stream(part=parts[0], x=x, y=y, *more):
    return tf.data.Dataset.from_tensor_slices((x[part], y[part], *more))

def examples(): return tuple(map(stream, parts))
def batches(): return tuple(stream(part).batch(5) for part in parts)
def quantities(): return tuple(stream(part, y=2.0 * y + 0.5) for part in parts)
def weighted(): return stream(parts[0], x, y, y[parts[0]] + 1.0), stream(parts[1])

class Batches(keras.utils.PyDataset):
    def __init__(self, part, size=5, **options):
        super().__init__(**options)
        self.x, self.y, self.size = x[part], y[part], size
    def __len__(self): return -(-len(self.x) // self.size)
    def __getitem__(self, i):
        held = slice(i * self.size, (i + 1) * self.size)
        return self.x[held], self.y[held]

def own_batches(): return tuple(map(Batches, parts))

def generated():
    def rows(part):
        for pair in zip(x[part], y[part]): yield pair
    signature = tf.TensorSpec((4,), tf.float32), tf.TensorSpec((), tf.int64)
    return tuple(
        tf.data.Dataset.from_generator(lambda part=part: rows(part), output_signature=signature)
        for part in parts
    )

def shuffled():
    first, *others = examples()
    return first.shuffle(36), *others
"""
FORMS = ("examples", "batches", "own_batches", "generated")


@pytest.fixture
def home(tmp_path):
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path


def reference():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    return (rng.normal(size=(60, 4)) + y[:, None]).astype("float32"), y


def read(batches):
    """Return x and y of all batches, and the size of each."""
    if isinstance(batches, keras.utils.PyDataset):
        batches = [batches[number] for number in range(batches.num_batches)]
    held = [tuple(map(np.asarray, batch)) for batch in batches]
    return *map(np.concatenate, list(zip(*held, strict=True))[:2]), [len(each[1]) for each in held]


@pytest.mark.parametrize("form", FORMS)
def test_streams_are_standardized_and_cut_like_arrays(home, form):
    data = load(home, python=f"own:{form}")
    x, y = reference()
    assert data.sizes == (36, 12, 12)
    assert (data.shape, data.outputs, data.labels) == ((4,), 3, (0, 1, 2))
    assert data.class_counts().tolist() == [12, 12, 12]
    mean, deviation = x[:36].mean(0, "float64"), x[:36].std(0, dtype="float64")
    np.testing.assert_allclose(data.x_scaling, (mean, deviation), rtol=1e-7)
    fitting = data.fitting(8)
    (found, labels, sizes), validation = read(fitting["x"]), read(fitting["validation_data"])
    np.testing.assert_allclose(found, (x[:36] - mean) / deviation, atol=1e-6)
    np.testing.assert_allclose(validation[0], (x[36:48] - mean) / deviation, atol=1e-6)
    assert labels.tolist() == y[:36].tolist()
    own = form == "own_batches"
    assert sizes == ([5] * 7 + [1] if own else [8] * 4 + [4])
    assert data.steps(8) == len(sizes)
    assert data.batched == own
    assert found.dtype == "float32"
    np.testing.assert_array_equal(data.given(3), x[36:39])
    np.testing.assert_allclose(data.first(2)[0], found[:2], atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_joined_streams_give_the_validation_part_last(home, form):
    whole = load(home, python=f"own:{form}").joined()
    assert whole.sizes == (48, 0, 12)
    assert whole.class_counts().tolist() == [16, 16, 16]
    x, y, _ = read(whole.fitting(8)["x"])
    assert y.tolist() == [number % 3 for number in range(48)]
    assert len(read(whole.inputs())[0]) == 48
    mean, deviation = whole.x_scaling
    np.testing.assert_allclose(x * deviation + mean, reference()[0][:48], atol=1e-5)


def test_floats_are_quantities_and_standardized_too(home):
    data = load(home, python="own:quantities")
    y = 2.0 * (np.arange(36) % 3) + 0.5
    assert (data.outputs, data.labels) == (1, ())
    np.testing.assert_allclose(data.y_scaling, (y.mean(), y.std()))
    _, found, _ = read(data.fitting(8)["x"])
    np.testing.assert_allclose(found, (y - y.mean()) / y.std(), rtol=1e-6)
    assert load(home, python="own:examples", task="regression").outputs == 1


NAMED = """
def parts_of(x): return {"a": x[..., :3], "b": x[..., 3:]}
def named(): return tuple(each.map(lambda x, y: (parts_of(x), y)) for each in examples())
class Named(Batches):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return parts_of(x), y
def own_named(): return tuple(map(Named, parts))
"""


@pytest.mark.parametrize(("form", "same"), [("named", "examples"), ("own_named", "own_batches")])
def test_dicts_of_inputs_are_prepared_like_a_single_array(home, form, same):
    (home / "own.py").write_text(CODE + NAMED)
    data, single = (load(home, python=f"own:{each}") for each in (form, same))
    assert data.shape == {"a": (3,), "b": (1,)}
    assert (data.sizes, data.outputs) == (single.sizes, single.outputs)

    def halves(x):
        return {"a": x[:, :3], "b": x[:, 3:]}

    for found, whole in (
        (data.fitting(8)["x"], single.fitting(8)["x"]),
        (data.joined().inputs(), single.joined().inputs()),
    ):
        batches = (found[i] for i in range(len(found))) if form == "own_named" else found
        others = (whole[i] for i in range(len(whole))) if form == "own_named" else whole
        for (x, y), (x_whole, y_whole) in zip(batches, others, strict=True):
            np.testing.assert_array_equal(y, y_whole)
            for name, expected in halves(np.asarray(x_whole)).items():
                np.testing.assert_allclose(x[name], expected, atol=1e-6)
    for name, expected in halves(single.given(3)).items():
        np.testing.assert_array_equal(data.given(3)[name], expected)
    for name, expected in halves(single.first(2)[0]).items():
        np.testing.assert_allclose(data.first(2)[0][name], expected, atol=1e-6)


def test_weights_reach_the_training(home):
    data = load(home, python="own:weighted")
    assert data.weighted
    assert [len(batch) for batch in data.fitting(12)["x"]] == [3, 3, 3]
    assert data.sizes == (36, 12, 0)


def test_every_training_gets_the_same_order_whatever_the_streams_keep(home):
    data = load(home, python="own:shuffled")

    def orders(seed, drawn=0):
        keras.utils.set_random_seed(seed)
        for _ in range(drawn):  # by TensorFlow, as while a model is built
            tf.random.uniform(())
        batches = data.fitting(8)["x"]
        return [read(batches)[0].sum(1).tolist() for _ in range(2)]

    first = orders(3)
    assert first[0] != first[1]
    assert orders(3, drawn=3) == first
    assert orders(4) != first


INVALID_PARTS = {
    "a single stream": ("stream()", "a single TensorSliceDataset"),
    "a single PyDataset": ("Batches(parts[0])", "a single Batches"),
    "streams and arrays": ("stream(), (x, y)", "(TensorSliceDataset, tuple)"),
    "both kinds": ("stream(), Batches(parts[1])", "(TensorSliceDataset, Batches)"),
    "four": ("(stream(),) * 4", f"({', '.join(['TensorSliceDataset'] * 4)})"),
}


@pytest.mark.parametrize(("made", "received"), INVALID_PARTS.values(), ids=INVALID_PARTS)
def test_streams_must_come_in_parts(home, made, received):
    rule = "own:wrong must return streams as (train, validation) or (train, validation, test)"
    assert found_wrong(home, made) == [("python", rule, received)]


def found_wrong(home, made, **spec):
    (home / "own.py").write_text(f"{CODE}\ndef wrong(): return {made}\n")
    return violations_of(home, python="own:wrong", **spec)


PAIR = "must give (x, y) or (x, y, sample_weight), each one array, or x a dict of arrays"
NUMBER = "y must be one number for an example"
INVALID = {
    "endless": ("stream().repeat()", "must end", "an endless tf.data.Dataset"),
    "x alone": ("stream().map(lambda x, y: x)", PAIR, "Tensor alone"),
    "a dict": ('stream().map(lambda x, y: {"x": x, "y": y})', PAIR, "a dict of x, y"),
    "dicts in a dict": (
        'stream().map(lambda x, y: ({"a": {"b": x}}, y))', PAIR, "(dict, Tensor)"
    ),
    "an input without a name that TensorFlow takes": (
        'stream().map(lambda x, y: ({"a b": x}, y))',
        "the name of an input must be a letter, then letters, digits and _", "'a b'",
    ),
    "an input that is no array": (
        'stream().map(lambda x, y: ({"a": x, "b": x[0]}, y))',
        "each example must be an array of a fixed shape", 'x["b"] of (), y of ()',
    ),
    "words in an input": (
        'stream().map(lambda x, y: ({"a": x, "b": tf.as_string(x)}, y))',
        'x["b"] must be numbers', "string",
    ),
    "one-hot classes": (
        "stream().map(lambda x, y: (x, tf.one_hot(y, 3)))", NUMBER, "x of (4,), y of (3,)"
    ),
    "one-hot batches": (
        "stream().batch(5).map(lambda x, y: (x, tf.one_hot(y, 3)))", NUMBER,
        "x of (None, 4), y of (None, 3)",
    ),
    "words": ("stream().map(lambda x, y: (x, tf.as_string(y)))", "y must be numbers", "string"),
    "no shape": (
        "tf.data.Dataset.from_generator(lambda: zip(x, y), output_types=('float32', 'int64'))",
        "x and y must have a known shape", "x of <unknown>, y of <unknown>",
    ),
    "ragged": (
        "tf.data.Dataset.from_tensor_slices((tf.ragged.constant([[1.0], [2.0, 3.0]]), [0, 1]))",
        PAIR, "(RaggedTensor, Tensor)",
    ),
    "x and y swapped": (
        "stream().map(lambda x, y: (y, x))",
        "each example must be an array of a fixed shape", "x of (), y of (4,)",
    ),
    "some shape": (
        "stream().map(lambda x, y: (tf.boolean_mask(x, x > 0), y))",
        "each example must be an array of a fixed shape", "x of (None,), y of ()",
    ),
    "nothing": ("stream().take(0)", "must hold examples", "none"),
    "NaN": (
        "stream().map(lambda x, y: (x / tf.cast(y > 0, 'float32') * 0, y))",
        "x must be finite numbers", "others in batch 0",
    ),
    "an error while it is read": (
        "tf.data.Dataset.from_generator(lambda: iter([({}['row'], 1)]), output_signature="
        "(tf.TensorSpec((4,), 'float32'), tf.TensorSpec((), 'int64')))",
        "must give all its batches", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("made", "rule", "received"), INVALID.values(), ids=INVALID)
def test_what_is_wrong_with_a_stream_is_reported(home, made, rule, received):
    ((key, found, shown),) = found_wrong(home, f"({made}, stream(parts[1]))")
    assert (key, found) == ("python", f"the train part: {rule}")
    assert shown == received or (received is None and "Error: KeyError: 'row'" in shown)


INVALID_BATCHES = {
    "no length": ("", "must have a number of batches", "NotImplementedError"),
    "an error": (
        "    def __len__(self): return 2\n    def __getitem__(self, i): return x[i + 98], y\n",
        "must give all its batches",
        "IndexError: index 98 is out of bounds for axis 0 with size 60 (own.py:",
    ),
    "a list": (
        "    def __len__(self): return 2\n    def __getitem__(self, i): return x[:5]\n",
        PAIR,
        "ndarray",
    ),
    "one-hot classes": (
        "    def __len__(self): return 2\n    def __getitem__(self, i): return x, np.eye(3)[y]\n",
        NUMBER,
        "x of (60, 4), y of (60, 3)",
    ),
    "words": (
        "    def __len__(self): return 2\n    def __getitem__(self, i): return x, ['a'] * 60\n",
        "y must be numbers",
        "str",
    ),
    "numbers": (
        "    def __len__(self): return 2\n    def __getitem__(self, i): return y, y\n",
        "each example must be an array of a fixed shape",
        "x of (60,)",
    ),
    "other shapes": (
        "    def __len__(self): return 2\n    def __getitem__(self, i): return x[:, i:], y\n",
        "all examples must be arrays of the same shape",
        "x of (3,) in batch 1, after (4,)",
    ),
}


@pytest.mark.parametrize(
    ("body", "rule", "received"), INVALID_BATCHES.values(), ids=INVALID_BATCHES
)
def test_what_is_wrong_with_a_pydataset_is_reported(home, body, rule, received):
    (home / "own.py").write_text(
        f"{CODE}\nclass Bad(keras.utils.PyDataset):\n{body or '    pass'}\n"
        "def wrong(): return Bad(), Batches(parts[1])\n"
    )
    ((key, found, shown),) = violations_of(home, python="own:wrong")
    assert (key, found) == ("python", f"the train part: {rule}")
    assert shown.startswith(received)


INVALID_TARGETS = {
    "classes from 1": ("stream(y=y + 1), stream(parts[1], y=y + 1)", "none of class 0"),
    "a missing class": ("stream(y=y // 2 * 2), stream(parts[1])", "none of class 1"),
    "negative": ("stream(y=y - 1), stream(parts[1], y=y - 1)", "class -1"),
}


@pytest.mark.parametrize(("made", "received"), INVALID_TARGETS.values(), ids=INVALID_TARGETS)
def test_classes_are_numbered_from_0(home, made, received):
    rule = "classes must be numbered from 0, each with training examples"
    assert found_wrong(home, made) == [("python", rule, received)]


def test_parts_must_fit_each_other_and_the_recipe(home):
    assert found_wrong(home, "stream(), stream(parts[1], y=y + 1)") == [
        ("python", "the validation part must not have classes of its own", "class 3")
    ]
    assert found_wrong(home, "stream(), stream(parts[1], x=x[:, :3])") == [
        ("python", "examples of the validation part must have the shape of the others",
         "(3,) and (4,)")
    ]  # fmt: skip
    assert found_wrong(home, "stream(), stream(parts[1], y=y + 0.5)") == [
        ("python", "targets of the validation part must be whole numbers like the others", "floats")
    ]
    assert found_wrong(home, "stream(y=y * 0), stream(parts[1])") == [
        ("python", "the target must have at least two values", "0 everywhere")
    ]
    assert found_wrong(home, "quantities()", task="classification") == [
        ("task", "the targets of a classification must be whole numbers", "floats")
    ]
    flip = {"augmentation": ["RandomFlip"]}
    assert found_wrong(home, "own_batches()", shape=[2, 2], test=0.1, validation=0.3, **flip) == [
        ("shape", "only arrays can be reshaped", "[2, 2]"),
        ("test", "these data have a test part of their own", "0.1"),
        ("validation", "these data have a validation part of their own", "0.3"),
        ("augmentation", "a PyDataset makes its own batches", "'RandomFlip'"),
    ]


LARGE = """\
import weakref, keras, numpy as np, tensorflow as tf

alive, most = weakref.WeakSet(), [0]

class Tracked(np.ndarray):
    def __hash__(self): return id(self)

def batch(number):
    made = np.full((10, 2), number % 2 + 0.1, "float32").view(Tracked)
    alive.add(made)
    most[0] = max(most[0], len(alive))
    return made, np.full(10, number % 2)

class Batches(keras.utils.PyDataset):
    def __init__(self, count):
        super().__init__(max_queue_size=2)
        self.count = count
    def __len__(self): return self.count
    def __getitem__(self, number): return batch(number)

def generate(count): return (batch(number) for number in range(count))

def own_batches(): return Batches(200), Batches(40)

def generated():
    signature = tf.TensorSpec((None, 2), tf.float32), tf.TensorSpec((None,), tf.int64)
    return tuple(
        tf.data.Dataset.from_generator(lambda n=n: generate(n), output_signature=signature)
        for n in (200, 40)
    )

def most_alive(): return most[0]
"""


@pytest.mark.parametrize("form", ["own_batches", "generated"])
def test_memory_never_holds_more_than_some_batches(tmp_path, form):
    (tmp_path / "own.py").write_text(LARGE)
    data = load(tmp_path, python=f"own:{form}")
    assert data.sizes == (2000, 400, 0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(**data.fitting(20), verbose=0)
    gc.collect()
    assert load_function("own:most_alive", tmp_path)() < 30  # of 240
