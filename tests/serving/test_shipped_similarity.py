"""The English and the Korean model of similarity that are shipped, and scoring them through the server."""

import pytest
from trident_client import TridentClient
from trident_training.cli import app
from typer.testing import CliRunner

pytestmark = pytest.mark.serving

SIMILAR = [
    ("내일 서울 날씨 어때?", "내일 서울의 날씨를 알려줘."),
    ("방이 정말 깨끗하고 위치도 좋았습니다.", "숙소가 아주 깔끔하고 위치도 훌륭했어요."),
    ("한 남자가 기타를 치고 있다.", "남자가 기타를 연주한다."),
    ("에어컨을 꺼 줘.", "에어컨 좀 꺼 주세요."),
]
UNLIKE = [
    ("내일 서울 날씨 어때?", "숙소가 아주 깔끔하고 위치도 훌륭했어요."),
    ("한 남자가 기타를 치고 있다.", "정부는 새로운 대책을 발표했다."),
    ("에어컨을 꺼 줘.", "지하철역에서 걸어서 5분 거리입니다."),
    ("고양이가 자고 있다.", "회의는 몇 시에 시작하나요?"),
]


def threshold(client: TridentClient, model: str) -> float:
    (found,) = [each for each in client.models() if each.name == model]
    assert found.threshold is not None
    return found.threshold


def test_the_korean_model_calls_similar_what_is(client: TridentClient) -> None:
    bound = threshold(client, "sts_ko")
    assert min(client.similarity(SIMILAR, model="sts_ko")) >= bound
    assert max(client.similarity(UNLIKE, model="sts_ko")) < bound


def test_the_korean_model_tells_korean_apart_better_than_the_english_one(client: TridentClient) -> None:
    # What the second vocabulary is for: the first one has few of these syllables.
    gap = {
        model: min(client.similarity(SIMILAR, model=model)) - max(client.similarity(UNLIKE, model=model))
        for model in ("sts", "sts_ko")
    }
    assert gap["sts_ko"] > gap["sts"] + 0.1


def test_a_server_is_scored_at_its_models_own_threshold(client: TridentClient, triton, tmp_path) -> None:
    pairs = [*((*pair, 5) for pair in SIMILAR), *((*pair, 0) for pair in UNLIKE)]
    rows = [",".join(f'"{field}"' for field in pair) for pair in pairs]
    (tmp_path / "pairs.csv").write_text("\n".join(["sentence1,sentence2,label", *rows]))
    command = ["evaluate", "sts", "--server", triton.http_url, "--data", str(tmp_path / "pairs.csv")]
    korean = CliRunner().invoke(app, [*command, "--model", "sts_ko"], env={"COLUMNS": "160"})
    assert korean.exit_code == 0, korean.output
    scores, _ = (line.split("│")[2:-1] for line in korean.output.splitlines() if line.startswith("│"))
    assert float(scores[-1]) == pytest.approx(threshold(client, "sts_ko"), abs=1e-4)
    assert [float(each) for each in scores[2:4]] == [1, 1]
    unknown = CliRunner().invoke(app, [*command, "--model", "sts_xx"])
    assert unknown.exit_code == 1
    assert "it serves sts, sts_base, sts_ko" in " ".join(unknown.output.split())
