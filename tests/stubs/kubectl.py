"""A kubectl for the tests: the cluster is a folder, pods are processes, kustomize is kustomize.

It does what the target kubernetes asks for, and fails as a cluster does: an object that its schema
does not allow, a namespace or context that is not there, a changed selector, a name that is taken.
"""

import argparse
import copy
import datetime
import hashlib
import json
import os
import re
import socket
import sys
import time

from host import FOLDER, execute, fail, keep_secret, pull, start, state, stop

NUMBER = "deployment.kubernetes.io/revision"
KINDS = {"deployments": "deployment", "services": "service", "ingresses": "ingress"}
KINDS |= {"networkpolicies": "networkpolicy", "secrets": "secret"}
FLAGS = ("--context", "--namespace", "--selector", "--output", "--filename", "--timeout")


def parse(words):
    """The flags and names; any other flag is refused."""
    parser = argparse.ArgumentParser(prog="kubectl", allow_abbrev=False)
    for flag in FLAGS:
        parser.add_argument(flag)
    parser.add_argument("--ignore-not-found", action="store_true")
    parser.add_argument("--all-namespaces", action="store_true")
    parser.add_argument("names", nargs="*")
    return parser.parse_args(words)


def matches(selector, labels):
    """Whether labels have those of a selector."""
    pairs = [pair.split("=") for pair in selector.split(",")] if selector else []
    return all(labels.get(name) == value for name, value in pairs)


def digest(content):
    """A name for content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def key(kind, namespace, name):
    """Where an object is kept."""
    return f"{kind}/{namespace}/{name}".lower()


def ready(pod):
    """What the readiness probe finds."""
    try:
        with socket.create_connection(("127.0.0.1", pod["port"]), timeout=3) as connection:
            connection.sendall(f"GET {pod['probe']} HTTP/1.0\r\n\r\n".encode())
            return b" 200 " in connection.recv(100)
    except OSError:
        return False


def pods_of(world, template):
    """The pods that run a template."""
    return [pod for pod in world["pods"] if pod["template"] == template]


def reconcile(world):
    """What the controllers do meanwhile: old pods go when the new ones are ready."""
    for name, deployment in world["objects"].items():
        if name.startswith("deployment/"):
            template = digest(deployment["spec"])
            here = pods_of(world, f"{name}/{template}")
            if here and all(map(ready, here)):
                for pod in [p for p in world["pods"] if p["deployment"] == name and p not in here]:
                    stop(pod)
                    world["pods"].remove(pod)
    for name, service in world["objects"].items():
        if name.startswith("service/"):
            chosen, here = service["spec"]["selector"].items(), service["metadata"]["namespace"]
            pods = [p for p in world["pods"] if p["namespace"] == here and ready(p)]
            found = [pod["port"] for pod in pods if chosen <= pod["labels"].items()]
            endpoint(name).write_text(f"http://127.0.0.1:{found[-1]}" if found else "")


def endpoint(name):
    """A file with the address of one of the pods behind a service."""
    return FOLDER / name.replace("/", " ")


def apply(world, options):
    """`apply --filename -`."""
    import kubernetes_validate  # not above: only this verb needs them, and they take seconds
    import yaml

    documents = list(yaml.safe_load_all(sys.stdin))
    for document in documents:
        kubernetes_validate.validate(document, "1.32", strict=True)
        namespace = document["metadata"].get("namespace", "")
        name = key(document["kind"], namespace, document["metadata"]["name"])
        if document["kind"] == "Namespace":
            world["namespaces"] = sorted({*world["namespaces"], document["metadata"]["name"]})
        elif namespace not in world["namespaces"]:
            fail(f'Error from server (NotFound): namespaces "{namespace}" not found')
        if document["kind"] == "Deployment":
            roll_out(world, name, document)
        else:
            world["objects"][name] = document


def roll_out(world, name, wanted):
    """A Deployment as the cluster takes it: a further replica set, and pods of it."""
    before = world["objects"].get(name, wanted)
    wanted["spec"].setdefault("replicas", before["spec"].get("replicas", 1))
    labels = wanted["spec"]["template"]["metadata"]["labels"]
    if before["spec"]["selector"] != wanted["spec"]["selector"]:
        fail("The Deployment is invalid: spec.selector: field is immutable")
    if not wanted["spec"]["selector"]["matchLabels"].items() <= labels.items():
        fail("The Deployment is invalid: `selector` does not match template `labels`")
    world["objects"][name] = wanted
    template = digest(wanted["spec"])
    sets = world["sets"].setdefault(name, [])
    numbers = [int(row["metadata"]["annotations"][NUMBER]) for row in sets]
    known = [row for row in sets if row["name"] == template]
    row = known[0] if known else {"name": template, "metadata": {"labels": labels}}
    row["spec"] = copy.deepcopy(wanted["spec"])
    row["metadata"]["annotations"] = {NUMBER: str(max(numbers, default=0) + 1)}
    sets[:] = [other for other in sets if other is not row] + [row]
    while len(pods_of(world, f"{name}/{template}")) < wanted["spec"]["replicas"]:
        world["pods"].append(start_pod(world, name, template, wanted))


def start_pod(world, name, template, deployment):
    """A pod; where its image cannot be pulled, or a secret is not there, it waits for ever."""
    world["count"] += 1
    pod = {"name": f"{deployment['metadata']['name']}-{template}-{world['count']}"}
    spec, namespace = deployment["spec"]["template"], deployment["metadata"]["namespace"]
    (container,) = spec["spec"]["containers"]
    try:
        given = environment(world, namespace, container)
        process = start(pull(container["image"]), pod["name"], given)
        if process["exposes"] != container["ports"][0]["containerPort"]:
            fail("nobody listens on the port of the container")
        process |= {"environment": given}
    except SystemExit:
        process = {"pid": 0, "port": 0}
    process["probe"] = container["readinessProbe"]["httpGet"]["path"]
    facts = {"namespace": namespace, "deployment": name, "template": f"{name}/{template}"}
    return pod | process | facts | {"labels": spec["metadata"]["labels"]}


def environment(world, namespace, container):
    """A container's variables; an address of a service is the file that knows its pods."""
    found = {row["name"]: row["value"] for row in container.get("env", ())}
    for name, value in found.items():
        service = key("service", namespace, value.removeprefix("http://"))
        if service in world["objects"]:
            found[name] = str(endpoint(service))
    for row in container.get("envFrom", ()):
        secret = world["objects"].get(key("secret", namespace, row["secretRef"]["name"]))
        if not secret and not row["secretRef"].get("optional"):
            fail("CreateContainerConfigError: secret not found")
        found |= (secret or {"stringData": {}})["stringData"]
    return found


def get(world, options):
    """`get KIND [NAME]` as JSON or names."""
    kind, *names = options.names
    here = options.namespace
    if kind == "namespaces":
        return [{"kind": "namespace", "metadata": {"name": name}} for name in world["namespaces"]]
    if kind == "pods":
        found = [p for p in world["pods"] if p["namespace"] == here]
        chosen = [pod for pod in found if matches(options.selector, pod["labels"])]
        return [{"kind": "pod", "metadata": {"name": pod["name"]}} for pod in chosen]
    if kind == "replicasets":
        owners = [rows for name, rows in world["sets"].items() if f"/{here}/" in name]
        rows = [row for rows in owners for row in rows]
        return [row for row in rows if matches(options.selector, row["metadata"]["labels"])]
    if names:
        found = world["objects"].get(key(kind, here, names[0]))
        if not found and not options.ignore_not_found:
            fail(f'Error from server (NotFound): {kind} "{names[0]}" not found')
        return found
    if not (options.all_namespaces and kind == "deployments"):
        fail(f'error: the server doesn\'t have a resource type "{kind}"')
    found = [o for name, o in world["objects"].items() if name.startswith("deployment/")]
    return [o for o in found if matches(options.selector, o["metadata"]["labels"])]


def show(found, options):
    """Print what was found."""
    if found is None:
        return
    if options.output == "name":
        print(*(f"{row['kind']}/{row['metadata']['name']}" for row in found), sep="\n")
    elif options.output == "json":
        print(json.dumps({"kind": "List", "items": found} if isinstance(found, list) else found))
    else:
        fail("only names and JSON are for programs")


def create(world, options):
    """`create namespace NAME` and `create configmap NAME`."""
    kind, name = options.names
    if kind == "namespace":
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            fail(f'The Namespace "{name}" is invalid')
        taken = name in world["namespaces"]
        world["namespaces"] = [*{*world["namespaces"], name}]
    else:
        taken = key(kind, options.namespace, name) in world["objects"]
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        made = {"kind": kind, "metadata": {"name": name, "creationTimestamp": moment}}
        world["objects"].setdefault(key(kind, options.namespace, name), made)
    if taken:
        fail(f'Error from server (AlreadyExists): {kind} "{name}" already exists')


def delete(world, options):
    """`delete KIND NAME`, `delete replicasets --selector` and `delete KINDS --selector`."""
    kind, *names = options.names
    if kind == "namespace":
        if names[0] not in world["namespaces"] and not options.ignore_not_found:
            fail(f'Error from server (NotFound): namespaces "{names[0]}" not found')
        world["namespaces"] = [name for name in world["namespaces"] if name != names[0]]
        gone = [name for name in world["objects"] if f"/{names[0]}/" in name]
    elif kind == "replicasets":
        for rows in world["sets"].values():
            kept = [r for r in rows if not matches(options.selector, r["metadata"]["labels"])]
            rows[:] = kept
        return
    elif options.selector:
        if unknown := set(kind.split(",")) - set(KINDS):
            fail(f'error: the server doesn\'t have a resource type "{unknown.pop()}"')
        here = {key(KINDS[one], options.namespace, "") for one in kind.split(",")}
        found = [name for name in world["objects"] if name.rpartition("/")[0] + "/" in here]
        labels = {name: world["objects"][name]["metadata"].get("labels", {}) for name in found}
        gone = [name for name in found if matches(options.selector, labels[name])]
    else:
        gone = [key(kind, options.namespace, names[0])]
        if gone[0] not in world["objects"] and not options.ignore_not_found:
            fail(f'Error from server (NotFound): {kind} "{names[0]}" not found')
    for name in gone:
        world["objects"].pop(name, None)
        world["sets"].pop(name, None)
        for pod in [pod for pod in world["pods"] if pod["deployment"] == name]:
            stop(pod)
            world["pods"].remove(pod)


def rollout(world, options):
    """`rollout undo deployment/NAME`."""
    name = key("deployment", options.namespace, options.names[1].removeprefix("deployment/"))
    rows = world["sets"].get(name, [])
    if len(rows) < 2:
        fail(f"error: no rollout history found for {options.names[1]}")
    bad = f"{name}/{rows[-1]['name']}"
    roll_out(world, name, world["objects"][name] | {"spec": copy.deepcopy(rows[-2]["spec"])})
    for pod in pods_of(world, bad):
        stop(pod)
        world["pods"].remove(pod)


def wait(host, options):
    """`rollout status deployment/NAME --timeout=Ns`."""
    deadline = time.monotonic() + float(options.timeout.removesuffix("s"))
    while time.monotonic() < deadline:
        with state(host) as world:
            name = key("deployment", options.namespace, options.names[1].split("/")[1])
            if name not in world["objects"]:
                fail(f'Error from server (NotFound): {options.names[1]} "service" not found')
            reconcile(world)
            template = f"{name}/{digest(world['objects'][name]['spec'])}"
            here = pods_of(world, template)
            left = [p for p in world["pods"] if p["deployment"] == name and p not in here]
            if here and all(map(ready, here)) and not left:
                return
        time.sleep(0.1)
    fail("error: timed out waiting for the condition")


def main(words):
    """Do what kubectl would do."""
    keep_secret(words)
    command = words[words.index("--") + 1 :] if "--" in words else []
    options = parse(words[: words.index("--")] if command else words)
    host = options.context or "local"
    verb, *options.names = options.names
    if verb == "kustomize":
        os.execv(os.environ["REAL_KUBECTL"], ["kubectl", "kustomize", *options.names])  # noqa: S606
    if not (FOLDER / f"{host}.json").exists():
        fail(f'error: context "{host}" does not exist')
    if verb == "rollout" and options.names[0] == "status":
        return wait(host, options)
    with state(host) as world:
        reconcile(world)
        if verb == "exec":
            name = options.names[0].removeprefix("pod/")
            (pod,) = [pod for pod in world["pods"] if pod["name"] == name] or fail(f"no {name}")
        elif verb == "get":
            return show(get(world, options), options)
        elif verb in VERBS:
            return VERBS[verb](world, options)
        else:
            fail(f'error: unknown command "{verb}" for "kubectl"')
    return execute(pod, command)


VERBS = {"apply": apply, "create": create, "delete": delete, "rollout": rollout}

if __name__ == "__main__":
    main(sys.argv[1:])
