#!/bin/sh
# In the guest, as root, once it is up and has unpacked the tree: run the job there, and say on the second serial line
# what it says, and in the last line "the mark, its exit status".
exec >/dev/ttyS1 2>&1 </dev/null
stty -F /dev/ttyS1 raw
cd /src && . .vm/settings  # user= mark=
{
    if [ "$user" = root ]; then
        env HOME=/root USER=root systemd-run --quiet --scope --unit=vm-job --property=Delegate=yes sh .vm/job
    else
        uid=$(id -u "$user")
        chown -R "$user:" /src
        loginctl enable-linger "$user" && systemctl start "user@$uid.service"
        setpriv --reuid "$uid" --regid "$(id -g "$user")" --init-groups --reset-env \
            env XDG_RUNTIME_DIR="/run/user/$uid" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" \
            systemd-run --user --quiet --scope --unit=vm-job --property=Delegate=yes sh .vm/job
    fi
    echo $? >/run/vm-status
} 2>&1 | cat  # so that no terminal is what it sees
echo "$mark $(cat /run/vm-status)"
