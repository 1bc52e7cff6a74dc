"""`python -m dacfile.training`: make the bundled models and priors, continue them, or fine-tune on one's own audio.

A bundled model from nothing, and its prior (each command resumes where it was stopped):

    python -m dacfile.training prepare corpus/train runs/cache/44100 --rate 44100
    python -m dacfile.training codec 44k runs/cache/44100 runs/44k
    python -m dacfile.training export runs/44k runs/44k.safetensors
    python -m dacfile.training prior runs/44k.safetensors corpus/train runs/44k.npz runs/44k.prior.safetensors
    python -m dacfile.training codec 44k-decoder runs/cache/44100 runs/44k-d --weights runs/44k.safetensors \\
        --prior runs/44k.prior.safetensors
    python -m dacfile.training export runs/44k-d dacfile/weights/44k.safetensors
    python -m dacfile.training tie runs/44k.prior.safetensors dacfile/weights/44k.safetensors dacfile/weights --rdo 0.3

The -decoder runs keep the encoder, so a prior stays good and is only tied to the new weights. With --prior codes are
chosen by their bits, too, and `tie --rdo` tells the compressor to do the same. Last, the encoder's second look, for
the decoder as it is then (24k has none):

    python -m dacfile.training codec 44k-look runs/cache/44100 runs/44k-l --weights dacfile/weights/44k.safetensors
    python -m dacfile.training export runs/44k-l dacfile/weights/44k.safetensors
    python -m dacfile.training tie runs/44k.prior.safetensors dacfile/weights/44k.safetensors dacfile/weights --rdo 0.3

A decoder that is trained again after that keeps the look with `export RUN TARGET --look OLD_WEIGHTS`.

24k (but for the look) and 16k likewise, with --rate 24000 and 16000. Going on from bundled weights when their run is
not at hand (this changes the codes):

    python -m dacfile.training codec 44k runs/cache/44100 runs/more --steps 5000 \\
        --weights dacfile/weights/44k.safetensors

Fine-tuning on a folder of one's own music, in one command that goes on where it was stopped. The decoder learns, the
codes stay; the result is installed with its prior, and on recordings kept out it is said what it was worth:

    python -m dacfile.training tune 44k music/ --name mine && dacz compress music/ --model mine

The same in steps, for the whole network:

    python -m dacfile.training prepare music/ runs/mine --rate 44100
    python -m dacfile.training codec 44k runs/mine runs/tuned --weights dacfile/weights/44k.safetensors --steps 2000
    python -m dacfile.training export runs/tuned mine.safetensors && dacz models add mine.safetensors --name mine

Experiments change any number of dacfile/training/config.py, and are judged on audio that training never sees:

    python -m dacfile.training codec 44k runs/cache/44100 runs/a --steps 400 --set learning_rate=5e-4 --set batch=8
    python -m dacfile.training export runs/a runs/a.safetensors
    python -m dacfile.training validate runs/a.safetensors runs/cache/44100 --pesq

`--set decoder_only=true` keeps the codes, and so the prior, as they are; `--set adversarial_from=0` adds discriminators
that a CPU can afford, and `--set paper_discriminators=true` to it those of the DAC paper, for a GPU; with
`--set sampler.noise=0.1 --set sampler.resample=0.1` every tenth segment has hiss and every tenth another speed.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch

from dacfile.codec import fastest
from dacfile.entropy import Prior, load_prior
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.files import save_prior
from dacfile.errors import DaczError
from dacfile.folders import PRIOR_SUFFIX
from dacfile.model.checkpoint import load_model
from dacfile.model.lapped import Lapped
from dacfile.model.look import LOOK_RDO_FACTOR
from dacfile.model.rdo import PriorLikelihoods, RdoChoice, suggested_weight
from dacfile.training.config import CONFIGS, TrainingConfig
from dacfile.training.corpus import Corpus, find_audio, prepare
from dacfile.training.export import export_weights, write_codes
from dacfile.training.prior_run import train_prior_file
from dacfile.training.record import plot
from dacfile.training.sampler import SamplerConfig
from dacfile.training.trainer import CHECKPOINT, Trainer, run
from dacfile.training.tune import BASES, tied, tune
from dacfile.training.validation import evaluate, split_corpus

CPU = torch.device("cpu")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
# What --set may change.
SAMPLER = "sampler."
NUMBERS = [field.name for field in fields(TrainingConfig) if field.name not in ("model", "sampler")]
NUMBERS += [SAMPLER + field.name for field in fields(SamplerConfig)]


def train_codec(arguments: argparse.Namespace) -> None:
    """Train, resume or fine-tune a codec model."""
    config = CONFIGS[arguments.name]
    if arguments.steps:
        config = replace(config, steps=arguments.steps)
    config = changed(config, dict(arguments.set))
    if arguments.prior and not config.rdo_weight:
        raise SystemExit(
            "--prior is for choosing codes by their bits: say how much they weigh with --set rdo_weight=0.5"
        )
    trainer = Trainer(config, Corpus(arguments.cache), arguments.device)
    if (arguments.run / CHECKPOINT).exists():
        trainer.load(arguments.run / CHECKPOINT)
    elif arguments.weights:
        trainer.warm_start(load_model(arguments.weights)[0])
    else:
        trainer.start()
    if arguments.prior:
        trainer.set_rdo(cast(NetworkPrior, load_prior(arguments.prior)))
    run(trainer, arguments.run)


def changed(config: TrainingConfig, settings: dict[str, Any]) -> TrainingConfig:
    """Return a configuration in which the named numbers are others."""
    sampling = {name.removeprefix(SAMPLER): value for name, value in settings.items() if name.startswith(SAMPLER)}
    own = {name: value for name, value in settings.items() if not name.startswith(SAMPLER)}
    return replace(config, **own, sampler=replace(config.sampler, **sampling))


def setting(text: str) -> tuple[str, Any]:
    """Return the name and the value of NAME=VALUE, where NAME is one of NUMBERS."""
    name, _, value = text.partition("=")
    if name not in NUMBERS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(NUMBERS)}")
    return name, json.loads(value)


def validate(arguments: argparse.Namespace) -> None:
    """Print the scores of weights on the held-out part of a cache."""
    model = cast(Lapped, load_model(arguments.weights)[0].eval())
    model = model if arguments.look else model.without_look()
    if arguments.prior:
        set_rdo(model, load_prior(arguments.prior))
    _, held_out = split_corpus(Corpus(arguments.cache))
    opinions = [name for name in ("pesq", "visqol") if getattr(arguments, name)]
    scores = evaluate(model, held_out, arguments.codebooks, opinions)
    print("\n".join(f"{name:20}{value:8.3f}" for name, value in sorted(scores.items())))


def train_prior(arguments: argparse.Namespace) -> None:
    """Code a folder of audio with a model, unless that is done, and train the model's prior on the codes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model, checkpoint = load_model(arguments.weights)
    start = load_prior(arguments.start) if arguments.start else None
    if not arguments.codes.exists():
        model = model.eval()
        if isinstance(model, Lapped):
            model = model.without_look()
            if start:
                set_rdo(model, start)
        write_codes(fastest(model, CPU, "fp32"), find_audio(arguments.audio), arguments.codes)
    train_prior_file(
        arguments.codes, arguments.target, model.facts, arguments.minutes,
        model_id=checkpoint.id, start=start, learning_rate=arguments.learning_rate,
    )  # fmt: skip


def set_rdo(model: Lapped, prior: Prior) -> None:
    """Have a model choose codes by a prior, if it names a weight, as the compressor does."""
    if weight := suggested_weight(prior) * (LOOK_RDO_FACTOR if model.look else 1):
        model.choice = RdoChoice(PriorLikelihoods(cast(NetworkPrior, prior), CPU), model.quantizer, weight)


def tie(arguments: argparse.Namespace) -> None:
    """Say in a prior that it belongs to some weights, under their name, and how codes are to be chosen by it."""
    prior, name = load_prior(arguments.prior), arguments.weights.stem
    tied(prior, name, load_model(arguments.weights)[1].id, arguments.rdo)
    save_prior(prior, arguments.folder / f"{name}{PRIOR_SUFFIX}")


def tune_bundled(arguments: argparse.Namespace) -> None:
    """Fine-tune a bundled model, install it, and say what it was worth."""
    folder = arguments.run or Path("runs", arguments.name)
    tuned = tune(arguments.base, arguments.audio, arguments.name, folder, arguments.steps, arguments.device)
    print(f"scores of {tuned.held_out} channel(s) kept out of training, before and after:")
    print(
        "\n".join(f"{name:20}{score:8.3f} -> {tuned.after[name]:.3f}" for name, score in sorted(tuned.before.items()))
    )
    print(f"installed: dacz compress ... --model {tuned.entry.name}")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(
        "python -m dacfile.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--threads", type=int, help="processor threads for torch")
    commands = top.add_subparsers(required=True)
    add_codec_commands(commands)
    add_judging_commands(commands)
    add_prior_commands(commands)
    return top


def add_codec_commands(commands: Commands) -> None:
    """Add what makes a model."""
    command = commands.add_parser("prepare", help="decode a folder of audio once, for training")
    command.add_argument("audio", type=Path)
    command.add_argument("cache", type=Path)
    command.add_argument("--rate", type=int, required=True, help="sample rate of the model, Hz")
    command.set_defaults(action=lambda a: prepare(a.audio, a.cache, a.rate))

    command = commands.add_parser("codec", help="train a model; continues RUN when it holds a checkpoint")
    command.add_argument("name", choices=sorted(CONFIGS), help="configuration")
    command.add_argument("cache", type=Path)
    command.add_argument("run", type=Path)
    command.add_argument("--steps", type=int, help="steps in all, those already made included")
    command.add_argument("--weights", type=Path, help="start from these weights")
    command.add_argument("--prior", type=Path, help="choose codes by this prior, with --set rdo_weight=WEIGHT")
    command.add_argument(
        "--set", type=setting, action="append", default=[], help="change any number of the configuration: NAME=VALUE"
    )
    command.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    command.set_defaults(action=train_codec)

    command = commands.add_parser("tune", help="fine-tune a bundled model's decoder and install the result")
    command.add_argument("base", choices=BASES)
    command.add_argument("audio", type=Path, help="folder of audio, at least two recordings")
    command.add_argument("--name", required=True, help="of the new model, for --model")
    command.add_argument("--steps", type=int, default=1000, help="steps in all, those already made included")
    command.add_argument("--run", type=Path, help="folder for what a later call needs to go on; runs/NAME if left out")
    command.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    command.set_defaults(action=tune_bundled)

    command = commands.add_parser("export", help="write the averaged weights of a run in half precision")
    command.add_argument("run", type=Path)
    command.add_argument("target", type=Path)
    command.add_argument("--description", default="")
    command.add_argument("--licence", default="")
    command.add_argument("--source", default="dacfile", help="who trained it, on what")
    command.add_argument("--towards", type=Path, help="mix its decoder with that of another run of the decoder alone")
    command.add_argument("--share", type=float, default=0.5, help="how much of that one; 0 to 1")
    command.add_argument("--look", type=Path, help="take over the second look of these weights for the same codes")
    command.set_defaults(action=export)


def add_judging_commands(commands: Commands) -> None:
    """Add what tells how good a model is."""
    command = commands.add_parser("validate", help="judge weights on the part of a cache that is kept out of training")
    command.add_argument("weights", type=Path)
    command.add_argument("cache", type=Path)
    command.add_argument("--codebooks", type=int, help="use the first so many codebooks only")
    command.add_argument("--prior", type=Path, help="choose codes by this prior, as the compressor does")
    command.add_argument("--look", action="store_true", help="with the second look, as `dacz compress --refine 1`")
    command.add_argument("--pesq", action="store_true", help="also on speech: PESQ (needs the extra metrics)")
    command.add_argument("--visqol", action="store_true", help="also ViSQOL, which takes much longer (extra metrics)")
    command.set_defaults(action=validate)

    command = commands.add_parser("plot", help="draw the log of a run as RUN/log.png")
    command.add_argument("run", type=Path)
    command.set_defaults(action=lambda a: print(plot(a.run)))


def add_prior_commands(commands: Commands) -> None:
    """Add what makes the prior of a model."""
    command = commands.add_parser("prior", help="train the prior of a model")
    command.add_argument("weights", type=Path)
    command.add_argument("audio", type=Path)
    command.add_argument("codes", type=Path, help="where the codes of the audio are kept, an .npz")
    command.add_argument("target", type=Path)
    command.add_argument("--minutes", type=float, default=20.0, help="processor minutes")
    command.add_argument("--start", type=Path, help="train this prior further")
    command.add_argument("--learning-rate", type=float, help="default: 0.004, with --start a quarter of that")
    command.set_defaults(action=train_prior)

    command = commands.add_parser("tie", help="tie a prior to other weights that give the same codes")
    command.add_argument("prior", type=Path)
    command.add_argument("weights", type=Path)
    command.add_argument("folder", type=Path, help="where the prior is written, named after the weights")
    command.add_argument("--rdo", type=float, help="what a bit shall weigh when the compressor chooses codes")
    command.set_defaults(action=tie)


def export(arguments: argparse.Namespace) -> None:
    """Write the weights of a run as a native file."""
    card = {"description": arguments.description, "licence": arguments.licence, "source": arguments.source}
    towards = arguments.towards / CHECKPOINT if arguments.towards else None
    export_weights(arguments.run / CHECKPOINT, arguments.target, card, towards, arguments.share, arguments.look)


def main() -> None:
    """Run one command."""
    arguments = parser().parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        arguments.action(arguments)
    except DaczError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
