"""A stand-in for Keystone v3, for tempest, which does not run without: everybody is let in and told where Ironic is.

python3 keystone.py PORT IRONIC-URL
"""
import datetime
import http.server
import json
import sys
import uuid

PORT, IRONIC = int(sys.argv[1]), sys.argv[2]
OWN = 'http://127.0.0.1:%d/v3' % PORT


def service(name, kind, url):
    ends = [{'id': uuid.uuid4().hex, 'interface': face, 'region': 'RegionOne', 'region_id': 'RegionOne', 'url': url}
            for face in ('public', 'internal', 'admin')]
    return {'id': name, 'type': kind, 'name': name, 'endpoints': ends}


def token():
    now = datetime.datetime.utcnow()
    domain = {'id': 'default', 'name': 'Default'}
    at = '%Y-%m-%dT%H:%M:%S.000000Z'
    return {
        'methods': ['password'],
        'user': {'id': 'u', 'name': 'admin', 'domain': domain},
        'project': {'id': 'p', 'name': 'admin', 'domain': domain},
        'roles': [{'id': 'r', 'name': 'admin'}],
        'issued_at': now.strftime(at),
        'expires_at': (now + datetime.timedelta(hours=8)).strftime(at),
        'audit_ids': ['a'],
        'catalog': [service('ironic', 'baremetal', IRONIC), service('keystone', 'identity', OWN)],
    }


class Keystone(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def say(self, status, body, **headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        links = [{'rel': 'self', 'href': OWN + '/'}]
        self.say(200, {'version': {'id': 'v3.14', 'status': 'stable', 'links': links}})

    def do_POST(self):
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self.say(201, {'token': token()}, X_Subject_Token=uuid.uuid4().hex)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(('127.0.0.1', PORT), Keystone).serve_forever()
