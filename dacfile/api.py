"""The library interface: what `import dacfile` offers, one call for each thing that people want done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dacfile.atomic import AtomicFile
from dacfile.audio.files import rate_of
from dacfile.errors import UsageError
from dacfile.installed import default_prior, prior_of, rdo_weight
from dacfile.opened import DaczFile
from dacfile.pipeline import CompressOptions, DecompressOptions, compress_file, decompress_file, format_of_name

if TYPE_CHECKING:
    from dacfile.codec import Codec
    from dacfile.installed import Codecs
    from dacfile.report import FileReport
    from dacfile.stream import WindowCodec
    from dacfile.verification import Verification

AnyPath = str | PathLike[str]


def compress(
    source: AnyPath,
    target: AnyPath | None = None,
    *,
    model: str = "auto",
    codebooks: int | None = None,
    bitrate: float | None = None,
    stereo: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    prior: bool = True,
    rdo: float | None = None,
    refine: int = 0,
    equalise: bool = True,
    overwrite: bool = False,
    codec: WindowCodec | None = None,
) -> Path:
    """Compress an audio file and return the path of the output: `song.flac` becomes `song.flac.dacz`.

    `codebooks` caps the layers of every channel, `bitrate` the nominal kbit/s of the file; `stereo` is "auto", "lr" or
    "ms"; without `prior` codes are stored raw. `rdo` >= 0 is what a bit weighs against distortion as codes are chosen,
    1 being the weight of an ideal quantiser at high rate (`dacfile.model.rdo`); 0 takes the nearest codes, None the
    weight that the prior names. `refine` is in how many passes codes are improved: better sound, about the same size,
    slower; a single one is learned where the model has it (`dacfile.model.look`), more of them search
    (`dacfile.model.refine`). `equalise` gives blocks gains that correct levels, and attacks before which samples are
    turned down, where the model can have them (`dacfile.equaliser`, `dacfile.attacks`). `codec` (as `load_codec`
    returns it) replaces model, device, precision, rdo and refine.
    The output is complete or absent. Raises DaczError, of which OutputExists when it is there already and `overwrite`
    is false, UsageError when it is the source itself, and OSError.
    """
    path = Path(source)
    output = Path(target) if target is not None else path.with_name(path.name + ".dacz")
    _check_apart(path, output)
    options = CompressOptions(codebooks, bitrate, stereo, equalise=equalise)
    with AtomicFile(output, overwrite=overwrite) as stream:
        if codec is None:
            codec = _codecs(device, precision, rdo_weight(rdo, prior), refine).for_source(model, lambda: rate_of(path))
        found = default_prior(codec.name, codec.id) if prior else None
        compress_file(path, stream, codec, found, options)
    return output


def decompress(
    source: AnyPath,
    target: AnyPath | None = None,
    *,
    format: str | None = None,
    start: float = 0.0,
    duration: float | None = None,
    codebooks: int | None = None,
    force: bool = False,
    device: str = "auto",
    precision: str = "auto",
    overwrite: bool = False,
    codec: WindowCodec | None = None,
) -> Path:
    """Decompress a `.dacz` file and return the path of the output: `song.flac.dacz` becomes `song.flac` again.

    `format` is "wav", "flac", "aiff", "w64", "caf" or None: what the name of `target` says, else the source's own (WAV
    where that is none of WAV, FLAC and AIFF);
    `start` and `duration` are seconds; with `force` what is intact of a damaged file is decoded, what is lost becomes
    silence. Otherwise as `compress`.
    """
    path = Path(source)
    output = Path(target) if target is not None else _audio_path(path, format)
    _check_apart(path, output)
    format = format_of_name(output, format)
    find = (lambda head: codec) if codec is not None else _codecs(device, precision).for_head
    options = DecompressOptions(codebooks, start, duration, format, force)
    with AtomicFile(output, overwrite=overwrite) as stream:
        decompress_file(path, stream, find, partial(prior_of, near=source), options)
    return output


def read(
    path: AnyPath,
    start: float = 0.0,
    stop: float | None = None,
    *,
    codebooks: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    codec: WindowCodec | None = None,
) -> tuple[np.ndarray, int]:
    """Return the audio of [start, stop) seconds, float32 [samples, channels], and its sample rate.

    Only the blocks that are needed are read. Raises DaczError, OSError.
    """
    with DaczFile(path) as file:
        used = codec or _codecs(device, precision).for_head(file.head)
        nothing = np.zeros((0, file.channels), np.float32)
        return np.concatenate([nothing, *file.blocks(start, stop, codebooks, used)]), file.rate


def write(
    path: AnyPath,
    codes: np.ndarray,
    codec: WindowCodec,
    *,
    samples: int | None = None,
    rate: int | None = None,
    gains_db: Sequence[float] | None = None,
    mid_side: bool = False,
    tags: Iterable[tuple[str, str]] = (),
    prior: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write codes uint16 [channels, n, T], n <= K, as `Codec.encode` and `DaczFile.codes` give them, and return `path`.

    `samples` per channel at `rate` Hz are what the file shall decode to, by default all that the codes give at the
    model's rate. `gains_db` and `mid_side` say what was done to the channels before they were encoded, and will be
    undone. 65,535 stands for layers that are left out, and for silent channels, in whole blocks of about 20 s. Blocks
    have no equalisers and attacks: finding them takes the sound (`compress`), and a copy of a file's codes is without.
    Raises UsageError for codes that are not this codec's or have another length, otherwise as `compress`.
    """
    from dacfile.tokens import Origin, write_codes

    gains = None if gains_db is None else tuple(gains_db)
    origin = Origin(samples, rate, gains, mid_side, tuple(tags))
    with AtomicFile(Path(path), overwrite=overwrite) as stream:
        write_codes(np.asarray(codes), stream, codec, default_prior(codec.name, codec.id) if prior else None, origin)
    return Path(path)


def open(path: AnyPath) -> DaczFile:
    """Open a `.dacz` file for its facts, tags, codes and audio; needs neither model nor torch by itself."""
    return DaczFile(path)


def info(path: AnyPath) -> FileReport:
    """Return the facts and figures of a `.dacz` file: sizes, bit rates, layers, blocks."""
    from dacfile.report import describe

    return describe(Path(path))


def verify(path: AnyPath, deep: bool = False, source: AnyPath | None = None) -> Verification:
    """Check structure, checksums and codes of a `.dacz` file; with `deep` decode its audio too, which needs the model.

    With `source` also check that the file was made from exactly these samples, and raise SourceChanged if not. Raises
    the DaczError that says what is wrong; returns what was checked.
    """
    from dacfile.deep import check_source, verify_deep
    from dacfile.verification import verify_file

    origin = None if source is None else Path(source)
    if deep:
        return verify_deep(Path(path), _codecs("auto", "auto"), origin)
    result = verify_file(Path(path))
    if origin is not None:
        check_source(Path(path), origin)
    return result


def load_codec(
    model: str | Path | bytes,
    device: str = "auto",
    precision: str = "auto",
    rdo: float | None = None,
    refine: int = 0,
) -> Codec:
    """Load a model by name, id or weights file, ready to encode and decode arrays; imports torch.

    `rdo` and `refine` as in `compress`.
    """
    from dacfile.codec import load_codec as load

    codec = load(model, device, precision, refine)
    codec.set_rdo(partial(default_prior, codec.name, codec.id), rdo_weight(rdo, prior=True))
    return codec


def _check_apart(source: Path, target: Path) -> None:
    """Raise UsageError where an output would replace its source, under whatever name."""
    if source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{target}: the output would replace its source; give another name")


def _audio_path(path: Path, wanted: str | None) -> Path:
    from dacfile.audio.writer import output_format
    from dacfile.plan import decompress_rules

    with DaczFile(path) as file:
        form = output_format(file.head.container_name, file.head.subtype_name, wanted)
    return path.with_name(decompress_rules(lambda _: form.suffix).rename(path))


@lru_cache(maxsize=4)
def _codecs(device: str, precision: str, rdo: float | None = None, refine: int = 0) -> Codecs:
    from dacfile.installed import Codecs

    return Codecs(device, precision, rdo=rdo, refine=refine)
