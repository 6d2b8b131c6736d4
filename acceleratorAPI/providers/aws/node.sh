#!/bin/bash
# The first boot of an acceleratorAPI instance. The first act is its end: whatever goes wrong from here on, the machine
# shuts down, which ends it (InstanceInitiatedShutdownBehavior=terminate).
shutdown --no-wall -P "+@GRACE_MINUTES@"
set -eEuo pipefail
umask 022
failed() {
    echo "acceleratorAPI: setup failed: line $1: $2" | tee /dev/console >&2 || true
    sync
    shutdown --no-wall -P now
}
trap 'failed "$LINENO" "$BASH_COMMAND"' ERR
say() { echo "acceleratorAPI: $(cut -d' ' -f1 /proc/uptime) s: $*"; }

@VALUES@
HOME_DIR=/var/lib/acceleratorapi
PYTHON=/opt/acceleratorapi/bin/python
export HOME=/root DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# 1. What ends the machine, at every boot and without the node, the network or any credential.
say "arming the lease"
mkdir -p /usr/local/sbin /etc/sysctl.d /etc/systemd/system
cat > /usr/local/sbin/acceleratorapi-guard <<'GUARD'
@GUARD@
GUARD
chmod 755 /usr/local/sbin/acceleratorapi-guard
cat > /usr/local/sbin/acceleratorapi-boot <<BOOT
#!/bin/bash
shutdown --no-wall -P "+$GRACE_MINUTES"
install -d -m 755 /run/acceleratorapi
install -d -m 700 /run/acceleratorapi/node
chown acceleratorapi /run/acceleratorapi/node || true
BOOT
chmod 755 /usr/local/sbin/acceleratorapi-boot
# A kernel that panics comes back, and with it the birth deadline.
echo kernel.panic=10 > /etc/sysctl.d/90-acceleratorapi.conf
sysctl -q -w kernel.panic=10 || true
cat > /etc/systemd/system/acceleratorapi-boot.service <<'UNIT'
[Unit]
Description=acceleratorAPI: the deadline every boot begins with
DefaultDependencies=no
After=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/acceleratorapi-boot
[Install]
WantedBy=sysinit.target multi-user.target
UNIT
cat > /etc/systemd/system/acceleratorapi-guard.service <<'UNIT'
[Unit]
Description=acceleratorAPI: end this machine with its lease
DefaultDependencies=no
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/acceleratorapi-guard
TimeoutStartSec=10min
OOMScoreAdjust=-1000
UNIT
cat > /etc/systemd/system/acceleratorapi-guard.timer <<'UNIT'
[Unit]
Description=acceleratorAPI: look at the lease
DefaultDependencies=no
[Timer]
OnActiveSec=15
OnUnitInactiveSec=15
AccuracySec=1
[Install]
WantedBy=sysinit.target multi-user.target
UNIT
getent passwd acceleratorapi > /dev/null ||
    useradd --system --home-dir "$HOME_DIR" --no-create-home --shell /usr/sbin/nologin acceleratorapi
systemctl daemon-reload
systemctl enable --now acceleratorapi-boot.service acceleratorapi-guard.timer

# 2. The user's own preparations.
if [ -n "$INIT_SCRIPT" ]; then
    say "running the init script"
    base64 -d <<< "$INIT_SCRIPT" | gzip -d > /root/acceleratorapi-init
    chmod 700 /root/acceleratorapi-init
    /root/acceleratorapi-init
fi

# 3. The package, unless the image has it.
@INSTALL@

# 4. The node.
say "starting the node"
install -d -m 700 "$HOME_DIR" "$HOME_DIR/node"
(
    umask 077
    echo "$TOKENS" > "$HOME_DIR/node/tokens.json"
    echo "$CERTIFICATE" > "$HOME_DIR/tls-cert.pem"
    echo "$KEY" > "$HOME_DIR/tls-key.pem"
)
chown -R acceleratorapi "$HOME_DIR" || true
cat > /etc/systemd/system/acceleratorapi-node.service <<UNIT
[Unit]
Description=acceleratorAPI node
After=network-online.target acceleratorapi-boot.service
Wants=network-online.target
Requires=acceleratorapi-boot.service
StartLimitIntervalSec=0
[Service]
User=acceleratorapi
AmbientCapabilities=CAP_NET_BIND_SERVICE
WorkingDirectory=$HOME_DIR
ExecStart=$PYTHON -m acceleratorAPI.node --host 0.0.0.0 --port $PORT --state $HOME_DIR/node \\
    --accelerator $ACCELERATOR --tls-cert $HOME_DIR/tls-cert.pem --tls-key $HOME_DIR/tls-key.pem \\
    --lease-file /run/acceleratorapi/node/lease --notice-file /run/acceleratorapi/notice \\
    --log-format text $NODE_OPTIONS
StandardOutput=journal+console
StandardError=inherit
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
UNIT
if [ -n "$SPOT_WATCH" ]; then
    echo "$SPOT_WATCH" > /usr/local/sbin/acceleratorapi-spot
    cat > /etc/systemd/system/acceleratorapi-spot.service <<UNIT
[Unit]
Description=acceleratorAPI: see whether AWS takes this spot instance back
Requires=acceleratorapi-boot.service
After=acceleratorapi-boot.service
StartLimitIntervalSec=0
[Service]
ExecStart=$PYTHON -I /usr/local/sbin/acceleratorapi-spot
Restart=on-failure
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
    systemctl daemon-reload
    systemctl enable --now acceleratorapi-spot.service
fi
systemctl daemon-reload
systemctl enable --now acceleratorapi-node.service
say "set up"
