"""Study of searches on trainings that others have tabulated: `python -m benchmarks.tabulated`.

A search of a hundred trainings takes seconds here, as each result is looked up instead of trained.

    task         a search space and the loss of every configuration in it; a suite has several
    whole        of a training: with all its epochs
    budget       whole trainings that a search may spend
    regret       (loss - best) / (median - best), clipped to [0, 1]: 0 is the best known loss of the
                 task, 1 the median loss of random configurations; losses are without noise
    reference    best and median of a task
"""
