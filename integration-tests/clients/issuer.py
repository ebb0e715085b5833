"""An OpenID provider's part, by PyJWT: makes keys, writes the public ones (JWKS) to a file, and prints tokens by name.

issuer.py FILE ISSUER AUDIENCE
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import algorithms

SCHEDULER = "spiffe://ironmesh/dc/default/rack/default/service/scheduler-service"


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

    def coded(octets):
        return base64.urlsafe_b64encode(octets).decode().rstrip("=")

    def forged(header, sign, **more):
        """A token with any header, whose signature is what `sign` makes of its text."""
        now = int(time.time())
        claims = {"iss": issuer, "aud": audience, "exp": now + 600, "sub": "u1", "roles": ["admin"], "system_scope": "all"}
        text = ".".join(coded(json.dumps(part).encode()) for part in (header, claims | more))
        return f"{text}.{coded(sign(text.encode()))}"

    pem = keys["RS256"][0].public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = ed25519.Ed25519PrivateKey.generate()
    own_jwk = algorithms.OKPAlgorithm.to_jwk(own.public_key(), as_dict=True)
    edwards = keys["EdDSA"][0]
    admin = {"roles": ["admin"], "system_scope": "all"}
    endless = jwt.encode({"iss": issuer, "aud": audience, "sub": "u1"} | admin, edwards, algorithm="EdDSA",
                         headers={"kid": "EdDSA"})
    member = {"roles": ["member"], "project_id": "p1"}
    stolen = token("ES256", **member).split(".")
    claims = json.dumps(member | {"roles": ["admin"], "system_scope": "all"}).encode()
    stolen[1] = base64.urlsafe_b64encode(claims).decode().rstrip("=")
    print(json.dumps({
        "admin": token("EdDSA", roles=["admin"], system_scope="all"),
        "member": token("ES256", **member),
        "reader": token("EdDSA", roles=["reader"], system_scope="all"),
        "named as a service": token("EdDSA", sub=SCHEDULER, preferred_username=SCHEDULER, client_id=SCHEDULER, **(
            admin | {"roles": ["admin", "service", "scheduler-service"]})),
        "named by a line": token("EdDSA", preferred_username="ann\nwho=root", **admin),
        "stranger": token("RS256", roles=["admin"], project_id="p2"),
        "nowhere": token("RS256", roles=["admin"]),
        "expired": token("RS256", roles=["admin"], system_scope="all", exp=int(time.time()) - 60),
        "early": token("RS256", roles=["admin"], system_scope="all", nbf=int(time.time()) + 600),
        "elsewhere": token("RS256", roles=["admin"], system_scope="all", aud="other"),
        "unsigned": token("none", roles=["admin"], system_scope="all"),
        "shared": token("HS256", roles=["admin"], system_scope="all"),
        "changed": ".".join(stolen),
        "endless": endless,
        "other issuer": token("EdDSA", iss="https://evil.example", **admin),
        "unsigned in mixed case": forged({"alg": "nOnE", "kid": "RS256"}, lambda _: b""),
        "public key as secret": forged(
            {"alg": "HS256", "kid": "RS256"}, lambda text: hmac.digest(pem, text, hashlib.sha256)),
        "zeros": forged({"alg": "ES256", "kid": "ES256"}, lambda _: bytes(64)),
        "cut": token("EdDSA", **admin).rsplit(".", 1)[0] + ".",
        "own key": forged({"alg": "EdDSA", "kid": "own", "jwk": own_jwk}, own.sign),
        "own key set": forged({"alg": "EdDSA", "kid": "own", "jku": "http://127.0.0.1:1/keys"}, own.sign),
        "path as key id": forged({"alg": "HS256", "kid": "../../../../dev/null"}, lambda text: hmac.digest(
            b"", text, hashlib.sha256)),
        "critical": forged({"alg": "EdDSA", "kid": "EdDSA", "crit": ["b64"], "b64": True}, edwards.sign),
        "other algorithm": forged({"alg": "ES256", "kid": "EdDSA"}, edwards.sign),
    }))


main(*sys.argv[1:])
