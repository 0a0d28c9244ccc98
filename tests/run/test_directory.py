"""The directory of a search: what is removed from it, what is refused, what a kill leaves."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kbn.errors import DamagedError, KbnError, MachineError, RecipeError
from kbn.files import write_json
from kbn.recipe.loading import load_recipe
from kbn.report.results import Results
from kbn.run import directory
from kbn.run.directory import alone, remove, require_no_links
from kbn.run.project import Project
from kbn.tracking.journal import Journal


@pytest.fixture
def recipe(recipe_file, workspace):
    return load_recipe(recipe_file)


@pytest.fixture
def begun(recipe, workspace):
    """The directory of a search with two trials, as a process left it."""
    return begin(recipe, workspace / "searches" / "quick")


def begin(recipe, project):
    with alone(project):
        named = recipe.model_copy(update={"name": project.name})
        Project(named, project.parent).begin()
        write_json(project / "oracle.json", {"search": "1"})
        write_json(project / "tuner0.json", {"search": "1"})
        journal = Journal(project / "journal")
        for trial in ("0", "1"):
            journal.end(trial, journal.begin(trial, {}), "COMPLETED", {}, score=0.5)
            (project / f"trial_{trial}").mkdir()
            write_json(project / f"trial_{trial}" / "trial.json", {"trial": trial})
        for name in ("best.keras", "best.json", "report.html", "report.png", "oracle.json.new"):
            (project / name).write_text("written")
        for name in ("model", "figures"):
            (project / name).mkdir()
            (project / name / "file").write_text("written")
    return project


def content(directory):
    return {path.name for path in directory.iterdir()}


def trials_of(project):
    return len(Results.read(project, "max").trials)


def test_what_kbn_wrote_is_removed_and_what_a_user_put_there_stays(begun):
    (begun / "notes.txt").write_text("mine")
    (begun / "trial_runs").mkdir()
    (begun / "trial_runs" / "mine").touch()
    with alone(begun):
        remove(begun)
    assert content(begun) == {"lock", "notes.txt", "trial_runs"}
    assert (begun / "notes.txt").read_text() == "mine"
    assert content(begun / "trial_runs") == {"mine"}


def test_what_is_left_after_a_removal_is_still_a_searchs_directory(begun, recipe):
    (begun / "notes.txt").write_text("mine")
    with alone(begun):
        remove(begun)
    with alone(begun):
        Project(recipe).check_unchanged()
        Project(recipe).begin()
    assert (begun / "notes.txt").read_text() == "mine"


class Killed(BaseException):
    """Stands for kill -9: nothing in the code answers to it."""


# every step that changes a directory: a kill before and after each of them
STEPS = [(Path, "mkdir"), (Path, "rename"), (Path, "unlink"), (Path, "rmdir"), (os, "unlink")]


def kill_at(monkeypatch, nth, when):
    """Has the process die at the nth step that changes a directory."""
    count = [0]
    for owner, name in [*STEPS, (os, "rmdir")]:
        inner = getattr(owner, name)

        def step(*args, _inner=inner, **kwargs):
            count[0] += 1
            if count[0] == nth and when == "before":
                raise Killed
            mine = count[0] == nth
            try:
                return _inner(*args, **kwargs)
            finally:
                if mine:
                    raise Killed

        monkeypatch.setattr(owner, name, step)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_step_of_a_removal_leaves_the_whole_search_or_none(
    recipe, workspace, monkeypatch, when
):
    changed = load_recipe(workspace / "quick.yaml", ["search.seed=2"])
    outcomes = []
    for nth in range(1, 100):
        project = begin(recipe, workspace / str(nth) / "quick")
        (project / "notes.txt").write_text("mine")
        before = content(project)
        with monkeypatch.context() as patched:
            kill_at(patched, nth, when)
            try:
                with alone(project):
                    remove(project)
                break  # there was no nth step
            except Killed:
                pass
        left = trials_of(project)
        outcomes.append(left)
        with alone(project):
            if left:
                assert content(project) - {".removed"} == before
                Project(recipe, project.parent).check_unchanged()
            else:  # it is no search any more: any recipe may begin there
                Project(changed, project.parent).check_unchanged()
                Project(changed, project.parent).begin()
                assert trials_of(project) == 0
                assert content(project) == {"lock", "notes.txt", "recipe.json"}
        assert (project / "notes.txt").read_text() == "mine"
    assert nth > 10  # it was killed at many steps
    assert outcomes == sorted(outcomes, reverse=True)  # first the whole search, then none
    assert {*outcomes} == {0, 2}


def test_a_half_removed_search_has_no_results_and_no_recipe_for_those_that_only_look(
    recipe, begun, workspace, monkeypatch
):
    def rename(path, target, inner=Path.rename):  # is killed after the first one
        inner(path, target)
        raise Killed

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(Killed), alone(begun):
        remove(begun)
    assert (begun / "recipe.json").exists()
    assert not Project(recipe).is_begun()
    assert trials_of(begun) == 0
    Project(load_recipe(workspace / "quick.yaml", ["search.seed=2"])).check_unchanged()


def test_the_searches_of_a_comparison_are_removed_with_it(recipe, workspace):
    project = workspace / "searches" / "both"
    with alone(project):
        (project / "report.html").write_text("written")
        (project / "distribution-0123456789ab.npz").write_text("written")
        for name in ("both-a-0", "both-b-0", "both-dropped-0"):
            begin(recipe, project / name)
        (project / "both-b-0" / "notes.txt").write_text("mine")
        (project / "both-notes").mkdir()
        (project / "both-notes" / "mine").touch()
        remove(project)
        assert content(project) == {"lock", "both-b-0", "both-notes"}
        assert content(project / "both-b-0") == {"lock", "notes.txt"}


def test_a_comparison_whose_lock_lost_its_content_is_still_kbns(recipe, workspace):
    project = workspace / "searches" / "both"
    with alone(project):
        begin(recipe, project / "both-a-0")
    (project / "lock").write_bytes(b"")
    with alone(project):
        pass


def test_no_symbolic_link_is_followed_when_a_search_is_removed(begun, workspace):
    outside = workspace / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    for name in ("trial_7", "trial_0/link", ".removed"):
        (begun / name).symlink_to(outside)
    shutil.rmtree(begun / "model")
    (begun / "model").symlink_to(outside)
    (begun / "my link").symlink_to(outside)
    with alone(begun):
        remove(begun)
    assert content(outside) == {"precious"}
    assert content(begun) == {"lock", "my link"}


def test_a_search_that_is_a_symbolic_link_is_refused_and_nothing_is_touched(recipe, workspace):
    elsewhere = begin(recipe, workspace / "elsewhere")
    (workspace / "searches").mkdir()
    link = workspace / "searches" / "quick"
    link.symlink_to(elsewhere)
    before = content(elsewhere)
    with pytest.raises(KbnError, match=r"quick: .* symbolic link to .*elsewhere"), alone(link):
        pass
    assert content(elsewhere) == before


def test_searches_may_lie_behind_a_link_as_a_whole(recipe, workspace):
    (workspace / "disk").mkdir()
    (workspace / "searches").symlink_to(workspace / "disk")
    begin(recipe, workspace / "searches" / "quick")
    assert trials_of(workspace / "disk" / "quick") == 2


def test_a_lock_that_is_a_link_is_not_written_through(begun, workspace):
    precious = workspace / "precious"
    precious.write_text("mine")
    (begun / "lock").unlink()
    (begun / "lock").symlink_to(precious)
    with alone(begun):
        pass
    assert precious.read_text() == "mine"


def test_a_search_that_holds_a_link_in_a_files_place_is_refused(begun, workspace):
    (begun / "oracle.json").unlink()
    (begun / "oracle.json").symlink_to(workspace / "quick.yaml")
    with pytest.raises(KbnError, match=r"oracle\.json is a symbolic link.*--fresh"):
        require_no_links(begun)


@pytest.mark.parametrize("held", [["notes.txt"], ["model", "trial_0"], ["recipe.json", "lock"]])
def test_a_directory_that_is_no_search_of_kbns_is_refused_with_what_it_holds(workspace, held):
    project = workspace / "quick"
    project.mkdir()
    for name in held:
        (project / name).write_text("{}")
    message = r"quick: a search needs a directory of its own; .* holds '" + held[0]
    with pytest.raises(KbnError, match=message), alone(project):
        pass
    assert {path.name: path.read_text() for path in project.iterdir()} == dict.fromkeys(held, "{}")


def test_a_directory_is_left_as_it_was_where_nothing_came_of_the_search(workspace):
    with pytest.raises(RecipeError), alone(workspace / "searches" / "quick"):
        raise RecipeError([])
    assert content(workspace) == set()
    (workspace / "searches").mkdir()
    with alone(workspace / "searches" / "quick"):
        pass
    assert content(workspace) == {"searches"}


def test_another_process_is_named_that_runs_the_search(begun):
    message = rf"one process; another one runs it now: process {os.getpid()} on .*, since"
    with alone(begun), pytest.raises(KbnError, match=message), alone(begun):
        pass


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EROFS, "Work in a directory"),
        (errno.ENOSPC, "Make room"),
        (errno.EMFILE, "Allow more"),
    ],
)
def test_what_the_machine_refuses_is_told_with_the_place_and_the_remedy(
    workspace, monkeypatch, number, hint
):
    def refuse(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(directory, "locked", refuse)
    message = rf"searches/quick/lock: .* Got: {os.strerror(number)}\. Nothing was begun.* {hint}"
    with pytest.raises(MachineError, match=message), alone(Path("searches/quick")):
        pass
    assert content(workspace) == set()


# a search that cannot begin, and what is imported when that is told
EARLY = """
import sys
import kbn
from kbn.errors import KbnError
try:
    kbn.tune("quick.yaml")
except KbnError as error:
    print(type(error).__name__, error)
assert "tensorflow" not in sys.modules
assert "keras" not in sys.modules
"""


def told_early():
    return subprocess.run(
        [sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=120, check=True
    ).stdout


def test_searches_that_cannot_be_written_are_told_before_tensorflow_is_imported(recipe, workspace):
    (workspace / "searches").write_text("a file")
    told = told_early()
    assert told.startswith("MachineError searches: kbn must be able to write it.")
    assert "Move the file that has this name away." in told


def test_a_running_search_is_told_before_tensorflow_is_imported(recipe, begun):
    with alone(begun):
        told = told_early()
    assert told.startswith("KbnError searches/quick: a search may run in one process")
    assert f"process {os.getpid()} on " in told


def test_a_damaged_recipe_of_the_search_is_named_with_the_remedy(recipe, begun):
    (begun / "recipe.json").write_bytes((begun / "recipe.json").read_bytes()[:-9])
    with pytest.raises(DamagedError, match=r"quick/recipe\.json: .*--fresh"):
        Project(recipe).check_unchanged()


def test_a_missing_recipe_of_the_search_is_not_taken_for_a_new_search(recipe, begun):
    (begun / "recipe.json").unlink()
    with pytest.raises(DamagedError, match=r"quick/recipe\.json: .*missing.*--fresh"):
        Project(recipe).check_unchanged()


def test_a_value_of_the_search_so_far_is_shown_in_one_short_line(recipe, begun):
    write_json(begun / "recipe.json", {"name": "\x1b[31m" + "x" * 10_000})
    with pytest.raises(RecipeError) as caught:
        Project(recipe).check_unchanged()
    assert "\x1b" not in str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) < 1000
