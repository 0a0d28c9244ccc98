"""The live display of a search on a terminal.

digits_softmax  ━━━━━━━━━━━━╸━━━━━━━━━━━━━━━  4 of 6  0:00:09 left
best     val_accuracy 0.9694, trial 2
running  trial 4, epoch 3 of 8, val_accuracy 0.9444
failed   1, the last: The objective was not a number.
round    2: trials 4 to 5, boxes of 0.55 of an axis, 1 trial in 3 from the whole space

learning_rate  ────━━━━━━━━◆━━●──────  0.00312  0.000512 to 0.0412
◆ best  ● running  ━ this round's boxes
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kbn.cli.console import score
from kbn.cli.progress import CommandProgress
from kbn.cli.rounds import drawn_from, trials_of
from kbn.report.results import why_failed
from kbn.report.words import number, shortened, visible
from kbn.run.progress import Running, amount, failed
from kbn.search.axes import Discrete

if TYPE_CHECKING:
    from kbn.recipe.schema import Recipe
    from kbn.search.axes import Axis, Range

STRIP = 24  # letters of an axis
LISTED = 8  # running trials at most that have a line of their own
WIDE = 70  # letters of a terminal that has room for it
OUTSIDE, INSIDE, LEADER, RUNNING = "─━◆●"
LEGEND = f"{LEADER} best  {RUNNING} running  {INSIDE} this round's boxes"
STYLES = {OUTSIDE: "dim", INSIDE: "cyan", LEADER: "green", RUNNING: "bold yellow"}
ASCII_MARKS = str.maketrans("─━◆●", "-=*o")  # where there is ASCII alone
VALUE = 9  # letters of most values: their column should not jump


class Display(CommandProgress):
    """Progress of a search as lines of a terminal, below those of the trials that have ended."""

    axes: Mapping[str, Axis] = {}
    last: Mapping[str, Any] = {}  # values of the trial that began last

    def began(self, trial: str, values: Mapping[str, Any]) -> None:
        self.axes, self.last = axes_of(self.project.recipe), values
        super().began(trial, values)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        narrow = options.max_width < WIDE
        yield self._progress()
        yield self._facts()
        boxes = self._boxes(narrow=narrow, ascii_only=options.ascii_only)
        if boxes.row_count:
            yield Text()
            yield boxes
            if not narrow:
                yield Text(LEGEND.translate(ASCII_MARKS) if options.ascii_only else LEGEND, "dim")

    def _progress(self) -> RenderableType:
        left = self.seconds_left if self.done < self.planned else None
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_row(
            Text(self.project.recipe.name, "bold"),
            ProgressBar(self.planned, self.done, complete_style="cyan"),
            f"{amount(self.done)} of {amount(self.planned)}",
            "" if left is None else f"{timedelta(seconds=round(max(0.0, left)))} left",
        )
        return grid

    def _facts(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True, min_width=len("running"))
        grid.add_column(no_wrap=True, overflow="ellipsis")
        metric, best = visible(self.project.recipe.objective.metric), self.best
        if best is not None:
            told = f"{metric} {score(best.score)}, trial {best.trial}"
            grid.add_row("best", Text(told, "green"))
        for place, told in enumerate(self._told_of_running()):
            grid.add_row("" if place else "running", told)
        if wrong := failed(self.results):
            reason = shortened(why_failed(wrong[-1]))
            grid.add_row("failed", Text(f"{len(wrong)}, the last: {reason}", "red"))
        if broken := self.results.infeasible:
            told = f"{len(broken)}, the last: {'; '.join(broken[-1].violations)}"
            grid.add_row("infeasible", Text(shortened(told), "yellow"))
        if self.rounds:
            last = self.rounds[-1]
            grid.add_row("round", f"{last.number}: {trials_of(last)}, {drawn_from(last)}")
        return grid

    def _told_of_running(self) -> list[str]:
        if not self.running:
            if self.done >= self.planned:
                return ["the report is written"]
            which = "next" if self.results.trials else "first"
            return [f"the {which} trial is prepared" if self.searching else "TensorFlow starts"]
        told = [self._told_of(trial, running) for trial, running in self.running.items()]
        return told if len(told) <= LISTED else [*told[:LISTED], f"and {len(told) - LISTED} more"]

    def _told_of(self, trial: str, running: Running) -> str:
        metric, epochs = self.project.recipe.objective.metric, self.project.recipe.search.whole
        told = f"trial {trial}, epoch {min(running.epochs + 1, epochs)} of {epochs}"
        if metric not in running.metrics:
            return told
        return f"{told}, {visible(metric)} {running.metrics[metric]:.4f}"

    def _boxes(self, *, narrow: bool, ascii_only: bool) -> Table:
        """Return one row per hyperparameter: its axis, the last trial's value, and its boxes."""
        grid = Table.grid(padding=(0, 2))
        for width in (None, VALUE, None) if narrow else (None, STRIP, VALUE, None):
            grid.add_column(no_wrap=True, overflow="ellipsis", min_width=width)
        boxes = self.rounds[-1].boxes if self.rounds else ()
        # a model of the recipe's own may have hyperparameters that the recipe does not know
        for name in dict.fromkeys([*self.axes, *(name for box in boxes for name in box)]):
            axis = self.axes.get(name)
            if isinstance(axis, Discrete) and len(axis.values) == 1:
                continue
            ranges = [box[name] for box in boxes]
            value = number(self.last[name]) if name in self.last else ""
            told = ", ".join(dict.fromkeys(_told(axis, part) for part in ranges))
            row: list[RenderableType] = [visible(name), value, Text(told, "dim")]
            if not narrow:
                strip = self._strip(axis, ranges) if axis else ""
                row.insert(1, _coloured(strip, ASCII_MARKS if ascii_only else {}))
            grid.add_row(*row)
        return grid

    def _strip(self, axis: Axis, ranges: Sequence[Range]) -> str:
        letters = [OUTSIDE] * STRIP
        for part in ranges:
            low, high = axis.edges(part)
            first = _place(low)
            for place in range(first, max(first + 1, math.ceil(high * STRIP))):
                letters[place] = INSIDE
        best = self.best
        shown = [(RUNNING, one.values) for one in self.running.values()] or [(RUNNING, self.last)]
        for letter, values in ((LEADER, best.values if best else {}), *shown):
            if axis.name in values:
                letters[_place(axis.to_unit(values[axis.name]))] = letter
        return "".join(letters)


def axes_of(recipe: Recipe) -> dict[str, Axis]:
    """Return the axes of a recipe's space by name."""
    from kbn.run.plan import hyperparameters_of
    from kbn.search.hyperparameters import space_of

    return {axis.name: axis for axis in space_of(hyperparameters_of(recipe)).axes}


def _coloured(strip: str, letters: Mapping[int, int]) -> Text:
    parts = ((letter.translate(letters), STYLES[letter]) for letter in strip)
    return Text.assemble(*parts)


def _place(u: float) -> int:
    """Return the position on an axis' strip of a coordinate in [0, 1]."""
    return min(math.floor(u * STRIP), STRIP - 1)


def _told(axis: Axis | None, part: Range) -> str:
    """Describe a range in words."""
    between = ", " if axis is None else " " if isinstance(axis, Discrete) else " to "
    return between.join(map(number, part))
