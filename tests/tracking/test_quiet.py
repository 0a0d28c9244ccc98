"""What the libraries log of work with a store."""

import logging
import threading

import pytest

from kbn.tracking.quiet import NOISY, in_background, quiet


@pytest.fixture(params=NOISY)
def noisy(request, caplog, monkeypatch):
    logger = logging.getLogger(request.param)
    monkeypatch.setattr(logger, "propagate", False)  # as MLflow wants it, once it is imported
    logger.addHandler(caplog.handler)
    yield logger
    logger.removeHandler(caplog.handler)


def logged(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_block_is_quiet_and_leaves_no_filter(noisy, caplog):
    before = list(noisy.filters)
    with quiet():
        noisy.error("inside")
        with quiet():
            noisy.error("further inside")
        noisy.error("still inside")
    assert noisy.filters == before
    noisy.error("after")
    assert logged(caplog) == ["after"]


def test_a_block_that_raises_leaves_no_filter(noisy):
    before = list(noisy.filters)
    with pytest.raises(ValueError, match="within"), quiet():
        raise ValueError("within")
    assert noisy.filters == before


def test_blocks_of_other_threads_are_their_own(noisy, caplog):
    before = list(noisy.filters)
    begun, done = threading.Event(), threading.Event()

    def ask():
        begun.set()
        done.wait(60)
        noisy.error("by the other thread")

    thread = in_background(ask)
    assert begun.wait(60)
    noisy.error("by this thread")
    with quiet():
        noisy.error("quietly by this thread")
    noisy.error("again by this thread")
    done.set()
    thread.join(60)
    assert noisy.filters == before
    assert logged(caplog) == ["by this thread", "again by this thread"]
