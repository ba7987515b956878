"""Faults of pictures, memory, disks, files, signals, workers, names, folders and clocks, each produced for real: no mocks.

What goes wrong, what is required, and the tests for it, by part of their names (`slow` marks those that take long; the default
run has a quick one of each kind):

| fault | required | test |
|---|---|---|
| disk full: a picture | no finished picture is lost, exit 1, `--resume` continues from the last checkpoint with the same bits | test_disk_full: in_the_middle, pictures_without_room (slow), what_python_rendered |
| disk full: manifest, sheet, film, gallery | the old ones stay whole, exit 1 | test_disk_full: full_at_the_end (slow), in_the_middle |
| disk full: a checkpoint | earlier ones stay, no temporary file is left, one warning, the run goes on, exit 1 at its end | test_disk_full: in_the_middle, old_checkpoints_stay |
| disk full: TensorBoard, scalars and pictures | one warning each, no traceback, the run ends normally, exit 1 | test_disk_full: in_the_middle; callbacks/test_background |
| disk full from the start | one line, exit 2 | test_disk_full: full_from_the_start |
| last checkpoint empty, truncated or corrupted | the one before is used, with a line that says so | test_damaged: the_one_before; test_checkpoints |
| all checkpoints of a job damaged | that job is `failed` with a line that names the remedy, the others go on, exit 1 | test_damaged: none_is_left; test_checkpoints |
| checkpoint of the last step, no picture | none is saved, and an existing one is skipped: the render resumes from the one before | test_damaged: last_step; engines/test_job: lost_a_picture |
| `--resume` without a run | exit 2 | commands/test_options: bad_usage (`--resume`), damaged_settings |
| `--resume` with other settings | a table of differences, exit 2 | commands/test_options: resume_with_other_settings |
| SIGTERM | 143, checkpoint of that step, partial pictures, same bits after `--resume` | test_stopped: sigterm_in_mid_growth, while_pictures (slow), start (slow); commands/test_fit: a_signal |
| Ctrl-C once, twice | once: the same with 130; twice: ends at once, files whole | test_stopped: while_pictures, twice (slow), start (slow); commands/test_fit: a_signal, ctrl_c_twice |
| kill -9 at any moment | every file under its final name is whole, same bits after `--resume` | test_killed: random_moments (slow: 20 kills), each_station (slow), before_the_settings, rests; commands/test_fit: killed_in_mid_growth |
| two processes at once | each gets its own folder; with the same `--out` and different settings, one gets it | commands/test_fit: never_share; test_folders: one_gets_it |
| names of classes and layers | file names that differ also without case and are safe on Windows, inside the run folder; the real name is shown everywhere | test_names |
| links in the run folder | refused with their name, not followed | test_folders: links |
| a config file is code | said in README and `--help` | README.md, commands/options.py |
| decompression bombs, damaged pictures | Pillow's limit in force; one line | report/test_pictures |
| folder is read-only, is a file, or cannot be created | refused before the network is loaded, exit 2 | test_folders: file_in_the_place, read_only, default_folder, python_looks |
| clock jumps | order is decided by steps and numbers, no file is overwritten | test_folders: clock (slow), next_folder, past (with faketime) |
| a second process on a run folder | shares the work; refused if its settings, weights or version differ, exit 2 | engines/test_workers: as_many, nine (slow), other_settings (slow), other_pictures |
| a file system without locks | several workers are refused in one line, one renders | engines/test_workers: need_locks; runs/test_claims |
| a worker killed | its job is free at once, another worker continues from the checkpoint, exit 0 | engines/test_workers: takes_over (slow), nine (slow); runs/test_claims; under ddp all end within a minute: engines/test_ddp (slow) |
| a worker stopped (SIGSTOP) | it keeps its claim, the others wait; once it is killed, another takes over (docs/scaling.md) | engines/test_workers: stopped (slow); runs/test_claims |
| an error in a job | the job is `failed` with its error and traceback, the others go on, exit 1; three in a row stop the worker | engines/test_job: job_that_fails; commands/test_fit: job_that_fails |
| more workers than jobs, uneven jobs | idle workers end normally, each target is rendered once | engines/test_workers: more_workers (slow) |
| a dead unit | a redirected gradient, new noise up to three times, then `dead`, exit 1 | test_dead_units; test_redirected_relu |
| NaN or infinite objective or gradient | never reaches the optimizer; the picture is restored to its last finite state, its steps are halved, then it is `diverged`, exit 1; the rest of the batch keeps its bits | test_nonfinite; test_optimization: divergence |
| one bad target that should stop all | `--fail-fast` | test_optimization: fail_fast; engines/test_workers, engines/test_ray: fail_fast (slow) |
| learning rate too large | a warning at 90 % saturated values, their share in the manifest | test_optimization: too_large |
| bfloat16 | only for the network | test_optimization: bfloat16 |
| a picture of NaN as a file | refused | test_optimization: not_finite |
| pictures too small for network, transform or blur | refused before anything runs | test_optimization: too_small |
| out of memory | the batch passes through the network in halves; an error with the sizes if a single picture is too large | test_objective_gradient, on a network that raises the error; not on a GPU |
| transforms of another size, not a tensor, detached | another size is fine; the others are refused before step 0 | test_optimization: transforms_of_ones_own; test_visualizer |
| objectives that are not one number per picture, or do not depend on it | refused before step 0 | test_optimization: cannot_be_climbed |
| an objective that raises | no hook is left behind | test_optimization: no_hook |
| a thousand targets in one process | memory and open files stay constant | test_optimization: memory (slow) |
| the same seed twice; alone and among eight | the same bits; close scores | test_optimization: alone |
| weights changed by a run | the checksum of parameters and buffers is the same | test_api: weights_are_bit_equal |
"""
