"""The page at ``/``, in a browser."""

import json
import re
import subprocess

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 860}}


def ready(page):
    expect(page.locator("#state")).to_have_attribute("data-state", "ready")
    return page


def test_each_sentence_has_a_gauge(open_page):
    page = ready(open_page())
    page.locator("#acceptability-text").fill("I am a boy.\nI are a boy.\n\n나는 소년이다 🐟")
    page.get_by_role("button", name="Judge").click()
    gauges = page.locator("#acceptability [role=meter]")
    expect(gauges).to_have_count(3)
    assert [gauge.get_attribute("aria-valuenow") for gauge in gauges.all()] == ["0.960", "0.040", "0.960"]
    assert (
        gauges.nth(0).locator("span").bounding_box()["width"]
        > 10 * gauges.nth(1).locator("span").bounding_box()["width"]
    )
    expect(page.locator("#acceptability .gauges li").nth(1)).to_contain_text("not acceptable")


def test_several_sentences_make_a_heat_map(open_page):
    page = ready(open_page())
    page.get_by_role("tab", name="Similarity").click()
    page.locator("#similarity-text").fill("apples\napes\nzebras")
    page.get_by_role("button", name="Compare").click()
    rows = page.locator(".heat tbody tr")
    expect(rows).to_have_count(3)
    assert [row.locator("td").all_inner_texts() for row in rows.all()] == [
        ["1.00", "1.00", "0.00"],
        ["1.00", "1.00", "0.00"],
        ["0.00", "0.00", "1.00"],
    ]
    colours = page.locator(".heat tbody td").evaluate_all(
        "cells => cells.map(cell => getComputedStyle(cell).backgroundColor)"
    )
    assert colours[0] == colours[1] != colours[2]


def test_the_answer_is_marked_and_a_runner_up_can_be_chosen(open_page):
    page = ready(open_page())
    page.get_by_role("tab", name="Question").click()
    # Characters of two UTF-16 units stand before the answer.
    page.locator("#question-context").fill("🐟🐟 The Danube rises in the Black Forest in Germany.")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("mark")).to_have_text("Black Forest")
    choices = page.locator(".answers button")
    expect(choices).to_have_count(2)
    choices.nth(1).click()
    expect(page.locator("mark")).to_have_text("Germany")
    expect(choices.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(choices.nth(0)).to_have_attribute("aria-pressed", "false")


def test_a_passage_without_an_answer_says_so_in_words(open_page):
    page = ready(open_page(locale="ko-KR"))
    page.get_by_role("tab", name="질의응답").click()
    expect(page.locator("#question select")).to_have_value("qa_ko")
    page.locator("#question-context").fill("그날은 비가 왔다.")
    page.get_by_role("button", name="질문하기").click()
    choices = page.locator(".answers button")
    expect(choices).to_have_count(2)
    expect(choices.nth(0)).to_contain_text("지문에 답이 없습니다")
    expect(choices.nth(0)).to_contain_text("70.0 %")
    expect(page.locator(".passage")).to_have_text("그날은 비가 왔다.")
    expect(page.locator("mark")).to_have_count(0)
    choices.nth(1).click()
    expect(page.locator("mark")).to_have_text("그날은")


def test_texts_stand_in_the_order_of_how_well_they_answer(open_page):
    page = ready(open_page())
    page.get_by_role("tab", name="Ranking").click()
    page.locator("#ranking-query").fill("cats sleep")
    page.locator("#ranking-texts").fill("dogs sleep\n\n<b>guitars</b>\ncats sleep 🐟")
    page.get_by_role("button", name="Rank").click()
    rows = page.get_by_role("list", name="Texts, the best first").get_by_role("listitem")
    expect(rows).to_have_count(3)
    assert [row.locator(".sentence").inner_text() for row in rows.all()] == [
        "cats sleep 🐟", "dogs sleep", "<b>guitars</b>"
    ]  # fmt: skip
    shares = ["100.0 %", "50.0 %", "0.0 %"]
    assert [row.locator("output").inner_text() for row in rows.all()] == shares
    page.get_by_text("This request as a command").click()
    shell = page.locator("#ranking pre").first.inner_text()
    output = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60, check=True).stdout
    assert [each["index"] for each in json.loads(output)] == [2, 0, 1]


def test_markup_that_people_type_is_shown_and_not_run(open_page):
    page = ready(open_page())
    page.locator("#acceptability-text").fill("<img src=x onerror=alert(1)> are")
    page.get_by_role("button", name="Judge").click()
    expect(page.locator("#acceptability .sentence")).to_have_text("<img src=x onerror=alert(1)> are")
    assert page.locator("#acceptability .answer img").count() == 0


def test_everything_can_be_done_from_the_keyboard(open_page):
    page = ready(open_page())
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("tab", name="Acceptability")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Question")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#question-context")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator("mark")).to_have_text("Black Forest")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(".answers button").nth(1).evaluate("each => each === document.activeElement"):
            break
    expect(page.locator(".answers button").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("mark")).to_have_text("Germany")


def test_it_speaks_korean_shows_what_has_a_korean_model_and_keeps_what_was_typed(open_page):
    page = ready(open_page(locale="ko-KR"))
    assert page.locator("html").get_attribute("lang") == "ko"
    expect(page.get_by_role("tab", name="유사도")).to_have_attribute("aria-selected", "true")
    # No model of acceptability is for Korean, which is said.
    expect(page.get_by_role("tab")).to_have_count(2)
    expect(page.locator("#unjudged")).to_contain_text("한국어 모델이 없습니다")
    expect(page.locator("#similarity select")).to_have_value("sts_ko")
    page.locator("#similarity-text").fill("나는 소년이다.\n나는 소녀다.")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("tab", name="Similarity")).to_be_visible()
    expect(page.get_by_role("tab")).to_have_count(4)
    expect(page.locator("#unjudged")).to_be_hidden()
    expect(page.locator("#similarity select")).to_have_value("sts")
    expect(page.locator("#similarity-text")).to_have_value("나는 소년이다.\n나는 소녀다.")
    page.get_by_role("button", name="Compare").click()
    # This model is for English.
    expect(page.locator("#similarity .answer > .note")).to_contain_text("Korean, which this model was not made for")
    expect(page.locator("#question-text")).to_have_value("Where does the Danube rise?")
    page.reload()
    expect(page.get_by_role("tab", name="Similarity")).to_be_visible()


def test_a_model_says_what_it_is_for_and_a_request_can_be_copied(open_page):
    page = ready(open_page())
    page.get_by_role("tab", name="Similarity").click()
    expect(page.locator("#similarity .about")).to_have_text(
        "sts: English; Spearman 0.890; 7 components a vector; 256 tokens of a text are read; "
        "int8, 9,876 tokens a second"
    )
    page.locator("#similarity-text").fill("it's a\n'b'")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("This request as a command").click()
    shell, python = page.locator("#similarity pre").all_inner_texts()
    address = page.evaluate("document.baseURI")
    output = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60, check=True).stdout
    assert len(json.loads(output)["embeddings"]) == 2
    assert f'requests.post("{address}embed", json=' in python
    compile(python, "page", "exec")


def test_a_reader_says_how_much_it_reads_at_once_in_the_page_s_language(open_page):
    page = ready(open_page())
    page.get_by_role("tab", name="Question").click()
    expect(page.locator("#question .about")).to_contain_text("texts are read in windows of 384 tokens")
    page.get_by_role("button", name="한국어").click()
    page.locator("#question select").select_option("qa")
    expect(page.locator("#question .about")).to_contain_text("글을 384토큰씩 나누어 읽음")


def test_a_korean_question_about_an_english_passage_is_noted(open_page):
    page = ready(open_page())
    page.get_by_role("tab", name="Question").click()
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("mark")).to_have_text("Black Forest")
    note = page.locator("#question .answer > .note")
    expect(note).to_have_count(0)
    page.locator("#question-text").fill("다뉴브강은 어디에서 시작하는가?")
    page.get_by_role("button", name="Ask").click()
    expect(note).to_contain_text("Korean, which this model was not made for")


def drop(page, field, *contents):
    """Drop files of these bytes on a field."""
    dropped = page.evaluate_handle(
        """contents => {
          const held = new DataTransfer();
          for (const each of contents) held.items.add(new File([new Uint8Array(each)], "a.txt"));
          return held;
        }""",
        [list(each) for each in contents],
    )
    page.dispatch_event(field, "drop", {"dataTransfer": dropped})


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (["안녕".encode("cp949")], "The file is not text in UTF-8"),
        (["안녕".encode("utf-16")], "The file is not text in UTF-8"),
        ([b"one", b"two"], "Drop one file"),
    ],
)
def test_what_is_not_one_file_of_text_is_refused_in_words(open_page, contents, says):
    page = ready(open_page())
    before = page.locator("#acceptability-text").input_value()
    drop(page, "#acceptability-text", *contents)
    error = page.locator("#acceptability").get_by_role("alert")
    expect(error).to_contain_text(says)
    expect(page.locator("#acceptability-text")).to_have_value(before)
    drop(page, "#acceptability-text", "\ufeff안녕 🐟".encode())
    expect(page.locator("#acceptability-text")).to_have_value("안녕 🐟")
    expect(error).to_have_count(0)


def test_a_text_file_that_is_dropped_on_a_field_is_its_text(open_page):
    page = ready(open_page())
    text = "I am a boy.\nI are a boy."
    drop(page, "#acceptability-text", text.encode())
    expect(page.locator("#acceptability-text")).to_have_value(text)
    page.get_by_role("button", name="Judge").click()
    expect(page.locator("#acceptability [role=meter]")).to_have_count(2)


@pytest.mark.parametrize(
    ("tab", "button"),
    [("Acceptability", "Judge"), ("Similarity", "Compare"), ("Question", "Ask"), ("Ranking", "Rank")],
)
def test_blank_input_is_told_and_not_sent(open_page, tab, button):
    page = ready(open_page())
    page.get_by_role("tab", name=tab).click()
    section = page.locator("section:visible")
    section.locator("textarea").fill(" \n ")
    page.get_by_role("button", name=button).click()
    expect(section.get_by_role("alert")).to_have_text("There is nothing to read yet: write something first.")
    expect(section.locator(".request details")).to_have_count(0)


def test_throughput_and_latency_are_shown(open_page):
    page = ready(open_page())
    for _ in range(3):
        with page.expect_response("**/acceptability"):
            page.get_by_role("button", name="Judge").click()
    # A busy machine takes seconds, which are not told in milliseconds.
    expect(page.locator("#last-inference")).to_have_text(re.compile(r"^\d+(\.\d+)? m?s$"))
    expect(page.locator("#rate")).to_contain_text(".")
    expect(page.locator("#flight")).to_have_text("0, 0")
    expect(page.locator("#chart polyline")).not_to_have_attribute("points", "")


def test_a_slow_server_is_asked_for_one_thing_once_at_a_time(open_page):
    page = ready(open_page())
    address = page.url
    page.goto("about:blank")
    page.clock.install()
    counters, states = [], []
    page.route("**/metrics", lambda route: counters.append(route))
    page.route("**/health/ready", lambda route: states.append(route))
    for asked, status, state in ((1, 503, "loading"), (2, 200, "ready")):
        with page.expect_request("**/metrics"), page.expect_request("**/health/ready"):
            page.goto(address) if asked == 1 else page.clock.run_for(20_000)
        page.clock.run_for(20_000)
        assert len(counters) == len(states) == asked
        count = 'trident_http_request_seconds_count{route="/acceptability"}'
        counters[-1].fulfill(body=f"{count} {asked}\ntrident_queue_running {asked}\n")
        expect(page.locator("#flight")).to_have_text(f"{asked}, 0")
        states[-1].fulfill(status=status, body="{}")
        expect(page.locator("#state")).to_have_attribute("data-state", state)
    expect(page.locator("#rate")).to_have_text(re.compile(r"^0\.\d$"))


@pytest.mark.parametrize("text", ["\n", "x" * 1_000_001], ids=["nothing", "too much"])
def test_what_is_refused_is_said(open_page, text):
    page = ready(open_page())
    page.get_by_role("tab", name="Similarity").click()
    page.locator("#similarity-text").fill("a\n" + text)
    page.get_by_role("button", name="Compare").click()
    says = "at least two" if text == "\n" else "has 1000001 bytes"
    expect(page.locator("#similarity .error")).to_contain_text(says)


def test_a_server_that_is_away_is_said(open_page):
    page = ready(open_page())
    page.route("**/*", lambda route: route.abort())
    page.get_by_role("button", name="Judge").click()
    expect(page.locator("#acceptability .error")).to_have_text("The server cannot be reached.")


def test_a_key_is_asked_for_where_one_is_needed(open_page, serve, tmp_path):
    (tmp_path / "keys").write_text("open sesame\n")
    page = ready(open_page(address=serve(api_keys_file=tmp_path / "keys")))
    field = page.get_by_label("This server asks for a key")
    expect(field).to_be_visible()
    field.fill("wrong")
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Judge").click()
    expect(page.locator("#acceptability .error")).to_have_text("This server asks for a key")
    field.fill("open sesame")
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Judge").click()
    expect(page.locator("#acceptability [role=meter]")).to_have_count(4)
    expect(field).to_be_hidden()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(open_page, size, locale, scheme, tmp_path):
    page = ready(open_page(locale=locale, color_scheme=scheme, **size))
    shown = page.get_by_role("tab")
    expect(shown).to_have_count(4 if locale == "en-US" else 2)
    for tab in shown.all():
        task = tab.get_attribute("aria-controls")
        tab.click()
        page.locator(f"#{task} .go").click()
        expect(page.locator(f"#{task} .answer")).not_to_have_attribute("aria-busy", "true")
        # For whoever wants to look: pytest keeps the folders of the last runs.
        page.screenshot(path=tmp_path / f"{task}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        button = page.locator(f"#{task} .go").bounding_box()
        assert button["height"] >= 36
