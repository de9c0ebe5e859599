"""What ends a run on its way, in one sentence: a broken file, a worker that was ended, memory that does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dnl.training.runs import RunStopped
from dnl.untrusted import one_line

LESS_MEMORY = "--set keep_in_memory=false or workers=0 takes less memory, as does a smaller batch_size or crop"


@contextmanager
def faults_in_words() -> Iterator[None]:
    """Turn what a user can mend into RunStopped, in one sentence; OSError and NonFiniteLoss say enough themselves.

    A loading process that is ended from outside is told by a signal, and so wherever the main process happens to be:
    Ctrl-C, which ends both, stays an interrupt.
    """
    try:
        yield
    except ValueError as error:
        raise RunStopped(one_line(str(error))) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise RunStopped(f"there is not enough memory; {LESS_MEMORY}") from error
    except RuntimeError as error:
        text = str(error)
        if "DataLoader worker" in text:
            if _is_from_an_interrupt(error):
                raise KeyboardInterrupt from error
            raise RunStopped(
                f"a process that prepares batches was ended from outside, most likely for want of memory; {LESS_MEMORY}"
            ) from error
        if "can't allocate memory" in text or "out of memory" in text:
            raise RunStopped(f"there is not enough memory; {LESS_MEMORY}") from error
        raise


def _is_from_an_interrupt(error: BaseException) -> bool:
    """Whether an interrupt was being dealt with when this was raised."""
    before = error.__context__
    return before is not None and (isinstance(before, KeyboardInterrupt) or _is_from_an_interrupt(before))
