"""What several ranks cost and what a job costs, with one thread per process, on the CPU.

    python scripts/benchmark_scaling.py

(a) Pictures per second of a run of two ranks against the sum of two unrelated runs of one process at the same time, in
turn (A B A B), while both processes of a pair are at work. (b) Time per job over a run of 200 small jobs, and what of it
are not steps. About five minutes; other load on the machine spoils (a) less than (b), as both sides of (a) suffer alike.
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

CPU = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


def start(out: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lightning_fv", "--out", str(out), *CPU, *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait(*runs: subprocess.Popen[bytes], good: tuple[int, ...] = (0,)) -> None:
    for run in runs:
        _, told = run.communicate()
        if run.returncode not in good:
            sys.exit(f"a run ended with code {run.returncode}:\n{told.decode()}")


def done_times(out: Path) -> dict[Path, float]:
    """When each job was done, in seconds of the system's clock."""
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
        # Jobs done until then, those in work by their share.
        for number, (before, after) in enumerate(pairwise(times)):
            if now <= after:
                return number + max(0.0, (now - before) / (after - before))
        return len(times) - 1

    return sum(done(times, end) - done(times, begin) for times in processes) / (end - begin)


def two_ranks(folder: Path, words: list[str]) -> float:
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
        together = two_ranks(folder / f"together{number}", both) * batch
        apart = two_runs(folder / f"apart{number}", halves) * batch
        ratios.append(together / apart)
        print(f"  two ranks {together:.2f} pictures/s, two unrelated runs {apart:.2f}, ratio {ratios[-1]:.3f}")
    print(f"  mean ratio {sum(ratios) / len(ratios):.3f} (goal: at least 0.95)")


def cost(folder: Path, jobs: int) -> None:
    small = ["--batch_size", "1", "--targets", f"layer4:0-{jobs - 1}", "--trainer.max_steps"]
    spans = {}
    for steps in (1, 21):
        out, count = folder / f"steps{steps}", jobs if steps == 1 else jobs // 4
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.time()
        # A unit that is dead after so few steps is no fault here; a job that is not done is.
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
        f"  start and end of a job beyond its steps: {per_job[1] - step:.3f} s (goal: at most 0.3); a step {step:.4f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=12, help="of each process in (a)")
    parser.add_argument("--steps", type=int, default=24, help="of each job in (a)")
    parser.add_argument("--rounds", type=int, default=2, help="of (a)")
    parser.add_argument("--small", type=int, default=200, help="jobs in (b)")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} beside this")
    with tempfile.TemporaryDirectory() as folder:
        print("(a) two ranks against two unrelated runs")
        scaling(Path(folder), options.jobs, options.steps, options.rounds)
        print("(b) many small jobs")
        cost(Path(folder), options.small)


if __name__ == "__main__":
    main()
