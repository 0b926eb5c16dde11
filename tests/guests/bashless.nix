# What newer NixOS makes of `services.userborn.enable` and `system.nixos-init.enable` (services/system/userborn.nix,
# system/activation/nixos-init.nix): no activation script; users, homes and wrappers by units, before sysinit.target.
{ dist, ... }:
cfg:
let
  early = description: after: script: {
    inherit description script after;
    wantedBy = [ "sysinit.target" ];
    before = [ "systemd-tmpfiles-setup-dev.service" "sysinit.target" "shutdown.target" ];
    conflicts = [ "shutdown.target" ];
    unitConfig.DefaultDependencies = false;
    serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
  };
  users = {
    # What it makes of the declaration lies beside the system, as its own configuration file does.
    userborn = early "Manage Users and Groups" [ "systemd-remount-fs.service" ] ''
      from=/run/booted-system/users
      install -m 0644 $from/passwd $from/group /etc/
      install -m 0640 -g 318 $from/shadow /etc/
      mkdir -p -m 0700 /root
      while IFS=: read -r name _ uid gid _ home _; do
        case $home in /home/*) mkdir -p /home; install -d -m 0700 -o "$uid" -g "$gid" "$home" ;; esac
      done < /etc/passwd
    '' // { aliases = [ "systemd-sysusers.service" ]; };
  };
  wrappers = {
    suid-sgid-wrappers = early "Create SUID/SGID Wrappers" [ "systemd-remount-fs.service" ] ''
      mkdir -p /run/wrappers
      mount -t tmpfs -o mode=755,nodev tmpfs /run/wrappers
      mkdir -p /run/wrappers/bin
      cd ${dist}/usr/bin
      install -m 4755 su mount umount passwd newgrp /run/wrappers/bin/
    '';
  };
  userborn = cfg.services ? userborn && cfg.services.userborn.enable;
  nixosInit = cfg.system ? nixos-init && cfg.system.nixos-init.enable;
in
{
  systemd.services = (if userborn then users else { }) // (if nixosInit then wrappers else { });
}
