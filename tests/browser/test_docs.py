"""The documentation at ``/docs``, in a browser."""

import contextlib
import json

import pytest
from playwright.sync_api import TimeoutError, expect

pytestmark = pytest.mark.browser

SAMPLE = {"results": [{"idx": 0, "sentence1": "A man plays.", "sentence2": "남자가 연주한다."}]}


# Some twenty endpoints, each of which a busy machine takes many seconds to draw.
@pytest.mark.timeout(900)
def test_every_endpoint_answers_when_execute_is_pressed(open_page):
    page = open_page("/docs", viewport={"width": 1200, "height": 1000})
    page.locator(".opblock").first.wait_for()
    blocks = page.locator(".opblock").all()
    assert len(blocks) >= 15
    answered = {}
    for block in blocks:
        block.locator(".opblock-summary-control").click()
        upload = block.locator("input[type=file]")
        execute = block.locator(".execute")
        execute.wait_for()
        status = block.locator(".live-responses-table .response .response-col_status")
        for patience in (1_000, 5_000, 5_000, 30_000):
            # Until a block is drawn to its end, Swagger UI may not notice the file, and then asks for one.
            if upload.count():
                content = json.dumps(SAMPLE).encode()
                upload.set_input_files({"name": "sample_data.json", "mimeType": "application/json", "buffer": content})
            execute.click()
            with contextlib.suppress(TimeoutError):
                status.wait_for(timeout=patience)
                break
        path = block.locator(".opblock-summary-path").inner_text().replace("\u200b", "")
        answered[path] = status.inner_text()
        if upload.count():
            expect(block.locator(".live-responses-table .response")).to_contain_text('"preds"')
        # An open block is drawn again with every other one. A real click would first wait until nothing moves.
        block.locator(".opblock-summary-control").dispatch_event("click")
    # What text-embeddings-inference has besides, and Trident says that it does not serve.
    not_served = {path: answered.pop(path) for path in ("/embed_all", "/embed_sparse")}
    assert set(not_served.values()) == {"404"}, not_served
    assert set(answered.values()) == {"200"}, answered


def test_a_korean_question_can_be_chosen_and_is_asked_of_the_korean_reader(open_page):
    page = open_page("/docs", locale="ko-KR", viewport={"width": 1200, "height": 1000})
    block = page.locator(".opblock", has=page.locator('.opblock-summary-path[data-path="/qa"]'))
    block.locator(".opblock-summary-control").click()
    block.locator(".examples-select-element").first.select_option("one in Korean")
    expect(block.locator("textarea")).to_contain_text("qa_ko")
    block.locator(".execute").click()
    response = block.locator(".live-responses-table .response")
    expect(response.locator(".response-col_status")).to_contain_text("200")
    expect(response).to_contain_text("검룡소")


def test_a_key_can_be_given(open_page, serve, tmp_path):
    (tmp_path / "keys").write_text("open sesame\n")
    page = open_page("/docs", address=serve(api_keys_file=tmp_path / "keys"))
    page.locator(".btn.authorize").click()
    page.locator(".auth-container input").fill("open sesame")
    page.locator(".auth-btn-wrapper .authorize").click()
    page.locator(".btn-done").click()
    block = page.locator(".opblock").first
    block.locator(".opblock-summary-control").click()
    block.locator(".execute").click()
    expect(block.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
