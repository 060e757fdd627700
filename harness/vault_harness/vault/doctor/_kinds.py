"""Every kind of trouble that the doctor can find, as data: how it is told, and what mends it.

A remedy is a command that can be pasted where the trouble is, and that never destroys what cannot
be had again: the tests make the state of each kind, run its remedy, and compare every secret value
before and after. Where no command of ours mends something, there is advice instead.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vault_harness.commands import named

Command = Callable[[Mapping[str, str]], str]


def _task(*words: str) -> Command:
    """A task of ours, by its name, with words that may have blanks to fill."""
    return lambda given: named(words[0], *(word.format(**given) for word in words[1:]))


def _shell(*words: str) -> Command:
    """Any other command."""
    return lambda given: " ".join(shlex.quote(word.format(**given)) for word in words)


def _export_lines(service: str) -> Command:
    """Variables of a service, for the shell that is used now."""
    return lambda given: f'eval "$({named("env", service.format(**given))})"'


@dataclass(frozen=True)
class Kind:
    """A kind of trouble.

    Attributes:
        name: Of the finding, for programs; ``{}`` is filled with what it is about.
        wrong: What is wrong, likewise.
        remedy: Commands that mend it, each after the one before it went well.
        advice: What a person does where no command can.
        needs_root: Whether an operator's token is not enough for the remedy.
    """

    name: str
    wrong: str
    remedy: tuple[Command, ...] = ()
    advice: str = ""
    needs_root: bool = False

    def what_to_do(self, given: Mapping[str, str], *, root: bool) -> str:
        """The remedy in one line, or the advice.

        Args:
            given: What the texts leave open.
            root: Whether the tasks act with a root token now.
        """
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
        advice="start it (systemctl start docker, say); processes instead of containers want a "
        "data directory of their own: HARNESS_ENGINE=process HARNESS_DATA_DIR=FOLDER",
    ),
    "image-missing": Kind(
        "images",
        "the container engine answers, images are not there: {line}",
        (_task("images"),),
    ),
    "image-outdated": Kind(
        "images",
        "an image holds other code of this project than is here: {line}",
        (_task("images"), _task("down"), _task("up")),
    ),
    "image-outdated-without-keys": Kind(
        "images",
        "an image holds other code of this project than is here: {line}",
        advice="put the keys back first ({keys}): Vault is ended for another image, and nobody "
        "here could open it again: {cause}",
    ),
    "never-started": Kind("running", "nothing was ever started here", (_task("up"),)),
    "record-lost": Kind(
        "record",
        "{servers} of this data directory run, and stack.json does not say where",
        (_task("up"),),
    ),
    "data-gone": Kind(
        "data",
        "Vault runs, and its data directory is gone: what it holds is lost when it ends",
        advice="put the folder back where it was before anything is ended; a token that you still "
        "have reads this Vault meanwhile",
    ),
    "data-replaced": Kind(
        "data",
        "the data of {servers} was replaced while it runs, by a copy perhaps: what it holds is in "
        "no folder, and lost when it ends",
        advice="keep what it holds while it runs: {backup}. Then {down}, and {up}, which serves "
        "what is in the folder now",
    ),
    "seal-half-migrated": Kind(
        "seal",
        "a migration of the seal from {source} to {target} was ended half-way; its keys and a copy "
        "of the data are kept",
        (_task("seal.migrate", "{target}"),),
    ),
    "restore-half-done": Kind(
        "restore",
        "a restore{of} is not done, and its backup's keys are not here yet: this Vault may have "
        "the backup by now, and open with none of the keys that are here",
        advice="{start}{remedy}. {otherwise}",
    ),
    "restore-not-compared": Kind(
        "restore",
        "a restore{of} has put its backup in, and was ended before it had compared what is there",
        advice="{start}{remedy}, and compares",
    ),
    "not-running": Kind("running", "{servers} {verb} not run", (_task("up"),)),
    "frozen": Kind(
        "answers",
        "it takes connections and does not answer within {seconds} s: frozen, or overloaded",
        (_task("down"), _task("up")),  # `restart` wants a Vault that runs, `up` one that answers
    ),
    "frozen-without-keys": Kind(
        "answers",
        "it takes connections and does not answer within {seconds} s, and nobody here could open "
        "it again once it has ended: {cause}",
        advice="do not end it: {up} wakes it if it was paused, and says that its keys are missing; "
        "then {keys}, and only then anything else",
    ),
    "frozen-elsewhere": Kind(
        "answers",
        "it takes connections and does not answer within {seconds} s: frozen, or overloaded",
        advice="have it looked at by whoever runs that Vault",
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
        advice="have it renewed by whoever runs that Vault",
    ),
    "certificate-early": Kind(
        "certificate",
        "its certificate is not good yet: this machine's clock was ahead when it was made, or is "
        "behind now",
        (_task("tls.renew"),),
    ),
    "certificate-early-elsewhere": Kind(
        "certificate",
        "its certificate is not good yet: this machine's clock is behind, or that of who made it "
        "was ahead",
        advice="set the clock that is wrong: timedatectl set-ntp true, for example",
    ),
    "client-certificate-missing": Kind(
        "client certificate {client}",
        "it is not there: Vault refuses {client} before it is asked anything",
        (_task("tls.renew"),),
    ),
    "client-certificate-ends": Kind(
        "client certificate {client}",
        "it {ends}: Vault refuses {client} from then on",
        (_task("tls.renew"),),
    ),
    "refused": Kind("answers", "the connection is refused: nobody listens there", (_task("up"),)),
    "refused-elsewhere": Kind(
        "answers",
        "the connection is refused: nobody listens there",
        advice="correct VAULT_ADDR, or have that Vault started",
    ),
    "not-vault": Kind(
        "answers",
        "what answers there is not Vault ({answer})",
        advice="correct VAULT_ADDR, or end what took Vault's port",
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
        "it is sealed, or no member yet, and counts for no quorum, while another one serves",
        (_task("unseal"),),
    ),
    "no-leader": Kind(
        "leader",
        "no node leads, so that nothing can be written: {cause}",
        advice="more than half of the nodes have to run, to be open and to reach each other: the "
        "task status says which does not, and what mends that",
    ),
    "refuses": Kind(
        "requests",
        "it is open, and does not do what it is asked: {cause}",
        advice="look at its log (the task logs): it says why. A full disk under its audit log does "
        "that, until there is room again",
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
        "{cause}, and no backup can have it: an up was ended after it had initialised this Vault "
        "and before it had kept the keys, or somebody initialised it by hand",
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
    "sealed": Kind("sealed", "it is sealed, every request gets 503", (_task("unseal"),)),
    "sealed-without-keys": Kind(
        "sealed", "it is sealed, every request gets 503", (_task("restore.keys"),)
    ),
    "no-token": Kind("token", "{cause}", (_task("root.generate"),)),
    "no-token-for-root": Kind(
        "token",
        "{cause}; this server makes a new root token for an operator's token only",
        (_task("restore.keys"),),
    ),
    "environment-token": Kind(
        "environment token",
        "Vault does not know this token: it expired, or was revoked",
        (_shell("unset", "VAULT_TOKEN", "BAO_TOKEN"),),
    ),
    "address-of-environment": Kind(
        "environment address",
        "clients in this shell go to {wanted}, which is not this stack: it is at {address}",
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
        "there is no namespace {namespace}, and it is none that a blueprint makes",
        advice="correct VAULT_NAMESPACE, or have it made by whoever runs that Vault",
    ),
    "namespace-sealed": Kind(
        "namespace",
        "{namespace} is sealed, or one above it: every request in it gets 503",
        advice="{remedy}",
    ),
    # -- content -------------------------------------------------------------------------------
    "mount-missing": Kind("mount", "there is no mount {mount}/", (_task("seed"),), needs_root=True),
    "mount-unversioned": Kind(
        "mount",
        "{mount}/ is kv version 1, not KV version 2",
        (_task("vault", "--", "kv", "enable-versioning", "{mount}/"), _task("seed")),
        needs_root=True,
    ),
    "mount-other": Kind(
        "mount",
        "{mount}/ is {type}, not KV version 2",
        (_task("vault", "--", "secrets", "move", "{mount}/", "{mount}-{type}/"), _task("seed")),
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
        advice="declare one in the server's configuration file and restart it; a stack of "
        "ours has one from its first start",
    ),
    "audit-log-gone": Kind(
        "audit",
        "its file is gone: Vault goes on writing where nobody can read it",
        _REOPEN,
    ),
    "policy-missing": Kind(
        "policy {policy}",
        "there is no policy {policy}: its roles may read nothing",
        (_ACCESS,),
        needs_root=True,
    ),
    "policy-unlike": Kind(
        "policy {policy}", "it differs from the blueprint's", (_ACCESS,), needs_root=True
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
        "Vault does not know it (any more): expired, used up, destroyed, or another role's",
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
        "the role-id is none of the blueprint's roles: logins get 400",
        advice="they are another Vault's, perhaps; the lines of a service of this one are what "
        "the task env prints",
    ),
    "ids-bad": Kind(
        "environment credentials",
        "the secret-id is not good for {role}: logins get 400, and five lock the role",
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
        "its latest version, {version}, is destroyed and cannot come back; {earlier} is there",
        (_task("vault", "--", "kv", "rollback", "-version={earlier}", "{path}"),),
    ),
    "secret-incomplete": Kind("secret {path}", "it has no {keys}", (_task("seed"),)),
}
