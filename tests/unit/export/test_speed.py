"""The speed that stands beside an exported network, on a clock of the test's own."""

import pytest
import torch
from trident_training.checkpoints.loading import load_encoder
from trident_training.checkpoints.precision import Precision
from trident_training.export import heads, pipeline, speed

BATCH = [torch.zeros(length, dtype=torch.int64) for length in (4, 8)]


@pytest.mark.parametrize(
    ("seconds", "runs", "median"),
    [
        # The first warms up.
        ([9.0, 0.1, 0.3, 0.2, *[0.2] * 9], 9, 0.2),
        # Three of a slow network, though they take longer than they should.
        ([9.0, 3.0, 1.0, 2.0, 5.0], 3, 2.0),
        ([9.0, 0.5, 0.5, 0.5, 0.6, 5.0], 4, 0.5),
    ],
)
def test_it_is_the_median_of_a_few_runs(monkeypatch, seconds, runs, median):
    now, left = 0.0, iter(seconds)

    def call(batch):
        nonlocal now
        assert batch is BATCH
        now += next(left)

    monkeypatch.setattr(speed.time, "perf_counter", lambda: now)
    found = speed.measure(call, BATCH)
    assert found.seconds == pytest.approx(median)
    assert len(seconds) - len(list(left)) == 1 + runs
    assert found.as_dict()["sequences_per_second"] == round(2 / median, 1)
    assert found.as_dict()["tokens_per_second"] == round(12 / median)


@pytest.mark.parametrize(("precision", "times"), [(Precision.FLOAT32, 1), (Precision.INT8, 2)])
def test_the_trial_is_what_is_exported_in_float32(tiny_checkpoint, monkeypatch, precision, times):
    traced = []
    trace = pipeline.packed_encoder
    monkeypatch.setattr(pipeline, "packed_encoder", lambda *given, **how: traced.append(how) or trace(*given, **how))
    found = pipeline.export(heads.embedding_head(load_encoder(str(tiny_checkpoint("bert")))), precision, 24)
    assert found.precision is precision
    assert len(traced) == times
