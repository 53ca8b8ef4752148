"""A docker client for the tests: the host is a folder, containers are processes, Caddy is Caddy.

It does what the target compose asks for, and fails as docker does: an unknown flag, container, host
or image, a name that is taken, a variable that is not set, a network that is not there.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from host import FOLDER, alive, execute, fail, keep_secret, pull, start, state, stop

HOST = re.sub(r"\W", "_", os.environ.get("DOCKER_HOST", "local"))
PROXY = ("caddy", "run", "--resume")


def now():
    """This moment as docker writes it."""
    moment = datetime.datetime.now(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


def parse(flags, words, names="*"):
    """The flags and names; any other flag is refused."""
    parser = argparse.ArgumentParser(prog="docker", allow_abbrev=False)
    for flag in flags:
        kind = {"action": "store_true"} if flag.endswith("!") else {"action": "append"}
        parser.add_argument(flag.rstrip("!"), **kind)
    parser.add_argument("names", nargs=names)
    return parser.parse_args(words)


def find(world, name):
    """A container by its name."""
    if name not in world["containers"]:
        fail(f"Error response from daemon: No such container: {name}")
    return world["containers"][name]


def compose(world, words):
    """`compose --file F --project-name P up --detach --quiet-pull`, and COMPOSE_PROFILES."""
    options = parse(["--file", "--project-name", "--detach!", "--quiet-pull!"], words, "+")
    if options.names != ["up"] or not options.detach:
        fail(f"unknown docker command: compose {' '.join(options.names)}")
    import yaml  # not above: only this verb needs it

    (file,), (name,) = options.file, options.project_name
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        fail(f"invalid project name {name!r}")
    content = yaml.safe_load(Path(file).read_text())
    for network, facts in content["networks"].items():
        known = (facts or {}).get("name", network)
        if (facts or {}).get("external") and known not in world["networks"]:
            fail(f"network {known} declared as external, but could not be found")
        world["networks"] = [*{*world["networks"], known}]
    active = set(os.environ.get("COMPOSE_PROFILES", "").split(","))
    for service in [interpolate(service) for service in content["services"].values()]:
        if not service.get("profiles") or active & set(service["profiles"]):
            create(world, name, service)


def interpolate(value):
    """Values with the environment's variables; one that is required and missing is an error."""
    if isinstance(value, dict):
        return {key: interpolate(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolate(inner) for inner in value]

    def look_up(match):
        if match[1] not in os.environ or (match[2] and not os.environ[match[1]]):
            fail(f"required variable {match[1]} is missing a value")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)(:?)\?\}", look_up, value) if isinstance(value, str) else value


def create(world, project, service):
    """A container of a compose file; the one of the same project is kept if nothing changed."""
    name = service["container_name"]
    if name in world["containers"]:
        if world["containers"][name]["project"] != project:
            fail(f"Conflict. The container name /{name} is already in use")
        return
    container = {"name": name, "project": project, "image": service["image"], "created": now()}
    container |= {"labels": service.get("labels", {}), "stopped": "0001-01-01T00:00:00Z"}
    if tuple(service.get("command", ())) == PROXY:
        container |= proxy(world)
    else:
        container["aliases"] = service["networks"]["delivery"]["aliases"]
        given = service["environment"]
        given = {key: os.environ.get(key) if given[key] is None else given[key] for key in given}
        given = {key: resolve(world, value) for key, value in given.items() if value is not None}
        labels = image(world, service["image"])
        container |= {"environment": given, **start(labels, name, given)}
    world["containers"][name] = container


def resolve(world, text):
    """A text, its addresses of containers replaced by those of their processes."""
    known = {a: c for c in world["containers"].values() for a in c["aliases"]}

    def look_up(match):
        if match[1] not in known or known[match[1]]["exposes"] != int(match[2]):
            fail(f"lookup {match[0]}: no such host, or nobody listens there")
        return f"127.0.0.1:{known[match[1]]['port']}"

    return re.sub(r"\b([\w-]+):(8000|8501)\b", look_up, text)


def image(world, name):
    """The labels of an image, from its registry if it is not on the host."""
    images = world.setdefault("images", {})
    images[name] = images.get(name) or pull(name)
    return images[name]


def proxy(world):
    """A real Caddy on a port of its own."""
    admin, http = world["ports"]
    config = FOLDER / f"{HOST}.caddyfile"
    config.write_text(options(world) + "http:// {\n\trespond 404\n}\n")
    program = [Path(sys.executable).with_name("caddy"), "run", "--adapter", "caddyfile"]
    with (FOLDER / "caddy.log").open("ab") as log:
        process = subprocess.Popen(
            [*program, "--config", config], stdout=log, stderr=log, start_new_session=True
        )
    with (FOLDER / "pids").open("a") as pids:
        pids.write(f"{process.pid}\n")
    return {"pid": process.pid, "port": http, "admin": admin, "aliases": []}


def options(world):
    """Caddy's ports, for those of the container."""
    admin, http = world["ports"]
    return f"{{\n\tadmin 127.0.0.1:{admin}\n\thttp_port {http}\n\tpersist_config off\n}}\n"


def reload(world):
    """What Caddy within the container does with a new configuration."""
    text = options(world) + resolve(world, sys.stdin.read())
    program = [Path(sys.executable).with_name("caddy"), "reload", "--adapter", "caddyfile"]
    address = ["--config", "-", "--address", f"127.0.0.1:{world['ports'][0]}"]
    for _ in range(50):
        done = subprocess.run([*program, *address], input=text, text=True, capture_output=True)
        if "connection refused" not in done.stderr:
            break
        time.sleep(0.1)
    sys.stderr.write(done.stderr)
    sys.exit(done.returncode)


def inspect(world, words):
    """The containers as JSON."""
    options = parse(["--type"], words, "+")
    if options.type != ["container"]:
        fail("inspect without --type container finds images, too")
    found = [find(world, name) for name in options.names]
    rows = [
        {
            "Name": f"/{c['name']}",
            "Created": c["created"],
            "Config": {"Image": c["image"], "Labels": c["labels"]},
            "State": {"Running": alive(c), "FinishedAt": c["stopped"]},
        }
        for c in found
    ]
    print(json.dumps(rows))


def ps(world, words):
    """The containers that have a label."""
    options = parse(["--all!", "--quiet!", "--filter"], words)
    if not (options.all and options.quiet) or options.names:
        fail('"docker ps" accepts no arguments')
    label = options.filter[0].removeprefix("label=")
    print(*(c["name"] for c in world["containers"].values() if label in c["labels"]), sep="\n")


def make(world, words):
    """`create --name NAME IMAGE COMMAND`: the name belongs to one only."""
    options = parse(["--name"], words, "+")
    (name,) = options.name
    if name in world["containers"]:
        fail(f"Error response from daemon: Conflict. The container name /{name} is in use")
    facts = {"name": name, "project": "", "image": options.names[0], "labels": {}, "pid": 0}
    world["containers"][name] = facts | {"created": now(), "stopped": "", "aliases": []}


def remove(world, words):
    """`rm --force NAME…`."""
    options = parse(["--force!"], words, "+")
    for name in options.names:
        stop(find(world, name))
        del world["containers"][name]


def halt(world, words):
    """`stop NAME…`."""
    for name in parse([], words, "+").names:
        container = find(world, name)
        stop(container)
        container["stopped"] = now()


def rename(world, words):
    """`rename OLD NEW`."""
    old, new = parse([], words, 2).names
    if new in world["containers"]:
        fail(f"Error response from daemon: Conflict. The container name /{new} is in use")
    world["containers"][new] = find(world, old) | {"name": new}
    del world["containers"][old]


VERBS = {
    "compose": compose,
    "create": make,
    "inspect": inspect,
    "ps": ps,
    "rename": rename,
    "rm": remove,
    "stop": halt,
}


def main(words):
    """Do what docker would do."""
    keep_secret(words)
    verb, *rest = words
    if not (FOLDER / f"{HOST}.json").exists():
        fail(f"Cannot connect to the Docker daemon at {os.environ.get('DOCKER_HOST')}.")
    with state(HOST) as world:
        if verb == "exec":
            name = rest[1] if rest[0] == "--interactive" else rest[0]
            container, command = find(world, name), rest[rest.index(name) + 1 :]
        elif verb in VERBS:
            return VERBS[verb](world, rest)
        else:
            fail(f"docker: '{verb}' is not a docker command.")
    if command == ["caddy", "reload", "--adapter", "caddyfile", "--config", "-"]:
        return reload(world)
    return execute(container, command)


if __name__ == "__main__":
    main(sys.argv[1:])
