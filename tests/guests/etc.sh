echo 'setting up /etc...'
mkdir -p /etc
if [ -e /etc/static ]; then
    ln -sfn @etc@/etc /etc/static
    # setup-etc.pl (cleanup): links of the configuration before that lead nowhere in this one.
    find /etc -path /etc/nixos -prune -o -xtype l -lname '/etc/static/*' -print | while read -r link; do
        if [ ! -L "/etc/static/${link#/etc/}" ]; then
            echo "removing obsolete symlink ‘$link’..." >&2
            rm -f "$link"
        fi
    done
else
    ln -sfn @etc@/etc /etc/static
fi
# A directory is in the way of a link (setup-etc.pl, atomicSymlink): it says so, and goes on.
cp -dR --no-preserve=mode --remove-destination @etc@/links/. /etc/ 2>&1 |
    sed "s|^cp: cannot overwrite directory '/etc/./\([^']*\)' with non-directory.*|could not create symlink /etc/\1|" >&2
