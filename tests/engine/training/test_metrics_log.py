"""metrics.jsonl has exactly the lines up to the checkpoint."""

from pathlib import Path

from verydeep.engine.training.fit import EpochReport, StepReport
from verydeep.engine.training.metrics_log import MetricsLog, read_metrics


def report(step: int, epoch: EpochReport | None = None) -> StepReport:
    return StepReport(step=step, loss=1.5 + step, learning_rate=0.01, epoch=epoch, stopped=False, stage=1)


def test_a_resumed_log_drops_lines_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write(report(1), seconds=0.5)
    length = log.length()
    log.write(report(2), seconds=0.75)
    log.close()
    assert [line["step"] for line in read_metrics(path)] == [1, 2]
    resumed = MetricsLog(path, length)
    epoch = EpochReport(1, 2.25, 12.5, True, 0.5, 0.0, 0.25, 0)
    resumed.write(report(3, epoch), seconds=1.126)
    assert resumed.length() == path.stat().st_size
    resumed.close()
    first, last = read_metrics(path)
    assert first == {"step": 1, "loss": 2.5, "learning_rate": 0.01, "seconds": 0.5, "stage": 1}
    assert (last["step"], last["seconds"], last["val_error"], last["dead_fc7"]) == (3, 1.13, 12.5, 0.25)


def test_an_incomplete_line_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    line = '{"step": 1, "loss": 2.5, "learning_rate": 0.1}\n'
    path.write_text(line + '{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1, "loss": 2.5, "learning_rate": 0.1}]
    MetricsLog(path, 1000).close()  # a checkpoint of a log that lies elsewhere makes no zeros
    assert path.stat().st_size == len(line + '{"step": 2, "lo')
