"""The best trial's model at the end of a search, saved for MLflow."""

from __future__ import annotations

import logging
from pathlib import Path

from keras_tuner.engine.base_tuner import BaseTuner

log = logging.getLogger(__name__)


def save_best_trial(tuner: BaseTuner, trial_id: str, x: object, directory: Path) -> bool:
    """Save a trial's model at its best epoch, with signature and example.

    Args:
        tuner: that trained it and can load it.
        trial_id: of a completed trial.
        x: inputs that the tuner's `search` was given.
        directory: to save it in; is replaced.

    Returns:
        Whether it was saved; if not, a warning says why.
    """
    from kbn.tracking.models import example_of, save_model  # takes seconds to import

    try:
        model = tuner.load_model(tuner.oracle.get_trial(trial_id))
        save_model(model, directory, example_of(x))
    except Exception as error:
        log.debug("saving the best model failed", exc_info=True)
        log.warning(
            "%s: the best trial's model could not be saved for MLflow: %s. The search is done and "
            "all else is tracked; tuner.get_best_models() is KerasTuner's own way to the model.",
            tuner.project_name,
            str(error).strip().partition("\n")[0] or repr(error),
        )
        return False
    return True
