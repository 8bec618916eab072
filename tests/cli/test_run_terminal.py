"""``gatepass run`` at a terminal: Ctrl-C reaches the program once, and the banner has a colour."""

import asyncio
import sys

# A terminal of its own, with the command in the foreground; Ctrl-C is typed once the program is ready.
TERMINAL = """
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown, typed = b"", False
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side has closed
        break
    shown += part
    if b"ready" in shown and not typed:
        os.write(terminal, b"\\x03")
        typed = True
    if b"interrupted once" in shown and typed is True:
        os.write(terminal, b"go on\\n")
        typed = "enough"
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
PROGRAM = """
import os, signal, sys
count = 0
def interrupted(*_):
    global count
    count += 1
    os.write(1, b"interrupted once\\n" if count == 1 else b"interrupted again\\n")
signal.signal(signal.SIGINT, interrupted)
os.write(1, b"ready\\n")  # not print: a handler must not come back into a buffer that is being written
sys.stdin.readline()
sys.exit(10 + count)
"""


async def test_ctrl_c_reaches_the_program_once(gatepass):
    command = (sys.executable, "-m", "proxy", "run", "--", sys.executable, "-c", PROGRAM)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", TERMINAL, *command),
        cwd=gatepass.cwd,
        env=gatepass.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    done = await gatepass.end(process)
    assert done.status == 11, done
    assert "interrupted again" not in done.out
    assert "\x1b[1;30;43m OBSERVING ONLY" in done.out
    assert "no call in" in done.out
