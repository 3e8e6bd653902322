"""Asks a facade from several clients until none can connect any more, and tells when each request began and ended.

A program of its own, for it runs in a container's network.
"""

import json
import threading
import time

import httpx

URL = "http://127.0.0.1:8000/generate"
CLIENTS, UNDER_WAY, SECONDS = 8, 50, 120.0


def main() -> None:
    deadline = time.monotonic() + SECONDS
    answered: list[tuple[float, float]] = []
    lost: list[tuple[float, str]] = []

    def ask(client: httpx.Client) -> None:
        while (begun := time.monotonic()) < deadline:
            try:
                reply = client.post(URL, json={"passage": f"I am boy number {len(answered)}."}).raise_for_status()
                if not 0 <= reply.json()["prob"] <= 1:
                    raise ValueError(reply.text)
            except httpx.ConnectError:
                return
            except (httpx.HTTPError, ValueError) as error:
                lost.append((begun, f"{type(error).__name__}: {error}"))
            else:
                answered.append((begun, time.monotonic()))

    # A connection for each request: one that is kept may be closed at the moment it is used again.
    with httpx.Client(timeout=60, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while len(answered) < UNDER_WAY and time.monotonic() < deadline:
            time.sleep(0.01)
        print("under way", flush=True)
        for thread in threads:
            thread.join()
    print(json.dumps({"answered": answered, "lost": lost}))


if __name__ == "__main__":
    main()
