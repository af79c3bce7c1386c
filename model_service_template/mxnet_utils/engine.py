"""In which thread MXNet computes."""

import os


def compute_in_this_thread() -> None:
    """Have MXNet compute on CPUs in the thread that calls it (its `NaiveEngine`), instead of handing over to its own.

    A handler asks for one thing at a time and waits for it, so the other thread only adds two wake-ups to every step: 4
    to 5 % of a SqueezeNet. To be called before anything is computed; later it does nothing, nor where MXNET_ENGINE_TYPE
    says what to use. A handler that calls MXNet from several threads at once needs `ThreadedEnginePerDevice` there.
    """
    os.environ.setdefault("MXNET_ENGINE_TYPE", "NaiveEngine")
