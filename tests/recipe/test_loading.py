import os
import subprocess
import sys

import pytest

from kbn.errors import Violation
from kbn.recipe.loading import load_recipe
from kbn.recipe.reading import parse
from recipe.loaders import COMPARE, faults_of


def test_every_recipe_that_kbn_ships_is_valid(recipes):
    names = [load_recipe(file).name for file in sorted(recipes.rglob("*.yaml"))]
    assert names == [
        "batchnorm_placement",
        "batchnorm_regularization",
        "batchnorm_robustness",
        "custom_model",
        "digits_cnn",
        "digits_mlp",
        "digits_softmax",
        "fine_tuning",
        "images",
        "random_vs_grid",
        "scales",
        "tabular",
        "tabular_mixed",
        "tumours",
    ]


def test_yaml_reads_numbers_and_words_as_yaml_1_2_does(recipe_file):
    text = recipe_file.read_text().replace("name: quick", "name: no")
    recipe_file.write_text(text)
    recipe = load_recipe(recipe_file)
    assert recipe.name == "no"  # YAML 1.1 says False
    assert recipe.space["learning_rate"].low == 1e-4  # YAML 1.1 says "1e-4"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("true", True),
        ("1_0", "1_0"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1e-3", -1e-3),
        ("off", "off"),
        ("'5'", "5"),
        ("!!int 5", 5),
        ("9" * 301, float("9" * 301)),
    ],
)
def test_a_value_without_quotes_is_what_yaml_1_2_says(value, expected):
    data, faults = parse(f"key: {value}\n", "a.yaml", {})
    assert (data, faults) == ({"key": expected}, [])
    assert type(data["key"]) is type(expected)


@pytest.mark.parametrize("tag", ["!!str", "!!float", "!mine"])
def test_a_tag_that_changes_what_a_value_is_is_rejected(tag):
    data, faults = parse(f"a: 1\nkey: {tag} 5\n", "a.yaml", {})
    assert data == {"a": 1, "key": 5}
    assert [str(fault) for fault in faults] == [
        f"a.yaml:2: key: must be plain data; got the tag {tag}. Remove the tag."
    ]


def test_overrides_replace_and_add_values(recipe_file):
    recipe = load_recipe(
        recipe_file,
        ["search.trials=5", "space.learning_rate.high=1e-1", "tracking.enabled=false"],
    )
    assert recipe.search.trials == 5
    assert recipe.space["learning_rate"].high == 0.1
    assert not recipe.tracking.enabled
    assert load_recipe(recipe_file, ["search.trials=010"]).search.trials == 10  # not octal
    assert load_recipe(recipe_file, ["search.trials=1_000"]).search.trials == 1000


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: f"---\n{text}...\n".replace(
            "# A quick look at softmax regression.\n", ""
        ).encode(),
    ],
    ids=["lines of Windows", "byte order mark", "document markers"],
)
def test_a_file_counts_its_lines_however_it_is_saved(recipe_file, written):
    text = recipe_file.read_text()
    recipe_file.write_bytes(written(text))
    assert load_recipe(recipe_file).name == "quick"
    recipe_file.write_bytes(written(text.replace("iris", "irises")))
    (fault,) = faults_of(recipe_file)
    assert fault.startswith(f"{recipe_file}:3: dataset.name")


def test_an_alias_stands_for_a_whole_value(recipe_file):
    text = recipe_file.read_text().replace("learning_rate: {", "learning_rate: &rate {")
    recipe_file.write_text(f"{text}  decay: *rate\n")
    space = load_recipe(recipe_file).space
    assert space["decay"] == space["learning_rate"]
    recipe_file.write_text(f"{text}  dcay: *rate\n")
    (fault,) = faults_of(recipe_file)
    assert fault.startswith(f"{recipe_file}:10: space.dcay: nothing uses this name")


def test_the_variants_of_a_recipe_differ_in_what_they_set_and_in_their_seeds(recipe_file):
    fast = "    fast: {search.epochs: 1, search.seed: 5, space.batch_size: 8}\n"
    recipe_file.write_text(recipe_file.read_text() + COMPARE + fast)
    variants = load_recipe(recipe_file).variants
    assert {name: [r.search.seed for r in rs] for name, rs in variants.items()} == {
        "plain": [1, 2],
        "fast": [5, 6],
    }
    assert [(r.name, r.search.epochs) for r in variants["fast"]] == [
        ("quick-fast-0", 1),
        ("quick-fast-1", 1),
    ]
    assert {r.tracking.experiment for rs in variants.values() for r in rs} == {"quick"}
    fast, plain = variants["fast"][0], variants["plain"][0]
    rule = Violation("must be other", "Change it.")
    assert fast.fault("search.epochs", rule).line == 14
    assert fast.fault("search.trials", rule).line == plain.fault("search.epochs", rule).line == 6


def test_reading_a_recipe_imports_nothing_heavy(recipe_file):
    program = (
        "import sys; from kbn.recipe.loading import load_recipe; load_recipe(sys.argv[1])\n"
        "heavy = 'tensorflow keras keras_tuner mlflow pandas sklearn scipy numpy matplotlib'\n"
        "assert not set(heavy.split()) & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, recipe_file], check=True)


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
    (fault,) = faults_of(recipe_file, "name=\0")
    assert fault == "command line: name: must be YAML; got the character U+0000. Remove it."
    (fault,) = faults_of(recipe_file, "dataset.path=x.csv")
    assert fault.startswith(f"{recipe_file}:3: dataset: needs one of name, path, python; got")


def test_all_faults_of_overrides_and_file_are_reported_at_once(recipe_file):
    recipe_file.write_text(recipe_file.read_text().replace("iris", "irises"))
    faults = faults_of(recipe_file, "search.trials", "search.epochs=[", "space.units=8")
    assert [fault.partition(";")[0] for fault in faults] == [
        "command line: must be key=value",
        "command line: search.epochs: must be YAML",
        "command line: space.units: nothing uses this name",
        f"{recipe_file}:3: dataset.name: must name a known data set",
    ]


def test_an_override_fills_a_section_that_was_left_empty(recipe_file):
    recipe_file.write_text(recipe_file.read_text() + "tracking:\n")
    assert not load_recipe(recipe_file, ["tracking.enabled=false"]).tracking.enabled


# nine to the ninth values in ten lines
LAUGHS = "".join(
    f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}' if name > 'a' else 'x'] * 9)}]\n"
    for name in "abcdefghi"
).encode()


@pytest.mark.parametrize(
    ("content", "expected"),
    {
        "empty": (b"", ":1: must be a mapping of keys; got nothing"),
        "list": (b"- a\n- b\n", ":1: must be a mapping of keys; got list"),
        "binary": (b"\x7fELF\xff\xfe", ": must be UTF-8 text; got other bytes"),
        "comment": (b"# soon\n", ":1: must be a mapping of keys; got nothing"),
        "UTF-16": ("name: x".encode("utf-16"), ": must be UTF-8 text; got other bytes"),
        "loop": (b"a: &a {b: *a}\n", ": values must not nest so deeply; got more than 20 levels"),
        "depth": (b"a: " + b"[" * 600, ": values must not nest so deeply; got more than 20 levels"),
        "aliases of aliases": (LAUGHS, ":1: must hold at most 10000 values. Use fewer aliases"),
        "code": (
            b"a: !!python/object/apply:os.abort []\n",
            ":1: a: must be plain data; got the tag !!python/object/apply:os.abort. Remove",
        ),
    }.values(),
)
def test_a_file_without_a_recipe_is_rejected(tmp_path, content, expected):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    assert faults_of(file)[0].startswith(f"{file}{expected}")


@pytest.mark.posix
def test_only_a_regular_file_is_read_and_no_read_waits(tmp_path, recipe_file):
    pipe, zeros, link = (tmp_path / f"{name}.yaml" for name in ("pipe", "zeros", "link"))
    os.mkfifo(pipe)
    zeros.symlink_to("/dev/zero")
    link.symlink_to(recipe_file)
    for file in (pipe, zeros):
        (fault,) = faults_of(file)
        assert "must be a regular file; got a pipe, a socket or a device." in fault
    assert load_recipe(link).name == "quick"


def test_a_recipe_has_a_size_that_a_person_can_read(tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text("#" * 1_000_001)
    assert faults_of(file) == [
        f"{file}: must be at most 1000000 bytes long; got more. List the recipes here: kbn ls"
    ]
    file.write_text("a: [" + "1, " * 30_000 + "2]\n")
    assert faults_of(file) == [f"{file}:1: must hold at most 10000 values. Use fewer aliases."]


@pytest.mark.parametrize(
    ("seeds", "variants", "expected"),
    [
        (1000, 400, "compare.variants: may have at most 100; got 400 of them. Remove some."),
        (600, 2, "compare.seeds: variants times seeds must be at most 1000; got 2 variants with "
         "600 seeds. Lower the seeds, or remove variants."),
    ],
)  # fmt: skip
def test_a_comparison_has_as_many_searches_as_can_be_run(recipe_file, seeds, variants, expected):
    each = ", ".join(f"v{number}: {{search.epoch: 1}}" for number in range(variants))
    (fault,) = faults_of(recipe_file, f"compare={{seeds: {seeds}, variants: {{{each}}}}}")
    assert fault == f"command line: {expected}"  # and nothing of each variant


def test_a_key_of_many_dots_is_rejected(recipe_file):
    dots = "a." * 500 + "b"
    (fault,) = faults_of(recipe_file, f"{dots}=1")
    assert fault.startswith("command line: must be key=value")
    faults = faults_of(
        recipe_file, f"compare={{seeds: 2, variants: {{x: {{}}, y: {{{dots}: 1}}}}}}"
    )
    assert "a variant cannot set this" in faults[0]


def test_a_recipe_that_does_not_exist_is_rejected():
    (fault,) = faults_of("nowhere.yaml")
    assert fault.startswith("nowhere.yaml: must be a readable file; got no such file or directory.")
    (fault,) = faults_of("no\0where.yaml")
    assert "must be a readable file; got embedded null byte" in fault
