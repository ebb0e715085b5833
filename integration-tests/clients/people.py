"""Gives a new Keystone its people and the place of the bare-metal API, and prints a token of each role in each scope.

people.py URL PASSWORD BAREMETAL: the first user is admin with this password; so is everybody's password.
Prints {"projects": {name: id}, "tokens": {scope: {role: token}}}.
"""

import json
import sys

import openstack
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

ROLES = ["admin", "manager", "member", "reader", "service"]
PROJECTS = ["owner", "lessee", "stranger", "service"]


def scope(url, user, password, where):
    scoped = {"system_scope": "all"} if where == "system" else {"project_name": where, "project_domain_id": "default"}
    return Session(v3.Password(url, username=user, password=password, user_domain_id="default", **scoped))


def main(url, password, baremetal):
    cloud = openstack.connection.Connection(session=scope(url, "admin", password, "admin"), region_name="one")
    identity = cloud.identity
    known = {role.name: role for role in identity.roles()}
    roles = {name: known.get(name) or identity.create_role(name=name) for name in ROLES}
    projects = {name: identity.create_project(name=name, domain_id="default") for name in PROJECTS}
    for name in ROLES:
        user = identity.create_user(name=f"a-{name}", password=password, domain_id="default")
        for project in projects.values():
            identity.assign_project_role_to_user(project, user, roles[name])
        identity.assign_system_role_to_user(user, roles[name], "all")
    ironmesh = identity.create_user(name="ironmesh", password=password, domain_id="default")
    identity.assign_project_role_to_user(projects["service"], ironmesh, roles["service"])
    service = identity.create_service(type="baremetal", name="ironmesh")
    identity.create_endpoint(service_id=service.id, interface="public", region_id="one", url=baremetal)
    tokens = {
        where: {name: scope(url, f"a-{name}", password, where).get_token() for name in ROLES}
        for where in ["system", *PROJECTS]
    }
    print(json.dumps({"projects": {name: project.id for name, project in projects.items()}, "tokens": tokens}))


main(*sys.argv[1:])
