"""What is typed: options, values and config files, right, wrong and confused."""

import importlib
import inspect
import json
import re
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.fuzzing import damage
from tests.faults.fuzzing.damage import VALUES, plain
from tests.faults.fuzzing.oracle import FaultError, check_ending, check_refusal, pixels, records
from tests.faults.fuzzing.server import Case, Command, Result
from tests.faults.fuzzing.templates import SHORT, Template

NASTY = [
    "", " ", "0", "-1", "1", "3", "1.5", "-0.0", "1e-320", "1e308", "1e400", "-1e400", "nan", "NaN", ".nan", "inf", "-inf", ".inf",
    "2147483648", "9223372036854775808", str(10**30), str(10**400), "9" * 5000, "0x10", "0b1", "1_000", "1,5", "\uff11\uff12", "true", "True", "no", "null",
    "None", "~", "[]", "{}", "[", "{", "[[]]", "[1, 2]", "[null]", "[a, 1]", "{a: 1}", "{1: 2}", "{class_path: x}", "{class_path: }", "{init_args: {}}",
    "x", "é", "日本語", "\x1b[31mred", "a\nb", "a\tb", "\x7f", "\udcff", "\u202e", "x" * 1000, "'", '"', "`", "$HOME", "~/x", "*", "&a", "*a", "!!python/none",
    "!!python/object/apply:os.system ['touch canary']", "!x", "- 1", "a: b: c", "#", "%", "@x", "|", ">", "?", "2026-11-27", "12:30", "/", "/dev/null",
    "/dev/zero", "/etc/passwd", "..", ".", "/proc/self/mem", "-", "--", "-1e3", "--seed", "auto", "cpu", "cuda", "cuda:0", "all", "default", "os.system", "torch.nn.Linear",
    "[" * 20000, "{a: " * 3000, "&a [*a]", "\\", "%s", "{0}", "demo", "logits:1",
]  # fmt: skip
"""Values for any option."""

UNITS = ["0", "3", "-1", "255", "256", "9" * 30, "0-3", "3-0", "0-", "-", "0-999999999999", "all", "last", "pizza", "Pizza", "piza", "king penguin", "nope|lion",
         "|", "1,2", "1,,2", ",", "0@0,0", "0@1,1", "0@-1,0", "0@99,0", "0@", "@1,1", "0@1", "\uff10", "³", "1.5", "nan", "é", "\x1b[2J", "x" * 1000, "0,0,0", "",
         "0 x2", "0-3,5 x3", "0@1,1 x2", "pizza x2", "0 x0", "0 x65", "0 x" + "9" * 5000, "0 x-1", " x2", "0 #2", "0 x2 x2", "0\tx2"]  # fmt: skip
LAYERS = ["logits", "probability", "layer1", "layer3", "layer4", "stem", "stem.0", "layer4.0", "layer4.0.conv1", "layr4", "fc", "avgpool", "", ".", "layer4.", "0",
          "Logits", " layer4", "layer4.0.conv1.weight", "__class__", "é", "\x00", "x" * 1000, "features.3", "module.layer4", "*"]  # fmt: skip

CLASSES = {
    "model.parameterization": ["lightning_fv.parameterizations." + n for n in ("Fourier", "Pixel", "LaplacianPyramid", "CPPN", "MACO", "Alpha", "Shared", "Parameterization")],
    "model.transforms": ["lightning_fv.transforms." + n for n in ("RandomWarp", "RandomNoise", "KeyedTransform")],
    "model.penalties": ["lightning_fv.objectives." + n for n in ("L1", "L2", "TotalVariation", "Penalty")],
    "model.optimizer": ["torch.optim." + n for n in ("Adam", "SGD", "LBFGS", "AdamW", "SparseAdam", "Rprop", "Optimizer", "Adagrad", "RMSprop", "NAdam", "Adafactor", "Muon")],
    "trainer.callbacks": [
        *("lightning_fv.callbacks." + n for n in ("PeriodicBlur", "ProgressiveUpscale", "ImageLogger", "ArtifactWriter", "RenderProgress", "GracefulStop")),
        *("lightning.pytorch.callbacks." + n for n in ("EarlyStopping", "ModelCheckpoint", "Timer", "LearningRateMonitor", "TQDMProgressBar", "RichProgressBar",
          "StochasticWeightAveraging", "GradientAccumulationScheduler", "DeviceStatsMonitor", "LambdaCallback", "ModelSummary", "ModelPruning", "Callback")),
    ],
    "trainer.logger": ["lightning.pytorch.loggers." + n for n in ("CSVLogger", "TensorBoardLogger", "WandbLogger", "Logger", "MLFlowLogger")],
    "trainer.plugins": ["lightning.pytorch.plugins." + n for n in ("AsyncCheckpointIO", "MixedPrecision", "DoublePrecision", "HalfPrecision", "TorchCheckpointIO")],
    "trainer.strategy": ["lightning.pytorch.strategies." + n for n in ("DDPStrategy", "FSDPStrategy", "SingleDeviceStrategy", "DeepSpeedStrategy")],
    "trainer.profiler": ["lightning.pytorch.profilers." + n for n in ("SimpleProfiler", "AdvancedProfiler", "Profiler")],
    "trainer.accelerator": ["lightning.pytorch.accelerators." + n for n in ("CPUAccelerator", "CUDAAccelerator", "Accelerator")],
    "targets": ["lightning_fv.objectives." + n for n in ("Channel", "Neuron", "Logit", "Probability", "Layer", "Function", "L2", "Objective", "TotalVariation", "Facets")],
}  # fmt: skip
"""Classes by the option that takes them; a wrong one is as likely as a right one."""
LISTS = {"model.transforms", "model.penalties", "trainer.callbacks", "targets"}
OTHERS = ["torch.nn.Linear", "torch.nn.Identity", "torch.nn.Dropout", "torch.Tensor", "int", "builtins.dict", "collections.Counter", "pathlib.Path",
          "lightning_fv.FeatureVisualizer", "lightning_fv.optimization.visualizer.FeatureVisualizer", "lightning_fv.networks.VisionNetwork", "kornia.augmentation.RandomRotation",
          "torchvision.transforms.v2.RandomRotation", "nope", "lightning_fv", "lightning_fv.nope", "lightning_fv.callbacks", "a.b.c", "", "..", "é.è", "os.path"]  # fmt: skip
RUNNING = [
    {"class_path": "os.system", "init_args": {"command": "touch canary"}},
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "canary"]}},
    {"class_path": "builtins.open", "init_args": {"file": "canary", "mode": "w"}},
    {"class_path": "logging.FileHandler", "init_args": {"filename": "canary"}},
    {"class_path": "subprocess.check_call", "init_args": {"popenargs": [["touch", "canary"]]}},
    {"class_path": "tempfile.TemporaryDirectory", "init_args": {"dir": ".", "suffix": "canary"}},
]
"""Where a class is expected: what would leave a file behind if it were called."""

VARIABLES = {
    "NODE_RANK": ["1", "x", ""], "LOCAL_RANK": ["1", "0", "x", ""], "RANK": ["1"], "WORLD_SIZE": ["2"], "SLURM_NTASKS": ["2", "x"], "MASTER_PORT": ["x"],
    "TORCHELASTIC_RUN_ID": ["1"], "COLUMNS": ["x", "0", "-1"], "PL_GLOBAL_SEED": ["x", "1"], "CUDA_VISIBLE_DEVICES": ["x", "-1"], "TMPDIR": ["/nope"], "HOME": ["/nope", ""],
    "TORCH_HOME": ["/dev/null", ""], "HF_HOME": ["/dev/null"], "TERM": ["dumb", ""], "POPULATE_SIGTERM": ["1"],
}  # fmt: skip
"""Environment variables that a run might read."""

BOOLEAN = ["true", "false", "null", "yes", "1", "0"]
OPTIONS: dict[str, list[str]] = {
    "targets": [],
    "network": ["demo", "demo/antialiased", "demo/stylized", "demo/x", "Demo", "torchvision/resnet1", "torchvision/", "torchvision/resnet18:X", "timm/x", "timm/", "timm",
                "antialiased/resnet50:lpf9", "stylized/x", "checkpoint:", "checkpoint:/dev/null", "checkpoint:nope", "http://x/y.pth", "timm/hf-hub:a/b", "../demo", "torchvision/../x",
                "torchvision/resnet18", "timm/resnet18.a1_in1k", "timm/test_resnet", "torchvision/get_model", "torchvision/__init__"],
    "weights": ["default", "nope.pth", "/dev/null", ".", "https://example.org/x.pth"],
    "no_weights": BOOLEAN, "offline": BOOLEAN, "fail_fast": BOOLEAN, "resume": BOOLEAN,
    "architecture": ["torchvision/resnet18", "timm/test_resnet", "x", "timm/"],
    "mean": ["[0.5, 0.5, 0.5]", "[0.5]", "0.5", "[0.5, 0.5]", "[nan, 0, 0]", "[1e39, 0, 0]", "[true, 0, 0]", "['0.5', 0, 0]"],
    "std": ["[0.5, 0.5, 0.5]", "[0, 0, 0]", "[0.5]", "[-1, 1, 1]", "[nan, 1, 1]", "[1e-300, 1, 1]", "[inf, 1, 1]"],
    "input_size": ["[64, 64]", "[0, 0]", "[-1, 64]", "64", "[64]", "[64, 64, 3]", "[1, 1]", "[1000000000, 1]", "[64.0, 64.0]", "[32, 48]"],
    "categories": ["[a, b]", "[]", "x.txt", "/dev/null", "/etc/passwd", ".", "[a, a]", "[1, 2]", "[[a]]"],
    "channel_axes": ["{layer4: 1}", "{layer4: 7}", "{x: 1}", "{layer4: -1}", "{layer4: a}", "{logits: 1}", "{layer4: 0}"],
    "out": [],
    "seed": ["1", "-5", "4294967296", "1.0", "true"],
    "batch_size": ["1", "2", "1000", "0", "-3", "auto", "2.0", "true"],
    "checkpoint_seconds": ["0", "-1", "1e300", "nan", "inf", "1e-300", "true"],
    "engine": ["process", "ray ", "Ray", "local", "ddp"],
    "ray.address": ["auto", "x", "ray://x:1", "127.0.0.1:1", "local"], "ray.gpus_per_job": ["0", "-1", "0.5", "9"], "ray.cpus_per_job": ["0", "-1", "1e9", "nan"],
    "trainer.accelerator": ["cpu", "gpu", "tpu", "mps", "auto", "cuda", "hpu"],
    "trainer.strategy": ["auto", "independent", "ddp_spawn", "fsdp", "deepspeed", "single_device", "ddp_find_unused_parameters_true"],
    "trainer.devices": ["auto", "-1", "0", "[0]", "[0, 0]", "[-1]", "'1'", "1.0", "1000000", "0,", ",", "cuda:0", "true", "[]"],
    "trainer.num_nodes": ["1", "2", "0", "-1", "1000000"],
    "trainer.precision": ["32", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true", "16", "transformer-engine"],
    "trainer.logger": [*BOOLEAN, "tensorboard", "[]"], "trainer.callbacks": ["null", "[]", "x", "[null]"],
    "trainer.fast_dev_run": BOOLEAN, "trainer.max_epochs": ["1", "-1", "0", "null"], "trainer.min_epochs": ["1", "null"],
    "trainer.max_steps": ["1", "2", "7", "0", "-1", "null", "6.0", "1.5"], "trainer.min_steps": ["1", "100", "null"],
    "trainer.max_time": ["00:00:00:01", "{seconds: 1}", "1", "null", "x"],
    "trainer.limit_train_batches": ["0", "1", "0.5", "1.0", "null"], "trainer.limit_val_batches": ["0", "1.0", "-1", "null"], "trainer.limit_test_batches": ["0", "7"],
    "trainer.limit_predict_batches": ["0", "0.5"], "trainer.overfit_batches": ["0", "1", "0.5", "0.0"], "trainer.val_check_interval": ["1", "0.5", "0", "1000000", "-1"],
    "trainer.check_val_every_n_epoch": ["1", "0", "null", "-1"], "trainer.num_sanity_val_steps": ["0", "-1", "2"], "trainer.log_every_n_steps": ["1", "0", "-1", "null"],
    "trainer.enable_checkpointing": BOOLEAN, "trainer.enable_progress_bar": BOOLEAN, "trainer.enable_model_summary": BOOLEAN,
    "trainer.accumulate_grad_batches": ["1", "2", "3", "0", "-1", "null", "1.5", "{0: 2}"],
    "trainer.gradient_clip_val": ["0", "1", "0.5", "-1", "nan", "inf", "null", "1e-30"], "trainer.gradient_clip_algorithm": ["norm", "value", "x", "null"],
    "trainer.deterministic": ["true", "false", "warn", "x"], "trainer.benchmark": BOOLEAN, "trainer.inference_mode": BOOLEAN, "trainer.use_distributed_sampler": BOOLEAN,
    "trainer.profiler": ["simple", "advanced", "x", "null"], "trainer.detect_anomaly": BOOLEAN, "trainer.barebones": BOOLEAN,
    "trainer.plugins": ["null", "[]", "x", "deepspeed"], "trainer.sync_batchnorm": BOOLEAN, "trainer.reload_dataloaders_every_n_epochs": ["0", "1", "-1"],
    "trainer.default_root_dir": ["x", ".", "null", "/nope"], "trainer.enable_autolog_hparams": BOOLEAN, "trainer.model_registry": ["x", "null"],
    "model.parameterization": ["Pixel", "Fourier", "LaplacianPyramid", "CPPN", "MACO", "Alpha", "Shared", "lightning_fv.Pixel", "Parameterization"], "model.transforms": ["null", "[]", "RandomWarp", "[RandomNoise]", "[]"],
    "model.penalties": ["null", "[]", "[TotalVariation]", "TotalVariation", "[L1, L2]"], "model.optimizer": ["SGD", "Adam", "torch.optim.LBFGS", "null", "Optimizer"],
    "model.optimizer.lr": ["0", "-1", "1e30", "nan", "1e-30", "true"], "model.optimizer.fused": BOOLEAN, "model.optimizer.betas": ["[0.9, 0.99]", "[1, 1]", "[0]", "0.9"],
    "model.optimizer.eps": ["0", "-1", "nan"], "model.optimizer.maximize": BOOLEAN, "model.optimizer.differentiable": BOOLEAN, "model.optimizer.capturable": BOOLEAN,
    "model.optimizer.amsgrad": BOOLEAN, "model.optimizer.foreach": BOOLEAN, "model.optimizer.weight_decay": ["0.1", "-1", "inf"],
    "model.parameterization.decay": ["0", "-3", "100", "1e5", "nan", "inf"], "model.parameterization.sd": ["0", "-1", "1e30", "nan"], "model.parameterization.decorrelate": BOOLEAN,
    "model.size": ["16", "17", "1", "0.25", "1.0", "[16, 24]", "[16]", "[0, 16]", "0.001", "[0.5, 0.5]", "24.0", "20000", "[16, 100000]", "[1, 16]", "null", "true"],
    "model.stage_steps": ["1", "2", "0", "-1", "1000000000", "null", "100"], "model.moments": ["reset", "keep", "resample", "x"],
    "model.redirect_steps": ["0", "-1", "3", "100000"], "model.chunk": ["0", "1", "-1", "1000000", "null"], "model": ["x", "{}", "null"], "data": ["x", "null", "{}"],
    "trainer": ["x", "{}", "{max_steps: 2}"], "ray": ["{}", "x"], "seed_everything": ["1", "true", "false"],
}  # fmt: skip
"""Every option of `fit`, with values that one might give it."""
LONG = {
    "trainer.max_steps",
    "trainer.accumulate_grad_batches",
    "trainer.devices",
    "model.size",
    "trainer.callbacks",
    "input_size",
}
"""Options of which a large number is a legitimate wish for much work: they only get values from the list above, or no numbers."""
CALM = [value for value in NASTY if not any(character.isdigit() for character in value)]

FILES: dict[str, str | bytes] = {
    "empty": "", "blank": "\n\n", "comment": "# nothing\n", "a list": "- 1\n- 2\n", "a word": "hello\n", "a number": "3\n", "null": "null\n", "tabs": "seed:\t1\n\tx: 2\n",
    "duplicate keys": "seed: 1\nseed: 2\n", "colon": "seed: 1: 2\n", "unknown key": "sed: 1\n", "number as key": "1: 2\n", "null as key": "null: 2\n", "list as key": "? [a, b]\n: 1\n",
    "unfinished": "model: {size: [1, 2\n", "quotes": "seed: 'x\n", "two documents": "seed: 1\n---\nseed: 2\n", "end": "seed: 1\n...\nx\n", "directive": "%YAML 9.9\n---\nseed: 1\n",
    "alias": "seed: *nothing\n", "itself": "model: &a {size: *a}\n", "itself in a list": "targets: &a [*a]\n", "merge": "a: &a {seed: 1}\n<<: *a\n",
    "a thousand laughs": "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)) + "targets: *i\n",
    "deep": "targets: " + "[" * 20000 + "]" * 20000 + "\n", "deep block": "".join(" " * depth + "a:\n" for depth in range(2000)),
    "python tag": "targets: !!python/object/apply:os.system ['touch canary']\n", "python name": "seed: !!python/name:os.system\n", "own tag": "seed: !x 1\n", "binary": "targets: !!binary aGVsbG8=\n",
    "set": "targets: !!set {a, b}\n", "dates": "targets: [2026-11-27]\n", "no": "targets: no\n", "octal": "seed: 010\n", "sexagesimal": "seed: 1:30\n", "infinite": "seed: .inf\n",
    "huge number": "seed: " + "9" * 5000 + "\n", "huge exponent": "checkpoint_seconds: 1e99999\n", "long": "targets: " + "x" * 1_000_000 + "\n", "NUL": "seed: 1\n\x00\n", "escape": "targets: \"\\e[2J\"\n",
    "raw escape": "targets: \x1b[2J\n", "UTF-16": "seed: 1\n".encode("utf-16"), "UTF-32": "seed: 1\n".encode("utf-32"), "byte order mark": b"\xef\xbb\xbfseed: 1\n", "Latin-1": b"targets: caf\xe9\n", "random bytes": bytes(range(256)),
    "CR": "seed: 1\rbatch_size: 2\r", "base of itself": "base: config.yaml\n", "base nowhere": "base: nope\n", "base is a list": "base: [a]\n", "base is a number": "base: 3\n", "base null": "base:\n",
    "base is default": "base: default\nseed: 3\n", "base is /dev/zero": "base: /dev/zero\n", "base is a folder": "base: .\n", "two bases": "base: default\nbase: default\n", "base of base": "base: study_classes\n",
    "config in config": "config: other.yaml\n", "resume": "resume: true\n", "out": "out: [x]\n", "JSON": '{"seed": 1, "model": {"size": 16}}', "class of nothing": "model: {parameterization: {class_path: }}\n",
    "args of nothing": "model: {parameterization: {init_args: {sd: 1}}}\n", "dict as model": "model: {a: {b: {c: 1}}}\n", "list as model": "model: [1]\n", "trainer null": "trainer: null\n", "model null": "model: null\n", "everything null": "seed: null\ntargets: null\nnetwork: null\n",
    "a run's key": "print_config: true\n", "help": "help: true\n", "HTML": "<html><body>404</body></html>\n", "TOML": "[model]\nsize = 16\n", "Python": "import os\nos.system('touch canary')\n", "diff": "<<<<<<< HEAD\nseed: 1\n=======\nseed: 2\n>>>>>>> x\n",
}  # fmt: skip


def options_case(chance: Random, place: Path, templates: dict[str, Template], inherited: int, told: list[str]) -> Case:
    """A command line with something in it; exit 2 in one line before any work, or an honest run."""
    cwd, out = place / "cwd", place / "run"
    cwd.mkdir(parents=True)
    command = chance.choices(["fit", "layers", "compare", "gallery", "other"], [76, 8, 7, 5, 4])[0]
    args, show = {"fit": _fit, "layers": _layers, "compare": _compare, "gallery": _gallery, "other": _other}[command](
        chance, place, out, templates
    )
    told.append(" ".join(plain(damage.shown(word.replace(str(place), ""))) for word in show))
    args = [
        re.sub(r"(/cwd/config\.yaml) is .*", r"\1", word, flags=re.DOTALL) for word in args
    ]  # the file's name, without what it holds
    before = sorted(cwd.iterdir())
    if any("\x00" in word for word in args):
        return "no command line"  # the system has none with NUL
    environment = {}
    if chance.random() < 0.08:
        name = chance.choice(sorted(VARIABLES))
        environment[name] = chance.choice(VARIABLES[name])
        told.append(f"{name}={environment[name]}")
    result = yield Command(args, cwd, environment=environment)
    check_ending(result, (0, 1, 2), inherited)
    made = [path.name for path in sorted(cwd.iterdir()) if path not in before]
    if any("canary" in name for name in made):
        raise FaultError("code was run", f"exit {result.code}: {made}")
    if result.code == 2:
        check_refusal(result)
        if out.exists() and command in ("fit", "compare"):
            raise FaultError("refused too late", f"{result.err[-300:]!r}")
        if made:
            raise FaultError("refused too late", f"left {made}; {result.err[-300:]!r}")
        return "refused (2)"
    return _check_work(result, out, args, command)


def _check_work(result: Result, out: Path, args: list[str], command: str) -> str:
    if result.code == 1:
        if "targets done" not in result.out and "lightning-fv: error: " not in result.err:
            raise FaultError("silent exit 1", f"{result.out[-200:]!r} {result.err[-200:]!r}")
        return "not done (1)"
    if command != "fit" or not (out / "config.yaml").exists():
        if not result.out.strip():
            raise FaultError("silent exit 0", f"{result.err[-200:]!r}")
        return "answered"
    made = records(out / "manifest.jsonl")
    status = [record.status for record in made]
    if not made or set(status) != {"done"}:
        raise FaultError("wrong picture called done", f"exit 0 with {status[:5]}")
    missing = [r.id for r in made if r.image is None or pixels(out / r.image) is None]
    if missing or any(r.score is None for r in made):
        raise FaultError("wrong picture called done", f"exit 0 without a picture or score: {missing[:5]}")
    return "made"


def _fit(chance: Random, place: Path, out: Path, templates: dict[str, Template]) -> tuple[list[str], list[str]]:
    base = ["--out", str(out), *SHORT, "--targets", "logits:1+layer3:3"]
    own: list[str] = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        own += _option(chance, place)
    how = chance.random()
    if how < 0.04:
        own.insert(
            chance.randrange(len(own) + 1),
            chance.choice(
                [
                    "x",
                    "--",
                    "-",
                    "fit",
                    "gallery",
                    "--help",
                    "-h",
                    "--help-all",
                    "--print_config",
                    "--version",
                    "--print_config=x",
                    "-x",
                    "---",
                    "=",
                    "--=",
                    "--out",
                ]
            ),
        )
    if how > 0.97:
        return own + base, [*own, "..."]
    return [*base, *own], ["...", *own]


def _option(chance: Random, place: Path) -> list[str]:
    """One option with its value, in one of the ways to write it."""
    how = chance.random()
    if how < 0.2:
        return _config(chance, place)
    if how < 0.36:
        option = chance.choice(sorted(CLASSES))
        value = json.dumps(_class_value(chance, option))
        return [f"--{option}{chance.choice(['', '', '+']) if option in LISTS else ''}={value}"]
    option = chance.choice(sorted(OPTIONS))
    if option == "targets" or how < 0.48:
        option, value = "targets", _targets(chance)
    elif option == "out":
        value = chance.choice(
            [
                "",
                " ",
                ".",
                "..",
                "/",
                "/dev/null",
                "/proc/x",
                "new/er/x",
                "é",
                "x" * 300,
                "a/" * 3000,
                "\x1b[31m",
                "a\nb",
                "~",
                "[x]",
                "null",
                "3",
                "-x",
                "../run",
                "/etc/passwd",
                "/etc/passwd/x",
                "lightning_logs",
            ]
        )
    elif OPTIONS[option] and chance.random() < 0.5:
        value = chance.choice(OPTIONS[option])
    else:
        value = chance.choice(CALM if option in LONG else NASTY)
    written = option
    spelling = chance.random()
    if spelling < 0.05:
        place_ = chance.randrange(len(option))
        written = chance.choice(
            [
                option.upper(),
                option[:place_] + option[place_ + 1 :],
                option + "s",
                option.replace("_", "-"),
                option.replace(".", "-"),
                option[: max(1, len(option) // 2)],
                option + ".x",
                option + ".init_args.x",
                option + "+",
                option + ".help",
            ]
        )
    dashes = "--" if spelling < 0.99 else "-"
    form = chance.random()
    if form < 0.06:
        return [f"{dashes}{written}"]
    if form < 0.5:
        return [f"{dashes}{written}={value}"]
    if form < 0.53:
        return [f"{dashes}{written}", value, "x"]
    return [f"{dashes}{written}", value]


def _targets(chance: Random) -> str:
    def one() -> str:
        layer = chance.choice(LAYERS)
        return layer if chance.random() < 0.2 else f"{layer}:{chance.choice(UNITS)}"

    texts = [one() for _ in range(chance.choice([1, 1, 2, 3]))]
    how = chance.random()
    if how < 0.1:
        return json.dumps(texts)
    if how < 0.15:
        return json.dumps([*texts, chance.choice(VALUES[5:])], default=str)
    return chance.choice(["+", "+", " + ", ",", "++", "+ +"]).join(texts)


def _class_value(chance: Random, option: str) -> Any:
    """A class by its path, fit or unfit, with arguments; or several."""
    how = chance.random()
    if how < 0.12:
        value: Any = chance.choice(RUNNING)
    else:
        known = CLASSES[option] if how < 0.75 else chance.choice([OTHERS, chance.choice(list(CLASSES.values()))])
        name = chance.choice(known)
        value = {"class_path": name}
        if arguments := _arguments(chance, name):
            value["init_args"] = arguments
        if chance.random() < 0.05:
            value[chance.choice(["x", "dict_kwargs", "init_arg", "class_paths"])] = chance.choice(
                [1, {}, {"x": 1}, None]
            )
    return [value] if option in LISTS and chance.random() < 0.9 else value


_LIVELY = {
    "frame_pictures",
    "frame_side",
    "pictures",
    "side",
    "to",
    "levels",
    "layers",
    "hidden",
    "factor",
    "group",
}  # numbers that are a wish for much work or memory


def _arguments(chance: Random, name: str) -> dict[str, Any]:
    """Up to three arguments of a class, with values that may fit."""
    module, _, attribute = name.rpartition(".")
    try:
        known = [
            p
            for p in inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
            if p not in ("args", "kwargs", "params")
        ]
    except Exception:
        known = []
    chosen = chance.sample(known, min(len(known), chance.choice([0, 1, 1, 2, 3])))
    if chance.random() < 0.06:
        chosen.append(chance.choice(["x", "self", "", "class_path", "params", "lr "]))
    plausible: dict[str, list[Any]] = {
        "layer": ["layer3", "layer4", "layer1", "logits", "x"], "layers": [["layer3"], "layer3", [], 1, 2, 0], "unit": [0, 3, [0, 1], "pizza", 999], "y": [0, 1], "x": [0, 1],
        "lr": [0.1, 1e-3, 0, -1], "every": [1, 2, 3], "sigma": [0.5, 1, 1e9], "to": [24, 0.5, 16], "factor": [1.3, 2, 1, 4, 3, 0], "weight": [1, 0.1, -1],
        "scale": [[0.8, 1.2], [1.2, 0.8], [0, 0], [1]], "padding_mode": ["reflection", "border", "grey", "x"], "pad": [0, 0.1, 1, 5], "crop": [0, 0.5, 0.99, 1],
        "levels": [1, 3, 0, -1, 20], "hidden": [1, 8, 0, -1], "opacity": [True, False], "decorrelate": [True, False], "group": [1, 2, 3, 0, -1],
        "base": [{"class_path": f"lightning_fv.parameterizations.{n}"} for n in ("Pixel", "LaplacianPyramid", "CPPN", "MACO", "Alpha", "Shared")],
        "std": [0, 0.1, -1], "decay": [0, 1, 2, -1], "sd": [0, 0.01], "monitor": ["step", "loss", "x"], "dirpath": ["x", None], "save_dir": ["x"],
    }  # fmt: skip

    def value(parameter: str) -> Any:
        if parameter in plausible and chance.random() < 0.6:
            return chance.choice(plausible[parameter])
        drawn = chance.choice(VALUES)
        if parameter in _LIVELY and isinstance(drawn, int | float):
            return 2
        return "x" if isinstance(drawn, str) and ("/" in drawn or "\x00" in drawn) else drawn

    return {parameter: value(parameter) for parameter in chosen}


def _config(chance: Random, place: Path) -> list[str]:
    """A config file: one of `FILES`, or a run's own after an accident."""
    file = place / "cwd" / "config.yaml"
    how = chance.random()
    if how < 0.08:
        return [
            "--config",
            chance.choice(
                [
                    "nope",
                    "",
                    ".",
                    "/dev/null",
                    "defaul",
                    "study_classes.yaml",
                    "\x1b[1m",
                    "x" * 1000,
                    "{seed: 1}",
                    "seed: 1",
                    "[",
                    "-",
                    "~",
                    "/etc/passwd",
                    "../cwd",
                    "{base: default}",
                ]
            ),
        ]
    if how < 0.12:
        return [chance.choice(["--config", "-c", "-c=", "--config="])]
    if how < 0.6:
        name = chance.choice(sorted(FILES))
        content = FILES[name]
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
        return [f"--config={file} is {name}"]
    file.write_text(_SETTINGS)
    if how < 0.8:
        what = damage.change_yaml(chance, file)
    else:
        ways = damage.BYTES | damage.TEXT
        what = chance.choice(sorted(ways))
        file.write_bytes(ways[what](chance, file, file.read_bytes()))
    return [f"--config={file} is {what}"]


_SETTINGS = """\
seed: 3
targets: [logits:1, 'layer3:3']
batch_size: 2
model:
  size: 16
  parameterization:
    class_path: lightning_fv.parameterizations.Fourier
    init_args: {decay: 1.5, sd: 0.01}
  transforms:
    - class_path: lightning_fv.transforms.RandomWarp
      init_args:
        pad: 0.06
        scale: [0.8, 1.2]
  optimizer:
    class_path: torch.optim.Adam
    init_args:
      lr: 0.1
trainer:
  max_steps: 3
  callbacks:
    - class_path: lightning_fv.callbacks.PeriodicBlur
      init_args:
        every: 2
"""


def _layers(chance: Random, place: Path, out: Path, templates: dict[str, Template]) -> tuple[list[str], list[str]]:
    name = chance.choice(["demo", *OPTIONS["network"], *NASTY[:8]])
    args = ["layers", name]
    for _ in range(chance.choice([0, 1, 2])):
        args += chance.choice([
            ["--grep", chance.choice(["[", "x", "", ".*", "(" * 300, "(a+)+$", "layer", "\\"])], ["--width", chance.choice(["0", "-5", "1", "40", "x", "9" * 30])], ["--no-weights"], ["--offline"],
            ["--weights", chance.choice(["nope", "/dev/null", "", "/dev/zero"])], ["--architecture", chance.choice(["x", "timm/test_resnet", ""])], ["--x"], ["x"], ["--help"], ["--grep"],
        ])  # fmt: skip
    return args, args


def _compare(chance: Random, place: Path, out: Path, templates: dict[str, Template]) -> tuple[list[str], list[str]]:
    base = ["compare", "--out", str(out), *SHORT, "--targets", "logits:1"]
    own = chance.choice([
        ["--networks", "demo"], ["--networks", "demo", "demo"], ["--networks"], ["--networks", "x"], ["--networks", "demo", "Demo"], ["--networks", ""], ["--networks", "demo", "--weights", "nope"],
        ["--networks", "demo", "--weights", "a", "b"], ["--weights"], ["--strategies", "nope"], ["--strategies", "study_penalty", "study_penalty"], ["--resume"], ["--network", "demo"], ["--networks=demo"],
        ["--networks", "demo", "--strategies", "default"], ["--networks", "\x1b[31m"], ["--strategies", "/dev/null"], ["--networks", "demo", "demo/stylized"], [],
    ])  # fmt: skip
    if chance.random() < 0.6:
        own = [*own, *_option(chance, place)]
    return [*base, *own], ["compare ...", *own]


def _gallery(chance: Random, place: Path, out: Path, templates: dict[str, Template]) -> tuple[list[str], list[str]]:
    page = str(place / "page.html")
    args = [
        "gallery",
        *chance.choice(
            [
                [],
                ["nope"],
                [""],
                ["/"],
                ["/dev/null"],
                [str(templates["done"].path)],
                [str(templates["done"].path)] * 2,
                [str(templates["done"].path), str(templates["stopped"].path)],
                ["\x1b[31m"],
                ["x" * 1000],
                ["--x"],
            ]
        ),
    ]
    args += [
        "--out",
        chance.choice([page, page, "/dev/null/x", "", "/", "nope/x/y.html", "x" * 300, "\x1b[1m.html", "/proc/x"]),
    ]
    args += chance.choice([[], [], ["--resume"], ["--targets", "x"], ["--out"]])
    return args, args


def _other(chance: Random, place: Path, out: Path, templates: dict[str, Template]) -> tuple[list[str], list[str]]:
    words = [
        "",
        "fti",
        "Fit",
        "help",
        "--help",
        "-h",
        "--version",
        "version",
        "layers",
        "compare",
        "gallery",
        "run",
        "--",
        "-",
        "\x1b[31m",
        "x" * 1000,
        "--resume",
        "--print_config",
        "fit",
        "demo",
        "logits:pizza",
        "--config",
    ]
    args = [chance.choice(words) for _ in range(chance.choice([1, 2, 3]))]
    if not any(word in args for word in ("--help", "-h", "help", "--version", "--print_config", "layers")):
        args += ["--out", str(out), *SHORT, "--targets", "logits:1"]
    return args, args
