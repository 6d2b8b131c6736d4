#!/bin/bash
# Ends this machine when its lease has ended; without a lease, when the time it has to get one is over.
# Times are seconds since boot: no change of the clock matters.
read -r up _ < /proc/uptime
now=${up%%.*}
until=$((@GRACE_MINUTES@ * 60))
leased=0
# The node's own user writes the file: only digits are taken from it.
if read -r given 2> /dev/null < /run/acceleratorapi/node/lease && [[ $given =~ ^[1-9][0-9]{0,8}$ ]]; then
    until=$given
    leased=1
fi
if ((@MAX_SECONDS@ > 0 && until > @MAX_SECONDS@)); then until=@MAX_SECONDS@; fi
if ((now < until)); then
    # The backstop, should this script not run any more: far enough that it never comes first.
    if ((leased)) && [ "$(cat /run/acceleratorapi/armed 2> /dev/null)" != "$until" ]; then
        shutdown --no-wall -P "+$(((until - now) / 60 + 15))" && echo "$until" > /run/acceleratorapi/armed
    fi
    exit 0
fi
echo "acceleratorAPI: the lease has ended: powering off" | tee /dev/console
sync
systemctl poweroff || shutdown -P now
sleep 90
systemctl poweroff -f
sleep 30
echo o > /proc/sysrq-trigger
