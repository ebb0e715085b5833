"""Sends the requests in requests.txt to a real Ironic and writes its responses, one JSON object per line.

The checked-in recording was made on loopback, with packages from PyPI:

    python -m venv v && v/bin/pip install ironic==39.0.0
    v/bin/ironic-dbsync --config-file ironic.conf create_schema
    v/bin/ironic --config-file ironic.conf &
    python record.py 127.0.0.1:16385 ironic.db requests.txt ../src/golden/recorded.jsonl

with an empty database and, in ironic.conf: auth_strategy noauth, rpc_transport none, host conductor-a, hardware types
fake-hardware, ipmi, redfish and manual-management, default_network_interface noop, automated_clean false.
"""

import http.client
import json
import re
import sqlite3
import sys
import time

OWN = "X-OpenStack-Ironic-API-Version"
KEEP = ("content-type", "location", OWN.lower(), "x-openstack-ironic-api-minimum-version",
        "x-openstack-ironic-api-maximum-version", "openstack-api-version")


def sent(version):
    if version == "-":
        return {}
    out = {}
    if version.startswith("both:"):
        out[OWN], version = version[5:].split(",", 1)
    elif version.startswith("os:"):
        version = version[3:]
    else:
        return {OWN: version}
    out["OpenStack-API-Version"] = version.replace("+", " ").replace(",", ", ")
    return out


class Player:
    def __init__(self, address, database, out):
        self.address, self.database, self.out, self.known = address, database, out, {}

    def ask(self, method, path, headers, body=None):
        connection = http.client.HTTPConnection(self.address)
        headers = dict(headers, Host="ironic.test")
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()

    def whole(self, path):
        """Returns the resource of a path in the newest version, or None if it has not changed since the last call."""
        found = re.match(r"(?:/v1)?/((?:volume/)?[a-z_]+/[^/?]+)", path)
        if not found or found[1].startswith(("lookup", "heartbeat")):
            return None
        answer, raw = self.ask("GET", "/v1/" + found[1], {OWN: "1.115"})
        if answer.status != 200:
            return None
        whole = json.loads(raw)
        if self.known.get(found[1]) == whole:
            return None
        self.known[found[1]] = whole
        return {"of": found[1], "is": whole}

    def wait(self, what, state):
        path, field = {"wait": ("/v1/nodes/node-1", "provision_state"),
                       "wait-allocation": ("/v1/allocations/alloc-1", "state")}[what]
        for _ in range(100):
            now = json.loads(self.ask("GET", path, {OWN: "1.115"})[1])
            if now[field] == state and not now.get("reservation"):
                return
            time.sleep(0.1)
        raise SystemExit(f"{path} is {now[field]} and not {state}")

    def play(self, line):
        if line.startswith("sql "):
            database = sqlite3.connect(self.database)
            database.execute(line[4:])
            database.commit()
            return
        if line.startswith("wait"):
            self.wait(*line.split(" ", 1))
            return
        version, method, path, body = (line.split(" ", 3) + [None])[:4]
        before = self.whole(path)
        answer, raw = self.ask(method, path, sent(version), body)
        try:
            got = json.loads(raw) if raw else None
        except ValueError:
            got = raw.decode()
        headers = {name.lower(): value for name, value in answer.getheaders() if name.lower() in KEEP}
        record = {"ask": line, "sent": sent(version), "status": answer.status, "headers": headers, "body": got}
        if before:
            record["before"] = before
        self.out.write(json.dumps(record) + "\n")


def main(address, database, requests, target):
    with open(requests) as lines, open(target, "w") as out:
        out.write(json.dumps({"ironic": "39.0.0", "made by": "record/record.py", "asked": "record/requests.txt"}) + "\n")
        player = Player(address, database, out)
        for line in lines:
            if line.strip() and not line.startswith("#"):
                player.play(line.rstrip("\n"))


main(*sys.argv[1:])
