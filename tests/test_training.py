"""Training: the start works before the first step, steps improve it, and a resumed run is the same run."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_models import SMALL_DAC

from dacfile import device
from dacfile.errors import ModelMismatch
from dacfile.model.base import build
from dacfile.model.checkpoint import load_model
from dacfile.model.lapped import Lapped, LappedConfig
from dacfile.quality.reconstruction import ReconstructionLoss
from dacfile.quality.spectra import frames, magnitude, real_transform
from dacfile.quality.spectral import mel_distance
from dacfile.training import validation
from dacfile.training.__main__ import changed
from dacfile.training.__main__ import parser as command_line
from dacfile.training.config import CONFIGS, TrainingConfig
from dacfile.training.corpus import Corpus, prepare
from dacfile.training.discriminators import Adversary, Discriminators
from dacfile.training.export import encode, export_weights, write_codes
from dacfile.training.levels import level_loss
from dacfile.training.loudness import LoudnessLoss
from dacfile.training.noise import flat_noise, quarter_period_on, synthesise
from dacfile.training.paper_discriminators import PaperDiscriminators
from dacfile.training.prior_data import load_pieces, split
from dacfile.training.record import SAMPLES, plot, read_scores
from dacfile.training.sampler import Sampler, SamplerConfig
from dacfile.training.similarity import SimilarityLoss
from dacfile.training.similarity import centres as gammatone_centres
from dacfile.training.synthetic import synthetic
from dacfile.training.trainer import CHECKPOINT, Trainer, run
from dacfile.training.validation import evaluate

NUMBERS = LappedConfig(
    rate=16000, hop=64, codebooks=3, codebook_size=64, code_dim=8, width=48, encoder_blocks=1, decoder_blocks=1,
    split=16, quadrature=16, noise_frames=64,
)  # fmt: skip
CONFIG = TrainingConfig(NUMBERS, batch=4, frames=64, steps=12, warmup=2, validate_every=6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A few seconds of gliding tones and noise, one file in stereo."""
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    time = np.arange(3 * 22050) / 22050
    for i in range(4):
        tone = np.sin(2 * np.pi * (200 + 150 * i) * time * (1 + 0.1 * time))
        audio = 0.2 * tone + 0.02 * random.standard_normal(len(time))
        channels = audio[:, None] if i else np.stack([audio, 0.5 * audio], 1)
        (folder / "speech").mkdir(exist_ok=True)
        soundfile.write(folder / "speech" / f"{i}.wav", channels, 22050)
    prepare(folder, folder / "cache", 16000)
    return Corpus(folder / "cache")


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trainer(corpus: Corpus, noise: torch.Tensor) -> Trainer:
    made = Trainer(CONFIG, corpus)
    made.start(noise, segments=40)
    return made


def test_the_cache_holds_every_coded_channel(corpus: Corpus) -> None:
    assert [s.name for s in corpus.stretches] == [
        "speech/0.wav:mid", "speech/0.wav:side", "speech/1.wav:mono", "speech/2.wav:mono", "speech/3.wav:mono",
    ]  # fmt: skip
    assert {s.category for s in corpus.stretches} == {"speech"}
    assert abs(corpus.stretches[2].samples - 48000) <= 1
    assert np.abs(corpus.read(corpus.stretches[2])).max() == pytest.approx(0.25, abs=0.06)


def test_segments_are_levelled_and_repeatable(corpus: Corpus) -> None:
    config = SamplerConfig(
        level_db=-20.0, level_spread_db=0.0, keep_dynamics=0.0, mix=0.0, equalise=0.0, low_pass=0.0, synthetic=0.0
    )
    batch = Sampler(corpus, config, seed=3).batch(4, 4000)
    np.testing.assert_array_equal(batch.samples, Sampler(corpus, config, seed=3).batch(4, 4000).samples)
    np.testing.assert_allclose(np.sqrt((batch.samples**2).mean(1)), 0.1, rtol=1e-3)


def plain(**shares: float) -> SamplerConfig:
    """Return a configuration that augments by nothing but these."""
    nothing = dict.fromkeys(("level_spread_db", "keep_dynamics", "mix", "equalise", "low_pass", "synthetic"), 0.0)
    return SamplerConfig(**{**nothing, **shares})


def test_segments_may_be_played_at_another_speed(corpus: Corpus) -> None:
    """The pitch of a tone moves by up to 0.4 octaves to both sides; nothing is padded."""
    tone = np.sin(2 * np.pi * 0.05 * np.arange(len(corpus.audio)))
    singing = copy.copy(corpus)
    singing.audio = (tone * 8000).astype(np.int16)
    batch = Sampler(singing, plain(resample=1.0), seed=1).batch(20, 4000)
    octaves = np.log2(np.abs(np.fft.rfft(batch.samples * np.hanning(4000))).argmax(1) / (0.05 * 4000))
    assert -0.41 < octaves.min() < -0.2 < 0.2 < octaves.max() < 0.41
    assert (np.abs(batch.samples[:, -50:]).max(1) > 0.05).all()


def test_segments_may_have_hiss(corpus: Corpus) -> None:
    shares = []
    for seed in range(30):
        quiet, noisy = (Sampler(corpus, plain(noise=share), seed).augmented(4000)[0] for share in (0.0, 1.0))
        noise = min(np.square(noisy - quiet).mean(), np.square(noisy + quiet).mean())  # the sign is drawn after it
        shares.append(np.sqrt(noise / np.square(quiet).mean()))
    assert 1e-3 / 2.5 < min(shares) < 0.005 < 0.03 < max(shares) < 0.1 * 2.5  # -60 to -20 dB, and an equaliser of 8


def test_segments_made_by_formula_are_audible_and_repeatable() -> None:
    made = [synthetic(6000, np.random.default_rng(seed)) for seed in range(60)]
    assert all(np.isfinite(audio).all() and np.abs(audio).max() > 0.01 for audio in made)
    np.testing.assert_array_equal(made[7], synthetic(6000, np.random.default_rng(7)))
    crest = [np.abs(audio).max() / np.sqrt((audio**2).mean()) for audio in made]
    assert min(crest) < 2 < 5 < max(crest)  # steady tones and single clicks


def test_the_loss_is_the_mel_distance() -> None:
    torch.manual_seed(0)
    reference, estimate = 0.1 * torch.randn(2, 1, 8192)
    loss = ReconstructionLoss(16000).eval()
    mel, stft = loss(estimate, reference)
    torch.testing.assert_close(mel, mel_distance(reference, estimate, 16000)[0], rtol=1e-4, atol=1e-4)
    assert float(loss(reference, reference)[1]) == 0.0
    assert float(stft) > 0.5


def test_the_waveform_may_count_for_low_frequencies_alone() -> None:
    time = torch.arange(8192) / 16000
    low, high = (0.1 * torch.sin(2 * torch.pi * hz * time)[None] for hz in (1000.0, 5000.0))
    everywhere, below = (ReconstructionLoss(16000, waveform_hz=hz).eval() for hz in (1e9, 3000.0))
    assert float(below(low + high, low - high)[1]) < 0.03 < 0.9 < float(everywhere(low + high, low - high)[1])
    halves = [float(loss(high - low, high + low)[1]) for loss in (below, everywhere)]
    assert halves[0] == pytest.approx(halves[1], rel=0.02)


def test_levels_count_where_the_sound_is() -> None:
    tone = 0.1 * torch.sin(2 * torch.pi * 3000 * torch.arange(16000) / 16000)[None]
    noise = 1e-4 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    scales = ReconstructionLoss(16000)
    equal, softer, bare = (float(level_loss(scales, x, tone + noise)) for x in (tone + noise, 0.1 * tone + noise, tone))
    assert equal == 0
    assert softer == pytest.approx(1, abs=0.1)
    assert bare < 0.2


def test_short_time_spectra_are_those_of_torch() -> None:
    samples, window = torch.randn(2, 203, dtype=torch.float64), torch.hann_window(32, dtype=torch.float64)
    expected = torch.stft(samples, 32, 8, window=window, pad_mode="reflect", return_complex=True)
    spectrum = real_transform(frames(samples, window))
    torch.testing.assert_close(spectrum.transpose(1, 2), expected)
    torch.testing.assert_close(magnitude(spectrum), spectrum.abs())


def test_gradients_of_spectra_are_their_derivatives() -> None:
    samples = torch.randn(2, 37, dtype=torch.float64, requires_grad=True)
    window = torch.hann_window(16, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: frames(x, window), samples)
    assert torch.autograd.gradcheck(lambda x: real_transform(frames(x, window)), samples)
    assert torch.autograd.gradcheck(lambda x: magnitude(real_transform(frames(x, window))), samples)
    silence = torch.zeros(1, 37, dtype=torch.float64, requires_grad=True)
    magnitude(real_transform(frames(silence, window))).sum().backward()
    assert silence.grad is not None
    assert not silence.grad.any()


def test_loudness_counts_what_is_heard() -> None:
    random = torch.Generator().manual_seed(0)
    time = torch.arange(16000) / 16000
    speech = sum(0.1 / k * torch.sin(2 * torch.pi * 150 * k * time) for k in range(1, 30))[None]
    noise = torch.randn(1, 16000, generator=random)
    loss = LoudnessLoss(16000)
    equal, inaudible, audible, loud = (float(loss(speech + g * noise, speech)) for g in (0.0, 1e-5, 1e-3, 1e-2))
    assert equal == pytest.approx(inaudible, abs=1e-3)
    assert 10 * equal < audible < loud
    added, lost = loss(speech + 0.01 * noise, speech), loss(speech, speech + 0.01 * noise)
    assert float(added) > 1.5 * float(lost)


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
def test_loudness_is_the_same_at_every_rate(rate: int) -> None:
    def lost(rate: int) -> float:
        time = torch.arange(rate) / rate
        tones = [torch.sin(2 * torch.pi * hz * time)[None] for hz in (300.0, 1000.0, 2000.0, 3000.0)]
        return float(LoudnessLoss(rate)(sum(tones) / 20, sum(tones[::2]) / 20))

    assert lost(rate) == pytest.approx(lost(48000), rel=0.02)


def test_similarity_sees_patterns_not_levels() -> None:
    torch.manual_seed(0)
    sound = torch.randn(2, 24000) * (1 + torch.sin(torch.arange(24000) / 1500)) / 10
    loss = SimilarityLoss(24000)
    equal, softer, noisy, other = (
        float(loss(estimate, sound))
        for estimate in (sound, sound / 2, sound + torch.randn(2, 24000) / 30, torch.randn(2, 24000) / 10)
    )
    assert equal == pytest.approx(0, abs=1e-3)
    assert softer == pytest.approx(0, abs=1e-2)
    assert 10 * softer < noisy < other / 2 < 0.6


def test_similarity_is_that_of_the_published_metric() -> None:
    pytest.importorskip("visqol")
    from visqol.api import VisqolApi

    torch.manual_seed(0)
    api = VisqolApi()
    api.create(mode="audio")
    slow = torch.nn.functional.interpolate(torch.randn(1, 1, 60).exp(), 192000, mode="linear")[0]
    reference = (torch.randn(1, 192000) * slow / 30).cumsum(1) % 1 / 10
    for level in (0.003, 0.01, 0.03):
        estimate = reference + level * torch.randn(1, 192000)
        published = api.measure_from_arrays(reference[0].double().numpy(), estimate[0].double().numpy(), 48000)
        assert 1 - float(SimilarityLoss(48000)(estimate, reference)) == pytest.approx(published.vnsim, abs=0.03)


def test_similarity_has_finite_gradients_for_silence() -> None:
    estimate = torch.zeros(1, 24000, requires_grad=True)
    loss = SimilarityLoss(24000)(estimate, torch.randn(1, 24000) / 10)
    loss.backward()
    assert estimate.grad is not None
    assert torch.isfinite(estimate.grad).all()


def test_gammatone_bands_lie_between_the_lowest_and_the_highest() -> None:
    hz = gammatone_centres()
    assert len(hz) == 32
    assert float(hz[-1]) == pytest.approx(50)
    assert 20000 < float(hz[0]) < 24000


@pytest.mark.parametrize("name", ["loudness", "level"])
def test_a_loss_teaches_on_segments_of_its_kind_alone(corpus: Corpus, noise: torch.Tensor, name: str) -> None:
    config = replace(CONFIG, **{f"{name}_weight": 1.0}, decoder_only=True)  # else codebooks move at once
    trainer = Trainer(config, corpus)
    trainer.start(noise, segments=40)
    samples = torch.from_numpy(trainer.sampler.batch(2, 8000 // 64 * 64).samples)

    def losses(*rows: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)  # of the noise, and of which codebooks are left out
        kinds = torch.tensor(rows), torch.tensor([False, False])
        return trainer.forward(samples, *(kinds if name == "loudness" else kinds[::-1]))

    assert name not in losses(False, False)
    each = [float(losses(*rows)[name].detach()) for rows in ((True, False), (False, True), (True, True))]
    assert min(each) > 0
    assert sum(each[:2]) == pytest.approx(each[2], rel=1e-5)


def test_flat_noise_is_nearer_to_noise_than_noise_is() -> None:
    table = flat_noise(16000, 64, 128, steps=150, span=128)
    source, other = torch.randn(2, 128, 64, generator=torch.Generator().manual_seed(5))
    reference = synthesise(source * 0.1)
    flat = float(mel_distance(reference, synthesise(table * 0.1), 16000))
    random = float(mel_distance(reference, synthesise(other * 0.1), 16000))
    assert flat < 0.9 * random


def test_a_quarter_period_makes_sums_and_differences_flat() -> None:
    table = flat_noise(16000, 64, 128, steps=150, span=128)
    turned = quarter_period_on(table)
    reference = synthesise(torch.randn(128, 64, generator=torch.Generator().manual_seed(5)) * 0.1)
    alone = float(mel_distance(reference, synthesise(table * 0.1), 16000))
    other = flat_noise(16000, 64, 128, steps=150, span=128, seed=1)
    for sign in (1, -1):
        turned_sum, other_sum = ((table + sign * second) * 0.1 / 2**0.5 for second in (turned, other))
        distance = float(mel_distance(reference, synthesise(turned_sum), 16000))
        assert distance < alone + 0.03 < float(mel_distance(reference, synthesise(other_sum), 16000))


def test_two_quarter_periods_turn_the_noise_over() -> None:
    table = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    twice = quarter_period_on(quarter_period_on(table))
    # Up to the two frequencies, 0 Hz and half the rate, that have no quarter period.
    assert float((twice + table).square().mean()) < 0.005


def test_the_analytic_start_beats_random_weights(trainer: Trainer, corpus: Corpus) -> None:
    untrained = Lapped(vars(NUMBERS)).eval()
    random, started = evaluate(untrained, corpus), evaluate(trainer.average, corpus)
    assert started["mel"] < 0.5 * random["mel"]
    assert started["si_sdr"] > 3.0 > random["si_sdr"]


def test_training_improves_on_the_start(trainer: Trainer, corpus: Corpus) -> None:
    before = evaluate(trainer.model.eval(), corpus)["mel"]
    trainer.model.train()
    for _ in range(CONFIG.steps):
        trainer.step()
    assert evaluate(trainer.model.eval(), corpus)["mel"] < before


def test_discriminators_join_learn_and_teach(corpus: Corpus, noise: torch.Tensor) -> None:
    trainer = Trainer(replace(CONFIG, adversarial_from=1), corpus)
    trainer.start(noise, segments=40)
    assert "adversarial" not in trainer.step()
    assert trainer.adversary is not None
    first = trainer.step()
    later = [trainer.step() for _ in range(12)][-1]
    assert later["discriminator"] < first["discriminator"]
    real = torch.randn(2, 4096) * 0.1
    fake = (torch.randn(2, 4096) * 0.1).requires_grad_()
    adversarial, matching = trainer.adversary.losses(fake, real)
    (adversarial + matching).backward()
    assert fake.grad is not None
    assert float(fake.grad.abs().max()) > 0
    assert float(trainer.adversary.losses(real, real)[1]) == 0.0


def test_the_papers_discriminators_learn_and_teach() -> None:
    torch.manual_seed(1)
    network = PaperDiscriminators(period_channels=(1, 4, 8))
    adversary = Adversary(network, 1e-3, torch.device("cpu"))
    real = torch.randn(2, 4096) * 0.1
    fake = real.cumsum(-1).requires_grad_()
    first, *_, last = [float(adversary.judge(fake, real)) for _ in range(10)]
    assert last < first
    adversarial, matching = adversary.losses(fake, real)
    (adversarial + matching).backward()
    assert fake.grad is not None
    assert (fake.grad.abs().amax(-1) > 0).all()
    verdicts, louder = ([part[-1] for part in network(x)] for x in (real, 3 * real + 0.1))
    assert len(verdicts) == 8
    for one, other in zip(verdicts, louder, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_discriminators_are_those_asked_for(corpus: Corpus) -> None:
    for paper, kind in ((False, Discriminators), (True, PaperDiscriminators)):
        trainer = Trainer(replace(CONFIG, adversarial_from=0, paper_discriminators=paper), corpus)
        assert trainer.adversary is not None
        assert isinstance(trainer.adversary.network, kind)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, adversarial_from=3)])
def test_a_resumed_run_is_the_same_run(
    config: TrainingConfig, corpus: Corpus, noise: torch.Tensor, tmp_path: Path
) -> None:
    through = Trainer(config, corpus)
    through.start(noise, segments=40)
    half = Trainer(config, corpus)
    half.start(noise, segments=40)
    torch.manual_seed(7)
    run(through, tmp_path / "through")
    torch.manual_seed(7)
    for _ in range(6):
        half.step()
    half.save(tmp_path / CHECKPOINT)
    resumed = Trainer(config, corpus)
    resumed.load(tmp_path / CHECKPOINT)
    run(resumed, tmp_path / "resumed")
    for name, tensor in through.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    assert [row["step"] for row in read_scores(tmp_path / "through")] == [6, 12]
    samples = (tmp_path / "through" / SAMPLES).iterdir()
    assert {round(soundfile.info(path).duration) for path in samples} == {6}


def test_a_checkpoint_of_another_configuration_is_refused(trainer: Trainer, corpus: Corpus, tmp_path: Path) -> None:
    trainer.save(tmp_path / CHECKPOINT)
    other = Trainer(replace(CONFIG, model=replace(NUMBERS, codebooks=2)), corpus)
    with pytest.raises(ModelMismatch, match="another configuration"):
        other.load(tmp_path / CHECKPOINT)


def test_experiments_change_numbers_of_the_sampler_too() -> None:
    asked = command_line().parse_args(["codec", "44k", "a", "b", "--set", "batch=8", "--set", "sampler.noise=0.1"])
    config = changed(CONFIGS["44k"], dict(asked.set))
    assert (config.batch, config.sampler.noise, config.sampler.shares) == (8, 0.1, CONFIGS["44k"].sampler.shares)
    assert replace(config, batch=CONFIGS["44k"].batch, sampler=CONFIGS["44k"].sampler) == CONFIGS["44k"]


def test_experiments_change_numbers_and_are_judged(
    trainer: Trainer,
    corpus: Corpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert command_line().parse_args(["codec", "44k", "a", "b", "--set", "batch=8"]).set == [("batch", 8)]
    with pytest.raises(SystemExit):
        command_line().parse_args(["codec", "44k", "a", "b", "--set", "bach=8"])
    assert "'bach' is none of" in capsys.readouterr().err
    trainer.save(tmp_path / CHECKPOINT)
    export_weights(tmp_path / CHECKPOINT, tmp_path / "tiny.safetensors", {})
    cache = Path(corpus.audio.filename).parent
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(validation, "visqol", lambda x, y, rate: asked.append((len(x), len(y), rate)) or 4.25)
    judged = command_line().parse_args(["validate", str(tmp_path / "tiny.safetensors"), str(cache), "--visqol"])
    judged.action(judged)
    scores = dict(line.split() for line in capsys.readouterr().out.splitlines() if len(line.split()) == 2)
    assert float(scores["mel"]) > 0
    assert scores["visqol"] == "4.250"
    assert asked
    assert all(length == same and rate == 16000 for length, same, rate in asked)


def test_a_run_is_drawn(trainer: Trainer, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run(trainer, tmp_path)
    (tmp_path / "log.csv").write_text("step,seconds,rate,mel,stft\n50,1,1,2.0,1.0\n100,2,1,1.5,0.9\n")
    assert plot(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_weights_come_back_from_the_export(trainer: Trainer, corpus: Corpus, tmp_path: Path) -> None:
    trainer.save(tmp_path / CHECKPOINT)
    export_weights(tmp_path / CHECKPOINT, tmp_path / "tiny.safetensors", {"description": "a test"})
    model, _ = load_model(tmp_path / "tiny.safetensors")
    warm = Trainer(CONFIG, corpus)
    warm.warm_start(model)
    assert evaluate(warm.average, corpus)["mel"] == pytest.approx(evaluate(trainer.average, corpus)["mel"], rel=0.05)
    with pytest.raises(ModelMismatch):
        Trainer(replace(CONFIG, model=replace(NUMBERS, split=24)), corpus).warm_start(model)


def test_training_the_decoder_alone_keeps_the_codes(trainer: Trainer, corpus: Corpus) -> None:
    tuned = Trainer(replace(CONFIG, decoder_only=True), corpus)
    tuned.warm_start(trainer.average)
    for _ in range(4):
        tuned.step()
    samples = corpus.read(corpus.stretches[0], 0, 16000)
    np.testing.assert_array_equal(encode(trainer.average, samples), encode(tuned.average, samples))
    with torch.no_grad():
        moved = tuned.average.decoder.project.weight - trainer.average.decoder.project.weight
    assert float(moved.abs().max()) > 0


def test_codes_of_files_carry_the_compressors_decisions(trainer: Trainer, tmp_path: Path) -> None:
    time = np.arange(22050) / 22050
    tone = 0.3 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "mono.wav", tone, 22050)
    soundfile.write(tmp_path / "near.wav", np.stack([tone, 0.9 * tone], 1), 22050)
    soundfile.write(tmp_path / "far.wav", np.stack([tone, 0.3 * np.sin(2 * np.pi * 700 * time)], 1), 22050)
    write_codes(trainer.average, sorted(tmp_path.glob("*.wav")), tmp_path / "codes.npz")
    with np.load(tmp_path / "codes.npz") as codes:
        labels = {name.split(":", 1)[1] for name in codes}
        copies = {f"far.wav:{i}:{side}" for i in range(4) for side in ("left", "right")}
        copies |= {f"near.wav:{i}:{side}" for i in range(4) for side in ("mid", "side")}
        assert labels == {"mono.wav:mono", *copies}
        assert all(
            array.dtype == np.uint16 and array.shape in {(3, 251), (3, 250)} and array.max() < 64
            for array in codes.values()
        )
    pieces = load_pieces(tmp_path / "codes.npz")
    assert [piece.second is None for piece in pieces].count(False) == 8
    training, held = split(pieces, 0.5)
    recordings = [{piece.name.split(":")[1] for piece in part} for part in (training, held)]
    assert not recordings[0] & recordings[1]


@pytest.mark.parametrize(
    ("name", "facts"), [("44k", (44100, 512, 9)), ("24k", (24000, 320, 32)), ("16k", (16000, 320, 12))]
)
def test_bundled_configurations_are_the_published_ones(name: str, facts: tuple[int, int, int]) -> None:
    model = CONFIGS[name].model
    assert (model.rate, model.hop, model.codebooks) == facts
    assert model.codebook_size == 1024


def test_decoders_for_the_same_codes_can_be_mixed(trainer: Trainer, tmp_path: Path) -> None:
    name = "decoder.project.bias"
    trainer.save(tmp_path / "a.pt")
    trainer.average.state_dict()[name].add_(1.0)
    trainer.save(tmp_path / "b.pt")
    export_weights(tmp_path / "a.pt", tmp_path / "a.safetensors", {})
    export_weights(tmp_path / "a.pt", tmp_path / "mixed.safetensors", {}, tmp_path / "b.pt", 0.25)
    alone, mixed = (load_model(tmp_path / f"{stem}.safetensors")[0].state_dict() for stem in ("a", "mixed"))
    torch.testing.assert_close(mixed[name], alone[name] + 0.25, atol=1e-3, rtol=0)
    assert all(torch.equal(tensor, alone[other]) for other, tensor in mixed.items() if other != name)
    trainer.average.state_dict()["quantizer.stages.0.codebook"].add_(1.0)
    trainer.save(tmp_path / "c.pt")
    with pytest.raises(ModelMismatch, match="same codes"):
        export_weights(tmp_path / "a.pt", tmp_path / "no.safetensors", {}, tmp_path / "c.pt")


def test_a_run_computes_its_losses_in_full_float32(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, step = [], trainer.step

    def watched() -> dict[str, float]:
        found.append(device._settings())
        return step()

    monkeypatch.setattr(trainer, "step", watched)
    before = device._settings()
    run(trainer, tmp_path)
    assert set(found) == {(device._VALUES[False],) * 2}
    assert device._settings() == before


def test_the_second_look_alone_learns_and_leaves_the_rest(corpus: Corpus, trainer: Trainer) -> None:
    config = replace(CONFIG, model=replace(NUMBERS, look_blocks=1, look_width=16), look_only=True, learning_rate=1e-3)
    looking = Trainer(config, corpus)
    looking.warm_start(trainer.average)
    samples = torch.from_numpy(looking.sampler.batch(4, looking.segment_samples).samples)
    before = {name: tensor.clone() for name, tensor in looking.model.state_dict().items()}
    assert torch.equal(looking.model.encode(samples), trainer.average.encode(samples))
    for _ in range(12):
        looking.step()
    changed = {name for name, tensor in looking.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"look.enter.weight", "look.leave.weight", "look.blocks.0.widen.weight"} <= changed
    assert all(name.startswith("look.") for name in changed)
    assert not torch.equal(looking.model.encode(samples), trainer.average.encode(samples))


def test_there_is_no_look_to_train_in_a_model_without(corpus: Corpus) -> None:
    with pytest.raises(ModelMismatch, match="no second look"):
        Trainer(replace(CONFIG, look_only=True), corpus)


def test_weights_with_and_without_a_look_start_runs_of_both_kinds(corpus: Corpus, trainer: Trainer) -> None:
    def run_with(blocks: int, width: int) -> Trainer:
        return Trainer(replace(CONFIG, model=replace(NUMBERS, look_blocks=blocks, look_width=width)), corpus)

    looking = run_with(1, 16)
    looking.warm_start(trainer.average)
    trainer.warm_start(looking.average)
    assert "look.enter.weight" not in trainer.model.state_dict()
    for other in (run_with(2, 16), run_with(1, 24)):
        with pytest.raises(ModelMismatch, match="another configuration"):
            other.warm_start(looking.average)
    with pytest.raises(ModelMismatch, match="another configuration"):
        trainer.warm_start(build(SMALL_DAC))


def test_a_post_filter_begins_as_nothing_and_learns_with_the_decoder(corpus: Corpus, trainer: Trainer) -> None:
    filtered = replace(NUMBERS, post_bins=16, post_window=64, post_width=4)
    tuned = Trainer(replace(CONFIG, model=filtered, decoder_only=True), corpus)
    tuned.warm_start(trainer.average)
    samples = torch.from_numpy(tuned.sampler.batch(2, tuned.segment_samples).samples)
    codes, zero = trainer.average.encode(samples), torch.zeros(2, dtype=torch.long)
    plain = trainer.average.decode(codes, zero, zero)
    torch.testing.assert_close(tuned.average.decode(codes, zero, zero), plain, atol=1e-5, rtol=0)
    for _ in range(4):
        tuned.step()
    assert all(tensor.any() for name, tensor in tuned.average.named_parameters() if "post.leave" in name)
    with pytest.raises(ModelMismatch, match="another configuration"):
        trainer.warm_start(tuned.average)


def test_a_decoder_is_exported_with_the_second_look_of_other_weights(
    corpus: Corpus, trainer: Trainer, tmp_path: Path
) -> None:
    looking = Trainer(replace(CONFIG, model=replace(NUMBERS, look_blocks=1, look_width=16), look_only=True), corpus)
    looking.warm_start(trainer.average)
    looking.save(tmp_path / "look.pt")
    export_weights(tmp_path / "look.pt", tmp_path / "look.safetensors", {})
    trainer.average.state_dict()["decoder.project.bias"].add_(1.0)
    trainer.save(tmp_path / "a.pt")
    export_weights(tmp_path / "a.pt", tmp_path / "a.safetensors", {}, look=tmp_path / "look.safetensors")
    joined, looked = (load_model(tmp_path / f"{stem}.safetensors")[0] for stem in ("a", "look"))
    assert joined.config == looked.config
    same = {
        name for name, tensor in joined.state_dict().items() if torch.equal(tensor, dict(looked.state_dict())[name])
    }
    assert set(joined.state_dict()) - same == {"decoder.project.bias"}
    trainer.average.state_dict()["quantizer.stages.0.codebook"].add_(1.0)
    trainer.save(tmp_path / "b.pt")
    with pytest.raises(ModelMismatch, match="same codes"):
        export_weights(tmp_path / "b.pt", tmp_path / "no.safetensors", {}, look=tmp_path / "look.safetensors")
