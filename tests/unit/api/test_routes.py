"""The facade's routes are those of the contract, and no others of the tasks' own."""

import pytest
from trident_api import endpoints, shedding
from trident_api.app import _longest_body, create_app
from trident_api.settings import ApiSettings
from trident_client import contract

ENSEMBLES = {ensemble.name: ensemble for _, ensemble in contract.ensembles()}
GENERIC = "/predict/{task}"


@pytest.fixture(scope="module")
def document():
    return create_app(ApiSettings()).openapi()


def route(path):
    return GENERIC if path.startswith(contract.GENERIC_PATH) else path


def bodies(document, path):
    """Return the schemas of what a path takes."""
    (content,) = document["paths"][path]["post"]["requestBody"]["content"].values()
    named = content["schema"].get("oneOf", [content["schema"]])
    return [document["components"]["schemas"][each["$ref"].rpartition("/")[2]] for each in named]


def test_the_tasks_routes_are_the_contracts(document):
    wanted = {route(path) for each in ENSEMBLES.values() for path in (each.path, each.list_path)}
    served = {path for path, item in document["paths"].items() if "tasks" in item.get("post", {}).get("tags", ())}
    assert served == wanted | {GENERIC}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensembles_lists_are_taken_where_and_as_the_contract_says(document, name):
    ensemble = ENSEMBLES[name]
    (shape,) = (each for each in bodies(document, route(ensemble.list_path)) if ensemble.list_key in each["properties"])
    # What takes any task's items says how many of them only once it knows the task.
    most = shape["properties"][ensemble.list_key].get("maxItems")
    assert most == (None if route(ensemble.list_path) == GENERIC else ensemble.max_items)
    settings = ApiSettings()
    assert _longest_body(settings, ensemble.list_path) == settings.max_list_bytes > settings.max_body_bytes


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_item_is_taken_where_the_contract_says(document, name):
    ensemble = ENSEMBLES[name]
    columns = [set(each.names) | {ensemble.list_key} for each in ensemble.required]
    shapes = [each["properties"].keys() for each in bodies(document, route(ensemble.path))]
    assert any(all(names & shape for names in columns) for shape in shapes)


def test_load_is_shed_before_routes_that_there_are(document):
    assert document["paths"].keys() >= shedding.PATHS
    assert {"/acceptability", "/embed", "/qa"} == shedding.PATHS & endpoints.LISTS
