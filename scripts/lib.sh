# shellcheck shell=bash
# What the scripts share: where things are kept, how Debian's packages get here, how they become tools.
#
# Nothing is installed into the host: packages are downloaded by an apt with a state of its own, unpacked under
# the cache and made to run from there. Every cached thing is named by a hash of what it is made of, built beside
# its final place and renamed, under a lock: two runs at once, or a killed one, leave nothing half made.
#
# stdout belongs to the command that a script runs; all progress goes to stderr.

set -euo pipefail

# Raise it when the way things are made here changes, so that nothing made the old way is used.
NIXBOX_TOOLS_FORMAT=2

NIXBOX_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VHOST_DEVICE_VSOCK=0.3.0
DEBIAN_SUITE=trixie
# Where the newest compiler is whose source is packaged too.
RUST_SUITE=sid
DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The package sets. A guest's set is what its userland is made of; `tools` is what the host and the runners use.
# To add one: a line here, and its name in NIXBOX_SETS.
NIXBOX_SETS=${NIXBOX_SETS:-tools guest audio desktop gnome}
package_set() {
    case $1 in
    rust) echo rustc rust-src libc6 ;;
    tools) echo nix-bin qemu-system-x86 qemu-utils virtiofsd e2fsprogs busybox-static patchelf bash coreutils sed cpio zstd ;;
    # What every machine has.
    guest)
        echo linux-image-amd64 systemd udev dbus libpam-systemd libpam-modules libpam-runtime \
            login passwd util-linux mount kmod iproute2 iputils-ping bash coreutils findutils grep sed gawk procps \
            libc-bin systemd-resolved nginx-light redis-server curl nftables
        ;;
    audio)
        echo "$(package_set guest)" dbus-user-session rtkit alsa-utils libasound2-plugins pipewire pipewire-pulse \
            pipewire-bin wireplumber pulseaudio pulseaudio-utils
        ;;
    desktop)
        echo "$(package_set audio)" greetd sway foot xwayland swaybg xdg-desktop-portal xdg-desktop-portal-wlr \
            xdg-desktop-portal-gtk lightdm lightdm-gtk-greeter xserver-xorg-core xserver-xorg-input-libinput xfce4-session xfwm4 \
            xfdesktop4 xfce4-panel xfce4-settings xterm polkitd libgl1-mesa-dri fonts-dejavu-core adwaita-icon-theme \
            librsvg2-common
        ;;
    gnome)
        echo "$(package_set audio)" gdm3 gnome-session gnome-shell gnome-settings-daemon gnome-backgrounds foot xwayland \
            xdg-desktop-portal xdg-desktop-portal-gtk polkitd libgl1-mesa-dri fonts-dejavu-core adwaita-icon-theme \
            librsvg2-common
        ;;
    *) die 2 "no package set named $1" ;;
    esac
}

say() { printf '%s\n' "$*" >&2; }

# die CODE MESSAGE…: exit codes are nixbox's own; 5 means that this host cannot do it yet.
die() {
    local code=$1
    shift
    printf 'error: %s\n' "$1" >&2
    shift
    if [ $# -gt 0 ]; then printf 'hint: %s\n' "$@" >&2; fi
    exit "$code"
}

have() { command -v "$1" >/dev/null 2>&1; }

hash_of() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

home_dir() {
    if [ -n "${HOME:-}" ]; then
        printf '%s' "$HOME"
    else
        getent passwd "$(id -u)" | cut -d: -f6
    fi
}

NIXBOX_CACHE=${XDG_CACHE_HOME:-$(home_dir)/.cache}/nixbox

# make_once DIR FUNCTION ARGS…: DIR is made by `FUNCTION TEMP ARGS…`, by one process, whole or not at all.
make_once() {
    local final=$1 lock
    shift
    [ -e "$final" ] && return 0
    mkdir -p "$NIXBOX_CACHE/locks"
    exec {lock}>"$NIXBOX_CACHE/locks/$(basename "$final")"
    flock "$lock"
    if [ ! -e "$final" ]; then
        rm -rf "$final.part"
        mkdir -p "$final.part"
        # Under `if` or `||` errexit would be off inside: run it bare and look at its status afterwards.
        local code
        set +e
        (set -e; "$1" "$final.part" "${@:2}")
        code=$?
        set -e
        [ "$code" = 0 ] || exit "$code"
        mv -T "$final.part" "$final"
    fi
    exec {lock}>&-
}

# --- Debian packages --------------------------------------------------------------------------------------------

# The mirror that this machine uses itself. apt knows how to read every format of its sources; the suite's name
# tells Debian's archive from others'.
debian_mirror() {
    if [ -n "${NIXBOX_DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "$NIXBOX_DEBIAN_MIRROR"
        return
    fi
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' 2>/dev/null |
        awk '$3 == "main" && $2 ~ /^(buster|bullseye|bookworm|trixie|forky|sid|oldstable|stable|testing|unstable)$/ { print $1; exit }'
}

need_debian() {
    if ! have apt-get || ! have dpkg-deb; then
        die 5 "the test machines are made of Debian packages, and this host has no apt" \
            "run it on Debian or Ubuntu (a container will do)"
    fi
    [ "$(dpkg --print-architecture)" = amd64 ] || die 5 "the test machines are x86_64 only for now"
    if [ ! -r "$DEBIAN_KEYRING" ]; then
        as_root apt-get install -y debian-archive-keyring
    fi
    if [ -z "$(debian_mirror)" ]; then
        die 5 "none of this machine's apt sources is a Debian mirror" \
            "name one: NIXBOX_DEBIAN_MIRROR=https://… (its dists/$DEBIAN_SUITE must exist)"
    fi
}

# as_root CMD…: as root, by sudo where that works without asking, else say what to type.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@" >&2
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo "$@" >&2
    else
        die 5 "this needs root once" "run: sudo $*"
    fi
}

set_suite() { if [ "$1" = rust ]; then echo "$RUST_SUITE"; else echo "$DEBIAN_SUITE"; fi; }

# apt_isolated DIR SUITE: writes DIR/apt.conf, an apt that knows nothing of this system but how to reach the network.
apt_isolated() {
    local dir=$1 suite=$2
    mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial "$dir"/etc/{apt.conf.d,preferences.d,trusted.gpg.d}
    : >"$dir/status"
    printf 'deb [arch=amd64 signed-by=%s] %s %s main\n' "$DEBIAN_KEYRING" "$(debian_mirror)" "$suite" \
        >"$dir/etc/sources.list"
    {
        # Proxies, timeouts and the like are this host's business; `::` entries are lists and would be doubled.
        apt-config dump | grep -E '^Acquire::[A-Za-z:_-]+ "[^"]+";$' |
            grep -vE '::IndexTargets|::Changelogs|::CompressionTypes|^Acquire::Languages|:: ' || true
        cat <<CONF
Dir "$dir";
Dir::State "$dir/state";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc "$dir/etc";
Dir::Etc::sourcelist "$dir/etc/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::parts "$dir/etc/apt.conf.d";
Dir::Log "$dir";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
        # The _apt user cannot look into a private cache directory.
        [ "$(id -u)" != 0 ] || echo 'APT::Sandbox::User "root";'
    } >"$dir/apt.conf"
}

# make_debs DIR SET: DIR/*.deb, everything that SET needs, and a busybox that needs nothing.
make_debs() {
    local dir=$1 set=$2 apt suite
    suite=$(set_suite "$set")
    need_debian
    # The configuration holds absolute paths, so the index is not renamed into place but lives inside the set.
    apt=$dir/.apt
    mkdir -p "$apt"
    apt_isolated "$apt" "$suite"
    say "reading the package index of Debian $suite (for set $set) …"
    APT_CONFIG="$apt/apt.conf" apt-get -qq update >&2
    say "downloading the packages of set $set …"
    # shellcheck disable=SC2046 # a list of words
    APT_CONFIG="$apt/apt.conf" apt-get -qq -y --download-only --no-install-recommends install \
        $(package_set "$set") >&2 ||
        die 5 "the packages of set $set could not be downloaded" "see apt's message above; the mirror is $(debian_mirror)"
    mv "$apt"/cache/archives/*.deb "$dir/"
    rm -rf "$apt"
    local f
    for f in "$dir"/*.deb; do
        # Epochs are written %3a, which is not allowed in a store path's name and awkward elsewhere.
        case $f in *%*) mv "$f" "${f//%3a/+}" ;; esac
        case ${f##*/} in busybox-static_*)
            mkdir "$dir/.bb"
            dpkg-deb -x "${f//%3a/+}" "$dir/.bb"
            cp "$dir"/.bb/usr/bin/busybox "$dir/busybox"
            rm -rf "$dir/.bb"
            ;;
        esac
    done
}

set_hash() { hash_of "$NIXBOX_TOOLS_FORMAT" "$(set_suite "$1")" "$(package_set "$1")"; }
debs_dir() { printf '%s' "$NIXBOX_CACHE/debs-$1-$(set_hash "$1")"; }

fetch_set() { make_once "$(debs_dir "$1")" make_debs "$1"; }

# --- tools that run on this host --------------------------------------------------------------------------------

# make_tools DIR: the set `tools` unpacked, its programs made to run from DIR's final place.
make_tools() {
    local dir=$1 final=${1%.part} f
    say "unpacking nix and QEMU …"
    for f in "$(debs_dir tools)"/*.deb; do dpkg-deb -x "$f" "$dir"; done
    sh "$NIXBOX_ROOT/tests/guests/relocate.sh" "$dir" "$final" /bin/sh
    mkdir "$dir/path" "$dir/path-nix"
    for f in qemu-system-x86_64 qemu-img qemu-io; do ln -s "../usr/bin/$f" "$dir/path/$f"; done
    for f in mke2fs mkfs.ext4 debugfs e2fsck; do ln -s "../usr/sbin/$f" "$dir/path/$f"; done
    ln -s ../usr/libexec/virtiofsd "$dir/path/virtiofsd"
    for f in "$dir"/usr/bin/nix*; do ln -s "../usr/bin/${f##*/}" "$dir/path-nix/${f##*/}"; done
}

tools_dir() { printf '%s' "$NIXBOX_CACHE/tools-$(hash_of "$(set_hash tools)" "$(cat "$NIXBOX_ROOT/tests/guests/relocate.sh")")"; }

# A cargo that works, and a linker. rustup's directory is not on every PATH; and its programs look for their toolchains
# below the home directory, where a new user has none, though the installation has.
need_rust() {
    local bin=${CARGO_HOME:-$(home_dir)/.cargo}/bin installed
    if ! have cargo && [ -x "$bin/cargo" ]; then PATH=$bin:$PATH; fi
    if ! have cargo && have nix && ! have apt-get; then
        die 5 "cargo is missing" "run it in the development shell: nix develop -c $0"
    fi
    have cargo || die 5 "cargo is missing: nixbox and vhost-device-vsock are built with it" \
        "install Rust 1.95 or later with rustup"
    if [ -z "${RUSTUP_HOME:-}" ] && ! (cd "$NIXBOX_ROOT" && cargo --version) >/dev/null 2>&1; then
        installed=$(dirname "$(dirname "$(dirname "$(readlink -f "$(command -v cargo)")")")")/.rustup
        if [ -d "$installed" ]; then export RUSTUP_HOME=$installed; fi
    fi
    (cd "$NIXBOX_ROOT" && cargo --version) >/dev/null 2>&1 ||
        die 5 "cargo does not work: $(cd "$NIXBOX_ROOT" && cargo --version 2>&1 | head -n 1)" \
            "install the toolchain that rust-toolchain.toml names: rustup toolchain install"
    have cc || as_root apt-get install -y --no-install-recommends gcc libc6-dev
}

make_vhost_device_vsock() {
    local dir=$1
    say "building vhost-device-vsock $VHOST_DEVICE_VSOCK (a minute or three) …"
    # From here, so that our toolchain file decides: a new user of rustup has no default.
    if ! (cd "$NIXBOX_ROOT" && cargo install --locked --quiet --root "$dir" --target-dir "$dir/.target" \
        vhost-device-vsock@"$VHOST_DEVICE_VSOCK" >"$dir/log" 2>&1 </dev/null); then
        cat "$dir/log" >&2
        die 5 "vhost-device-vsock could not be built" "its messages are above"
    fi
    rm -rf "$dir/.target"
}

vsock_dir() { printf '%s' "$NIXBOX_CACHE/vhost-device-vsock-$VHOST_DEVICE_VSOCK"; }

# make_rust_source DIR: a compiler with the source of its standard library, run by its own loader.
make_rust_source() {
    local dir=$1 final=${1%.part} f lib=usr/lib/x86_64-linux-gnu
    for f in "$(debs_dir rust)"/*.deb; do dpkg-deb -x "$f" "$dir"; done
    cat >"$dir/rustc" <<WRAPPER
#!/bin/sh
exec '$final/$lib/ld-linux-x86-64.so.2' --argv0 rustc --library-path '$final/$lib' '$final/usr/bin/rustc' --sysroot '$final/usr' "\$@"
WRAPPER
    chmod 755 "$dir/rustc"
}

# enter_rust_source: NIXBOX_RUST_SOURCE holds such a compiler.
enter_rust_source() {
    fetch_set rust
    NIXBOX_RUST_SOURCE=$NIXBOX_CACHE/rust-source-$(set_hash rust)
    make_once "$NIXBOX_RUST_SOURCE" make_rust_source
}

# --- nix --------------------------------------------------------------------------------------------------------

# A configuration of its own for the nix we bring: a strict sandbox and no network.
# Experimental features are left out on purpose: nixbox passes them itself, and that should be exercised.
make_nix_conf() {
    cat >"$1/nix.conf" <<'CONF'
sandbox = true
sandbox-fallback = false
sandbox-paths =
build-users-group =
substituters =
warn-dirty = false
CONF
}

# Where the store is. Root gets a single-user store in /nix; who cannot write there gets one below the home
# directory, in which /nix/store exists only for what nix (or a jail) starts.
nix_remote() {
    if [ -S /nix/var/nix/daemon-socket/socket ]; then
        return
    elif [ "$(id -u)" = 0 ]; then
        mkdir -p /nix/store /nix/var/nix
    elif [ -d /nix/store ] && [ -w /nix/store ] && [ -w /nix/var/nix ]; then
        return
    else
        local root=${XDG_DATA_HOME:-$(home_dir)/.local/share}/nixbox/nix-root
        mkdir -p "$root"
        printf 'local?root=%s' "$root"
    fi
}

# add_to_store SET: prints the store path of the set's debs, kept from the garbage collector.
add_to_store() {
    local path
    mkdir -p "$NIXBOX_CACHE/roots"
    # The store path's name must not depend on the cache's, and add takes it from the last component.
    mkdir -p "$NIXBOX_CACHE/add-$1.$$"
    cp -al "$(debs_dir "$1")" "$NIXBOX_CACHE/add-$1.$$/debian-$DEBIAN_SUITE-$1"
    path=$(nix-store --add "$NIXBOX_CACHE/add-$1.$$/debian-$DEBIAN_SUITE-$1")
    rm -rf "${NIXBOX_CACHE:?}/add-$1.$$"
    nix-store --realise "$path" --add-root "$NIXBOX_CACHE/roots/$1-$(set_hash "$1")" >/dev/null
    printf '%s' "$path"
}

# --- coding agents ----------------------------------------------------------------------------------------------

# The agents that tests/agents runs, pinned: a directory, and the package in npm's registry.
AGENT_PACKAGES="claude-code=@anthropic-ai/claude-code@2.1.332 codex=@openai/codex@0.171.0
    gemini=@google/gemini-cli@0.61.0 opencode=opencode-ai@1.18.33 copilot=@github/copilot@1.0.102
    qwen=@qwen-code/qwen-code@0.24.4 droid=droid@0.215.0 kilo=@kilocode/cli@7.7.7"
# What some of them run with.
NODE_LEAST=20

# make_agents DIR: each agent in a directory of its own, with what npm says that it needs. 2.2 GB.
make_agents() {
    local dir=$1 package
    for package in $AGENT_PACKAGES; do
        say "installing ${package#*=} …"
        mkdir "$dir/${package%%=*}"
        # A home of its own, so that nothing of the user's decides what is installed, or is changed by it. Where packages
        # come from is the user's business.
        (cd "$dir/${package%%=*}" && npm install --no-audit --no-fund --no-update-notifier --loglevel=error \
            --cache "$dir/.npm" "${package#*=}" >&2 </dev/null)
    done
    rm -rf "$dir/.npm"
}

# enter_agents: NIXBOX_TEST_AGENTS is where they are; fails, having said why, where they cannot be had.
enter_agents() {
    local version
    version=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
    if ! have npm || [ "${version:-0}" -lt "$NODE_LEAST" ]; then
        say "the agents need npm and node $NODE_LEAST or later, which this host does not have"
        return 1
    fi
    NIXBOX_TEST_AGENTS=$NIXBOX_CACHE/agents-$(hash_of "$AGENT_PACKAGES" "$version")
    # In a process of its own, since it ends that.
    (make_once "$NIXBOX_TEST_AGENTS" make_agents) || return 1
    export NIXBOX_TEST_AGENTS
}

# --- all together -----------------------------------------------------------------------------------------------

quote() { printf '%q' "$1"; }

# make_env DIR: everything that scripts/env needs, and DIR/env.sh that sets it up.
make_env() {
    local dir=$1 final=${1%.part} vsock_pid='' set remote path='' json='' store_paths=() failed=0

    need_debian
    if ! have vhost-device-vsock; then
        if [ ! -e "$(vsock_dir)" ]; then need_rust; fi
        make_once "$(vsock_dir)" make_vhost_device_vsock &
        vsock_pid=$!
        path=$(vsock_dir)/bin
    fi
    for set in $NIXBOX_SETS; do fetch_set "$set"; done
    make_once "$(tools_dir)" make_tools
    path=$path:$(tools_dir)/path

    {
        if ! have nix; then
            make_once "$NIXBOX_CACHE/nix-conf-$NIXBOX_TOOLS_FORMAT" make_nix_conf
            remote=$(nix_remote)
            path=$path:$(tools_dir)/path-nix
            echo "export NIX_CONF_DIR=$(quote "$NIXBOX_CACHE/nix-conf-$NIXBOX_TOOLS_FORMAT")"
            [ -z "$remote" ] || echo "export NIX_REMOTE=$(quote "$remote")"
        fi
        echo "export PATH=$(quote "${path#:}"):\$PATH"
        echo "export NIXBOX_TEST_PACKAGES=$(quote "$final/packages.json")"
    } >"$dir/env.sh"

    say "adding the packages to the nix store …"
    for set in $NIXBOX_SETS; do
        local added
        # shellcheck source=/dev/null
        added=$(. "$dir/env.sh"; add_to_store "$set")
        store_paths+=("$added")
        json="$json${json:+, }\"$set\": \"$added\""
    done
    printf '{%s}\n' "$json" >"$dir/packages.json"

    # Cheap proof, at each start, that what was made is still there: these paths must exist.
    {
        for set in "${store_paths[@]}"; do
            if [ -n "${remote:-}" ]; then echo "${remote#local?root=}$set"; else echo "$set"; fi
        done
        tools_dir; echo
        if [ -n "$vsock_pid" ]; then echo "$(vsock_dir)/bin/vhost-device-vsock"; fi
    } >"$dir/needs"

    if [ -n "$vsock_pid" ]; then wait "$vsock_pid" || failed=$?; fi
    return "$failed"
}

env_is_whole() {
    local need
    [ -r "$1/needs" ] || return 1
    while IFS= read -r need; do [ -e "$need" ] || return 1; done <"$1/needs"
}

# enter_env: installs what is missing, then exports what a command needs to find it.
enter_env() {
    local sets='' set env host=none
    for set in $NIXBOX_SETS; do sets="$sets $set: $(package_set "$set");"; done
    # What the host has decides what we bring, and who we are decides where the store is.
    host="$(have nix && echo nix) $(have vhost-device-vsock && echo vsock) $(id -u) ${XDG_DATA_HOME:-}"
    env=$NIXBOX_CACHE/env-$(hash_of "$NIXBOX_TOOLS_FORMAT" "$sets" "$host" "$VHOST_DEVICE_VSOCK" "$(cat "$NIXBOX_ROOT/tests/guests/relocate.sh")")
    if ! env_is_whole "$env"; then
        mkdir -p "$NIXBOX_CACHE"
        # Moved away whole, so that another run in between sees it as it was or not at all.
        if [ -e "$env" ]; then mv -T "$env" "$env.stale.$$" && rm -rf "$env.stale.$$"; fi
        make_once "$env" make_env
    fi
    # shellcheck source=/dev/null
    . "$env/env.sh"
}

# --- Rust -------------------------------------------------------------------------------------------------------

# build_nixbox: target/release/nixbox, its path in NIXBOX_BIN.
build_nixbox() {
    need_rust
    NIXBOX_BIN=${CARGO_TARGET_DIR:-$NIXBOX_ROOT/target}/release/nixbox
    [ -x "$NIXBOX_BIN" ] || say "building nixbox (five to ten minutes, the first time) …"
    # Quick when nothing changed; cargo's own lock makes two runs at once wait for each other.
    (cd "$NIXBOX_ROOT" && cargo build --locked --release --quiet >&2)
}

make_cargo_tool() {
    local dir=$1 tool=$2 version=$3
    say "building $tool $version …"
    (cd "$NIXBOX_ROOT" && cargo install --locked --quiet --root "$dir" --target-dir "$dir/.target" "$tool@$version")
    rm -rf "$dir/.target"
}

# need_cargo_tool NAME VERSION builds it once; cargo_tool prints where it is.
need_cargo_tool() { make_once "$NIXBOX_CACHE/$1-$2" make_cargo_tool "$1" "$2"; }
cargo_tool() { printf '%s' "$NIXBOX_CACHE/$1-$2/bin/$1"; }
