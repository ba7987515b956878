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
| last checkpoint empty, truncated, corrupted, rewritten by something else, of another job or step | the one before is used, with a line that says so; same bits | test_damaged: the_one_before, something_else_wrote, finds_one; test_checkpoints |
| all checkpoints of a job damaged | that job is `failed` with a line that names the remedy, the others go on, exit 1 | test_damaged: none_is_left; test_checkpoints |
| checkpoint of the last step, no picture | none is saved, and an existing one is skipped: the render resumes from the one before | test_damaged: last_step; engines/test_job: lost_a_picture |
| `config.yaml` truncated or modified, by as little as a byte | refused in one line that names the remedy, exit 2; a copy may be edited for `--config` | test_damaged: settings_that_were_cut; runs/test_digests |
| a picture of a done job changed or missing; its record changed, or no record at all | one warning, the job is rendered again, same bits | test_damaged: marked_as_done, rendered_again; runs/test_folder, runs/test_record |
| manifest, sheet, film or gallery changed or missing | written again by `--resume`, with the same bytes | test_damaged: parts_of_a_report |
| `--resume` without a run | exit 2 | commands/test_options: bad_usage (`--resume`) |
| `--resume` with other settings | a table of differences, exit 2 | commands/test_options: resume_with_other_settings |
| SIGTERM | 143, checkpoint of that step, partial pictures, same bits after `--resume` | test_stopped: sigterm_in_mid_growth, while_pictures (slow), start (slow); commands/test_fit: a_signal |
| a terminal that closes (SIGHUP) | 129, else as SIGTERM; workers and Ray stop too; writing to it is no error; ignored under `nohup` | engines/test_signals: hangup; test_terminal: closed_terminal, nohup (slow); engines/test_ray_cluster: ends_with_its_terminal (slow) |
| Ctrl-C once, twice | once: the same with 130; twice: ends at once, files whole | test_stopped: while_pictures, twice (slow), start (slow); commands/test_fit: a_signal, ctrl_c_twice |
| kill -9 at any moment | every file under its final name is whole, same bits after `--resume` | test_killed: random_moments (slow: 20 kills), each_station (slow), before_the_settings, rests; commands/test_fit: killed_in_mid_growth |
| two processes at once | each gets its own folder; with the same `--out` and different settings, one gets it | commands/test_fit: never_share; test_folders: one_gets_it |
| names of classes and layers | file names that differ also without case and are safe on Windows, inside the run folder; the real name is shown everywhere | test_names |
| pipes, sockets, devices, links, folders in the place of a run's files | refused in one line before the network is loaded, exit 2 | test_folders: links; test_foreign: any_file; runs/test_entries |
| the same while the run goes on | never opened, so nothing hangs; the file counts as damaged, or the run stops in one line | test_foreign: while_it_runs, folder_of_a_job |
| a folder of the run replaced by a link while the run goes on | the run stops in one line, exit 2, before it writes pictures there or takes another job | test_foreign: link_that_is_put |
| a damaged manifest, a pipe, a path of 5,000 characters, for `lightning-fv gallery` | one line, exit 2; for pictures that were changed, the page with a warning | report/test_gallery |
| escape codes and line ends in names, settings, exception messages, manifests | shown as `\\x1b`, never obeyed by a terminal; no message spills onto extra lines, in Python either | test_terminal: names_of_classes, mistakes, table_of_layers, manifests; test_errors; test_architecture: terminal_gets |
| standard output or error closed, full, or a pipe that nobody reads | renders all the same, no traceback; a full standard output is exit 1 | commands/test_streams; callbacks/test_progress: cannot_be_written; test_environment: all_the_same (slow) |
| working folder gone; names too long, with a null character, not UTF-8 | one line, exit 2 | test_environment: working_folder, too_long, no_file |
| no UTF-8 locale, no HOME, no TMPDIR, no stdin, a terminal of 0 or 1 columns, a limit of 20 open files, a file-size limit | renders all the same, or names what could not be written | commands/test_streams: encoding; test_environment: any_locale, all_the_same, may_not_grow (slow) |
| a network that others share | ranks of ddp that one machine starts, and a Ray started for a run, listen on loopback only | engines/test_strategy: listens_on_loopback; engines/test_ddp: themselves_alone (slow); engines/test_ray_cluster: this_machine (slow) |
| a config file is code | said in README, SECURITY.md and `--help`; the user's own code is announced before its module is imported | commands/test_imports: own_code_is_told |
| a config that names `os.system`, `torch.load` and the like, by `--config`, `--resume` or on the command line | refused before it is imported or called, exit 2 | commands/test_imports: standard_library, may_not_be_named, someone_else, wherever (slow) |
| a config that names a URL | not fetched | commands/test_imports: fetched |
| a logger, profiler or checkpoint callback that would write outside of the run folder | refused, exit 2 | engines/test_checks: would_not_be_followed |
| a user's ModelCheckpoint, CSVLogger, profiler | each job has its own files in its own folder; they stay when the job is done, and the run can still be resumed | test_api: continued_by_the_same_call; engines/test_logger: of_users |
| an option or callback that would end a render early, or needs a network's weights | refused by name before any work, exit 2 | engines/test_checks: would_not_be_followed, every_callback |
| invalid numbers: NaN, infinite, negative, zero, of thousands of digits | refused with their range, exit 2 | engines/test_checks: numbers_of_a_run, optimizers, parts_of_a_recipe, sizes, impossible_preprocessing |
| more or fewer class names than logits | refused before any work, exit 2 | engines/test_checks: class_names |
| a misspelt option, class, command or network | one line with what may have been meant, exit 2 | commands/test_hints |
| targets: empty, huge or foreign digits, control characters, 100,000 of them or as long | one short line with the nearest name, quickly | targets/test_grammar; targets/test_resolve: does_not_exist, many_targets |
| a weights file that declares more than it has: compressed or overlapping zip entries, huge or repeated tensors, storages, headers | sizes are checked before memory is taken, nothing in the file is called, one line, exit 2 | networks/test_torch_file: takes_little_memory, more_classes |
| sparse, quantized, meta, complex or integer weights, subclasses of tensors | one line that names them; no imaginary part is dropped | networks/test_torch_pickle: other_tensors; networks/test_torch_file: not_real |
| networks that detach, are constant, lazy, scripted, quantized, meta, made in inference mode, compiled inside, of several or integer outputs | one line before any work | networks/test_modules: refused_in_one_line |
| DataParallel, torch.compile, training mode, weight_norm, a change in place, a map of logits | the same picture as without | networks/test_modules: wrapped_around, map_of_logits |
| a network of 1, 2, 4, 7 channels; one that accepts one size | pictures of as many channels, of which files show one as grey or three; pictures are resized first | networks/test_modules: any_number_of_channels, found_out; functional/test_image: shown_as_rgb |
| random numbers in the forward; batch normalisation without statistics | a warning in one line | networks/test_modules: cannot_be_repeated |
| decompression bombs, damaged pictures | Pillow's limit in force; one line | report/test_pictures |
| a picture of a unit becomes NaN, with diversity | no other picture of the unit is affected | optimization/test_diversity: spoils_no_other |
| a device's memory is full, with diversity | chunks that cut a unit give the gradient of the whole | optimization/test_diversity: chunks_have_the_gradient, full_memory |
| a unit with diversity is dead | it is restarted and reported as without | optimization/test_diversity: dead_units |
| `layer4:12 x0`, `x65`, `x999...9`, `layer4:12 #2` | one line | targets/test_grammar, targets/test_resolve |
| a class called `BMW X5` | is a class, not five pictures | targets/test_resolve: as_if_it_had_several |
| an unknown `diversity_layer` | one line before the first step, also without diversity, where it is only for scores | optimization/test_diversity: what_is_wrong |
| a training with the callback, with and without: losses, weights, optimizer, buffers, generators of Python, NumPy and torch, workers of the loader | the same bits; also resumed, in bf16-mixed, accumulating, compiled, on two ranks | test_during_training: same_bits, resumed, compiled, ranks_end |
| a bad target, module name, setting, or folder for a training | one line before the first step, on all ranks | test_during_training: wrong_is_one_line, bad_target_ends_all_ranks |
| the network's structure changes in training, its weights become NaN | one warning, or sheets that say `diverged`; the training goes on | test_during_training: fails_is_one_warning, weights_of_nan |
| SIGTERM or Ctrl-C in a render during training | the render ends after a step; then the training's own handlers get the signal | test_during_training: a_signal |
| a render during ddp training that takes longer than a collective may | the other ranks wait, without a collective of the training's process group | test_during_training: wait_for_the_first |
| sharded strategies (FSDP, DeepSpeed, model parallel) | one line before the first epoch | test_during_training: divided |
| a file of vectors that is missing, changed, of another shape, holds several arrays or objects | one line that names it and what is there, exit 2 | objectives/test_direction: no_vector, files_of_vectors; targets/test_vectors |
| a file of a sparse autoencoder that is missing, changed, pickled, of NaN or an unknown kind, without its settings; of another width than the layer; a latent that it does not have | one line that names it and what is there, before any work, exit 2 | networks/test_sparse_autoencoder: in_one_line, cannot_be_read; objectives/test_sae_latent: wrong_is_told, another_autoencoder; targets/test_latents: not_there, config_file |
| a photo to start from that is missing, damaged, a folder, a device, huge, of 32 bits or PostScript; more photos than pictures | one line before the network is loaded, exit 2 | optimization/test_photo; commands/test_start |
| a photo that a target compares with that is missing, changed, a device or no picture; two in one target; a penalty on what pictures start from where they start from noise | one line before the run folder is made, exit 2 | objectives/test_photo; optimization/test_references; test_compared |
| a run from photos is killed and the photos are gone | the same bits after `--resume`, from the copy in the run folder; one line if that is damaged | commands/test_start; runs/test_start_photo |
| `lightning-fv report`: no run, no photos, an unknown judge, one that made the pictures or is named twice, runs of the same seed | one line, exit 2, before any work | commands/test_report: bad_usage, judges_without_photos |
| a report: kill -9, two processes at once, a full disk | no job's evidence is lost, the same command goes on, with the bytes of one process | commands/test_report: killed, two_processes, full_disk; trust/test_report: two_workers |
| a report: a picture missing or damaged, an objective that fails or has no text, records or evidence of a job damaged | a verdict `unknown` with the reason, or a warning; the others have theirs | trust/test_report: missing_or_damaged, takes_no_other, not_known, records_are_damaged, only_what_changed; trust/test_recorded; runs/test_evidence |
| a report: NaN in photos, pictures, the network or judges | counted and named, never averaged away, never a verdict of `trust` | trust/test_evaluate: not_finite, nan; trust/test_verdict; trust/test_matches: not_finite |
| a report in Python with another network than the run's | one line | commands/test_report: other_weights; engines/test_config |
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
| a transform that works in place or in float64 | works; penalties see the pictures before transforms; other types, and errors of a transform, are one line before step 0 | optimization/test_transform_pipeline: in_place, optimised_through |
| an objective that raises, declares no layers, or has `/` in its name; a visualizer without a network | one line before step 0; none are read; the file stays in images/ | targets/test_resolve: tried_before, without_layers; optimization/test_visualizer: without_network |
| two recipes, objectives or networks that render different pictures and look alike | different job ids | runs/test_settings: what_differs, attributes_of_a_class, five_masks; functional/test_code |
| pictures to start from that are no pictures, too many, or given before `bind` | one line before any work | test_api: pictures_to_start_from; optimization/test_start |
| `render(out=)` interrupted, or called with other arguments | the same call or `--resume` continues it with the same bits; one line says which argument differs | test_api: continued_by_the_same_call, continued_by_the_command_line; engines/test_config |
| two threads render with one module | they take turns, with the pictures and the module of one alone | test_process_state: two_threads; engines/test_isolation |
| autocast, no_grad, inference mode, another default type or device, deterministic algorithms | the same bits, also of parts that were made there | test_process_state: modes_change_no_picture, made_in_a_mode, inference_mode; functional/test_modes |
| an error or KeyboardInterrupt in a callback's hook, the network, a transform, objective, penalty, parameterization, the optimizer | signal handlers, modes, flags, filters, log levels, environment, and the module's tensors, flags and hooks are as before | test_process_state: leaves_everything, while_an_error, command_line |
| several jobs with a callback that has state | each starts with the callback as given, which keeps the state of the last; one that cannot be copied is refused before the first step | test_process_state: keeps_what_it_recorded, cannot_be_copied; engines/test_ray_task: as_they_were_sent |
| two hundred renders that fail | memory, threads and open files stay constant | test_process_state: freed, flat (slow) |
| 2,000 random faults: damaged run folders, options, records, weight files, signals | no traceback, hang or runaway memory use; exit 2 with one line before any work; after exit 0 the bits of an undisturbed run; no finished picture is lost | test_fuzz; `python -m tests.faults.fuzz --seed 0 --count 2000` |
| transforms of another size, not a tensor, detached | another size is fine; the others are refused before step 0 | test_optimization: transforms_of_ones_own; test_visualizer |
| objectives that are not one number per picture, or do not depend on it | refused before step 0 | test_optimization: cannot_be_climbed |
| an objective that raises | no hook is left behind | test_optimization: no_hook |
| a thousand targets in one process | memory and open files stay constant | test_optimization: memory (slow) |
| the same seed twice; alone and among eight | the same bits; close scores | test_optimization: alone |
| weights changed by a run | the checksum of parameters and buffers is the same | test_api: weights_are_bit_equal |
"""
