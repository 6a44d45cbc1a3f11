"The program `creativity`, also as `python -m creativity` and under `torchrun -m creativity`."
import os
import signal
from types import FrameType


def stop_early(signum: int, frame: FrameType|None) -> None:
    "Ctrl-C before there is anything to clean up: one line, and no traceback from the middle of an import."
    os.write(2, b'creativity: interrupted\n')
    os._exit(130)


def main() -> None:
    "Import the commands, and run the one that is asked for."
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler: signal.signal(signal.SIGINT, stop_early)
    from creativity.app.cli import app
    from creativity.app.terminal import end_at_once, tolerate_ascii
    tolerate_ascii()
    try:
        signal.signal(signal.SIGINT, before)
        app()
    except KeyboardInterrupt: stop_early(signal.SIGINT, None) # in the instant between the two lines
    except SystemExit as end:
        if end.code != 130: raise
        # all is cleaned up; left to itself Python ends by the signal where that struck in code made from a string
        end_at_once(130)


if __name__ == '__main__': main()
