# %% [markdown]
# # A first search, as a notebook
#
# The tutorial in Python. `jupytext --to ipynb first_search.py` turns this file into a notebook.
# Jupyter with jupytext, and VS Code, open it as it is.

# %%
import numpy as np
from sklearn.datasets import load_digits

import kbn

# %% [markdown]
# A recipe says what is searched, and on which scale. The momentum counts only where the optimizer
# is SGD.

# %%
recipe = kbn.Recipe(
    name="notebook",
    dataset={"name": "digits", "validation": 0.2},
    model={"name": "softmax"},
    objective={"metric": "val_accuracy"},
    search={"trials": 6, "epochs": 2, "seed": 7},
    space={
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1, "scale": "log"},
        "optimizer": {"type": "choice", "values": ["sgd", "adam"]},
        "momentum": {
            "type": "float",
            "low": 0.5,
            "high": 0.999,
            "scale": "complement_log",
            "when": {"optimizer": "sgd"},
        },
        "batch_size": 64,
    },
)

# %%
tuned = kbn.tune(recipe)
tuned

# %% [markdown]
# The best trial, and all of them as a DataFrame.

# %%
dict(tuned.values)

# %%
tuned.trials.sort_values("score", ascending=False)

# %% [markdown]
# The report is a page of its own, `tuned.report`; `tuned.figure` is its picture. To compare the
# trials in MLflow, run `kbn ui` in this directory.
#
# The best model takes pixels from 0 to 16, as the data set has them.

# %%
pixels, digits = load_digits(return_X_y=True)
predicted = tuned.best_model().predict(pixels[:100], verbose=0).argmax(1)
np.mean(predicted == digits[:100])

# %% [markdown]
# A longer search goes on from these trials.

# %%
longer = recipe.model_copy(update={"search": recipe.search.model_copy(update={"trials": 8})})
len(kbn.tune(longer).trials)
