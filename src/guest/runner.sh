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
set -- "HOME=$H" "USER=$u" "LOGNAME=$u" "SHELL=${S:-/bin/sh}" LANG=C.UTF-8 TERM=dumb \
 "PATH=/run/wrappers/bin:$H/.nix-profile/bin:/etc/profiles/per-user/$u/bin:/nix/var/nix/profiles/default/bin:$PATH"
X=/run/user/$I
[ -d "$X" ] && set -- "$@" "XDG_RUNTIME_DIR=$X"
[ -S "$X/bus" ] && set -- "$@" "DBUS_SESSION_BUS_ADDRESS=unix:path=$X/bus"
set -- env -i "$@" /bin/sh -c '[ -r /etc/set-environment ] && . /etc/set-environment >/dev/null 2>&1
. "$0"' "$0/s"
[ "$I" = 0 ] && exec "$@"
setpriv --reuid=0 true 2>/dev/null && exec setpriv "--reuid=$I" "--regid=$G" --init-groups --inh-caps=-all "$@"
command -v runuser >/dev/null && exec runuser -u "$u" -- "$@"
exec su -s /bin/sh -c 'exec "$@"' "$u" -- sh "$@"
