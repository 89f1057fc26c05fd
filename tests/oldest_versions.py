"""The oldest versions of other packages with which the gateway starts and answers are those that pyproject.toml allows.

    python -m tests.oldest_versions constraints > oldest.txt            # for `pip install --constraint oldest.txt`
    PYTHON tests/oldest_versions.py serve                               # with the Python in which they are installed
    python -m tests.oldest_versions litellm                             # the oldest litellm, whose tests are a few folders

Whoever mounts plugins in an app of theirs has pinned some of them, and pip leaves what is new enough for us as it is.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

EXTRAS = ("slim", "sql", "redis", "jwt", "postgres", "kafka")
KEY = "sk-oldest-0123456789"
CONFIGURATION = """
keys:
  - keys: [{{id: team-a, secret: {key}, limits: {{tokens_per_minute: 100000}}}}]
  - jwt: {{issuer: "https://login.example.com", audience: null, jwks: "{jwks}"}}
limits: {{store: "redis://127.0.0.1:9/0", on_store_error: local}}
sinks: {{kafka: {{bootstrap_servers: ["127.0.0.1:9"], topic: usage}}}}
admin: {{token: operator-0123456789abcdef}}
ledger: {{url: "sqlite:///usage.db"}}
"""
"""Nobody listens at port 9: a limit store and a sink that are away stop nobody, and say so through their packages."""
QUESTION = {"role": "user", "content": "Hello"}


def constraints() -> Iterator[str]:
    """Each package that the gateway without litellm, and the extras besides, need, at its lowest bound."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]:
        bound = re.fullmatch(r"([a-z][a-z0-9.-]*)(?:\[[a-z]+\])?>=([0-9.]+)(?:,.*)?", requirement)
        if bound is not None:
            yield f"{bound[1]}=={bound[2]}"
        else:
            assert requirement.startswith("crplugins["), f"{requirement} has no lower bound"


def oldest_litellm() -> str:
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    [bound] = [each for each in project["optional-dependencies"]["gateway"] if each.startswith("litellm>=")]
    return f"litellm=={bound.removeprefix('litellm>=').partition(',')[0]}"


def serve() -> None:
    """Every command can be loaded, a question is answered, the document of all that is served can be made, and a
    configuration that has changed is read anew."""
    import asyncpg
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ec

    from crplugins.config.load import parse_config
    from crplugins.homes.gateway.changes import needs_restart
    from crplugins.sql.engine import make_engine
    from crplugins.sql.url import read_database_url

    assert needs_restart(parse_config({}), parse_config({})) == []  # as `Gateway.reload` asks in an app of one's own
    crplugins = str(Path(sys.executable).with_name("crplugins"))
    signer = ec.generate_private_key(ec.SECP256R1())
    claims = {"iss": "https://login.example.com", "sub": "ann", "exp": int(time.time()) + 600}
    token = jwt.encode(claims, signer, "ES256", {"kid": "one"})
    published = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(signer.public_key())), "kid": "one", "alg": "ES256"}
    engine = make_engine(read_database_url("postgresql://nobody@127.0.0.1:9/usage"), 5.0)
    assert engine.dialect.driver == "asyncpg"
    assert asyncpg.__version__
    with TemporaryDirectory() as folder, serving(json.dumps({"keys": [published]}).encode()) as jwks:
        Path(folder, "gateway.yaml").write_text(CONFIGURATION.format(key=KEY, jwks=jwks))
        for words in (["--help"], ["check"], ["schema"], ["keys", "list"]):
            subprocess.run([crplugins, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        command = [crplugins, "serve", "--port", "0"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                url = re.findall(r"http://[0-9.:]+", process.stdout.readline())[0]
                for key in (KEY, token):
                    answer = ask(f"{url}/v1/chat/completions", key, model="demo/echo", messages=[QUESTION])
                    assert answer["choices"][0]["finish_reason"] == "stop"
                assert all(closes_behind_a_stream(url) for _ in range(2))
                assert "/admin/keys" in ask(f"{url}/openapi.json")["paths"]
                with Path(folder, "gateway.yaml").open("a") as file:
                    file.write("aliases: {fast: demo/echo}\n")
                process.send_signal(signal.SIGHUP)
                assert is_served(url, "fast")
            finally:
                process.terminate()
        subprocess.run([crplugins, "usage", "--by", "key"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    print("crplugins serves with the oldest versions that it allows")


def closes_behind_a_stream(url: str) -> bool:
    """Whether a client that asks for it with `connection: close` reads the end well before a kept connection's."""
    body = json.dumps({"model": "demo/echo", "messages": [QUESTION], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as client, client.makefile("rb") as answer:
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return answer.read().endswith(b"0\r\n\r\n")


def is_served(url: str, model: str) -> bool:
    """Whether it is within half a minute."""
    for _ in range(300):
        if model in [each["id"] for each in ask(f"{url}/v1/models")["data"]]:
            return True
        time.sleep(0.1)
    return False


@contextmanager
def serving(document: bytes) -> Iterator[str]:
    """An address of this document."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/jwks"
        server.shutdown()


def ask(url: str, key: str = KEY, **body: object) -> Any:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif sys.argv[1:] == ["litellm"]:
        print(oldest_litellm())
    else:
        print(*constraints(), sep="\n")
