"""The harness itself: nothing that a test starts is left behind, and nothing that it wrote is lost."""

import signal
import sys

import pytest

from tests.processes import (
    alive,
    end_started,
    finish,
    kill,
    press_ctrl_c,
    run_python,
    start_command,
    start_python,
    started,
    wait_for,
)

PARENT = """
import subprocess, sys
code = "import time; print('child', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=sys.argv[1] == "own session")
print(child.pid, flush=True)
child.wait() if sys.argv[2] == "waits" else None
"""


@pytest.mark.parametrize("session", ["own session", "same session"])
@pytest.mark.parametrize("parent", ["waits", "ends"])
def test_descendants_are_killed_too(session: str, parent: str) -> None:
    before = started()
    process = start_python("-c", PARENT, session, parent)
    wait_for(lambda: "child" in process.output)
    (child,) = [int(line) for line in process.output.splitlines() if line.isdigit()]
    assert child in process.family()
    if parent == "ends":
        process.wait(60)
        with pytest.raises(AssertionError, match=f"left processes \\[{child}\\] behind"):
            finish(process, seconds=0.1)
    end_started(before)
    assert started() == before
    assert not alive(child)
    assert not alive(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel to tell processes that their parent has died")
def test_processes_die_with_the_tests() -> None:
    code = "import os, signal\nfrom tests.processes import start_command\n"
    code += "print(start_command('sleep', '600').pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    tests = start_python("-c", code)
    assert tests.wait(60) == -signal.SIGKILL
    wait_for(lambda: not alive(int(tests.output)))


def test_a_process_that_ends_early_or_never_shows_its_output() -> None:
    ended = start_python("-c", "print('the reason'); raise SystemExit(3)")
    with pytest.raises(AssertionError, match=r"ended with 3(.|\n)*the reason"):
        wait_for(lambda: False, ended)
    endless = start_python("-c", "import time; print('so far', flush=True); time.sleep(600)")
    wait_for(lambda: endless.output, endless)
    for wait in (lambda: wait_for(lambda: False, endless, seconds=0.1), lambda: finish(endless, seconds=0.1)):
        with pytest.raises(AssertionError, match="so far"):
            wait()


def test_output_in_order_or_apart_and_more_than_a_pipe_holds() -> None:
    code = "import sys\nfor file in (sys.stdout, sys.stderr) * 2:\n    print('x' * 100_000, file=file, flush=True)"
    code += "\nprint('last', sys.argv[1])"
    assert finish(start_python("-c", code, 7)) == (0, ("x" * 100_000 + "\n") * 4 + "last 7\n")
    apart = run_python("-c", code, 7)
    assert (len(apart.output), len(apart.error_output)) == (200_009, 200_002)


def test_ctrl_c_reaches_the_group_and_a_kill_is_told() -> None:
    process = start_python("-c", PARENT, "same session", "waits")
    wait_for(lambda: "child" in process.output, process)
    press_ctrl_c(process)
    assert finish(process, seconds=60)[1].count("KeyboardInterrupt\n") == 2
    process = start_command("sleep", "600")
    kill(process)
    assert process.returncode == -signal.SIGKILL


def test_variables_are_added_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNWANTED", "1")
    code = "import os; print(os.environ.get('UNWANTED'), os.environ['WANTED'])"
    assert finish(start_python("-c", code, UNWANTED=None, WANTED="2")) == (0, "None 2\n")
