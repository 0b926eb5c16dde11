echo "$$ $1" >"$0/p"
echo 0 >/proc/self/oom_score_adj
u=$2
I= G= H=/ S=/bin/sh
while IFS=: read -r A B C D E F J; do
 [ "$A" = "$u" ] && I=$C G=$D H=$F S=$J && break
done </etc/passwd
if [ -z "$I" ] && [ "$u" = root ]; then I=0 G=0 H=/root; fi
if [ -z "$I" ] && L=$(getent passwd "$u"); then
 IFS=: read -r A B I G E H S <<X
$L
X
fi
[ "$I" ] || { echo "nixbox: the guest has no user $u" >&2; exit 125; }
cd "$H" 2>/dev/null || cd /
X=/run/user/$I
unset LC_ALL INVOCATION_ID SYSTEMD_EXEC_PID JOURNAL_STREAM REMOTE_ADDR REMOTE_PORT MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE OLDPWD
export HOME="$H" USER="$u" LOGNAME="$u" SHELL="${S:-/bin/sh}" LANG=C.UTF-8 TERM=dumb
export PATH="/run/wrappers/bin:$H/.nix-profile/bin:/etc/profiles/per-user/$u/bin:/nix/var/nix/profiles/default/bin:$PATH"
[ -d "$X" ] && export XDG_RUNTIME_DIR="$X"
[ -S "$X/bus" ] && export DBUS_SESSION_BUS_ADDRESS="unix:path=$X/bus"
e='[ -r /etc/set-environment ] && . /etc/set-environment >/dev/null 2>&1
. "$0"'
f=$0/s
if [ "$I" = 0 ]; then
 unset A B C D F H S J L X G
 [ -r /etc/set-environment ] && . /etc/set-environment >/dev/null 2>&1
 set --
 . "$f"
 exit
fi
setpriv --reuid=0 true 2>/dev/null && exec setpriv "--reuid=$I" "--regid=$G" --init-groups --inh-caps=-all /bin/sh -c "$e" "$f"
command -v runuser >/dev/null && exec runuser -u "$u" -- /bin/sh -c "$e" "$f"
exec su -s /bin/sh -c 'exec /bin/sh -c "$0" "$1"' "$u" -- "$e" "$f"
