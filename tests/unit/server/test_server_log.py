import pytest
from trident_server.log import MOST_LINES, TAIL_BYTES, LogFollower, failure_reasons, read_tail

NO_GPU = 'E1121 04:31:54.703070 9369 server.cc:241] "CudaDriverHelper has not been initialized."'
FAILED_MODEL = r"""
E1121 04:31:55.118666 9369 model_lifecycle.cc:642] "failed to load 'boom' version 1: Internal: ValueError: é\n\nAt:\n"
+-------+---------+-----------------------------------------------------------+
| Model | Version | Status                                                    |
+-------+---------+-----------------------------------------------------------+
| boom  | 1       | UNAVAILABLE: Internal: ValueError: no such vocabulary: é |
|       |         |                                                           |
|       |         | At:                                                       |
|       |         |   /models/boom/1/model.py(3): deep                        |
| fine  | 1       | READY                                                     |
+-------+---------+-----------------------------------------------------------+
Error: Failed to initialize NVML
error: creating server: Internal - failed to load all models
"""
BIND = r"""
I1121 04:28:15.535453 8307 server.cc:674]
+----------+---------+--------+
| Model    | Version | Status |
+----------+---------+--------+
| identity | 1       | READY  |
+----------+---------+--------+
E1121 04:28:15.535453 8307 main.cc:258] "failed to start HTTP service: Unavailable - Socket '127.0.0.1:80' in use \"x\""
I1121 04:28:16.535453 8307 server.cc:345] "Timeout 30: Found 1 live models"
"""


def test_failed_models_are_told_with_their_whole_reason_and_nothing_else():
    assert failure_reasons([NO_GPU, *FAILED_MODEL.splitlines()]) == [
        "boom: Internal: ValueError: no such vocabulary: é",
        "    At:",
        "      /models/boom/1/model.py(3): deep",
    ]


def test_without_failed_models_the_error_lines_are_told():
    assert failure_reasons([NO_GPU, *BIND.splitlines()]) == [
        "failed to start HTTP service: Unavailable - Socket '127.0.0.1:80' in use \"x\""
    ]


@pytest.mark.parametrize(
    "line",
    [
        "tritonserver: error while loading shared libraries: libx.so: cannot open shared object file",
        "/opt/bin/tritonserver: unrecognized option '--colour=blue'",
    ],
)
def test_errors_from_before_the_log_began_are_told(line):
    assert failure_reasons([NO_GPU, line]) == [line]
    assert failure_reasons([NO_GPU, line, "Usage: tritonserver [options]", "  --help"]) == [line]


def test_a_traceback_is_told_whole():
    traceback = ["Traceback (most recent call last):", '  File "x.py", line 1', "FileNotFoundError: no tritonserver"]
    assert failure_reasons([NO_GPU, *traceback]) == traceback


def test_a_log_without_errors_ends_somewhere():
    lines = [f'I1121 04:28:16.535453 8307 server.cc:345] "step {number}"' for number in range(100)]
    assert failure_reasons(lines) == lines[-MOST_LINES:]
    assert failure_reasons([]) == []


def test_the_follower_waits_for_the_end_of_a_line(tmp_path):
    file = tmp_path / "triton.log"
    line = "I1121 04:31:55.001874 9369 model_lifecycle.cc:839] \"successfully loaded '문장'\"\n".encode()
    file.write_bytes(line[:-6])
    follower = LogFollower(file)
    assert list(follower.newly_loaded()) == []
    with file.open("ab") as log:
        log.write(line[-6:] + line)
    assert list(follower.newly_loaded()) == ["문장", "문장"]
    assert list(follower.newly_loaded()) == []
    follower.close()


def test_only_the_end_of_a_huge_log_is_read(tmp_path):
    file = tmp_path / "triton.log"
    file.write_bytes(b"x" * 100 + b"\n" * TAIL_BYTES + b"\xff the end\n")
    lines = read_tail(file)
    assert lines[-1] == "� the end"
    assert "x" not in lines[0]
    assert read_tail(tmp_path / "none") == []
