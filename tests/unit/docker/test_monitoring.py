"""Alert rules and the dashboard: in Prometheus' language, and one with the other."""

import json
import re
import shutil
import subprocess

import promql_parser
import pytest
import yaml
from prometheus_queries import DASHBOARD, DOCKER, OWN_METRICS, RULES, named, queries, rules

QUERIES = queries()
ALERTS = [each for each in rules() if "alert" in each]


@pytest.mark.parametrize("query", QUERIES, ids=[each.place for each in QUERIES])
def test_every_query_is_promql_and_names_a_metric(query):
    assert named(query.text)


def test_a_query_that_is_not_promql_is_refused():
    with pytest.raises(ValueError, match=r"\S"):
        named("sum by (model) (rate(nv_inference_count[5m])")


def test_what_a_query_names_is_found_wherever_it_stands():
    text = 'sum by (a) (rate(x_total{b="1"}[5m])) / 2 > 1 or absent(up{job="t"}) or histogram_quantile(0.9, y_bucket)'
    assert named(text) == {"x_total": {"a", "b"}, "up": {"job"}, "y_bucket": set()}


def test_rules_hold_what_prometheus_takes():
    for rule in rules():
        assert rule.keys() <= {"alert", "record", "expr", "for", "labels", "annotations"}
        assert ("alert" in rule) != ("record" in rule)
        assert re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", str(rule.get("alert") or rule["record"]))
    names = [each.get("alert") or each["record"] for each in rules()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("alert", ALERTS, ids=[str(each["alert"]) for each in ALERTS])
def test_an_alert_waits_and_says_how_bad_it_is_and_what_to_do(alert):
    assert promql_parser.parse_duration(alert["for"]).total_seconds() >= 60
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description"}
    # What a summary shows of the sample must be a label that the query keeps.
    shown = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))
    grouped = set().union(*named(alert["expr"]).values())
    recorded = {str(each["record"]): str(each["expr"]) for each in rules() if "record" in each}
    for name in named(alert["expr"]).keys() & recorded.keys():
        grouped |= set().union(*named(recorded[name]).values())
    assert shown <= grouped


def test_jobs_are_those_that_prometheus_scrapes():
    jobs = {
        each["job_name"]
        for each in yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    }
    asked = {job for query in QUERIES for job in re.findall(r'\bup\{job="(\w+)"', query.text)}
    assert asked == jobs
    assert {"up"} == OWN_METRICS


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")
def test_promtool_accepts_rules_and_configuration(tmp_path):
    text = (DOCKER / "prometheus" / "prometheus.yml").read_text().replace("/etc/prometheus/rules.yml", str(RULES))
    (tmp_path / "prometheus.yml").write_text(text)
    for command in (["check", "rules", str(RULES)], ["check", "config", str(tmp_path / "prometheus.yml")]):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_provisioned_on_the_data_source_that_is():
    folder = DOCKER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "trident.yaml").read_text())["providers"]
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose["volumes"]
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [each["datasource"]["uid"] for panel in dashboard["panels"] for each in (panel, *panel["targets"])]
    assert set(asked) == {source["uid"]}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}) == len(
        dashboard["panels"]
    )
