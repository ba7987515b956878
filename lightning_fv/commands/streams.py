"""Standard output and standard error of a command: whatever becomes of them, the command itself goes on."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast


class SafeStream:
    """A text stream that takes everything and raises nothing.

    What its encoding does not have is written as ``\\xe9``. Once something cannot be written (the disk is full, the terminal
    is closed, nobody reads the pipe any more), the rest is discarded.

    Args:
        stream: where the text goes.

    Attributes:
        error: the first error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = not stream.closed and stream.isatty()
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":  # in a copy that has no attributes yet
            raise AttributeError(name)
        return getattr(self._stream, name)

    @property
    def incomplete(self) -> bool:
        """Whether wanted output was lost; a closed terminal or a reader that quit early does not count."""
        return self.error is not None and not self._terminal and self.error.errno != errno.EPIPE

    def write(self, text: str) -> int:
        with self._discarding():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._discarding():
            self._stream.flush()

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except ValueError:  # it is closed
            pass
        except OSError as error:
            self.error = self.error or error
            # Otherwise what its buffer still holds would be an error again, at the latest when Python ends.
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
                self._stream.flush()


@contextlib.contextmanager
def safe_streams() -> Iterator[SafeStream]:
    """Make standard output and standard error safe for a block, also where they are closed (``2>&-``); yields the former."""
    # The next file that is opened gets the lowest free number: a picture could become what C libraries write their notes to.
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(lowest, True)
    os.close(lowest)
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        out, error = (SafeStream(nowhere if stream is None else stream) for stream in before)
        sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, error)
        try:
            yield out
        finally:
            out.flush()
            error.flush()
            sys.stdout, sys.stderr = before
