mkdir -p /root /var/lib/nixos
chmod 0700 /root
if [ ! -e /etc/passwd ]; then
    # The store's files are read-only, and so would their copies be; login and passwd want to write.
    install -m 0644 @users@/passwd @users@/group /etc/
    install -m 0640 -g 318 @users@/shadow /etc/
    install -m 0644 @users@/uid-map @users@/gid-map @users@/declarative-users @users@/declarative-groups /var/lib/nixos/
else
    # On a system that has users, by the rules of update-users-groups.pl: an id that a name has is never changed, and
    # with mutable users neither is its password; what a configuration declared and this one does not is removed, what
    # was made by hand stays; who comes back gets the id that was theirs.
    mergeAccounts() { # FILE KIND MAP: KIND is users or groups
        local file=$1 kind=$2 map=$3 word=UID of=user line name id rest
        local -A declared=() had=() used=() before=() auto=()
        local -a order=() lines=() text=()
        if [ "$kind" = groups ]; then word=GID of=group; fi
        for name in $(</var/lib/nixos/declarative-$kind); do had[$name]=1; done
        for name in $(<@users@/auto-$kind); do auto[$name]=1; done
        mapfile -d '' text <"/var/lib/nixos/$map"
        line=${text[*]-}
        while [[ $line =~ \"([^\"]*)\":([0-9]+)(.*) ]]; do
            before[${BASH_REMATCH[1]}]=${BASH_REMATCH[2]}
            line=${BASH_REMATCH[3]}
        done
        while IFS= read -r line; do
            if [ -n "$line" ]; then declared[${line%%:*}]=$line order+=("${line%%:*}"); fi
        done <"@users@/$file"
        ids=()
        while IFS= read -r line; do
            name=${line%%:*} id=${line#*:*:} id=${id%%:*}
            used[$id]=1
            if [ -n "${declared[$name]-}" ]; then
                ids[$name]=$id
            elif [ -z "@mutable@" ] || [ -n "${had[$name]-}" ]; then
                echo "removing $of ‘$name’" >&2
            else
                lines+=("$line")
            fi
        done <"/etc/$file"
        for name in "${order[@]}"; do
            id=${declared[$name]#*:*:} id=${id%%:*}
            if [ -n "${auto[$name]-}" ]; then id=; else used[$id]=1; fi
            if [ -n "${ids[$name]-}" ]; then
                if [ -n "$id" ] && [ "$id" != "${ids[$name]}" ]; then
                    echo "warning: not applying $word change of $of ‘$name’ (${ids[$name]} -> $id) in /etc/$file" >&2
                fi
                continue
            fi
            if [ -z "$id" ] && [ -n "${before[$name]-}" ] && [ -z "${used[${before[$name]}]-}" ]; then
                id=${before[$name]}
                echo "reviving $of '$name' with $word $id" >&2
            fi
            if [ -z "$id" ]; then
                for ((id = 999; id >= 400; id--)); do
                    if [ -z "${used[$id]-}" ] && [[ " ${before[*]-} " != *" $id "* ]]; then break; fi
                done
            fi
            used[$id]=1
            ids[$name]=$id
        done
        for name in "${order[@]}"; do
            line=${declared[$name]} rest=${line#*:*:}
            rest=${rest#*:}
            before[$name]=${ids[$name]}
            if [ "$kind" = users ]; then rest=${gids[${groupOf[$name]}]}:${rest#*:}; fi
            lines+=("$name:x:${ids[$name]}:$rest")
        done
        printf '%s\n' "${lines[@]}" | sort -t: -k3n >"/etc/$file.new"
        mv "/etc/$file.new" "/etc/$file"
        text=()
        for name in "${!before[@]}"; do text+=("\"$name\":${before[$name]}"); done
        (
            IFS=,
            echo "{${text[*]}}"
        ) >"/var/lib/nixos/$map"
        cp --no-preserve=mode "@users@/declarative-$kind" /var/lib/nixos/
    }
    declare -A ids=() gids=() groupOf=() groupNames=()
    while IFS=: read -r name _ id _; do groupNames[$id]=$name; done <@users@/group
    while IFS=: read -r name _ _ id _; do if [ -n "$name" ]; then groupOf[$name]=${groupNames[$id]-users}; fi; done <@users@/passwd
    mergeAccounts group groups gid-map
    for name in "${!ids[@]}"; do gids[$name]=${ids[$name]}; done
    mergeAccounts passwd users uid-map
    # A password that is there stays, with mutable users; who is new gets the declared one.
    declare -A hashes=() known=()
    while IFS= read -r line; do hashes[${line%%:*}]=$line; done <@users@/shadow
    while IFS=: read -r name _; do known[$name]=1; done </etc/passwd
    kept=()
    while IFS= read -r line; do
        name=${line%%:*}
        if [ -z "${known[$name]-}" ]; then continue; fi
        if [ -z "@mutable@" ] && [ -n "${hashes[$name]-}" ]; then line=${hashes[$name]}; fi
        kept+=("$line")
        unset "hashes[$name]"
    done </etc/shadow
    for name in "${!hashes[@]}"; do if [ -n "$name" ]; then kept+=("${hashes[$name]}"); fi; done
    (umask 0137 && printf '%s\n' "${kept[@]}" >/etc/shadow.new && chgrp 318 /etc/shadow.new && mv /etc/shadow.new /etc/shadow)
fi
