#!@sw@/bin/bash
# A working, simple switch-to-configuration: test, switch, boot and dry-activate. Compares unit files by their
# contents as NixOS's does, stops what is gone, restarts what changed, starts what is new.
# Ends with 4 when units failed.
set -u
action=${1:-}
new=@systemConfig@
export PATH=@sw@/bin
case $action in
test | switch | boot | dry-activate) ;;
*)
    echo "Usage: $0 [switch|boot|test|dry-activate]" >&2
    exit 1
    ;;
esac
if [ "$action" = boot ]; then exit 0; fi

old=/run/current-system
oldUnits=$old/etc/systemd/system
newUnits=$new/etc/systemd/system
would=
if [ "$action" = dry-activate ]; then would="would "; fi

stop=() restart=() start=() reload=
for file in "$oldUnits"/*.{service,socket,timer,target,mount,path}; do
    unit=${file##*/}
    case $unit in *@.* | '*'*) continue ;; esac
    if [ ! -e "$newUnits/$unit" ]; then
        if systemctl -q is-active "$unit"; then stop+=("$unit"); fi
    elif ! cmp -s "$file" "$newUnits/$unit"; then
        reload=1
        # Targets are only ever started: see the manual's "What happens during a system switch".
        case $unit in *.target | *.mount) continue ;; esac
        if grep -q '^X-RestartIfChanged=false' "$newUnits/$unit"; then continue; fi
        if systemctl -q is-active "$unit"; then restart+=("$unit"); fi
    fi
done
for wants in "$newUnits"/*.wants/*; do
    unit=${wants##*/}
    if [ -e "$oldUnits/$unit" ] || [ ! -e "$newUnits/$unit" ] || [ "$(readlink -f "$newUnits/$unit")" = /dev/null ]; then continue; fi
    start+=("$unit")
done

list() { local IFS=,; echo "$*" | sed 's/,/, /g'; }
if [ ${#stop[@]} -gt 0 ]; then
    echo "${would}stop${would:+ }${would:-ping} the following units: $(list "${stop[@]}")" | sed 's/stop would /stop /' >&2
    if [ -z "$would" ]; then systemctl stop -- "${stop[@]}"; fi
fi
if [ -n "$would" ]; then
    echo "would activate the configuration..." >&2
    if [ ${#restart[@]} -gt 0 ]; then echo "would restart the following units: $(list "${restart[@]}")" >&2; fi
    if [ ${#start[@]} -gt 0 ]; then echo "would start the following units: $(list "${start[@]}")" >&2; fi
    exit 0
fi

result=0
echo "activating the configuration..." >&2
"$new/activate" || result=2
systemctl daemon-reload || result=3
if [ ${#restart[@]} -gt 0 ]; then
    echo "restarting the following units: $(list "${restart[@]}")" >&2
    systemctl restart -- "${restart[@]}" || result=4
fi
if [ ${#start[@]} -gt 0 ]; then
    systemctl start -- "${start[@]}" || result=4
    echo "the following new units were started: $(list "${start[@]}")" >&2
fi
mapfile -t failed < <(systemctl list-units --state=failed --no-legend --plain | cut -d' ' -f1)
if [ ${#failed[@]} -gt 0 ]; then
    echo "warning: the following units failed: $(list "${failed[@]}")" >&2
    systemctl status --no-pager --full -- "${failed[@]}" >&2
    result=4
fi
exit $result
