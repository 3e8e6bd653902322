"""Renders a kustomization as ``kubectl kustomize`` does, as far as this project uses it, and refuses all else.

Where a machine has kubectl, a test compares the two.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]
HEAD = {"apiVersion", "kind"}
FIELDS = HEAD | {"resources", "components", "namespace", "images", "patches"}


def render(folder: Path) -> list[Resource]:
    """Return the resources of the kustomization in ``folder``.

    Raises:
        ValueError: it uses a field, or a kind of patch, that is not known here.
        FileNotFoundError: it names what is not there.
    """
    return _apply(folder, [])


def _apply(folder: Path, resources: list[Resource]) -> list[Resource]:
    plan = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := plan.keys() - FIELDS:
        raise ValueError(f"{folder}/kustomization.yaml: unknown fields {', '.join(sorted(unknown))}")
    for name in plan.get("resources", []):
        path = folder / name
        if path.is_dir():
            resources = resources + render(path)
        else:
            resources = resources + [each for each in yaml.safe_load_all(path.read_text()) if each]
    for name in plan.get("components", []):
        resources = _apply(folder / name, resources)
    for patch in plan.get("patches", []):
        resources = _patched(resources, patch)
    for resource in resources:
        if "namespace" in plan:
            resource["metadata"]["namespace"] = plan["namespace"]
        for image in plan.get("images", []):
            _rename_image(resource, image)
    return resources


def _patched(resources: list[Resource], patch: dict[str, Any]) -> list[Resource]:
    if patch.keys() != {"target", "patch"}:
        raise ValueError(f"a patch has a target and a JSON patch, not {sorted(patch)}")
    target = patch["target"]
    group, version = target["group"], target["version"]
    wanted = (f"{group}/{version}" if group else version, target["kind"], target["name"])
    found = [each for each in resources if (each["apiVersion"], each["kind"], each["metadata"]["name"]) == wanted]
    if not found:
        raise ValueError(f"no resource is {wanted}")
    for resource in found:
        for operation in yaml.safe_load(patch["patch"]):
            _operate(resource, operation)
    return resources


def _operate(resource: Resource, operation: dict[str, Any]) -> None:
    *way, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
    place: Any = resource
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    value = copy.deepcopy(operation["value"])
    known = isinstance(place, dict) and (operation["op"] == "add" or (operation["op"] == "replace" and last in place))
    if operation["op"] == "add" and isinstance(place, list) and last == "-":
        place.append(value)
    elif known:
        place[last] = value
    else:
        raise ValueError(f"cannot {operation['op']} {operation['path']}")


def _rename_image(resource: Resource, image: dict[str, str]) -> None:
    pod = resource.get("spec", {}).get("template", {}).get("spec", {})
    for container in pod.get("containers", []):
        if container["image"] == image["name"]:
            container["image"] = f"{image['newName']}:{image['newTag']}"
