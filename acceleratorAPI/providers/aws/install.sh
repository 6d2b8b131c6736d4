if [ ! -x "$PYTHON" ]; then
    say "installing $PACKAGE"
    find_python() {
        for name in python3.13 python3.12 python3.11 python3; do
            if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
                echo "$name"
                return
            fi
        done
    }
    found=$(find_python)
    if [ -z "$found" ] && command -v dnf > /dev/null; then
        dnf -q -y install python3.11
    elif [ -z "$found" ]; then
        apt-get -q update && apt-get -q -y install python3-venv
    fi
    found=$(find_python)
    [ -n "$found" ]
    rm -rf /opt/acceleratorapi.new /opt/acceleratorapi
    "$found" -m venv /opt/acceleratorapi
    if [ -n "$PACKAGE_URL" ]; then
        # A signed URL is a secret for a while: not on a command line, where every process could read it.
        mkdir -p /root/acceleratorapi-wheel
        curl -fsS --retry 5 --retry-all-errors --config - -o "/root/acceleratorapi-wheel/$PACKAGE" <<< "url = \"$PACKAGE_URL\""
        if [ -n "$PACKAGE_SHA256" ] && ! sha256sum --status -c - <<< "$PACKAGE_SHA256  /root/acceleratorapi-wheel/$PACKAGE"; then
            failed "$LINENO" "$PACKAGE has another SHA-256 than $PACKAGE_SHA256"
            exit 1
        fi
        "$PYTHON" -m pip install -q "/root/acceleratorapi-wheel/$PACKAGE"
    else
        "$PYTHON" -m pip install -q "$PACKAGE"
    fi
fi
