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
cp -dR --no-preserve=mode --remove-destination @etc@/links/. /etc/
