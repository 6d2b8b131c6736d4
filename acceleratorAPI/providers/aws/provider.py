"""The provider AWS: the verbs of the contract, put together from the steps of this package."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from acceleratorAPI.config import Configuration, state_folder
from acceleratorAPI.errors import AcceleratorError, InstanceError, InstanceNotFoundError
from acceleratorAPI.protocol.stop import StopMode
from acceleratorAPI.protocol.tokens import new_token
from acceleratorAPI.providers.aws import address, fleet, group, image, ready, reap, role, settings, tags
from acceleratorAPI.providers.aws.cloud import Cloud, Steps
from acceleratorAPI.providers.aws.fleet import NAME, Seen
from acceleratorAPI.providers.aws.identity import Identity, identify
from acceleratorAPI.providers.aws.launch import find_session, launch
from acceleratorAPI.providers.aws.package import find_package
from acceleratorAPI.providers.aws.plan import Order, Plan, make_plan
from acceleratorAPI.providers.aws.troubles import LaunchRefusedError, UnansweredError, trying
from acceleratorAPI.providers.aws.userdata import NodeSetup, render
from acceleratorAPI.providers.base import Instance, InstanceSpec, Provider
from acceleratorAPI.providers.certificates import Certificate, make_certificate
from acceleratorAPI.providers.journal import Entry, Journal

_log = logging.getLogger(__name__)

_STOPPING_PAUSE_S, _STOPPED_WITHIN_S = 2.0, 300.0
# How far ahead the lease is noted for other machines: seldom written, and late enough for those who only look.
_NOTED_S = 3600.0


class AwsProvider(Provider):
    """Instances in the user's own account. What exists is asked of AWS; the journal knows what was begun here."""

    name = NAME
    has_needs = True

    def __init__(self, configuration: Configuration) -> None:
        """Take the settings of ``[csp]``; nothing is contacted yet."""
        super().__init__(configuration)
        self._cloud = Cloud(configuration)
        self._journal = Journal(state_folder(configuration))
        self._known: Identity | None = None
        self._noted: dict[str, float] = {}
        self._turn = threading.Lock()
        get = configuration.get
        self._lease_s, self._keep_s = get("csp", "lease_minutes") * 60.0, get("csp", "keep_hours") * 3600.0

    def create(self, spec: InstanceSpec) -> Instance:
        """Launch an instance in the first zone that has one, and wait for its node."""
        steps = Steps()
        get = self.configuration.get
        settings.check(self.configuration, self._cloud)
        identity = self._identity()
        steps.say("account %s as %s", identity.account, identity.arn.rpartition(":")[2])
        self._replay()
        token, known = new_token(("admin",), name="AWS")
        certificate = make_certificate()
        order = Order(
            identity=identity,
            session=secrets.token_hex(8),
            accelerator=spec.accelerator,
            needs=spec.needs,
            networks=address.networks(self._cloud, get("csp", "allow_from")),
            fingerprint=certificate.fingerprint,
            user_data=self._user_data(spec.accelerator, certificate, known),
        )
        self._journal.begin(order.session, NAME, identity.account, token)
        try:
            plan, instance_id = self._launch(order, steps)
            seen = self._wait(plan.region, instance_id, order.fingerprint, plan.group, order.networks, steps)
            self._journal.note(order.session, "ready")
        except BaseException as error:
            self._undo(order.session, error)
            raise
        steps.say("the node of %s answers at %s", instance_id, seen.url)
        return seen.describe(token, self._lease_s, self._keep_s)

    def instances(self) -> list[Instance]:
        """All of this user in every region of the account, oldest first."""
        found = fleet.look_everywhere(self._cloud, fleet.owned(self._identity().owner))
        known = {entry.instance_id: entry.node_token for entry in self._journal.entries(NAME)}
        return [seen.describe(known.get(seen.id, ""), self._lease_s, self._keep_s) for seen in found]

    def find(self, *, instance_id: str | None = None, address: str | None = None) -> Instance:
        """By id or address, wherever it is, and let this machine reach it."""
        entry = self._journal.of_instance(NAME, instance_id) if instance_id else None
        if instance_id:
            filters = [{"instance-id": [instance_id]}]
        else:
            text = address or ""
            host = urlsplit(text if "//" in text else f"//{text}").hostname or ""
            filters = [{name: [host]} for name in ("ip-address", "private-ip-address", "dns-name")]
        hints = [entry.region] if entry else []
        found = next((some for one in filters if (some := fleet.find(self._cloud, one, hints))), [])
        shown = f"instance_id = {instance_id!r}" if instance_id else f"instance_ip = {address!r}"
        if not found:
            raise InstanceNotFoundError(f"{shown}: the AWS account has no such instance")
        seen = found[0]
        if tags.FINGERPRINT not in seen.tags:
            raise InstanceError(
                f"{shown}: {seen.id} was not made by acceleratorAPI: give its node_token and https:// address"
            )
        token = self._token_of(seen, entry or self._journal.of_instance(NAME, seen.id))
        if not token:
            raise InstanceError(f"{shown}: it was made on another machine: give its token as [general] node_token")
        if seen.state == "running":
            self._open_door(seen)
        return seen.describe(token, self._lease_s, self._keep_s)

    def start(self, instance: Instance, owner_pid: int) -> Instance:
        """Start a stopped instance again; its node comes up by itself, at a new address."""
        steps = Steps()
        seen = self._seen(instance)
        entry = self._journal.of_instance(NAME, seen.id)
        steps.say("starting %s", seen.id)
        if entry is not None:
            self._journal.take(entry.session)
            self._journal.note(entry.session, "ready", StopMode.STOP)
        try:
            self._start(seen)
            networks = self._open_door(seen)
            seen = self._wait(seen.region, seen.id, instance.fingerprint, seen.groups[0], networks, steps)
        except BaseException:
            with contextlib.suppress(AcceleratorError):
                self.stop(instance)
            raise
        steps.say("the node of %s answers at %s", seen.id, seen.url)
        return seen.describe(instance.token, self._lease_s, self._keep_s)

    def stop(self, instance: Instance) -> None:
        """Stop it: its disk is kept, and still costs."""
        seen = self._seen(instance)
        entry = self._note_ending(instance, StopMode.STOP)
        with trying(f"stop {instance.id}"):
            self._cloud.ec2(seen.region).stop_instances(InstanceIds=[seen.id])
        if entry is not None:
            self._journal.note(entry.session, "stopped", StopMode.STOP)
        self._prune(seen.region)

    def terminate(self, instance: Instance) -> None:
        """End it with its disk."""
        entry = self._note_ending(instance, StopMode.TERM)
        try:
            seen = self._seen(instance)
        except InstanceNotFoundError:
            seen = None
        if seen is not None:
            reap.terminate(self._cloud, seen.region, seen.id)
        if entry is not None:
            self._journal.close(entry.session)
        if seen is not None:
            self._prune(seen.region)

    def mark(self, instance: Instance, stop_mode: StopMode) -> None:
        """Write it on the instance: what its own shutdown does, and what others may do with it."""
        seen = self._seen(instance)
        if stop_mode is StopMode.STOP and seen.record.get("InstanceLifecycle") == "spot":
            raise InstanceError(f"{seen.id} is spot capacity, which cannot be stopped: use TERM or KEEP")
        ec2 = self._cloud.ec2(seen.region)
        behavior = "stop" if stop_mode is StopMode.STOP else "terminate"
        with trying(f"set the stop mode of {seen.id}"):
            ec2.modify_instance_attribute(InstanceId=seen.id, InstanceInitiatedShutdownBehavior={"Value": behavior})
            lives_s = self._keep_s if stop_mode is StopMode.KEEP else _NOTED_S
            self._write(seen, {tags.MODE: stop_mode.name, tags.UNTIL: str(int(time.time() + lives_s))})
        entry = self._journal.of_instance(NAME, seen.id)
        if entry is not None:
            self._journal.note(entry.session, "ready", stop_mode)
        if stop_mode is StopMode.KEEP and instance.usd_per_hour:
            Steps().say(
                "%s is kept for %g h after its last use, at $%.4g per hour; acceleratorapi instances shows it",
                seen.id, self._keep_s / 3600, instance.usd_per_hour,
            )  # fmt: skip

    def renewed(self, instance: Instance, lives_s: float) -> None:
        """Note on the instance, seldom, how long it is wanted: for `reap` on a machine that knows nothing else."""
        with self._turn:
            if self._noted.get(instance.id, 0.0) - time.time() > max(lives_s, _NOTED_S / 2):
                return
            until = time.time() + max(lives_s, _NOTED_S)
            self._noted[instance.id] = until
        region = instance.details.get("region", self._cloud.region)
        with contextlib.suppress(InstanceError), trying(f"note the lease of {instance.id}"):
            label = tags.as_list({tags.UNTIL: str(int(until))})
            self._cloud.ec2(region).create_tags(Resources=[instance.id], Tags=label)

    def bill(self, instance: Instance) -> str:
        """From its start until now, without disk and traffic."""
        if not instance.usd_per_hour:
            return ""
        hours = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(instance.created)).total_seconds() / 3600)
        price, usd = f"${instance.usd_per_hour:.4g} per hour", hours * instance.usd_per_hour
        return f"{hours * 60:.1f} minutes at {price}: about ${usd:.4f}"

    def reap(self, *, dry_run: bool) -> list[str]:
        """End what was left behind: by the journal of this machine, and by tags in every region."""
        identity = self._identity()
        done = reap.everywhere(self._cloud, self._journal, identity, dry_run=dry_run)
        if self.configuration.get("csp", "role"):
            labels = tags.as_list({tags.OWNER: identity.owner})
            done += role.complete_roles(self._cloud, identity, labels, dry_run=dry_run)
        return done

    def connection(self, instance: Instance) -> str:
        """The SSH line, for an instance made with ``ssh_key``."""
        seen = self._seen(instance)
        if not seen.record.get("KeyName"):
            raise InstanceError(f"{seen.id} was made without [csp] ssh_key: nobody can log in to it")
        if not seen.address:
            raise InstanceError(f"{seen.id} is {seen.state}: it has no address")
        self._open_door(seen)
        login = image.login_of(self._cloud, seen.region, seen.record["ImageId"])
        return f"ssh {login}@{seen.address}"

    def log(self, instance: Instance) -> str:
        """The console, where the node writes too."""
        return ready.console(self._cloud, self._seen(instance).region, instance.id)

    def diagnose(self, instance: Instance) -> str:
        """What AWS says of it; when it runs, also let this machine in anew: its address may have changed."""
        try:
            seen = self._seen(instance)
            if seen.gone:
                return ready.why_it_ended(self._cloud, seen)
            if seen.state != "running":
                return f"the instance {seen.id} is {seen.state}"
            before = seen.networks
            added = set(self._open_door(seen)) - before
        except AcceleratorError as error:
            return str(error)
        if added:
            return f"this machine's address had changed; {seen.id} lets it in now: try again"
        return f"the instance {seen.id} runs; `acceleratorapi logs {seen.id}` shows what it says"

    # What the verbs share.

    def _identity(self) -> Identity:
        if self._known is None:
            self._known = identify(self._cloud)
        return self._known

    def _user_data(self, accelerator: str, certificate: Certificate, known: object) -> str:
        get = self.configuration.get
        options = []
        if get("general", "legacy_profiling"):
            options.append("--legacy-profiling")
        if get("general", "slots"):
            options += ["--slots", str(get("general", "slots"))]
        if get("general", "max_output"):
            options += ["--max-output", str(get("general", "max_output"))]
        if get("general", "node_opens_urls"):
            options += ["--urls", "https,s3,gs"]
        if store := get("accelize", "url"):
            options += ["--store", store]
        return render(
            NodeSetup(
                accelerator=accelerator,
                port=get("csp", "node_port"),
                certificate=certificate,
                token=known,  # type: ignore[arg-type]
                package=find_package(self._cloud, get("csp", "node_package"), get("csp", "node_bucket")),
                init_script=Path(get("csp", "init_script")) if get("csp", "init_script") else None,
                max_hours=get("csp", "max_hours") or 0,
                spot=get("csp", "spot"),
                options=tuple(options),
            )
        )

    def _launch(self, order: Order, steps: Steps) -> tuple[Plan, str]:
        """In the region of the settings, then in those listed."""
        listed = (self.configuration.get("csp", "regions") or "").replace(",", " ").split()
        refused: LaunchRefusedError | None = None
        for region in dict.fromkeys((self._cloud.region, *listed)):
            # Nothing is asked for yet, but rules may be left there.
            self._journal.intend(order.session, region, "", "")
            try:
                plan = make_plan(self._cloud, self.configuration, order, region, steps)
                instance_id, zone = launch(self._cloud, self._journal, order.session, region, plan.request, plan.zones)
            except LaunchRefusedError as error:
                steps.say("%s", error)
                refused = error
                self._prune(region)
                continue
            steps.say("launched %s in %s", instance_id, zone.name)
            return plan, instance_id
        assert refused is not None
        raise refused

    def _wait(
        self, region: str, instance_id: str, fingerprint: str, security: str, networks: tuple[str, ...], steps: Steps
    ) -> Seen:
        def open_door() -> None:
            owner, port = self._identity().owner, self.configuration.get("csp", "node_port")
            group.let_in(self._cloud, region, security, owner, networks, port, ssh=False)

        return ready.wait_until_ready(self._cloud, region, instance_id, fingerprint, open_door, steps)

    def _undo(self, session: str, error: BaseException) -> None:
        """Leave nothing of a create that failed; what cannot be undone now stays in the journal."""
        try:
            entry = next((entry for entry in self._journal.entries(NAME) if entry.session == session), None)
            if entry is None:
                return
            known = entry.instance_id
            if not known and entry.launch_token:
                known = find_session(self._cloud, entry.region, session)
            refused = isinstance(error, AcceleratorError) and not isinstance(error, UnansweredError)
            if known:
                reap.terminate(self._cloud, entry.region, known)
            elif entry.launch_token and not refused:
                return
            self._journal.close(session)
            if entry.region:
                reap.prune(self._cloud, entry.region, self._identity(), dry_run=False)
        except AcceleratorError as trouble:
            _log.warning("%s; `acceleratorapi reap` will see to it", trouble)

    def _replay(self) -> None:
        """See to what killed processes of this machine left; that must not keep anybody from working."""
        try:
            reap.replay(self._cloud, self._journal, self._identity(), dry_run=False)
        except AcceleratorError as error:
            _log.warning("%s; `acceleratorapi reap` will see to it", error)

    def _seen(self, instance: Instance) -> Seen:
        region = instance.details.get("region", self._cloud.region)
        seen = ready.see(self._cloud, region, instance.id)
        if seen is None:
            raise InstanceNotFoundError(f"AWS shows no instance {instance.id} in {region}")
        return seen

    def _token_of(self, seen: Seen, entry: Entry | None) -> str:
        return (entry.node_token if entry else "") or self.configuration.get("general", "node_token") or ""

    def _note_ending(self, instance: Instance, stop_mode: StopMode) -> Entry | None:
        entry = self._journal.of_instance(NAME, instance.id)
        if entry is not None:
            self._journal.note(entry.session, "ending", stop_mode)
        return entry

    def _open_door(self, seen: Seen) -> tuple[str, ...]:
        """Let this machine reach it, and write that down on it so that no other client closes the door."""
        networks = address.networks(self._cloud, self.configuration.get("csp", "allow_from"))
        port = int(seen.tags.get(tags.PORT, "443"))
        if seen.groups:
            owner, ssh = self._identity().owner, bool(seen.record.get("KeyName"))
            group.let_in(self._cloud, seen.region, seen.groups[0], owner, networks, port, ssh=ssh)
        if not set(networks) <= seen.networks:
            with trying(f"note who uses {seen.id}"):
                self._write(seen, {tags.FROM: " ".join(sorted({*seen.networks, *networks}))[:256]})
        return networks

    def _write(self, seen: Seen, labels: dict[str, str]) -> None:
        self._cloud.ec2(seen.region).create_tags(Resources=[seen.id], Tags=tags.as_list(labels))

    def _start(self, seen: Seen) -> None:
        """Start it, once it has stopped for good."""
        deadline = time.monotonic() + _STOPPED_WITHIN_S
        while (now := ready.see(self._cloud, seen.region, seen.id)) and now.state == "stopping":
            if time.monotonic() > deadline:
                raise InstanceError(f"{seen.id} does not come to a stop: try again later")
            time.sleep(_STOPPING_PAUSE_S)
        with trying(f"start {seen.id}"):
            self._cloud.ec2(seen.region).start_instances(InstanceIds=[seen.id])

    def _prune(self, region: str) -> None:
        """Close the doors nobody needs any more; what was asked for is done whether that works or not."""
        try:
            reap.prune(self._cloud, region, self._identity(), dry_run=False)
        except AcceleratorError as error:
            _log.warning("%s; `acceleratorapi reap` will see to it", error)
