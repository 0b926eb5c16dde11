# Pairs for `nixbox try NAME --switch=FROM`: what is tried on a machine that runs another configuration. The form is that of
# machines.nix, and beside it:
#   switchFrom  the name of the machine that it is switched from
#   phase       where what fails does: fresh, switched, back or rebooted
#   residue     what must be listed as left behind, a text or several
# As few as can be are switched from, since each is a boot: most from `switch-base`. All go by one host name, as the
# generations of one machine do. NixOS's rules are those of switch-to-configuration.sh; a number is an issue of nixpkgs.
{ mkGuest, packages }:
let
  inherit (packages) dist sw run kernel;
  inherit (import ./guest.nix packages) recursiveUpdate;

  machine = name: expect: nixbox: config: {
    inherit name;
    value = {
      inherit expect;
      machine = mkGuest { inherit name nixbox; config = recursiveUpdate { networking.hostName = "machine"; } config; };
    };
  };
  # over BASE NAME EXPECT CONFIG: a machine that is switched to from BASE, whose options CONFIG is laid over.
  over = base: name: expect: config: machine name ({ switchFrom = base.name; slow = true; } // expect) { } (recursiveUpdate base.config config);
  from = base: expect: machine base.name ({ slow = true; } // expect) { } base.config;
  # What is gone from a base: the paths' last parts, by attribute sets of true.
  without = gone: config: builtins.mapAttrs (n: v: if gone ? ${n} && builtins.isAttrs gone.${n} then without gone.${n} v else v) (removeAttrs config (builtins.filter (n: gone.${n} == true) (builtins.attrNames gone)));
  overWithout = base: gone: over (base // { config = without gone base.config; });

  service = description: script: { inherit description script; wantedBy = [ "multi-user.target" ]; };
  oneshot = description: script: service description script // { serviceConfig = { Type = "oneshot"; RemainAfterExit = true; }; };
  waits = "exec sleep infinity";
  is = status: fails: cause: { exit = status; inherit fails cause; };
  passes = { exit = 0; };
  warned = warns: residue: { exit = 0; inherit warns residue; };

  # --- what is switched from ----------------------------------------------------------------------------------------
  # A small server; each service is there for one pair or several.
  base = {
    name = "switch-base";
    config = {
      systemd.services = {
        app = service "Application" "[ -r /etc/app.conf ]\n${waits}";
        worker = service "Worker of the application" waits;
        # What it starts survives it, and holds its lock.
        queue = service "Queue" "exec 9>/run/queue.lock\nflock -n 9 || { echo 'another queue holds /run/queue.lock' >&2; exit 1; }\nsleep infinity &\nwait" // {
          serviceConfig.KillMode = "process";
        };
        # It makes what others use, below /run: until the next boot only.
        warm = oneshot "Warms the cache up" "mkdir -p /run/warm && echo warm > /run/warm/cache";
        crashes = oneshot "Mounts the store of the last crash" "mkdir -p /run/crashes && mount -t tmpfs pstore /run/crashes";
        store = service "Keeps its data in a format of its own" ''
          mkdir -p /var/lib/store
          [ -e /var/lib/store/version ] || echo 1 > /var/lib/store/version
          if [ "$(cat /var/lib/store/version)" -gt 1 ]; then
            echo "the data in /var/lib/store are of version $(cat /var/lib/store/version), which is newer than 1" >&2
            exit 1
          fi
          ${waits}
        '';
        mail = service "Mailer, who keeps letters" "cat /var/lib/mail/letters > /dev/null\n${waits}" // {
          serviceConfig = { User = "mail"; Group = "mail"; StateDirectory = "mail"; StateDirectoryMode = "0700"; ExecStartPre = "${sw}/bin/touch /var/lib/mail/letters"; };
        };
        report = { description = "Report"; script = "true"; serviceConfig.Type = "oneshot"; };
        # It reads its settings once, and its unit does not name them.
        sshd = service "SSH Daemon" ''
          port=$(sed -n 's/^Port //p' /etc/ssh/sshd_config)
          exec systemd-socket-activate --listen "0.0.0.0:$port" --accept --inetd ${sw}/bin/bash -c 'printf "SSH-2.0-nixbox\r\n"'
        '';
      };
      systemd.timers.report = { wantedBy = [ "timers.target" ]; timerConfig = { OnCalendar = "monthly"; }; };
      environment.etc."app.conf".text = "colour = blue";
      services.openssh = { enable = true; ports = [ 22 ]; };
      environment.etc."ssh/sshd_config".text = "Port 22";
      users.users.mail = { isSystemUser = true; uid = 390; group = "mail"; };
      users.groups.mail.gid = 390;
      system.switch.inhibitors.dbus-implementation = "dbus";
    };
  };
  on = over base;
  only = name: unit: { systemd.services.${name} = unit; };

  healthy = [
    (from base passes)
    # Something changes, something is new, and nothing is wrong with it.
    (on "switch-clean" { exit = 0; slow = false; } {
      systemd.services.app.environment.COLOUR = "green";
      systemd.services.metrics = service "Metrics" waits;
      environment.etc."app.conf".text = "colour = green";
    })
    (overWithout base { systemd.services.worker = true; } "switch-service-removed" { exit = 0; } { })
    # The first of its units that reads the data upgrades them; the second, of a fresh disk, finds none to read.
    (on "switch-needs-old-data" passes (only "reader" (oneshot "Reads the letters" "cat /var/lib/mail/letters" // { after = [ "mail.service" ]; })))
  ];

  outcomes = [
    (on "switch-restart-fails" (is 1 [ "switch.outcome" "services.failed-units" ] [ "app.service" "/etc/app.key" ] // { phase = "switched"; slow = false; }) (only "app" (
      service "Application" "cat /etc/app.key > /dev/null\n${waits}"
    )))
    # 43341: what it reads has changed, and nothing starts it again.
    (on "switch-port-not-taken" (is 1 [ "services.ports" ] [ "after the switch: nothing is listening on 2222/tcp" "the switch did not restart sshd.service" ] // { phase = "switched"; }) {
      services.openssh.ports = [ 2222 ];
      environment.etc."ssh/sshd_config".text = "Port 2222";
    })
    # It comes up on a new machine; here what the old one started has not let go, and lets nobody back either.
    (on "switch-works-when-fresh" (is 1 [ "switch.outcome" "services.failed-units" "switch.way-back" ] [ "queue.service" "/run/queue.lock" ] // { phase = "switched"; }) {
      systemd.services.queue.environment.LENGTH = "20";
    })
    # It lives on what the old one made in this boot.
    (overWithout base { systemd.services.warm = true; } "switch-works-until-reboot" (is 1 [ "services.failed-units" ] [ "cache.service" "/run/warm/cache" ] // { phase = "rebooted"; }) (only "cache" (
      oneshot "Uses the warm cache" "cat /run/warm/cache"
    )))
    (on "switch-activation-fails" (is 1 [ "switch.outcome" ] [ "copy-keys" "/srv/keys" ] // { phase = "switched"; }) {
      # At boot the keys are copied by stage 1.
      system.activationScripts.copy-keys = "[ -z \"\${NIXOS_ACTION-}\" ] || install -m 0400 /srv/keys/host /run/host-key";
    })
    (on "switch-activation-hangs" (is 1 [ "switch.outcome" ] [ "unlock-store" ] // { phase = "switched"; }) {
      system.activationScripts.unlock-store = "if [ -n \"\${NIXOS_ACTION-}\" ]; then echo 'waiting for the store to be unlocked...'; until [ -e /run/unlocked ]; do sleep 1; done; fi";
    })
    # systemd-tmpfiles says so, and the unit takes it for a success (SuccessExitStatus=DATAERR).
    (on "switch-tmpfiles-fails" (is 1 [ "switch.activation" "boot.tmpfiles" ] [ "tmpfiles" "photos" ] // { phase = "switched"; }) {
      systemd.tmpfiles.rules = [ "d /var/lib/photos 0750 photos photos -" ];
    })
    # 283769: the lingering user is gone, and what ends the lingering asks for them by name.
    (overWithout base { users.users.mail = true; users.groups.mail = true; systemd.services.mail = true; } "switch-linger-of-nobody" (is 1 [ "switch.outcome" ] [ "update-lingering" ] // { phase = "switched"; }) {
      system.activationScripts.update-lingering = "[ -z \"\${NIXOS_ACTION-}\" ] || loginctl disable-linger mail";
    })
    # 123888: on a new machine nobody mounted it before.
    (overWithout base { systemd.services.crashes = true; } "switch-mounts-again" (is 1 [ "switch.outcome" "services.failed-units" ] [ "mount-pstore.service" "already mounted" ] // { phase = "switched"; }) (only "mount-pstore" (
      oneshot "Mounts the store of the last crash" ''
        mkdir -p /run/crashes
        if mountpoint -q /run/crashes; then
          echo "mount: /run/crashes: pstore already mounted or mount point busy." >&2
          exit 32
        fi
        mount -t tmpfs pstore /run/crashes
      ''
    )))
    # home-manager#8342: a fresh home has nothing that could be in the way.
    (on "switch-file-in-the-way" (is 1 [ "switch.outcome" "services.failed-units" ] [ "home-manager-mail.service" "/var/lib/mail/letters" ] // { phase = "switched"; }) (only "home-manager-mail" (
      oneshot "Home Manager environment for mail" ''
        if [ -e /var/lib/mail/letters ] && [ ! -L /var/lib/mail/letters ]; then
          echo "Existing file '/var/lib/mail/letters' would be clobbered" >&2
          exit 1
        fi
        ln -sfn /etc/app.conf /var/lib/mail/letters
      '' // { before = [ "mail.service" ]; }
    )))
    (on "switch-refused" (is 1 [ "switch.outcome" ] [ "battery" "not on battery" ] // { slow = false; }) {
      system.preSwitchChecks.battery = "case $2 in test | switch) echo 'not on battery: plug in first'; false ;; esac";
    })
    (on "switch-inhibited" (is 1 [ "switch.outcome" ] [ "dbus-implementation" "nixos-rebuild boot" ]) {
      system.switch.inhibitors.dbus-implementation = "broker";
    })
    # The data are of its own version now, and the old one refuses them.
    (on "switch-one-way" (is 1 [ "switch.way-back" "services.failed-units" ] [ "store.service" "newer than 1" ] // { phase = "back"; }) (only "store" (
      service "Keeps its data in a new format" "mkdir -p /var/lib/store\necho 2 > /var/lib/store/version\n${waits}"
    )))
    # It takes the network down before anything else uses it, which at boot is before there is any.
    (on "switch-stops-network" (is 1 [ "network.address" ] [ "ens3" ] // { phase = "switched"; }) (only "rename-links" (
      oneshot "Gives the links their names" "for link in /sys/class/net/en*; do [ ! -e \"$link\" ] || ip link set \"\${link##*/}\" down; done" // {
        before = [ "systemd-networkd.service" ];
      }
    )))
    # The kernel is another one, which only a boot changes.
    (let m = { kernel = run "linux-next" { } "mkdir $out\nln -s ${kernel}/* $out/"; }; in
      machine "switch-kernel" { exit = 0; slow = true; switchFrom = base.name; cause = [ "reboot" ]; } m base.config)
    # What a snippet has restarted is in no plan.
    (on "switch-unannounced" { exit = 0; warns = [ "switch.announced" ]; cause = [ "worker.service" ]; } {
      system.activationScripts.rotate = "[ -z \"\${NIXOS_ACTION-}\" ] || echo worker.service >> /run/nixos/activation-restart-list";
    })
  ];

  # --- what stays behind --------------------------------------------------------------------------------------------
  residue = [
    (on "switch-bridge-left" (warned [ "residue.network" "residue.kernel" ] [ "br-lab" "bridge" ]) (only "lab" (
      oneshot "A network for the lab" "ip link add br-lab type bridge\nip addr add 192.0.2.1/24 dev br-lab\nip link set br-lab up"
    )))
    (on "switch-nat-left" (warned [ "residue.firewall" "residue.kernel" ] [ "nat-lab" "nf_nat" ]) (only "nat" (
      oneshot "NAT for the lab" "nft -f - <<RULES\ntable ip nat-lab {\n  chain post { type nat hook postrouting priority srcnat; policy accept; ip saddr 192.0.2.0/24 snat to 10.0.2.15; }\n}\nRULES"
    )))
    (on "switch-sysctl-left" (warned [ "residue.kernel" ] "vm.swappiness") { environment.etc."sysctl.d/60-nixos.conf".text = "net.ipv4.ping_group_range=0 2147483647\nkernel.printk=4 4 1 7\nvm.swappiness=7"; })
    # Whoever is to live on by their unit does.
    (on "switch-unit-left" (warned [ "residue.units" ] "agent.service") (only "agent" (service "Agent" waits // { unitConfig.X-StopOnRemoval = false; })))
    # A timer that a service makes runs what it was made with.
    (on "switch-timer-keeps-old" (warned [ "residue.units" ] "nightly.timer") (only "schedule" (
      oneshot "Makes its timer" "systemctl cat nightly.timer > /dev/null 2>&1 || systemd-run --unit nightly --on-calendar monthly ${sw}/bin/true"
    )))
    # 418101: nothing takes the marker away.
    (on "switch-linger-left" (warned [ "residue.files" ] "/var/lib/systemd/linger/carol") { users.users.carol = { isNormalUser = true; uid = 1001; linger = true; initialPassword = "carol"; }; })
    # 38132: an account that the configuration in between does not have comes back locked.
    (overWithout person { users.users.bob = true; } "switch-account-locked" (warned [ "residue.users" ] "bob") { })
    # The data are somebody else's now: the id went to another name (nixos#255).
    (overWithout base { users.users.mail = true; users.groups.mail = true; systemd.services.mail = true; } "switch-id-reused" (is 1 [ "residue.ownership" ] [ "/var/lib/mail" "news" ] // { phase = "switched"; }) {
      users.users.news = { isSystemUser = true; uid = 390; group = "news"; };
      users.groups.news.gid = 390;
    })
    # NixOS leaves an id as it is; somebody's own script does not.
    (on "switch-id-moved" (is 1 [ "switch.outcome" "services.failed-units" "residue.ownership" ] [ "/var/lib/mail" "390" "391" ] // { phase = "switched"; }) {
      users.users.mail.uid = 391;
      systemd.services.mail.serviceConfig = { StateDirectory = ""; ExecStartPre = ""; };
      system.activationScripts.zz-ids = "[ -z \"\${NIXOS_ACTION-}\" ] || { systemctl stop mail.service; usermod -u 391 mail; }";
    })
  ];
  # What somebody has put there by hand lies where the new entry is to be.
  byHand = { name = "switch-etc-by-hand"; config.systemd.services.lab = oneshot "Keeps its notes in /etc" "mkdir -p /etc/lab.conf && date > /etc/lab.conf/notes"; };
  inTheWay = [
    (from byHand passes)
    # setup-etc.pl says so, and the switch says that all went well.
    (over byHand "switch-etc-in-the-way" (is 1 [ "switch.activation" ] [ "/etc/lab.conf" ] // { phase = "switched"; }) { environment.etc."lab.conf".text = "colour = blue"; })
  ];
  # What is switched from lets nobody back once the new service has run.
  gated = { name = "switch-gated"; config.system.preSwitchChecks.gate = "[ ! -e /run/gate-shut ] || { echo 'the data were upgraded: there is no way back'; false; }"; };
  noWayBack = [
    (from gated passes)
    (over gated "switch-back-refused" (is 1 [ "switch.way-back" ] [ "gate" "the data were upgraded" ] // { phase = "back"; }) {
      system.preSwitchChecks.gate = "true";
      systemd.services.upgrade = oneshot "Upgrades the data" "touch /run/gate-shut";
    })
  ];
  # Bob's password was set by hand, where NixOS keeps it.
  person = {
    name = "switch-account";
    config = {
      users.users.bob = { isNormalUser = true; uid = 1002; };
      system.activationScripts.zz-by-hand = "[ -e /var/lib/bob-set ] || { echo 'bob:hunter2' | chpasswd -c YESCRYPT; touch /var/lib/bob-set; }";
    };
  };

  # --- a user's services --------------------------------------------------------------------------------------------
  lingering = {
    name = "switch-lingering";
    config = {
      users.users.carol = { isNormalUser = true; uid = 1001; linger = true; initialPassword = "carol"; };
      systemd.user.services.tray = { description = "Tray"; script = waits; wantedBy = [ "default.target" ]; };
      systemd.user.services.sync = { description = "Sync"; script = waits; wantedBy = [ "default.target" ]; unitConfig.X-StopOnRemoval = false; };
    };
  };
  users = [
    (from lingering passes)
    (over lingering "switch-user-service-changed" passes { systemd.user.services.tray.environment.COLOUR = "green"; })
    (overWithout lingering { systemd.user.services.tray = true; } "switch-user-service-removed" passes { })
    # Whose unit says that it is to live on.
    (overWithout lingering { systemd.user.services.sync = true; } "switch-user-service-left" { exit = 0; warns = [ "switch.stale" ]; cause = [ "sync.service" ]; } { })
    (over lingering "switch-user-restart-fails" (is 1 [ "switch.outcome" "desktop.units" ] [ "tray.service" "carol" ] // { phase = "switched"; }) {
      systemd.user.services.tray = { serviceConfig.Type = "oneshot"; script = "echo 'no such tray' >&2; exit 1"; };
    })
  ];

  # --- a file system that is in use ---------------------------------------------------------------------------------
  mounted = {
    name = "switch-mounted";
    config = {
      virtualisation.fileSystems."/data" = { device = "none"; fsType = "tmpfs"; options = [ "mode=755" ]; };
      # systemd does not know: WorkingDirectory= would have it restarted with the mount.
      systemd.services.holder = service "Works in /data" "cd /data\n${waits}" // { after = [ "data.mount" ]; };
    };
  };
  mounts = [
    (from mounted passes)
    # 242737: it has to be unmounted for that, there and back.
    (over mounted "switch-mount-busy" (is 1 [ "switch.outcome" "switch.way-back" ] [ "data.mount" ] // { phase = "switched"; }) { virtualisation.fileSystems."/data".fsType = "ramfs"; })
  ];

  # --- what was broken before ---------------------------------------------------------------------------------------
  red = { name = "switch-red"; config.systemd.services.backup = oneshot "Backup" "echo 'cannot read the key /etc/backup.key: No such file or directory' >&2; exit 1"; };
  dead = { name = "switch-dead"; config.virtualisation.fileSystems."/data" = { device = "/dev/disk/by-label/none"; fsType = "ext4"; options = [ "x-systemd.device-timeout=1s" ]; }; };
  before = [
    (from red (is 1 [ "services.failed-units" ] "backup.service"))
    (over red "switch-from-red" passes { systemd.services.metrics = service "Metrics" waits; })
    (over red "switch-from-red-to-redder" (is 1 [ "switch.outcome" "services.failed-units" ] [ "sync.service" ] // { phase = "switched"; }) { systemd.services.sync = oneshot "Sync" "echo 'no such remote: nas' >&2; exit 2"; })
    (from dead (is 4 [ "boot.emergency" ] "dev-disk-by"))
    (overWithout dead { virtualisation.fileSystems = true; } "switch-from-dead" { exit = 5; cause = [ "switch-dead" "broken before" ]; } { })
  ];

  # --- a firewall ---------------------------------------------------------------------------------------------------
  # NixOS's own reloads itself, and takes its rules away where that fails; the unit stays active.
  firewalls = [
    (over walled "switch-firewall-reload-fails" (is 1 [ "network.ports" "switch.outcome" ] [ "firewall.service" "unexpected string" ] // { phase = "switched"; }) {
      systemd.services.firewall = {
        reload = "echo 'table inet nixos-fw { chain input { policy dropp; } }' | nft -f - || { nft flush ruleset; exit 1; }";
        reloadIfChanged = true;
      };
    })
  ];

  # --- healthy, but looking wrong -----------------------------------------------------------------------------------
  stopped = { name = "switch-stopped"; config = recursiveUpdate base.config { systemd.services.by-hand = oneshot "Stops the worker, as one does by hand" "systemctl stop worker.service" // { after = [ "worker.service" ]; }; }; };
  offline = {
    name = "switch-offline-vpn";
    config.systemd.services.vpn = oneshot "VPN tunnel" ''
      if ! getent hosts vpn.example.org; then
        echo "RESOLVE: Cannot resolve host address: vpn.example.org:1194 (Temporary failure in name resolution)" >&2
        exit 1
      fi
    '';
  };
  walled = { name = "switch-walled"; config = { networking.firewall.enable = true; systemd.services.firewall = wall; }; };
  wall = oneshot "Firewall" ''
    nft -f - <<RULES
    table inet nixos-fw {
      chain custom { accept; }
      chain input { type filter hook input priority filter; policy accept; }
    }
    RULES
  '' // {
    # Its own chain goes; what somebody added stays, and nothing leads there.
    postStop = "nft delete chain inet nixos-fw input";
  };
  traps = [
    (from stopped (is 1 [ "services.settled" ] "worker.service"))
    # All targets are started again, and with them what they want: it was stopped, and nobody says that it will run.
    (overWithout stopped { systemd.services.by-hand = true; } "trap-switch-stopped-by-hand" passes { })
    # It fails wherever there is no outside: at boot, at each switch, which says 4 therefore, and on the way back.
    (from offline (passes // { notTested = [ "vpn.service" ]; }))
    (over offline "trap-switch-offline-vpn" (passes // { notTested = [ "vpn.service" ]; }) { systemd.services.metrics = service "Metrics" waits; })
    (from walled passes)
    (overWithout walled { systemd.services.firewall = true; networking = true; } "trap-switch-orphan-chains" passes { })
    # 9217, 12170: what it is told, and that it stays as it is.
    (on "trap-switch-id-warning" passes { users.users.mail.uid = 392; users.groups.mail.gid = 392; })
    # It says 4, since at its end the unit waits to be started again; then it is up.
    (on "trap-switch-auto-restart" passes (only "late" (
      service "Comes up at the second try" "[ -e /tmp/late-tried ] || { touch /tmp/late-tried; echo 'not yet' >&2; exit 1; }\n${waits}" // { serviceConfig = { Restart = "on-failure"; RestartSec = "6s"; }; }
    )))
    # 315602: names with escapes were more than its parser could read.
    (on "trap-switch-unit-escapes" passes (only "worker" (service "Worker of the application" waits // { before = [ "dev-disk-by\\x2dlabel-swap.swap" ]; })))
    # It reads its files again and goes on, as its unit says.
    (on "trap-switch-reloads" passes (only "app" { reload = "true"; reloadTriggers = [ "colour = red" ]; }))
  ];
in
builtins.listToAttrs (healthy ++ outcomes ++ residue ++ inTheWay ++ noWayBack ++ firewalls ++ [ (from person passes) ] ++ users ++ mounts ++ before ++ traps)
