"""The command line: a demonstration on digits, and explanations of the rows of a file."""

import io
import os
import sys
from collections.abc import Sequence

from ._cli.arguments import parser
from ._cli.inputs import InputError
from ._cli.printing import printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments, those of the process by default.

    Returns
    -------
    code : int
        0 if all went well, 2 for bad input or usage, 130 if interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # labels beyond the terminal's encoding
    try:
        try:
            args = parser().parse_args(argv)
            args.run(args)
            code = 0
        except SystemExit as stop:  # --help, --version
            code = int(stop.code or 0)
        sys.stdout.flush()
        return code
    except InputError as error:
        message = str(error)
    except BrokenPipeError:
        # The reader has had enough; what is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        print("skattrib: interrupted", file=sys.stderr)
        return 130
    except MemoryError as error:
        message = f"out of memory {error}"
    except OSError as error:
        message = f"cannot write the output: {error}"
    print(f"skattrib: error: {printable(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
