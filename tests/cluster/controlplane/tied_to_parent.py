"""Become a program that dies with its parent: `tied_to_parent.py PARENT PROGRAM [ARGUMENT ...]`.

The programs of a control plane know nothing of their parent. Linux ends a process with its parent
when the process asks for it, and the wish outlives `exec`; so this asks, and then becomes them.
Run with `python -I -S`: it starts in milliseconds and imports the standard library only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have gone before the wish was heard.
    if os.getppid() != int(parent):
        sys.exit("the process that started this one has ended")
    os.execv(program, [program, *arguments])
