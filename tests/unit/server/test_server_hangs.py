"""A model that never finishes is told by its name, and no queue of honest work is taken for one."""

import contextlib
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from trident_server.hangs import LOOK_SECONDS, HangDetector

PATIENCE = 60.0
CONFIGURATIONS = {
    "sts": {
        "parameters": {"task": {"string_value": "sts"}},
        "ensemble_scheduling": {"step": [{"model_name": "sts_tokenizer"}, {"model_name": "sts_encoder"}]},
    },
    "cola": {},
    "sts_tokenizer": {},
    "sts_encoder": {},
    "of_others": {"parameters": {"task": {"string_value": "unheard of"}}},
}


class Triton:
    """What is asked of it stays at the models that hang."""

    def __init__(self):
        self.hanging, self.mute = set(), False
        self.finished, self.asked = Counter(), []
        self.goes_on = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):  # noqa: N805
                body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
                self.answer(handler, json.loads(body or b"{}"))

            def do_GET(handler):  # noqa: N805
                self.answer(handler, None)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler, body):
        if self.mute:
            return
        parts = handler.path.split("/")
        content = {}
        if parts[-1] == "index":
            content = [{"name": name, "state": "READY"} for name in CONFIGURATIONS]
        elif parts[-1] == "config":
            content = CONFIGURATIONS[parts[-2]]
        elif parts[-1] == "stats":
            content = {"model_stats": [self.stats(name) for name in CONFIGURATIONS]}
        elif parts[-1] == "infer":
            self.asked.append((parts[-2], body))
            self.infer(parts[-2])
        answer = json.dumps(content).encode()
        with contextlib.suppress(OSError):
            handler.send_response(200)
            handler.send_header("content-length", str(len(answer)))
            handler.end_headers()
            handler.wfile.write(answer)

    def infer(self, name):
        steps = CONFIGURATIONS[name].get("ensemble_scheduling", {}).get("step", [])
        for each in [*(step["model_name"] for step in steps), name]:
            if each in self.hanging:
                self.goes_on.wait()
            self.finished[each] += 1

    def stats(self, name):
        success = {"success": {"count": self.finished[name]}}
        return {"name": name, "version": "1", "execution_count": 0, "inference_stats": success}


@pytest.fixture
def triton():
    triton = Triton()
    yield triton
    triton.goes_on.set()
    triton.server.shutdown()
    triton.server.server_close()


class Watch:
    """Looks as time goes by."""

    def __init__(self, triton):
        self.now = 0.0
        self.triton = triton
        self.hangs = HangDetector("127.0.0.1", triton.server.server_port, PATIENCE, lambda: self.now)

    def pass_by(self, seconds, meanwhile=lambda: None):
        """Return what hangs, and after how many seconds it was told, or None."""
        began = self.now
        while self.now < began + seconds:
            self.now += 1.0
            meanwhile()
            if (reason := self.hangs.hanging()) is not None:
                return reason, self.now - began
            if self.now % LOOK_SECONDS == 0:
                self.wait_for_answers()
        return None

    def wait_for_answers(self):
        """Wait until all is answered that is going to be: in a moment, and not in so many seconds of this clock."""
        deadline = time.monotonic() + 20
        while not self.triton.hanging and time.monotonic() < deadline:
            asked = Counter(name for name, _ in self.triton.asked)
            if all(self.triton.finished[name] >= asked[name] for name in asked):
                break
            time.sleep(0.005)
        time.sleep(0.02)


@pytest.fixture
def watch(triton):
    watch = Watch(triton)
    yield watch
    watch.hangs.close()


def test_each_set_that_nobody_asks_is_asked_something_tiny(watch, triton):
    assert watch.pass_by(120.0) is None
    asked = Counter(name for name, _ in triton.asked)
    assert asked.keys() == {"sts", "cola"}, "and nothing whose task is not known"
    assert all(3 <= count <= 12 for count in asked.values())
    bodies = dict(triton.asked)
    assert [each["name"] for each in bodies["sts"]["inputs"]] == ["SENTENCE_1", "SENTENCE_2"]
    assert all(each["shape"] == [1, 1] and each["data"] for each in bodies["cola"]["inputs"])


def test_who_answers_others_is_not_asked(watch, triton):
    def traffic():
        triton.infer("sts")
        triton.infer("cola")

    assert watch.pass_by(300.0, traffic) is None
    assert triton.asked == []


@pytest.mark.parametrize(
    ("hangs", "of"), [("sts_tokenizer", " of the set 'sts'"), ("sts_encoder", " of the set 'sts'"), ("cola", "")]
)
def test_a_model_that_hangs_is_told_by_its_name(watch, triton, hangs, of):
    assert watch.pass_by(40.0) is None
    triton.hanging = {hangs}

    def others():
        # They give up, and what they ask still passes the step before the one that hangs.
        if hangs == "sts_encoder":
            triton.finished["sts_tokenizer"] += 1

    reason, after = watch.pass_by(300.0, others)
    assert reason == f"The model '{hangs}'{of} has finished nothing for 60 s while it was asked."
    assert PATIENCE <= after <= PATIENCE + 3 * LOOK_SECONDS
    # It is started again.
    triton.hanging = set()
    triton.goes_on.set()
    watch.hangs.close()
    assert watch.pass_by(150.0) is None


def test_a_queue_of_honest_work_is_no_hang(watch, triton):
    # What is asked waits behind the work of an hour, of which a part ends every fifty seconds.
    triton.hanging = {"sts_encoder"}

    def honest_work():
        if watch.now % 50 == 0:
            triton.finished.update(["sts_tokenizer", "sts_encoder", "sts"])

    assert watch.pass_by(3600.0, honest_work) is None
    assert [name for name, _ in triton.asked].count("sts") == 1


def test_a_triton_that_says_nothing_is_told_and_one_that_does_so_for_a_moment_is_not(watch, triton):
    assert watch.pass_by(40.0) is None
    for seconds in (50.0, 20.0):
        triton.mute = not triton.mute
        assert watch.pass_by(seconds) is None
    triton.mute = True
    assert watch.pass_by(80.0)[0] == "Triton has said nothing for 60 s."


def test_time_in_which_the_watch_itself_was_halted_does_not_count(watch, triton):
    triton.hanging = {"cola"}
    assert watch.pass_by(40.0) is None
    watch.now += 10_000.0
    assert watch.hangs.hanging() is None
