"""An OpenID provider's part, by PyJWT: makes keys, writes the public ones (JWKS) to a file, and prints tokens by name.

issuer.py FILE ISSUER AUDIENCE
"""

import base64
import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import algorithms


def main(file, issuer, audience):
    keys = {
        "RS256": (rsa.generate_private_key(public_exponent=65537, key_size=2048), algorithms.RSAAlgorithm),
        "ES256": (ec.generate_private_key(ec.SECP256R1()), algorithms.ECAlgorithm),
        "EdDSA": (ed25519.Ed25519PrivateKey.generate(), algorithms.OKPAlgorithm),
    }
    public = [of.to_jwk(key.public_key(), as_dict=True) | {"kid": name, "use": "sig"} for name, (key, of) in keys.items()]
    pathlib.Path(file).write_text(json.dumps({"keys": public}))

    def token(algorithm="RS256", **more):
        claims = {"iss": issuer, "aud": audience, "exp": int(time.time()) + 600, "sub": "u1", "preferred_username": "ann"}
        key = {"HS256": "s" * 32, "none": None}.get(algorithm) or keys.get(algorithm, [None])[0]
        return jwt.encode(claims | more, key, algorithm=algorithm, headers={"kid": "RS256" if key is None else algorithm})

    member = {"roles": ["member"], "project_id": "p1"}
    stolen = token("ES256", **member).split(".")
    claims = json.dumps(member | {"roles": ["admin"], "system_scope": "all"}).encode()
    stolen[1] = base64.urlsafe_b64encode(claims).decode().rstrip("=")
    print(json.dumps({
        "admin": token("EdDSA", roles=["admin"], system_scope="all"),
        "member": token("ES256", **member),
        "stranger": token("RS256", roles=["admin"], project_id="p2"),
        "nowhere": token("RS256", roles=["admin"]),
        "expired": token("RS256", roles=["admin"], system_scope="all", exp=int(time.time()) - 60),
        "early": token("RS256", roles=["admin"], system_scope="all", nbf=int(time.time()) + 600),
        "elsewhere": token("RS256", roles=["admin"], system_scope="all", aud="other"),
        "unsigned": token("none", roles=["admin"], system_scope="all"),
        "shared": token("HS256", roles=["admin"], system_scope="all"),
        "changed": ".".join(stolen),
    }))


main(*sys.argv[1:])
