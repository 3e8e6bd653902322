"""curl, as the documentation shows it; of the machine, not of an environment."""

import json
import subprocess

from calling import GUITAR, TEXTS, URL, call, check, embeddings, main

VERSION = subprocess.run(["curl", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[1]


def post(path: str, body: object) -> object:
    headers = ["-H", "content-type: application/json"]
    command = ["curl", "-sS", "--fail", f"{URL}{path}", *headers, "-d", json.dumps(body)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


@call("curl", "`POST /v1/embeddings`", VERSION)
def embeds() -> None:
    found = post("/v1/embeddings", {"model": "sts", "input": TEXTS})
    check([each["embedding"] for each in found["data"]], embeddings())


@call("curl", '`POST /embed` with `{"inputs": ...}`', VERSION)
def embeds_as_tei() -> None:
    check(post("/embed", {"inputs": GUITAR}), embeddings()[:1])


@call("curl", "`POST /embed_all`, TEI's vectors of tokens: refused, naming `/embed` and `/tokenize`", VERSION)
def says_what_is_served() -> None:
    command = ["curl", "-sS", f"{URL}/embed_all", "-H", "content-type: application/json", "-d", '{"inputs": "A man."}']
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    if told["status"] != 404 or not all(path in told["error"] for path in ("/embed ", "/tokenize ")):
        raise ValueError(told)


main()
