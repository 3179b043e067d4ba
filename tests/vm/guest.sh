#!/bin/sh
# In the guest, as root, once it is up: take the copy of the tree from the second disk, run the job in it, and say how
# that went on the second serial line. The last line is "the mark, the exit status".
exec >/dev/ttyS1 2>&1 </dev/null
stty -F /dev/ttyS1 raw
mkdir /src && tar --extract --file /dev/vdb --directory /src
. /src/.vm/settings  # user= mark=
if [ "$user" = root ]; then
    env HOME=/root USER=root systemd-run --quiet --scope --unit=vm-job --property=Delegate=yes sh -e /src/.vm/job
else
    uid=$(id -u "$user")
    chown -R "$user:" /src
    loginctl enable-linger "$user" && systemctl start "user@$uid.service"
    setpriv --reuid "$uid" --regid "$(id -g "$user")" --init-groups --reset-env \
        env XDG_RUNTIME_DIR="/run/user/$uid" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" \
        systemd-run --user --quiet --scope --unit=vm-job --property=Delegate=yes sh -e /src/.vm/job
fi
echo "$mark $?"
