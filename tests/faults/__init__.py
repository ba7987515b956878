"""Faults of pictures, memory, disks, files, signals, ranks, names, folders and clocks, each made for real: no mocks.

What goes wrong, what is asked, and the test that does it (`slow` marks those that take long; of each kind a quick one is in
the default run):

| fault | asked | test |
|---|---|---|
| disk full: a picture | nothing made is lost, the result stays in a checkpoint if that can be written, exit 1, `--resume` makes the same bits | test_disk_full: in_the_middle, a_picture_without_room (slow), what_python_rendered |
| disk full: manifest, sheet, film, gallery | the old ones stay whole, exit 1 | test_disk_full: full_at_the_end (slow), in_the_middle |
| disk full: a checkpoint | the ones before stay, no rest, one warning, the run goes on, exit 1 at its end | test_disk_full: in_the_middle, old_checkpoints_stay |
| disk full: TensorBoard, scalars and pictures | one warning each, no traceback, the run ends normally, exit 1 | test_disk_full: in_the_middle; callbacks/test_background |
| disk full from the start | one line, exit 2 | test_disk_full: full_from_the_start |
| last checkpoint empty, cut, of other bits | the one before, with a line that says so | test_damaged: the_one_before; test_checkpoints |
| all checkpoints of a job damaged | refused by name with the remedy before any job, exit 2 | test_damaged: none_is_left; test_checkpoints |
| checkpoint of the last step, no picture | the picture is written | test_damaged: last_step; test_disk_full: a_picture_without_room |
| `--resume` of nothing | exit 2 | test_cli: bad_usage (`--resume`), damaged_settings |
| `--resume` with other settings | a table of differences, exit 2 | test_cli: resume_with_other_settings |
| SIGTERM | 143, checkpoint of that step, partial pictures, same bits after `--resume` | test_stopped: sigterm_in_mid_growth, while_pictures (slow), start (slow); test_cli: a_signal |
| Ctrl-C once, twice | 130 likewise; at once, files whole | test_stopped: while_pictures, twice (slow), start (slow); test_cli: a_signal, ctrl_c_twice |
| kill -9 at any moment | every named file whole, same bits after `--resume` | test_killed: random_moments (slow: 20 kills), each_station (slow), before_the_settings, rests; test_cli: killed_in_mid_growth |
| two processes at once | folders of their own; of one `--out` one gets it | test_cli: never_share; test_folders: one_gets_it |
| names of classes and layers | files in the run folder, unlike without case, safe on Windows; the name itself told everywhere | test_names |
| links in the run folder | refused by name, not followed | test_folders: links |
| a config file is code | said in README and `--help` | README.md, cli.py |
| decompression bombs, damaged pictures | Pillow's limit in force; one line | report/test_pictures |
| folder read-only, a file, not to be made | before the network is loaded, exit 2 | test_folders: file_in_the_place, read_only, default_folder, python_looks |
| clock jumps | steps and numbers decide, no file is written over | test_folders: clock (slow), next_folder, past (with faketime) |
| a second process in the same place of a run folder | refused by a lock that ends with its process, exit 2 | test_fleet: second_process (slow), the_lock_goes |
| a rank killed, hanging or silent | the others finish, the missing jobs are named, exit 1, `--resume` makes the rest | test_fleet: rank_that (slow); under ddp all end within a minute: test_strategies (slow) |
| more ranks than jobs, uneven jobs | idle ranks end clean, each target once | test_fleet: more_ranks (slow) |
| a dead unit | a redirected gradient, other noise three times, then `dead`, exit 1 | test_dead_units; test_redirected_relu |
| NaN or infinite objective or gradient | never seen by the optimizer; the last finite state, half steps, then `diverged`, exit 1; batch-mates keep their bits | test_nonfinite; test_optimization: divergence |
| one bad target, where that is wanted to stop all | `--fail-fast` | test_optimization: fail_fast; test_fleet, test_ray_engine: fail_fast (slow) |
| learning rate too large | a warning at 90 % saturated pixels, a number in the manifest | test_optimization: too_large |
| bfloat16 | for the network alone | test_optimization: bfloat16 |
| a picture of NaN as a file | refused | test_optimization: not_finite |
| pictures too small for network, transform or blur | said before anything runs | test_optimization: too_small |
| out of memory | the batch passes the network in halves; one picture too large is said with sizes | test_objective_gradient, on a network that says so; not on a GPU |
| transforms of another size, not a tensor, detached | another size is fine; the others are said before step 0 | test_optimization: transforms_of_ones_own; test_visualizer |
| objectives that are not one number per picture, or do not look at it | said before step 0 | test_optimization: cannot_be_climbed |
| an objective that raises | no hook is left | test_optimization: no_hook |
| a thousand targets in one process | memory and open files flat | test_optimization: memory (slow) |
| the same seed twice; alone and among eight | the same bits; close | test_optimization: alone |
| weights changed by a run | the checksum of parameters and buffers is the same | test_rendering: weights_are_bit_equal |
"""
