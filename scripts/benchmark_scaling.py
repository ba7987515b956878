"""Measure what several workers cost and what a job costs, with one thread per process, on the CPU.

    python scripts/benchmark_scaling.py

(a) Pictures per second of a run of two workers, relative to the sum of two concurrent unrelated runs of one process each;
alternating (A B A B), and counted only while both processes of a pair are working. (b) Time per job over a run of 200 small
jobs, and the part of it that is not steps. (c) Two workers, one of them slowed to half its speed: the time until all jobs are
done, relative to the ideal, in which both work to the very end. Takes about six minutes; other load on the machine affects
(b) more than (a) and (c).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

CPU = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


class HalfSpeed(pl.Callback):
    """After each step, waits as long as the step took, if the variable HALF_SPEED is set."""

    def __init__(self) -> None:
        self._start = 0.0

    def settings(self) -> None:
        """None: changes no picture, so that no job's id depends on it."""

    def on_train_batch_start(self, *args: Any) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        if os.environ.get("HALF_SPEED"):
            time.sleep(time.perf_counter() - self._start)


def start(out: Path, *words: str, **variables: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "lightning_fv", "--out", str(out), *CPU, *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait(*runs: subprocess.Popen[bytes], good: tuple[int, ...] = (0,)) -> None:
    for run in runs:
        _, told = run.communicate()
        if run.returncode not in good:
            sys.exit(f"a run ended with code {run.returncode}:\n{told.decode()}")


def done_times(out: Path) -> dict[Path, float]:
    """When each job was done, in seconds on the system's clock."""
    return {file.parent: file.stat().st_mtime for file in out.glob("jobs/*/done.jsonl")}


def process_of(job: Path) -> str:
    """The process that rendered a job, as its event file is named: events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER."""
    (scalars,) = [file for file in job.glob("events.out.tfevents.*") if file.suffix != ".images"]
    return scalars.name.split(".")[-2]


def rate(processes: list[list[float]]) -> float:
    """Jobs per second of several processes together, while all are at work.

    Args:
        processes: when each one's jobs were done, in order.
    """
    begin, end = max(times[0] for times in processes), min(times[-1] for times in processes)
    if end <= begin:
        sys.exit("the processes were not at work at the same time; give more --jobs")

    def done(times: list[float], now: float) -> float:
        # Jobs done until then; a running one counts by its finished fraction.
        for number, (before, after) in enumerate(pairwise(times)):
            if now <= after:
                return number + max(0.0, (now - before) / (after - before))
        return len(times) - 1

    return sum(done(times, end) - done(times, begin) for times in processes) / (end - begin)


def two_workers(folder: Path, words: list[str]) -> float:
    wait(start(folder / "run", *words, "--trainer.devices", "2"))
    times: dict[str, list[float]] = {}
    for job, when in done_times(folder / "run").items():
        times.setdefault(process_of(job), []).append(when)
    return rate([sorted(own) for own in times.values()])


def two_runs(folder: Path, words: list[list[str]]) -> float:
    wait(*[start(folder / str(number), *own) for number, own in enumerate(words)])
    return rate([sorted(done_times(folder / str(number)).values()) for number in range(len(words))])


def scaling(folder: Path, jobs: int, steps: int, rounds: int) -> None:
    batch = 4
    shared = ["--batch_size", str(batch), "--trainer.max_steps", str(steps)]
    halves = [["--targets", f"layer3:{n * jobs * batch}-{(n + 1) * jobs * batch - 1}", *shared] for n in (0, 1)]
    both = ["--targets", f"layer3:0-{2 * jobs * batch - 1}", *shared]
    ratios = []
    for number in range(rounds):
        together = two_workers(folder / f"together{number}", both) * batch
        apart = two_runs(folder / f"apart{number}", halves) * batch
        ratios.append(together / apart)
        print(f"  two workers {together:.2f} pictures/s, two unrelated runs {apart:.2f}, ratio {ratios[-1]:.3f}")
    print(f"  mean ratio {sum(ratios) / len(ratios):.3f} (goal: at least 0.95)")


def cost(folder: Path, jobs: int) -> None:
    small = ["--batch_size", "1", "--targets", f"layer4:0-{jobs - 1}", "--trainer.max_steps"]
    spans = {}
    for steps in (1, 21):
        out, count = folder / f"steps{steps}", jobs if steps == 1 else jobs // 4
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.time()
        # A unit that is dead after so few steps is expected; a job that is not done is an error.
        wait(start(out, *small[:3], f"layer4:0-{count - 1}", small[-1], str(steps)), good=(0, 1))
        if len(done_times(out)) != count:
            sys.exit(f"{count - len(done_times(out))} jobs are not done")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times = sorted(done_times(out).values())
        spans[steps] = [after - before for before, after in pairwise(times)]
        work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"  {count} jobs of {steps} steps: {time.time() - begin:.1f} s, of which {times[0] - begin:.1f} s to the first "
            f"job done; {work:.1f} s on the processor"
        )
    per_job = {steps: sorted(own)[len(own) // 2] for steps, own in spans.items()}
    quarter = max(1, len(spans[1]) // 4)
    first, last = (sorted(part)[quarter // 2] for part in (spans[1][:quarter], spans[1][-quarter:]))
    print(f"  seconds per job, median: first quarter {first:.3f}, last quarter {last:.3f}, ratio {last / first:.2f}")
    step = (per_job[21] - per_job[1]) / 20
    print(
        f"  start and end of a job beyond its steps: {per_job[1] - step:.3f} s (goal: at most 0.1); a step {step:.4f} s"
    )


def one_at_half_speed(folder: Path, jobs: int, steps: int) -> None:
    batch = 4
    words = ["--targets", f"layer3:0-{jobs * batch - 1}", "--batch_size", str(batch), "--trainer.max_steps", str(steps)]
    words += ["--trainer.callbacks+=benchmark_scaling.HalfSpeed"]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    out = folder / "half"
    wait(start(out, *words, PYTHONPATH=path), start(out, *words, PYTHONPATH=path, HALF_SPEED="1"))
    times: dict[str, list[float]] = {}
    for job, when in sorted(done_times(out).items(), key=lambda item: item[1]):
        times.setdefault(process_of(job), []).append(when)
    if len(times) != 2:
        sys.exit("one worker rendered everything; give more --jobs")
    slow, fast = sorted(times.values(), key=len)
    per_job = {name: (own[-1] - own[0]) / (len(own) - 1) for name, own in (("slow", slow), ("fast", fast))}
    begin = max(slow[0], fast[0])  # both are working
    end = max(slow[-1], fast[-1])
    # What was left of the jobs at that moment: those done later, less the part of each worker's current one that was done.
    left: float = sum(when > begin for own in (slow, fast) for when in own)
    left -= sum((begin - max(w for w in own if w <= begin)) / per_job[n] for n, own in (("slow", slow), ("fast", fast)))
    ideal = left / (1 / per_job["slow"] + 1 / per_job["fast"])
    print(
        f"  {len(fast)} jobs of {per_job['fast']:.2f} s and {len(slow)} of {per_job['slow']:.2f} s; from when both are at work "
        f"{end - begin:.1f} s, ideal {ideal:.1f} s, ratio {(end - begin) / ideal:.3f} (goal: at most 1.15)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=12, help="of each process in (a) and (c)")
    parser.add_argument("--steps", type=int, default=24, help="of each job in (a) and (c)")
    parser.add_argument("--rounds", type=int, default=2, help="of (a)")
    parser.add_argument("--small", type=int, default=200, help="jobs in (b)")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} beside this")
    with tempfile.TemporaryDirectory() as folder:
        print("(a) two workers against two unrelated runs")
        scaling(Path(folder), options.jobs, options.steps, options.rounds)
        print("(b) many small jobs")
        cost(Path(folder), options.small)
        print("(c) two workers, one at half speed")
        one_at_half_speed(Path(folder), 2 * options.jobs, options.steps)


if __name__ == "__main__":
    main()
