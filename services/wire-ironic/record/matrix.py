"""Asks a real Ironic for its matrix of hardware types, interfaces and implementations, and writes it as a table.

    python matrix.py 127.0.0.1:16385 DIST_INFO/entry_points.txt >../src/golden/matrix.txt

Ironic must serve fake-hardware, ipmi, redfish and manual-management, with every implementation of every interface
enabled, default_network_interface noop, a deploy.http_url and deploy.http_root, and redfish.connection_attempts 1 (it
asks BMCs). `entry_points.txt` is that of the installed package; it names the implementations. One line per hardware type, interface and implementation:

    hardware type, interface, implementation, result of POST, of PATCH, of validate for the interface

A default is marked with `*`, and a result of PATCH that is that of POST is `=`. `validate` is asked of a node that has a BMC's address, a port and a deploy ramdisk, but
no image. Where an error shows a Python object, its place in the memory is left out; an answer that quotes a BMC is cut.
"""

import configparser
import http.client
import json
import re
import sys

TYPES = ("fake-hardware", "ipmi", "manual-management", "redfish")
INTERFACES = ("bios", "boot", "console", "deploy", "firmware", "inspect", "management", "network", "power", "raid",
              "rescue", "storage", "vendor")
INFO = {
    "ipmi": {"ipmi_address": "192.0.2.1"},
    "redfish": {"redfish_address": "https://192.0.2.1", "redfish_system_id": "/redfish/v1/Systems/1"},
}
RAMDISK = {"deploy_kernel": "http://192.0.2.2/kernel", "deploy_ramdisk": "http://192.0.2.2/ramdisk"}


def main(address, entry_points):
    def ask(method, path, body=None):
        connection = http.client.HTTPConnection(address)
        headers = {"X-OpenStack-Ironic-API-Version": "1.115", "Content-Type": "application/json"}
        connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers)
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None

    def result(status, body):
        if status < 400:
            return str(status)
        text = json.loads(body["error_message"])["faultstring"]
        return f"{status} {re.sub(' object at 0x[0-9a-f]+', '', text)}"

    parser = configparser.ConfigParser()
    parser.optionxform = str
    parser.read(entry_points)
    count = 0
    for driver in TYPES:
        info = {**INFO.get(driver, {}), **RAMDISK}
        status, plain = ask("POST", "/v1/nodes", {"driver": driver, "driver_info": info})
        assert status == 201, plain
        address_of_port = f"52:54:00:00:00:{TYPES.index(driver):02x}"
        ask("POST", "/v1/ports", {"address": address_of_port, "node_uuid": plain["uuid"]})
        for interface in INTERFACES:
            field = f"{interface}_interface"
            for name in [*sorted(parser[f"ironic.hardware.interfaces.{interface}"]), "nope"]:
                status, body = ask("POST", "/v1/nodes", {"driver": driver, field: name})
                created = result(status, body)
                if status == 201:
                    ask("DELETE", f"/v1/nodes/{body['uuid']}")
                patch = [{"op": "replace", "path": f"/{field}", "value": name}]
                status, body = ask("PATCH", f"/v1/nodes/{plain['uuid']}", patch)
                changed, valid = result(status, body), "-"
                if status == 200:
                    _, body = ask("GET", f"/v1/nodes/{plain['uuid']}/validate")
                    found = body.get(interface, {"result": None})
                    valid = json.dumps(found["result"])
                    if found.get("reason"):
                        reason = found["reason"].replace(plain["uuid"], "UUID").replace("\n", " ")
                        valid += " " + reason.split(" Error: ")[0]
                    ask("PATCH", f"/v1/nodes/{plain['uuid']}", [{"op": "remove", "path": f"/{field}"}])
                changed = "=" if changed == created else changed
                mark = "*" if plain[field] == name else ""
                print("\t".join((driver, interface, name + mark, created, changed, valid)))
                count += 1
        ask("DELETE", f"/v1/nodes/{plain['uuid']}")
    print(f"{count} implementations", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
