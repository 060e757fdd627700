"""Every problem that the doctor can find: its text and the command that repairs it.

A remedy is a shell command that never destroys what cannot be restored. The tests produce the state
of each kind, run its remedy, and compare every secret value before and after.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vault_harness.errors import named

Command = Callable[[Mapping[str, str]], str]


def _task(*words: str) -> Command:
    return lambda given: named(words[0], *(word.format(**given) for word in words[1:]))


def _shell(*words: str) -> Command:
    return lambda given: " ".join(shlex.quote(word.format(**given)) for word in words)


def _export_lines(service: str) -> Command:
    return lambda given: f'eval "$({named("env", service.format(**given))})"'


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        name: For programs, with ``{}`` fields.
        remedy: Commands, each of which needs the success of the one before it.
    """

    name: str
    wrong: str
    remedy: tuple[Command, ...] = ()
    advice: str = ""
    needs_root: bool = False
    instead: Command | None = None

    def what_to_do(self, given: Mapping[str, str], *, root: bool) -> str:
        commands = [command(given) for command in self.remedy]
        if commands and self.needs_root and not root:
            commands = [named("root.generate"), *commands, named("root.revoke")]
        return " && ".join(commands) or self.advice.format(**given)


_ACCESS = _task("seed", "--only", "access")
_REOPEN = (_task("restart"), _task("unseal"))

KINDS: Mapping[str, Kind] = {
    # -- servers -------------------------------------------------------------------------------
    "engine-away": Kind(
        "docker",
        "no container engine answers: {line}",
        advice="start it (for example systemctl start docker); or use processes in another data "
        "directory: HARNESS_ENGINE=process HARNESS_DATA_DIR=FOLDER",
    ),
    "image-missing": Kind(
        "images",
        "the container engine answers, but images are missing: {line}",
        (_task("images"),),
    ),
    "image-outdated": Kind(
        "images",
        "an image was built from other code than this: {line}",
        (_task("images"), _task("down"), _task("up")),
    ),
    "image-outdated-without-keys": Kind(
        "images",
        "an image was built from other code than this: {line}",
        advice="restore the keys first ({keys}): a new image restarts Vault, and nobody here could "
        "open it again: {cause}",
    ),
    "never-started": Kind("running", "nothing was ever started here", (_task("up"),)),
    "record-lost": Kind(
        "record",
        "{servers} of this data directory run, and stack.json does not say where",
        (_task("up"),),
    ),
    "data-gone": Kind(
        "data",
        "Vault runs, but its data directory is gone: its content is lost when it ends",
        advice="put the folder back before you stop anything; until that, any token that you still "
        "have can read this Vault",
    ),
    "data-replaced": Kind(
        "data",
        "the data of {servers} was replaced while it runs, perhaps by a copy: its content is in "
        "no folder, and lost when it ends",
        advice="save its content while it runs: {backup}. Then run {down} and {up}, which serves "
        "the data in the folder now",
    ),
    "seal-half-migrated": Kind(
        "seal",
        "a migration of the seal from {source} to {target} was interrupted; its keys and a copy "
        "of the data are kept",
        (_task("seal.migrate", "{target}"),),
    ),
    "restore-half-done": Kind(
        "restore",
        "a restore{of} is not finished, and its backup's keys are not here yet: this Vault may "
        "have the backup already, and then no key that is here opens it",
        advice="{start}{remedy}. {otherwise}",
    ),
    "restore-not-compared": Kind(
        "restore",
        "a restore{of} has put its backup in, but was interrupted before it compared the content",
        advice="{start}{remedy}, and compares",
    ),
    "not-running": Kind("running", "{servers} {verb} not run", (_task("up"),)),
    "frozen": Kind(
        "answers",
        "it takes connections and does not answer within {seconds} s: frozen, or overloaded",
        (_task("down"), _task("up")),  # `restart` needs a Vault that runs, `up` one that answers
    ),
    "frozen-without-keys": Kind(
        "answers",
        "it takes connections but does not answer within {seconds} s, and nobody here could open "
        "it again after it ends: {cause}",
        advice="do not stop it: {up} wakes a paused one, and says that its keys are missing. "
        "Then run {keys}, before anything else",
    ),
    "frozen-elsewhere": Kind(
        "answers",
        "it takes connections and does not answer within {seconds} s: frozen, or overloaded",
        advice="ask the people who run that Vault to look at it",
    ),
    "certificate": Kind(
        "answers",
        "its certificate is not trusted",
        advice="name the file with its CA certificate: export VAULT_CACERT=FILE",
    ),
    "certificate-ends": Kind("certificate", "its certificate {ends}", (_task("tls.renew"),)),
    "certificate-ends-elsewhere": Kind(
        "certificate",
        "its certificate {ends}",
        advice="ask the people who run that Vault to renew it",
    ),
    "certificate-early": Kind(
        "certificate",
        "its certificate is not valid yet: this machine's clock was ahead when it was made, or is "
        "behind now",
        (_task("tls.renew"),),
    ),
    "certificate-early-elsewhere": Kind(
        "certificate",
        "its certificate is not valid yet: this machine's clock is behind, or its maker's clock "
        "was ahead",
        advice="set the clock that is wrong: timedatectl set-ntp true, for example",
    ),
    "client-certificate-missing": Kind(
        "client certificate {client}",
        "it is missing: Vault refuses every connection of {client}",
        (_task("tls.renew"),),
    ),
    "client-certificate-ends": Kind(
        "client certificate {client}",
        "it {ends}: after that, Vault refuses {client}",
        (_task("tls.renew"),),
    ),
    "refused": Kind("answers", "the connection is refused: nobody listens there", (_task("up"),)),
    "refused-elsewhere": Kind(
        "answers",
        "the connection is refused: nobody listens there",
        advice="correct VAULT_ADDR, or ask for that Vault to be started",
    ),
    "not-vault": Kind(
        "answers",
        "the server there is not Vault ({answer})",
        advice="correct VAULT_ADDR, or stop the program that has taken Vault's port",
    ),
    "clock": Kind(
        "clock",
        "this machine's clock is {seconds} s {way} Vault's",
        advice="set the clock that is wrong: timedatectl set-ntp true, for example",
    ),
    "uninitialised": Kind("initialised", "this Vault has never been initialised", (_task("up"),)),
    "node-cut": Kind(
        "node {node}",
        "it is cut off from the other nodes",
        (_task("node.join", "{node}"),),
    ),
    "node-sealed": Kind(
        "node {address}",
        "it is sealed or not a member yet, so it does not count for a quorum; another node serves",
        (_task("unseal"),),
    ),
    "no-leader": Kind(
        "leader",
        "no node leads, so nothing can be written: {cause}",
        advice="the servers' log (the task logs) says why; more than half of the nodes must "
        "run, be unsealed and reach each other (the task status)",
    ),
    "refuses": Kind(
        "requests",
        "it is open, but it refuses requests: {cause}",
        advice="look at its log (the task logs): it says why. A full disk under the audit log has "
        "this effect until there is space again",
    ),
    # -- the way of clients --------------------------------------------------------------------
    "toxiproxy-silent": Kind(
        "toxiproxy",
        "it does not answer: no client reaches Vault through it",
        (_task("up"),),
    ),
    "obstacle": Kind("way", "{what}", (_task("heal"),)),
    # -- keys and tokens -----------------------------------------------------------------------
    "keyring-missing": Kind(
        "keyring",
        "{cause}: after the next restart nobody can open this Vault",
        (_task("restore.keys"),),
    ),
    "keyring-never-kept": Kind(
        "keyring",
        "{cause}, and no backup can have it: an up was interrupted between initialising this Vault "
        "and saving the keys, or somebody initialised it by hand",
        advice="{remedy}",
    ),
    "keyring-broken": Kind(
        "keyring",
        "{cause}: after the next restart nobody can open this Vault",
        (_task("restore.keys"),),
    ),
    "keyring-unlike": Kind(
        "keyring",
        "it has {shares} keys and needs {threshold}, and this Vault has {their_shares} and needs "
        "{their_threshold}: it is another Vault's",
        (_task("restore.keys"),),
    ),
    "open-to-others": Kind(
        "private {name}",
        "others can read it: its mode is {mode}",
        (_shell("chmod", "{wanted}", "{path}"),),
    ),
    "closed-to-owner": Kind(
        "private {name}",
        "its owner may not {what}: its mode is {mode}",
        (_shell("chmod", "{wanted}", "{path}"),),
    ),
    "sealed": Kind("sealed", "it is sealed, every request gets 503", (_task("unseal"),)),
    "sealed-without-keys": Kind(
        "sealed", "it is sealed, every request gets 503", (_task("restore.keys"),)
    ),
    "no-token": Kind("token", "{cause}", (_task("root.generate"),)),
    "no-token-for-root": Kind(
        "token",
        "{cause}; this server makes a new root token only with an operator's token",
        (_task("restore.keys"),),
    ),
    "environment-token": Kind(
        "environment token",
        "Vault does not know this token: it expired, or was revoked",
        (_shell("unset", "VAULT_TOKEN", "BAO_TOKEN"),),
    ),
    "address-of-environment": Kind(
        "environment address",
        "clients in this shell go to {wanted}, but this stack is at {address}",
        (_shell("export", "VAULT_ADDR={address}"),),
    ),
    # -- the namespace -------------------------------------------------------------------------
    "namespaces-none": Kind(
        "namespace",
        "{cause}",
        advice="unset VAULT_NAMESPACE, and leave namespace out of the blueprint; or use a server "
        "that has namespaces",
    ),
    "namespace-missing": Kind(
        "namespace", "there is no namespace {namespace}", (_task("seed"),), needs_root=True
    ),
    "namespace-elsewhere": Kind(
        "namespace",
        "there is no namespace {namespace}, and the blueprint does not make it",
        advice="correct VAULT_NAMESPACE, or ask the people who run that Vault to make it",
    ),
    "namespace-sealed": Kind(
        "namespace",
        "{namespace} is sealed, or one above it: every request in it gets 503",
        advice="{remedy}",
    ),
    # -- content -------------------------------------------------------------------------------
    "mount-missing": Kind(
        "mount",
        "there is no mount {mount}/, and no other has most of its secrets",
        (_task("seed"),),
        needs_root=True,
    ),
    "mount-moved": Kind(
        "mount",
        "{mount}/ {state}, and {found_at}/ has {found} of its {wanted} secrets",
        (lambda given: given["back"],),
        needs_root=True,
        instead=lambda given: (
            f"if {given['found_at']}/ is somebody else's, make new values: "
            f"{named('seed', '--new-values')}"
        ),
    ),
    "mount-unseen": Kind(
        "mount",
        "{mount}/ {state}, and the operator's token may not look for its secrets in other mounts; "
        "the doctor can do so with a root token",
        (_task("root.generate"),),
    ),
    "mount-unversioned": Kind(
        "mount",
        "{mount}/ is kv version 1, not KV version 2",
        (_task("vault", "--", "kv", "enable-versioning", "{mount}/"), _task("seed")),
        needs_root=True,
    ),
    "mount-other": Kind(
        "mount",
        "{mount}/ is {type}, not KV version 2",
        (_task("vault", "--", "secrets", "move", "{mount}/", "{aside}/"), _task("seed")),
        needs_root=True,
    ),
    "mount-of-environment": Kind(
        "mount",
        "clients here look in {wanted}/, which does not exist; there is {present}",
        (_shell("export", "VAULT_MOUNT_POINT={mount}"),),
    ),
    "audit-off": Kind(
        "audit", "nobody writes down who reads what", (_task("seed"),), needs_root=True
    ),
    "audit-off-by-configuration": Kind(
        "audit",
        "nobody writes down who reads what, and this server takes no audit device over its API",
        advice="declare one in the server's configuration file and restart it; the stack of "
        "`up` has one from its first start",
    ),
    "audit-log-gone": Kind(
        "audit",
        "its file is gone: Vault still writes to it, but nobody can read it",
        _REOPEN,
    ),
    "policy-missing": Kind(
        "policy {policy}",
        "there is no policy {policy}: its roles cannot read anything",
        (_ACCESS,),
        needs_root=True,
    ),
    "policy-unlike": Kind(
        "policy {policy}",
        "it differs from the blueprint's; the remedy keeps a copy of it in {replaced}",
        (_ACCESS,),
        needs_root=True,
        instead=lambda given: f"to keep it: {named('seed', '--adopt', given['policy'])}",
    ),
    "role-missing": Kind("role {role}", "there is no AppRole {role}", (_ACCESS,), needs_root=True),
    "role-unlike": Kind(
        "role {role}", "its tokens do not get {policies}", (_ACCESS,), needs_root=True
    ),
    "role-locked": Kind(
        "locked {role}",
        "it is locked after five bad secret-ids: every login gets 403 for 15 minutes",
        (_task("unlock", "{role}"),),
    ),
    "role-id-missing": Kind("role-id {role}", "the file is not there", (_ACCESS,)),
    "role-id-wrong": Kind(
        "role-id {role}", "it is not the role-id of {role}: logins get 400", (_ACCESS,)
    ),
    "secret-id-missing": Kind(
        "secret-id {role}", "the file is not there", (_task("rotate.secret-id", "{role}"),)
    ),
    "secret-id-bad": Kind(
        "secret-id {role}",
        "Vault does not know it: it expired, was used up or destroyed, or is another role's",
        (_task("rotate.secret-id", "{role}"),),
    ),
    "login-refused": Kind(
        "secret-id {role}",
        "Vault refuses role-id and secret-id (400)",
        (_task("rotate.secret-id", "{role}"),),
    ),
    "login-denied": Kind(
        "secret-id {role}",
        "the login is denied (403): the role is locked, or AppRole is not enabled",
        (_task("unlock", "{role}"),),
    ),
    "ids-missing": Kind("secret-id {role}", "the files are not there", (_ACCESS,)),
    "ids-of-nobody": Kind(
        "environment credentials",
        "the role-id belongs to no role of the blueprint: logins get 400",
        advice="they may belong to another Vault; the task env prints the lines for a service of "
        "this one",
    ),
    "ids-bad": Kind(
        "environment credentials",
        "the secret-id is not valid for {role}: logins get 400, and five of them lock the role",
        (_export_lines("{service}"),),
    ),
    "secret-missing": Kind("secret {path}", "there is no such secret", (_task("seed"),)),
    "secret-deleted": Kind(
        "secret {path}",
        "its latest version, {version}, is deleted",
        (_task("vault", "--", "kv", "undelete", "-versions={version}", "{path}"),),
    ),
    "secret-destroyed": Kind(
        "secret {path}",
        "its latest version, {version}, is destroyed and cannot come back",
        (_task("seed"),),
    ),
    "secret-destroyed-after-another": Kind(
        "secret {path}",
        "its latest version, {version}, is destroyed and cannot come back; {earlier} is readable",
        (_task("vault", "--", "kv", "rollback", "-version={earlier}", "{path}"),),
    ),
    "secret-incomplete": Kind("secret {path}", "it has no {keys}", (_task("seed"),)),
}
