#!@sw@/bin/bash
# The switch program, by the rules of NixOS's own (pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs, nixpkgs of
# July 2026; the function or constant that a rule is from stands beside it). Words on stderr, lists in /run/nixos and exit codes
# are the same:
#   0    done
#   1    usage, a pre-switch check that refused, a boot loader that did not install, a unit file that cannot be read
#   2    the activation script failed, and no unit did
#   4    a unit failed, or a user's part did, whatever else happened
#   11   another one holds the lock (die: errno, EAGAIN)
#   100  another init-interface-version: nothing was done, reboot
# Left out: units that move from a person's home to /etc (its migration pass). systemctl stands for its calls over D-Bus.
#
# Few processes: without hardware virtualisation each costs tens of milliseconds. What differs is found by comparing
# files in the shell, and only what differs is read.
set -u
shopt -s nullglob
export PATH=@sw@/bin LC_ALL=C
out=@systemConfig@

# --- unit files ---------------------------------------------------------------------------------------------------

# parse_ini ARRAY FILE (parse_systemd_ini): SECTION/KEY => its values, one a line. [Install] says nothing about what
# runs; an empty value clears what was there.
parse_ini() {
    local -n data=$1
    local -a lines
    local -A new=() clears=()
    local line section='' key value
    mapfile -t lines <"$2" || return 1
    for line in "${lines[@]}"; do
        line=${line#"${line%%[![:space:]]*}"}
        case $line in
        '' | '#'* | ';'*) continue ;;
        '['*']'*) section=${line#[} section=${section%%]*} && continue ;;
        esac
        case $section in '' | Install) continue ;; esac
        if [[ $line != *=* ]]; then
            echo "Error: Failed to parse systemd unit file $2" >&2
            exit 1
        fi
        key=${line%%=*} value=${line#*=}
        key=$section/${key%"${key##*[![:space:]]}"}
        value=${value#"${value%%[![:space:]]*}"} value=${value%"${value##*[![:space:]]}"}
        if [ -z "$value" ]; then
            new[$key]='' clears[$key]=1
        else
            new[$key]+=$value$'\n'
        fi
    done
    for key in "${!new[@]}"; do
        if [ -n "${clears[$key]-}" ]; then data[$key]=${new[$key]}; else data[$key]+=${new[$key]}; fi
    done
}

# parse_unit ARRAY FILE BASE: the template's file or its own, its drop-ins, the instance's drop-ins.
parse_unit() {
    local -n cleared=$1
    local dropin
    cleared=()
    if [ ! -e "$3" ]; then
        echo "Error: Failed to open unit file $3" >&2
        exit 1
    fi
    parse_ini "$1" "$3"
    for dropin in "$3".d/*.conf; do parse_ini "$1" "$dropin"; done
    if [ "$2" != "$3" ]; then for dropin in "$2".d/*.conf; do parse_ini "$1" "$dropin"; done; fi
}

# is ARRAY SECTION/KEY DEFAULT (parse_systemd_bool): 0 or 1 for the default.
is() {
    local -n of=$1
    local value=${of[$2]-}
    if [ -z "$value" ]; then return "$3"; fi
    value=${value%$'\n'}
    case ${value##*$'\n'} in 1 | yes | true | on) return 0 ;; *) return 1 ;; esac
}

# compare_units: same, reload or restart, in $differs. Per key, which says the same as the original does per section but for
# two sections at once that are new and hold only keys that are ignored.
ignored=' X-Reload-Triggers Description Documentation OnFailure OnSuccess OnFailureJobMode IgnoreOnIsolate StopWhenUnneeded RefuseManualStart RefuseManualStop AllowIsolate CollectMode SourcePath '
compare_units() {
    local key
    differs=same
    for key in "${!current[@]}"; do
        if [ -n "${coming[$key]+x}" ]; then
            if [ "${current[$key]}" = "${coming[$key]}" ]; then continue; fi
            case $key in
            Unit/X-Reload-Triggers | Service/ExecReload | Mount/Options) differs=reload && continue ;;
            esac
        elif [ "$key" = Service/ExecReload ]; then
            continue
        fi
        if [[ $key == Unit/* && $ignored == *" ${key#Unit/} "* ]]; then continue; fi
        differs=restart
        return
    done
    for key in "${!coming[@]}"; do
        if [ -n "${current[$key]+x}" ]; then continue; fi
        case $key in
        Unit/X-Reload-Triggers | Service/ExecReload) differs=reload && continue ;;
        esac
        if [[ $key == Unit/* && $ignored == *" ${key#Unit/} "* ]]; then continue; fi
        differs=restart
        return
    done
}

same_text() {
    local -a a b
    if [[ $1 -ef $2 ]]; then return 0; fi
    mapfile -d '' a <"$1" && mapfile -d '' b <"$2" && [ "${a[*]-}" = "${b[*]-}" ]
}
# Whether two units are the same to the letter, drop-ins and all.
same_unit() {
    local -a a=("$1".d/*.conf) b=("$2".d/*.conf)
    local n
    if [ ${#a[@]} != ${#b[@]} ] || { [ -e "$1" ] && ! same_text "$1" "$2"; }; then return 1; fi
    for n in "${!a[@]}"; do
        if [ "${a[n]##*/}" != "${b[n]##*/}" ] || ! same_text "${a[n]}" "${b[n]}"; then return 1; fi
    done
}
# Absent, or masked (UnitFileState::is_gone).
is_gone() { [[ ! -e $1 || $1 -ef /dev/null ]]; }
# Whether none of the drop-ins of a unit is more than a link to /dev/null.
has_no_dropins() {
    local dropin
    for dropin in "$1".d/*.conf; do if ! is_gone "$dropin"; then return 1; fi; done
}

# --- what is to be done -------------------------------------------------------------------------------------------
declare -A stop=() start=() reload=() restart=() skip=() hidden=()
declare -A state=() substate=() fragment=() current=() coming=()

# record LIST UNIT, unrecord LIST UNIT: where it goes on when it was interrupted (START_LIST_FILE and its like).
record() { if [ "$action" != dry-activate ]; then echo "$2" >>"$lists/$1-list"; fi; }
unrecord() {
    local -a kept
    if [ "$action" = dry-activate ] || [ ! -e "$lists/$1-list" ]; then return; fi
    mapfile -t kept <"$lists/$1-list"
    printf '%s\n' "${kept[@]}" | grep -vxF -- "$2" >"$lists/$1-list"
}
add() {
    local -n set=$1
    set[$2]=1
    record "$1" "$2"
}
recorded() {
    local -n set=$1
    local unit
    if [ -e "$lists/$1-list" ]; then
        while read -r unit; do if [ -n "$unit" ]; then set[$unit]=1; fi; done <"$lists/$1-list"
    fi
}

# get_active_units: what is not inactive, and follows no other (list-units says the same, but for units with a job).
active_units() {
    local -n states=$1
    local unit load active sub rest
    states=() substate=()
    while read -r unit load active sub rest; do
        if [ "$active" != inactive ]; then states[$unit]=$active substate[$unit]=$sub; fi
    done < <(systemctl $user list-units --plain --no-legend --full --no-pager)
}
# The files that systemd has these units from.
fragments() {
    local line id=
    if [ $# = 0 ]; then return; fi
    while IFS= read -r line; do
        case $line in
        Id=*) id=${line#Id=} ;;
        FragmentPath=*) path=${line#FragmentPath=} ;;
        '') fragment[$id]=$path ;;
        esac
    done < <(
        systemctl $user show -p Id -p FragmentPath -- "$@"
        echo
    )
}

cannot_be_restarted() {
    case $1 in
    sysinit.target | basic.target | multi-user.target | graphical.target | *.path | *.slice) return 0 ;;
    *) return 1 ;;
    esac
}

# base UNIT OLD NEW: the unit's file, or its template's where neither has one of its own, in $base.
base_of() {
    base=$1
    if [[ $1 =~ ^(.*)@[^.]*\.(.*)$ && ! -e $2/$1 && ! -e $3/$1 ]]; then base="${BASH_REMATCH[1]}@.${BASH_REMATCH[2]}"; fi
}

# handle_modified_unit UNIT BASE [asked]: `coming` is what it will be. When an activation script asked for it, it is
# restarted, never stopped first.
handle_modified_unit() {
    local unit=$1 name=${2%.*} asked=${3-} sockets socket activated=
    local -n halt=stop again=start
    local to=start
    if [ -n "$asked" ]; then
        unset -n halt again
        local -n halt=restart again=restart
        to=restart
    fi
    if cannot_be_restarted "$unit"; then return; fi
    case $unit in
    -.mount | nix.mount) add reload "$unit" && return ;;
    *.mount) add restart "$unit" && return ;;
    *.socket) return ;;
    esac
    if is coming Service/X-ReloadIfChanged 1 && [ -z "${restart[$unit]-}${halt[$unit]-}" ]; then
        add reload "$unit"
        return
    fi
    if ! is coming Service/X-RestartIfChanged 0 || is coming Unit/RefuseManualStop 1 || is coming Unit/X-OnlyManualStart 1; then
        skip[$unit]=1
        return
    fi
    if ! is coming Service/X-StopIfChanged 0 || [[ $unit != *.service ]]; then
        add restart "$unit"
    else
        # What has a socket is started by it, which is bound anew.
        sockets=${coming[Service/Sockets]-}
        for socket in ${sockets:-${name%@}.socket}; do
            if [ -n "${state[$socket]-}" ]; then
                halt[$socket]=1
                if [ -e "$new/$socket" ]; then
                    add "$to" "$socket"
                    activated=1
                fi
            elif [ -e "$new/$socket" ]; then
                activated=1
            fi
        done
        if is coming Service/X-NotSocketActivated 1; then activated=; fi
        if [ -z "$activated" ]; then add "$to" "$unit"; fi
        halt[$unit]=1
    fi
    if [ -n "${reload[$unit]-}" ]; then
        unset "reload[$unit]"
        unrecord reload "$unit"
    fi
}

# collect_unit_changes: of what is active and comes from NixOS's directory, what is gone, what changed, and all targets.
collect_unit_changes() {
    local unit base path changed=()
    local -A bases=() goes=()
    for unit in "${!state[@]}"; do
        base_of "$unit" "$old" "$new"
        case ${state[$unit]} in active | activating) ;; *) continue ;; esac
        if [ ! -e "$old/$base" ]; then continue; fi
        bases[$unit]=$base
        if is_gone "$new/$base" || { [ "$base" != "$unit" ] && ! has_no_dropins "$old/$unit" && has_no_dropins "$new/$unit"; }; then
            goes[$unit]=1
            changed+=("$unit")
        elif [[ $unit == *.target ]]; then
            collect_target "$unit" "$base"
        elif ! same_unit "$old/$base" "$new/$base" || { [ "$base" != "$unit" ] && ! same_unit "$old/$unit" "$new/$unit"; }; then
            changed+=("$unit")
        fi
    done
    fragments "${changed[@]}"
    for unit in "${changed[@]}"; do
        # Generated ones, and those of a person's own directory, are somebody else's.
        if [[ ${fragment[$unit]-} != "$live"/* ]]; then continue; fi
        base=${bases[$unit]}
        parse_unit current "$old/$unit" "$old/$base"
        if [ -n "${goes[$unit]-}" ]; then
            if is current Unit/X-StopOnRemoval 0; then stop[$unit]=1; fi
            continue
        fi
        parse_unit coming "$new/$unit" "$new/$base"
        compare_units
        case $differs in
        restart) handle_modified_unit "$unit" "$base" ;;
        reload) if [ -z "${restart[$unit]-}" ]; then add reload "$unit"; fi ;;
        esac
    done
}

# Every target that is active is started again, which starts what it newly wants; few say anything of their own.
collect_target() {
    local -a text=()
    local file
    for file in "$new/$2" "$new/$2".d/*.conf; do
        local -a part
        mapfile -d '' part <"$file"
        text+=("${part[@]}")
    done
    coming=()
    case ${text[*]-} in *RefuseManualStart=* | *X-OnlyManualStart=* | *X-StopOnReconfiguration=*) parse_unit coming "$new/$1" "$new/$2" ;; esac
    case $1 in
    suspend.target | hibernate.target | hybrid-sleep.target) ;;
    *)
        if ! is coming Unit/RefuseManualStart 1 && ! is coming Unit/X-OnlyManualStart 1; then
            add start "$1"
            if [ "${STC_DISPLAY_ALL_UNITS-}" != 1 ]; then hidden[$1]=1; fi
        fi
        ;;
    esac
    if is coming Unit/X-StopOnReconfiguration 1; then stop[$1]=1; fi
}

# tell WORDS SET: WORDS, and the set's units in order, without those that are hidden from the user.
tell() {
    local -n told=$2
    local unit names=() sorted
    for unit in "${!told[@]}"; do
        if [ -z "${hidden[$unit]-}" ] || [ "$2" = skip ]; then names+=("$unit"); fi
    done
    if [ ${#names[@]} = 0 ]; then return; fi
    mapfile -t sorted < <(printf '%s\n' "${names[@]}" | sort -f)
    printf -v names '%s, ' "${sorted[@]}"
    echo "$1: ${names%, }" >&2
}

# run_jobs VERB UNIT…: one job each, at once, all waited for (block_on_jobs). What cannot even be asked for is told now,
# unless it is to be stopped; which jobs failed is told at the end.
failed_jobs=() exit_code=0
run_jobs() {
    local verb=$1 line unit
    shift
    if [ $# = 0 ]; then return; fi
    while IFS= read -r line; do
        unit=${line#*ob for } unit=${unit%% *}
        case $line in
        'Job for '*' canceled.') ;;
        # systemctl names only services; what is asked for beside them and can fail is a mount or a socket, seldom two.
        'Job failed.'*)
            for unit in "$@"; do case $unit in *.service | *.target) ;; *) failed_jobs+=("Failed to $verb ${user:+user unit }$unit") ;; esac; done
            ;;
        'Job for '* | 'A dependency job for '*) failed_jobs+=("Failed to $verb ${user:+user unit }$unit") ;;
        "Failed to $verb "*)
            if [ "$verb" != stop ]; then
                echo "Failed to $verb ${user:+user unit }${line#"Failed to $verb "}" >&2
                exit_code=4
            fi
            ;;
        esac
    done < <(systemctl $user --no-ask-password "$verb" -- "$@" 2>&1 {lock}>&-)
}
tell_failed_jobs() {
    local line
    for line in "${failed_jobs[@]}"; do
        echo "$line" >&2
        exit_code=4
    done
}

# --- a user's part (do_user_switch) -------------------------------------------------------------------------------
user='' lock=3
if [ -n "${__NIXOS_SWITCH_TO_CONFIGURATION_PARENT_EXE-}" ]; then
    user=--user action=$NIXOS_ACTION
    lists=$XDG_RUNTIME_DIR/nixos old=$OLD_TOPLEVEL/etc/systemd/user new=$TOPLEVEL/etc/systemd/user live=/etc/systemd/user
    mkdir -p -m 700 "$lists" || exit 1
    recorded start
    recorded restart
    recorded reload
    active_units state
    collect_unit_changes
    unset 'skip[nixos-activation.service]'
    tell "stopping the following user units" stop
    run_jobs stop "${!stop[@]}"
    tell "NOT restarting the following user units" skip
    systemctl --user daemon-reexec
    systemctl --user reset-failed
    systemctl --user daemon-reload
    for verb in reload restart start; do
        case $verb in reload) words=reloading ;; restart) words=restarting ;; start) words=starting ;; esac
        declare -n units=$verb
        tell "$words the following user units" "$verb"
        run_jobs "$verb" "${!units[@]}"
        rm -f "$lists/$verb-list"
    done
    if [ -e "$new/nixos-activation.service" ]; then
        echo "restarting the following user units: nixos-activation.service" >&2
        run_jobs restart nixos-activation.service
    fi
    tell_failed_jobs
    if [ ${#failed_jobs[@]} -gt 0 ]; then
        mapfile -t names < <(printf '%s\n' "${failed_jobs[@]##* }" | sort -f)
        printf -v listed '%s, ' "${names[@]}"
        printf 'warning: the following user units failed: %s\nSee `systemctl --user status %s` for details.\n' "${listed%, }" "${names[*]}" >&2
    fi
    exit "$exit_code"
fi

# --- the system's (do_system_switch) ------------------------------------------------------------------------------
action=${1-}
case $action in
test | switch | boot | dry-activate | check) ;;
*)
    cat >&2 <<USAGE
Usage: ${0##*/} [check|switch|boot|test|dry-activate]
check:        run pre-switch checks and exit
switch:       make the configuration the boot default and activate now
boot:         make the configuration the boot default
test:         activate the configuration, but don't make it the boot default
dry-activate: show what would be done if this configuration were activated

USAGE
    exit 1
    ;;
esac
if [ "$EUID" != 0 ]; then
    echo "Error: ${0##*/} must be run as the root user" >&2
    exit 1
fi
export NIXOS_ACTION=$action
lists=/run/nixos old=/etc/systemd/system new=$out/etc/systemd/system live=/etc/systemd/system
old_toplevel=$(readlink -f /run/current-system)

mkdir -p -m 755 /run/nixos
exec 3>>/run/nixos/switch-to-configuration.lock
if ! flock -n 3; then
    echo "Could not acquire lock" >&2
    exit 11
fi
log() { systemd-cat -t nixos -p "$1" echo "$2" 3>&-; }

if [ "${NIXOS_NO_CHECK-}" != 1 ] && ! "$out/pre-switch-checks" "$out" "$action" 3>&-; then
    echo "Pre-switch checks failed" >&2
    exit 1
fi
case $action in
check) exit 0 ;;
# There is no boot loader: what is booted is the runner's to say.
boot) exit 0 ;;
esac

# Each holds a file without an end of line.
mapfile -d '' -t interface </run/current-system/init-interface-version
mapfile -d '' -t new_interface <"$out/init-interface-version"
if [ "${interface[*]-}" != "${new_interface[*]-}" ]; then
    cat >&2 <<'WARNING'
Warning: the new NixOS configuration has an ‘init’ that is
incompatible with the current configuration.  The new configuration
won't take effect until you reboot the system.

WARNING
    exit 100
fi
trap '' PIPE

recorded start
recorded restart
recorded reload
active_units state
declare -A active_before=()
for unit in "${!state[@]}"; do active_before[$unit]=1; done
collect_unit_changes

# File systems and swap (parse_fstab): what disappeared is unmounted, what is new comes with local-fs.target.
escape_path() {
    local path=${1#/} n
    path=${path%/}
    if [ -z "$path" ]; then
        escaped=-
        return
    fi
    escaped=
    for ((n = 0; n < ${#path}; n++)); do
        case ${path:n:1} in
        /) escaped+=- ;;
        [A-Za-z0-9:_.]) escaped+=${path:n:1} ;;
        *) printf -v escaped '%s\\x%02x' "$escaped" "'${path:n:1}" ;;
        esac
    done
}
# fstab FILE FILESYSTEMS SWAPS: mount point => device, type and options.
fstab() {
    local -n filesystems=$2 swaps=$3
    local line device point type options rest
    if [ ! -e "$1" ]; then return; fi
    while read -r line; do
        case $line in *'#'*) continue ;; esac
        read -r device point type options rest <<<"$line"
        case ${type-} in '') ;; swap) swaps[$device]=$options ;; *) filesystems[$point]="$device $type $options" ;; esac
    done <"$1"
}
declare -A mounted=() mounts=() swapped=() swaps_coming=()
fstab /etc/fstab mounted swapped
fstab "$out/etc/fstab" mounts swaps_coming
for point in "${!mounted[@]}"; do
    was=${mounted[$point]} will=${mounts[$point]-}
    if [ "$was" = "$will" ]; then continue; fi
    escape_path "$point"
    if [ -z "$will" ]; then
        case ${was##* } in *x-systemd.automount*) stop[$escaped.automount]=1 ;; *) stop[$escaped.mount]=1 ;; esac
    elif [ "${was% *}" = "${will% *}" ]; then
        add reload "$escaped.mount"
    elif [ "$point" = / ] || [ "$point" = /nix ]; then
        if [ "${was##* }" = "${will##* }" ]; then skip[$escaped.mount]=1; else add reload "$escaped.mount"; fi
    else
        add restart "$escaped.mount"
    fi
done
for device in "${!swapped[@]}"; do
    if [ -n "${swaps_coming[$device]+x}" ]; then continue; fi
    if [ "$action" = dry-activate ]; then
        echo "would stop swap device: $device" >&2
    else
        echo "stopping swap device: $device" >&2
        swapoff "$device" || echo "Failed to stop swapping to $device" >&2
    fi
done

restart_systemd=
if ! [[ /proc/1/exe -ef @dist@/usr/lib/systemd/systemd ]] || ! [[ /etc/systemd/system.conf -ef $out/etc/systemd/system.conf ]]; then restart_systemd=1; fi

# requested PREFIX: what the activation script asks for (RESTART_BY_ACTIVATION_LIST_FILE and its like).
requested() {
    local unit base
    if [ -e "$lists/$1-restart-list" ] || [ -e "$lists/$1-reload-list" ]; then
        echo "WARN: restarting or reloading systemd units from the activation script is deprecated and will be removed in NixOS 26.11." >&2
    fi
    if [ -e "$lists/$1-restart-list" ]; then
        while read -r unit; do
            if [ -z "${active_before[$unit]-}" ]; then
                add start "$unit"
                continue
            fi
            base_of "$unit" "$new" "$new"
            if ! cannot_be_restarted "$unit"; then parse_unit coming "$new/$unit" "$new/$base"; fi
            handle_modified_unit "$unit" "$base" asked
        done <"$lists/$1-restart-list"
        rm -f "$lists/$1-restart-list"
    fi
    if [ -e "$lists/$1-reload-list" ]; then
        while read -r unit; do
            if [ -n "${active_before[$unit]-}" ] && [ -z "${restart[$unit]-}${stop[$unit]-}" ]; then add reload "$unit"; fi
        done <"$lists/$1-reload-list"
        rm -f "$lists/$1-reload-list"
    fi
}

if [ "$action" = dry-activate ]; then
    tell "would stop the following units" stop
    tell "would NOT stop the following changed units" skip
    echo "would activate the configuration..." >&2
    if [ -x "$out/dry-activate" ]; then "$out/dry-activate" "$out" 3>&-; fi
    requested dry-activation
    if [ -n "$restart_systemd" ]; then echo "would restart systemd" >&2; fi
    tell "would reload the following units" reload
    tell "would restart the following units" restart
    tell "would start the following units" start
    exit 0
fi

# It has one connection to the bus, and what it asks for after that was lost fails. Its process stands for that here.
bus_is() {
    local pid=
    read -r pid </sys/fs/cgroup/system.slice/dbus.service/cgroup.procs
    eval "$1=\$pid"
} 2>/dev/null
bus_is bus

log info "switching to system configuration $out"
tell "stopping the following units" stop
run_jobs stop "${!stop[@]}"
tell "NOT restarting the following changed units" skip

echo "activating the configuration..." >&2
if [ -e "$out/activate" ] && ! "$out/activate" "$out" 3>&-; then
    echo "Failed to run activate script" >&2
    exit_code=2
fi
requested activation

if [ -n "$restart_systemd" ]; then
    echo "restarting systemd..." >&2
    systemctl daemon-reexec 3>&-
fi
bus_is bus_now
if [ "$bus" != "$bus_now" ]; then
    printf 'Error: Failed to reset failed units\n\nCaused by:\n    Did not receive a reply. Possible causes include: the remote application did not send a reply, the message bus security policy blocked the reply, the reply timeout expired, or the network connection was broken.\n' >&2
    exit 1
fi
systemctl reset-failed 3>&- || exit 1
systemctl daemon-reload 3>&- || exit 1

if ! listed=$(loginctl list-users --no-legend 2>&1 3>&-); then
    echo "Unable to list users with logind: $listed" >&2
    exit 1
fi
while read -r uid name _; do
    if [ -z "$name" ]; then continue; fi
    gid=0
    while IFS=: read -r _ _ id group _; do if [ "$id" = "$uid" ]; then gid=$group; fi; done </etc/passwd
    echo "reloading user units for $name..." >&2
    if ! setpriv --reuid="$uid" --regid="$gid" --clear-groups env -i XDG_RUNTIME_DIR="/run/user/$uid" \
        __NIXOS_SWITCH_TO_CONFIGURATION_PARENT_EXE="$0" TOPLEVEL="$out" OLD_TOPLEVEL="$old_toplevel" NIXOS_ACTION="$action" \
        @sw@/bin/bash "$0" 3>&- </dev/null; then
        echo "warning: user activation for $name failed" >&2
        exit_code=4
    fi
done <<<"$listed"

# What is ordered before sysinit.target is started again by this one (SYSINIT_REACTIVATION_TARGET).
echo "restarting sysinit-reactivation.target" >&2
run_jobs restart sysinit-reactivation.target

# What is to be reloaded and stopped meanwhile, with what it requires, is started.
if [ ${#reload[@]} -gt 0 ]; then
    units=("${!reload[@]}")
    mapfile -t states < <(systemctl is-active -- "${units[@]}" 3>&-)
    for n in "${!units[@]}"; do
        case ${states[n]-} in active | activating | reloading) continue ;; esac
        unset "reload[${units[n]}]"
        unrecord reload "${units[n]}"
        if [ -e "$new/${units[n]}" ]; then add start "${units[n]}"; fi
    done
fi
tell "reloading the following units" reload
run_jobs reload "${!reload[@]}"
rm -f "$lists/reload-list"
tell "restarting the following units" restart
run_jobs restart "${!restart[@]}"
rm -f "$lists/restart-list"
tell "starting the following units" start
run_jobs start "${!start[@]}"
rm -f "$lists/start-list"
tell_failed_jobs

# It waits until nothing has come from the bus for a quarter of a second: long enough for what dies at once.
sleep 0.25
declare -A now=() failed=() fresh=() restarting=()
active_units now
for unit in "${!now[@]}"; do
    if [ "${now[$unit]}" = failed ]; then
        failed[$unit]=1
    elif [ "${substate[$unit]}" = auto-restart ]; then
        restarting[$unit]=1
    elif [ -z "${active_before[$unit]-}" ] && [[ $unit != *.scope ]]; then
        fresh[$unit]=1
    fi
done
# What waits to be started again has failed if its last end was a bad one.
for unit in "${!restarting[@]}"; do
    if [ "$(systemctl show --value -p ExecMainStatus -- "$unit" 3>&-)" != 0 ]; then
        failed[$unit]=1
    elif [ -z "${active_before[$unit]-}" ]; then
        fresh[$unit]=1
    fi
done
hidden=()
tell "the following new units were started" fresh
if [ ${#failed[@]} -gt 0 ]; then
    tell "warning: the following units failed" failed
    mapfile -t names < <(printf '%s\n' "${!failed[@]}" | sort -f)
    systemctl status --no-pager --full "${names[@]}" 3>&-
    exit_code=4
fi
if [ "$exit_code" = 0 ]; then
    log info "finished switching to system configuration $out"
else
    log err "switching to system configuration $out failed (status $exit_code)"
fi
exit "$exit_code"
