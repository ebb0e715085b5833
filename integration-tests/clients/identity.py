"""Sets up a Keystone in a folder, and serves it at a port of loopback until it is ended.

identity.py FOLDER PORT PASSWORD: its first user is admin, with this password.
"""

import os
import pathlib
import subprocess
import sys

CONFIG = """
[DEFAULT]
log_dir = {folder}
[database]
connection = sqlite:///{folder}/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credentials
[cache]
enabled = false
[identity]
password_hash_rounds = 4
"""


def main(folder, port, password):
    folder, url = pathlib.Path(folder), f"http://127.0.0.1:{port}/v3"
    for keys in ["fernet", "credentials"]:
        (folder / keys).mkdir(parents=True)
    config = folder / "keystone.conf"
    config.write_text(CONFIG.format(folder=folder))
    manage = [str(pathlib.Path(sys.executable).with_name("keystone-manage")), "--config-file", str(config)]
    owner = ["--keystone-user", "root", "--keystone-group", "root"]
    admin = ["--bootstrap-password", password, "--bootstrap-public-url", url, "--bootstrap-region-id", "one"]
    for words in [["db_sync"], ["fernet_setup", *owner], ["credential_setup", *owner], ["bootstrap", *admin]]:
        subprocess.run([*manage, *words], check=True)
    # Keystone reads its own options from the command line, whoever that belongs to.
    sys.argv = ["keystone"]
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(config)
    from keystone.server.wsgi import initialize_public_application
    from waitress import serve

    serve(initialize_public_application(), listen=f"127.0.0.1:{port}", threads=4)


main(*sys.argv[1:])
