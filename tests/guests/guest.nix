# mkGuest { name, … }: a machine shaped like NixOS from a description in NixOS's own option names.
#
# What comes out has the form of an entry of nixosConfigurations: `config`, complete enough for a tool that reads
# options there, with system.build.{toplevel,vm} and virtualisation.vmVariant. There is no module system here:
# a description is an attribute set laid over the defaults below.
packages:
let
  inherit (packages) run tools kernel dist sw image;
  inherit (builtins) attrNames concatStringsSep filter isAttrs isBool isList listToAttrs map mapAttrs replaceStrings toString;

  recursiveUpdate =
    a: b:
    a
    // mapAttrs (
      n: v: if isAttrs v && !(v ? type && v.type == "derivation") && a ? ${n} && isAttrs a.${n} then recursiveUpdate a.${n} v else v
    ) b;
  attrValuesWith = f: set: map (n: f n set.${n}) (attrNames set);
  lines = concatStringsSep "\n";
  optional = cond: text: if cond then text else "";
  toList = v: if isList v then v else [ v ];
  # substitute FILE { name = text; }: the file with @name@ replaced.
  substitute =
    file: vars:
    replaceStrings (map (n: "@${n}@") (attrNames vars)) (map (n: toString vars.${n}) (attrNames vars)) (builtins.readFile file);
  # here PATH TEXT: shell that writes a file, whatever is in TEXT.
  here = path: text: "mkdir -p \"$(dirname \"${path}\")\"\nrm -f \"${path}\"\ncat > \"${path}\" <<'NIXBOX_END_OF_FILE'\n${text}\nNIXBOX_END_OF_FILE\n";

  # --- defaults, as NixOS has them -------------------------------------------------------------------------------
  defaults = name: {
    system = {
      inherit name;
      stateVersion = "25.11";
      configurationRevision = null;
      nixos = { version = "25.11.test"; release = "25.11"; };
      activationScripts = { };
      preSwitchChecks = { };
      switch.inhibitors = { };
    };
    networking = {
      hostName = name;
      useDHCP = true;
      useNetworkd = true;
      nameservers = [ "10.0.2.3" ];
      networkmanager.enable = false;
      firewall = { enable = false; allowedTCPPorts = [ ]; allowedUDPPorts = [ ]; };
    };
    users = {
      mutableUsers = true;
      allowNoPasswordLogin = false;
      users = {
        root = { uid = 0; group = "root"; home = "/root"; isNormalUser = false; isSystemUser = true; initialPassword = "root"; shell = "/run/current-system/sw/bin/bash"; };
        messagebus = { uid = 4; group = "messagebus"; isSystemUser = true; description = "D-Bus system message bus daemon user"; };
        systemd-network = { uid = 152; group = "systemd-network"; isSystemUser = true; };
        nobody = { uid = 65534; group = "nogroup"; isSystemUser = true; };
      };
      groups = mapAttrs (_: gid: { inherit gid; }) {
        root = 0; wheel = 1; kmem = 2; tty = 3; messagebus = 4; disk = 6; audio = 17; lp = 20; cdrom = 24; tape = 25;
        video = 26; dialout = 27; utmp = 29; adm = 55; shadow = 318; users = 100; systemd-journal = 62; systemd-network = 152;
        input = 174; kvm = 302; render = 303; sgx = 304; nogroup = 65534;
      };
    };
    systemd = {
      services = { };
      sockets = { };
      timers = { };
      targets = { };
      mounts = [ ];
      user = { services = { }; sockets = { }; timers = { }; targets = { }; };
      # By name, of Debian's; what a module takes from a package it enables.
      upstreamSystemUnits = [ ];
      upstreamUserUnits = [ ];
      tmpfiles.rules = [ ];
      defaultUnit = "multi-user.target";
    };
    boot = {
      kernelParams = [ ];
      initrd.systemd.enable = false;
    };
    environment.etc = { };
    services = {
      openssh.enable = false;
      nginx.enable = false;
      postgresql.enable = false;
      redis.enable = false;
      pipewire = {
        enable = false;
        audio.enable = false;
        pulse.enable = false;
        alsa.enable = false;
        jack.enable = false;
        systemWide = false;
        socketActivation = true;
        wireplumber.enable = true;
        extraConfig = { };
      };
      pulseaudio = { enable = false; systemWide = false; };
      xserver.enable = false;
      getty.autologinUser = null;
      resolved.enable = false;
    };
    security.pam.loginLimits = [ ];
    fileSystems = { };
    assertions = [ ];
    warnings = [ ];
    virtualisation = {
      memorySize = 1024;
      cores = 1;
      diskSize = 1024;
      graphics = false;
      forwardPorts = [ ];
      qemu.options = [ ];
    };
  };

  # --- systemd units ----------------------------------------------------------------------------------------------
  # Taken from Debian's systemd as NixOS takes its own, by name. NixOS links a few more; each start costs tenths of
  # a second without hardware virtualisation, so those that do nothing here are left out.
  upstreamUnits = [
    "sysinit.target" "basic.target" "sockets.target" "timers.target" "paths.target" "slices.target" "multi-user.target"
    "graphical.target" "local-fs-pre.target" "local-fs.target" "remote-fs-pre.target" "remote-fs.target" "swap.target"
    "network-pre.target" "network.target" "network-online.target" "nss-lookup.target" "nss-user-lookup.target"
    "time-set.target" "time-sync.target" "getty-pre.target" "getty.target" "umount.target" "shutdown.target" "final.target"
    "poweroff.target" "reboot.target" "halt.target" "kexec.target" "exit.target" "soft-reboot.target" "sigpwr.target" "rescue.target" "emergency.target"
    "sound.target" "bluetooth.target" "printer.target" "smartcard.target" "first-boot-complete.target"
    "initrd.target" "initrd-fs.target" "initrd-root-device.target" "initrd-root-fs.target" "initrd-switch-root.target" "initrd-usr-fs.target"
    "rescue.service" "emergency.service" "systemd-poweroff.service" "systemd-reboot.service" "systemd-halt.service" "systemd-exit.service" "systemd-soft-reboot.service"
    "systemd-journald.service" "systemd-journald.socket" "systemd-journald-dev-log.socket" "systemd-journal-flush.service" "systemd-journald@.service" "systemd-journald@.socket" "systemd-journald-varlink@.socket"
    "systemd-udevd.service" "systemd-udevd-control.socket" "systemd-udevd-kernel.socket" "systemd-udev-trigger.service" "systemd-udev-settle.service"
    "systemd-tmpfiles-setup.service" "systemd-tmpfiles-setup-dev.service" "systemd-tmpfiles-setup-dev-early.service" "systemd-tmpfiles-clean.service" "systemd-tmpfiles-clean.timer"
    "systemd-sysctl.service" "systemd-modules-load.service" "modprobe@.service" "kmod-static-nodes.service" "systemd-random-seed.service" "systemd-machine-id-commit.service"
    "systemd-remount-fs.service" "systemd-fsck@.service" "systemd-fsck-root.service"
    "systemd-logind.service" "systemd-user-sessions.service" "dbus-org.freedesktop.login1.service" "user@.service" "user-runtime-dir@.service" "user.slice" "machine.slice"
    "dbus.service" "dbus.socket" "getty@.service" "autovt@.service" "serial-getty@.service"
    "systemd-networkd.service" "systemd-networkd.socket" "systemd-networkd-wait-online.service" "systemd-networkd-wait-online@.service"
    "dev-hugepages.mount" "dev-mqueue.mount" "sys-kernel-debug.mount" "sys-fs-fuse-connections.mount" "sys-kernel-config.mount" "tmp.mount"
    "systemd-ask-password-console.path" "systemd-ask-password-console.service" "systemd-ask-password-wall.path" "systemd-ask-password-wall.service"
    "user-.slice.d" "user@.service.d" "user@0.service.d"
  ];
  upstreamWants = cfg: {
    "sysinit.target" = [
      "systemd-journald.service" "systemd-udevd.service" "systemd-udev-trigger.service" "systemd-tmpfiles-setup.service"
      "systemd-tmpfiles-setup-dev.service" "systemd-sysctl.service" "systemd-machine-id-commit.service"
    ];
    "sockets.target" = [ "systemd-journald.socket" "systemd-journald-dev-log.socket" "systemd-udevd-control.socket" "systemd-udevd-kernel.socket" "dbus.socket" ];
    "multi-user.target" = [ "dbus.service" "systemd-logind.service" "systemd-user-sessions.service" "getty.target" ]
      ++ (if cfg.networking.useNetworkd then [ "systemd-networkd.service" ] else [ ]);
    "timers.target" = [ "systemd-tmpfiles-clean.timer" ];
    "network-online.target" = if cfg.networking.useNetworkd then [ "systemd-networkd-wait-online.service" ] else [ ];
    "getty.target" = if cfg.virtualisation.graphics then [ "autovt@tty1.service" ] else [ ];
  };

  upstreamOverrides =
    cfg:
    let
      fixed = text: names: listToAttrs (map (name: { inherit name; value = text; }) names);
      # Restarted, or told to read them again, when these files of /etc change.
      files = etcFiles cfg { };
      follow = kind: pattern: "[Unit]\nX-${kind}-Triggers=${triggers (map (n: "${n} ${files.${n}.text or (toString files.${n}.source)}") (filter (n: builtins.match pattern n != null) (attrNames files)))}\n";
    in
    fixed "[Service]\nX-RestartIfChanged=false" [
      "user@.service" "user-runtime-dir@.service" "systemd-user-sessions.service" "systemd-journal-flush.service" "systemd-fsck@.service"
      "systemd-random-seed.service" "systemd-remount-fs.service" "modprobe@.service"
    ]
    // fixed "[Service]\nX-ReloadIfChanged=true" [ "systemd-logind.service" "dbus.service" ]
    // fixed "[Service]\nX-StopIfChanged=false" [ "systemd-journald.service" ]
    // fixed "[Unit]\nX-StopOnReconfiguration=true" [ "local-fs.target" "remote-fs.target" ]
    // {
      "systemd-sysctl.service" = follow "Restart" "sysctl\\.d/.*";
      "systemd-modules-load.service" = follow "Restart" "modules-load\\.d/.*";
      "systemd-networkd.service" = follow "Reload" "systemd/network/.*\\.network" + follow "Restart" "systemd/network(/.*\\.(netdev|link)|d\\.conf)" + "[Service]\nX-StopIfChanged=false\nX-NotSocketActivated=true";
    };

  # Of Debian's user units, those that no option stands for: every user manager has them. What NixOS links only when
  # an option says so is left to that (systemd.upstreamUserUnits).
  optionalUserUnits = "pipewire*|filter-chain*|wireplumber*|pulseaudio*|thunar*";

  unitValue = v: if isBool v then (if v then "true" else "false") else toString v;
  section = title: attrs:
    optional (attrs != { }) (
      "[${title}]\n" + concatStringsSep "" (attrValuesWith (n: v: concatStringsSep "" (map (x: "${n}=${unitValue x}\n") (toList v))) attrs) + "\n"
    );
  relations = {
    description = "Description"; after = "After"; before = "Before"; wants = "Wants"; requires = "Requires";
    bindsTo = "BindsTo"; partOf = "PartOf"; conflicts = "Conflicts"; onFailure = "OnFailure";
  };
  unitSection = u:
    section "Unit" (
      listToAttrs (
        map (n: { name = relations.${n}; value = if isList u.${n} then concatStringsSep " " u.${n} else u.${n}; }) (filter (n: u ? ${n}) (attrNames relations))
      )
      // (if u ? restartTriggers then { X-Restart-Triggers = triggers u.restartTriggers; } else { })
      // (if u ? reloadTriggers then { X-Reload-Triggers = triggers u.reloadTriggers; } else { })
      // (u.unitConfig or { })
    );
  # A hash, where NixOS has the path of a file of them.
  triggers = texts: builtins.hashString "sha256" (lines (map toString texts));

  # Only a switch starts them: what is ordered before sysinit.target goes in order, and tmpfiles rules are applied
  # (nixos/modules/system/boot/systemd.nix, systemd/tmpfiles.nix).
  reactivation = cfg: {
    targets.sysinit-reactivation.description = "Reactivate sysinit units";
    services.systemd-tmpfiles-resetup = {
      description = "Re-setup tmpfiles on a system that is already running.";
      requiredBy = [ "sysinit-reactivation.target" ];
      after = [ "local-fs.target" "systemd-journald.service" ];
      before = [ "sysinit-reactivation.target" "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      restartTriggers = cfg.systemd.tmpfiles.rules;
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${dist}/usr/bin/systemd-tmpfiles --create --remove --exclude-prefix=/dev";
        SuccessExitStatus = "DATAERR CANTCREAT";
      };
    };
  };

  units =
    cfg:
    let
      # Each a store path of its own, as in NixOS: a service whose script did not change has the same unit as before.
      scriptFile = n: kind: text:
        let name = replaceStrings [ "@" ] [ "_" ] "unit-script-${n}-${kind}"; in
        "${run name { } ("mkdir -p $out/bin\n" + here "$out/bin/${n}-${kind}" "#!${sw}/bin/bash\nset -e\n${text}" + "chmod 755 $out/bin/${n}-${kind}\n")}/bin/${n}-${kind}";
      # What the switch program goes by (nixos/lib/systemd-lib.nix, serviceToUnit and unitConfig).
      ifChanged = s:
        (if s.reloadIfChanged or false then { X-ReloadIfChanged = true; } else if !(s.restartIfChanged or true) then { X-RestartIfChanged = false; } else { })
        // (if s.stopIfChanged or true then { } else { X-StopIfChanged = false; })
        // (if s.notSocketActivated or false then { X-NotSocketActivated = true; } else { });
      execs = {
        script = { directive = "ExecStart"; kind = "start"; };
        preStart = { directive = "ExecStartPre"; kind = "pre-start"; };
        postStart = { directive = "ExecStartPost"; kind = "post-start"; };
        reload = { directive = "ExecReload"; kind = "reload"; };
        preStop = { directive = "ExecStop"; kind = "pre-stop"; };
        postStop = { directive = "ExecStopPost"; kind = "post-stop"; };
      };
      serviceText = n: s:
        unitSection s
        + section "Service" (
          {
            Environment = [ "\"PATH=${sw}/bin\"" ] ++ attrValuesWith (k: v: "\"${k}=${v}\"") (s.environment or { });
          }
          // ifChanged s
          // builtins.listToAttrs (map (k: { name = execs.${k}.directive; value = scriptFile n execs.${k}.kind s.${k}; }) (filter (k: s ? ${k}) (attrNames execs)))
          // (s.serviceConfig or { })
        );
      service = serviceOf "system";
      serviceOf = dir: n: s:
        putIn dir "${n}.service" s (s.rawText or (serviceText n s))
        + optional (s ? startAt) (put "${n}.timer" { wantedBy = [ "timers.target" ]; } (section "Unit" { } + section "Timer" { OnCalendar = s.startAt; }));
      put = putIn "system";
      # A unit that a package brings is not replaced in a user manager but changed, by a drop-in, as NixOS's
      # overrideStrategy has it.
      putIn = dir: unit: u: text:
        (
          if !(u.enable or true) then
            "ln -sfn /dev/null $out/${dir}/${unit}\n"
          else if dir == "user" then
            "if [ -L $out/user/${unit} ]; then\n" + here "$out/user/${unit}.d/overrides.conf" text + "else\n" + here "$out/user/${unit}" text + "fi\n"
          else
            here "$out/${dir}/${unit}" text
        )
        + concatStringsSep "" (map (a: "ln -sfn ${unit} $out/${dir}/${a}\n") (u.aliases or [ ]))
        + concatStringsSep "" (map (t: wantIn dir t unit) (u.wantedBy or [ ]))
        + concatStringsSep "" (map (t: "mkdir -p $out/${dir}/${t}.requires\nln -sfn ../${unit} $out/${dir}/${t}.requires/${unit}\n") (u.requiredBy or [ ]));
      want = wantIn "system";
      wantIn = dir: t: unit: "mkdir -p $out/${dir}/${t}.wants\nln -sfn ../${unit} $out/${dir}/${t}.wants/${unit}\n";
      socketOf = dir: n: u: putIn dir "${n}.socket" u (unitSection u + section "Socket" ((if u ? listenStreams then { ListenStream = u.listenStreams; } else { }) // (u.socketConfig or { })));
      timerOf = dir: n: u: putIn dir "${n}.timer" u (unitSection u + section "Timer" (u.timerConfig or { }));
      pathOf = dir: n: u: putIn dir "${n}.path" u (unitSection u + section "Path" (u.pathConfig or { }));
      targetOf = dir: n: u: putIn dir "${n}.target" u (unitSection u);
      escape = path: replaceStrings [ "-" "/" ] [ "\\x2d" "-" ] (builtins.substring 1 (-1) path);
    in
    run "system-units" { } (
      ''
        mkdir -p $out/system $out/user
        for unit in ${concatStringsSep " " (upstreamUnits ++ cfg.systemd.upstreamSystemUnits)}; do
          if [ -e ${dist}/upstream/system/$unit ]; then ln -sf ${dist}/upstream/system/$unit $out/system/$unit; fi
        done
        for unit in ${dist}/upstream/user/*; do case ''${unit##*/} in *.wants|*.d|${optionalUserUnits}) ;; *) ln -s $unit $out/user/ ;; esac; done
        for unit in ${concatStringsSep " " cfg.systemd.upstreamUserUnits}; do ln -sf ${dist}/upstream/user/$unit $out/user/$unit; done
        mkdir -p $out/user/sockets.target.wants
        ln -s ../dbus.socket $out/user/sockets.target.wants/dbus.socket
        # Debian's calls systemctl by a name that is not there; it tells the manager where the bus is.
        mkdir -p $out/user/dbus.socket.d
        printf '[Socket]\nExecStartPost=\nExecStartPost=-${sw}/bin/systemctl --user set-environment DBUS_SESSION_BUS_ADDRESS=unix:path=%%t/bus\n' > $out/user/dbus.socket.d/overrides.conf
        ln -s ${cfg.systemd.defaultUnit} $out/system/default.target
        ln -s reboot.target $out/system/ctrl-alt-del.target
      ''
      # What NixOS says of units that systemd brings (nixos/modules/system/boot/systemd.nix and those beside it).
      + concatStringsSep "" (attrValuesWith (unit: text: ''
        if [ -L $out/system/${unit}.d ]; then
          upstream=$(readlink $out/system/${unit}.d)
          rm $out/system/${unit}.d
          mkdir $out/system/${unit}.d
          ln -s $upstream/* $out/system/${unit}.d/
        fi
      '' + here "$out/system/${unit}.d/nixos.conf" text) (upstreamOverrides cfg))
      # agetty's own idea of where login is does not hold here; NixOS passes it too.
      + concatStringsSep "" (
        map (n:
          here "$out/system/${n}.d/overrides.conf" ''
            [Service]
            ExecStart=
            ExecStart=-${dist}/usr/sbin/agetty --login-program ${dist}/usr/bin/login ${optional (cfg.services.getty.autologinUser != null) "--autologin ${cfg.services.getty.autologinUser} "}--noclear --keep-baud %I 115200,38400,9600 $TERM
            X-RestartIfChanged=false
          '') [ "getty@.service" "serial-getty@.service" "autovt@.service" ]
      )
      + concatStringsSep "" (attrValuesWith (t: us: concatStringsSep "" (map (want t) us)) (upstreamWants cfg))
      + concatStringsSep "" (attrValuesWith service ((reactivation cfg).services // cfg.systemd.services))
      + concatStringsSep "" (attrValuesWith (socketOf "system") cfg.systemd.sockets)
      + concatStringsSep "" (attrValuesWith (timerOf "system") cfg.systemd.timers)
      + concatStringsSep "" (attrValuesWith (pathOf "system") (cfg.systemd.paths or { }))
      + concatStringsSep "" (attrValuesWith (targetOf "system") ((reactivation cfg).targets // cfg.systemd.targets))
      + concatStringsSep "" (map (u: put "${escape u.where}.mount" u (unitSection u + section "Mount" ({ What = u.what; Where = u.where; } // (if u ? type then { Type = u.type; } else { }) // (u.mountConfig or { })))) cfg.systemd.mounts)
      + concatStringsSep "" (attrValuesWith (serviceOf "user") cfg.systemd.user.services)
      + concatStringsSep "" (attrValuesWith (socketOf "user") cfg.systemd.user.sockets)
      + concatStringsSep "" (attrValuesWith (timerOf "user") cfg.systemd.user.timers)
      + concatStringsSep "" (attrValuesWith (targetOf "user") cfg.systemd.user.targets)
    );

  # --- /etc ---------------------------------------------------------------------------------------------------------
  pam = extra: pamOfSu + "session required pam_loginuid.so\n${extra}session optional pam_systemd.so\n";
  # Without a session of logind's, as NixOS has it for su.
  pamOfSu = ''
    account required pam_unix.so
    auth sufficient pam_rootok.so
    auth sufficient pam_unix.so likeauth try_first_pass
    auth required pam_deny.so
    password sufficient pam_unix.so yescrypt
    session required pam_env.so conffile=/etc/pam/environment readenv=0
    session required pam_unix.so
    session required pam_limits.so conf=/etc/security/limits.conf
  '';

  etcFiles =
    cfg: fileSystems:
    {
      "hostname".text = cfg.networking.hostName;
      "hosts".text = "127.0.0.1 localhost\n::1 localhost\n127.0.0.2 ${cfg.networking.hostName}";
      "nsswitch.conf".text = "passwd: files systemd\ngroup: files [success=merge] systemd\nshadow: files\nhosts: files myhostname dns\nnetworks: files\nservices: files\nprotocols: files";
      "os-release".text = "ID=nixos\nNAME=NixOS\nPRETTY_NAME=\"NixOS 25.11 (test guest)\"\nVERSION=\"25.11 (test guest)\"\nVERSION_ID=\"25.11\"\nBUILD_ID=\"25.11.test\"";
      "issue".text = "<<< Welcome to ${cfg.networking.hostName} (\\m) - \\l >>>";
      "shells".text = "/run/current-system/sw/bin/bash\n/bin/sh";
      "login.defs".text = "ENCRYPT_METHOD YESCRYPT\nUMASK 077\nSYS_UID_MIN 400\nSYS_UID_MAX 999\nUID_MIN 1000\nUID_MAX 29999\nDEFAULT_HOME yes";
      "profile".text = "export PATH=/run/wrappers/bin:/run/current-system/sw/bin\nexport XDG_DATA_DIRS=/run/current-system/sw/share\nexport LANG=C.UTF-8\numask 0022";
      "bashrc".text = "PS1='[\\u@\\h:\\w]\\$ '";
      "locale.conf".text = "LANG=C.UTF-8";
      "environment".text = "";
      "security/limits.conf".text = lines (map (l: "${l.domain} ${l.type} ${l.item} ${toString l.value}") cfg.security.pam.loginLimits);
      # What NixOS calls session variables: every session has them, and so every user manager.
      "pam/environment".text = lines [
        "PATH DEFAULT=\"/run/wrappers/bin:@{HOME}/.nix-profile/bin:/etc/profiles/per-user/@{PAM_USER}/bin:/run/current-system/sw/bin\""
        "XDG_DATA_DIRS DEFAULT=\"@{HOME}/.nix-profile/share:/etc/profiles/per-user/@{PAM_USER}/share:/run/current-system/sw/share\""
        "XDG_CONFIG_DIRS DEFAULT=\"/etc/xdg:/run/current-system/sw/etc/xdg\""
      ];
      "security/pam_env.conf".text = "";
      "resolv.conf".text = concatStringsSep "\n" (map (n: "nameserver ${n}") cfg.networking.nameservers);
      "pam.d/login".text = pam "";
      "pam.d/su".text = pamOfSu;
      "pam.d/runuser".text = pam "";
      "pam.d/systemd-user".text = pam "";
      "pam.d/passwd".text = pam "";
      "pam.d/other".text = "auth required pam_deny.so\naccount required pam_deny.so\npassword required pam_deny.so\nsession required pam_deny.so";
      # A store path of its own, by which the switch program tells whether systemd is to be restarted.
      "systemd/system.conf".source = run "system.conf" { } (here "$out" "[Manager]\nManagerEnvironment=PATH=${sw}/bin\nDefaultEnvironment=PATH=${sw}/bin\nKExecWatchdogSec=5min");
      "systemd/user.conf".text = "[Manager]\nManagerEnvironment=PATH=${sw}/bin\nDefaultEnvironment=PATH=${sw}/bin";
      "systemd/journald.conf".text = "[Journal]\nStorage=volatile\nRateLimitInterval=30s\nRateLimitBurst=10000\nAudit=no";
      "systemd/logind.conf".text = "[Login]\nKillUserProcesses=no";
      # Presets would otherwise enable everything on a first boot; NixOS ignores them all.
      "systemd/system-preset/00-nixos.preset".text = "ignore *";
      "systemd/user-preset/00-nixos.preset".text = "ignore *";
      # The kernel's names (eth0) become predictable ones (ens3), as on NixOS.
      "systemd/network/99-default.link".text = "[Match]\nOriginalName=*\n\n[Link]\nNamePolicy=keep kernel database onboard slot path\nAlternativeNamesPolicy=database onboard slot path mac\nMACAddressPolicy=persistent";
      "sysctl.d/60-nixos.conf".text = "net.ipv4.ping_group_range=0 2147483647\nkernel.printk=4 4 1 7";
      "tmpfiles.d/00-nixos.conf".text = lines ([ "d /var/lib/private 0700 root root -" "d /var/empty 0555 root root -" "d /srv 0755 root root -" ] ++ cfg.systemd.tmpfiles.rules);
      "fstab".text = lines (
        attrValuesWith (mountPoint: fs: "${fs.device or "none"} ${mountPoint} ${fs.fsType or "auto"} ${concatStringsSep "," (fs.options or [ "defaults" ])} 0 ${if fs.noCheck or true then "0" else "2"}") fileSystems
      );
    }
    // listToAttrs (
      map (n: { name = "tmpfiles.d/${n}.conf"; value.source = "${dist}/upstream/tmpfiles.d/${n}.conf"; }) [ "systemd" "systemd-nologin" "systemd-tmp" "var" "tmp" "home" "static-nodes-permissions" ]
    )
    // (
      if cfg.networking.useNetworkd then
        {
          "systemd/network/99-ethernet-default-dhcp.network".text = "[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no";
        }
      else
        { }
    )
    // cfg.environment.etc;

  userLine = cfg: n: u: "${n}:x:${toString (uidOf cfg n)}:${toString (gidOf cfg (u.group or "users"))}:${u.description or ""}:${homeOf n u}:${shellOf u}";
  isNormal = u: u.isNormalUser or false;
  homeOf = n: u: u.home or (if isNormal u then "/home/${n}" else "/var/empty");
  shellOf = u: toString (u.shell or (if isNormal u then "/run/current-system/sw/bin/bash" else "${dist}/usr/sbin/nologin"));
  indexOf = x: xs: let go = i: ys: if ys == [ ] then 0 else if builtins.head ys == x then i else go (i + 1) (builtins.tail ys); in go 0 xs;
  uidOf = cfg: n: let u = cfg.users.users.${n}; in
    if u ? uid && u.uid != null then u.uid else (if isNormal u then 1000 else 900) + indexOf n (filter (m: isNormal cfg.users.users.${m} == isNormal u) (attrNames cfg.users.users));
  gidOf = cfg: g: let grp = cfg.users.groups.${g} or (throw "guest: group ${g} is not declared"); in grp.gid or (700 + indexOf g (attrNames cfg.users.groups));

  etc =
    cfg: fileSystems:
    let
      files = etcFiles cfg fileSystems;
      members = g: filter (n: builtins.elem g (cfg.users.users.${n}.extraGroups or [ ])) (attrNames cfg.users.users);
      # Hashes of declared passwords; what has none is locked, as update-users-groups.pl does it.
      shadow = n: u:
        if u ? hashedPassword && u.hashedPassword != null then
          "echo '${n}:${u.hashedPassword}:1::::::' >> $out/users/shadow\n"
        else if u ? hashedPasswordFile || (u.password or null) == null && (u.initialPassword or null) == null then
          "echo '${n}:!:1::::::' >> $out/users/shadow\n"
        else
          "echo \"${n}:$(mkpasswd -m sha512 -S nixboxguest '${if (u.password or null) != null then u.password else u.initialPassword}'):1::::::\" >> $out/users/shadow\n";
      unitTree = units cfg;
    in
    run "etc" { } (
      "mkdir -p $out/etc/systemd $out/users $out/links\n"
      + concatStringsSep "" (attrValuesWith (n: f: if f ? source then "mkdir -p \"$(dirname $out/etc/${n})\"\nln -sfn ${f.source} $out/etc/${n}\n" else here "$out/etc/${n}" f.text) files)
      + "ln -s ${unitTree}/system $out/etc/systemd/system\nln -s ${unitTree}/user $out/etc/systemd/user\n"
      + "mkdir -p $out/etc/dbus-1 $out/etc/udev\n"
      + ''
        # What /etc gets: real directories, and a link into /etc/static for each file.
        cd $out/etc
        find . -type d | while read -r dir; do mkdir -p "$out/links/$dir"; done
        find . ! -type d | sed 's#^\./##' | while read -r file; do ln -s "/etc/static/$file" "$out/links/$file"; done
        cd /
      ''
      + here "$out/users/passwd" (lines (attrValuesWith (userLine cfg) cfg.users.users))
      + here "$out/users/group" (lines (attrValuesWith (n: _: "${n}:x:${toString (gidOf cfg n)}:${concatStringsSep "," (members n)}") cfg.users.groups))
      + concatStringsSep "" (attrValuesWith shadow cfg.users.users)
      # As update-users-groups.pl keeps them: which ids a name has had, and which names the configuration declared.
      + here "$out/users/declarative-users" (concatStringsSep " " (attrNames cfg.users.users))
      + here "$out/users/declarative-groups" (concatStringsSep " " (attrNames cfg.users.groups))
      + here "$out/users/uid-map" (builtins.toJSON (mapAttrs (n: _: uidOf cfg n) cfg.users.users))
      + here "$out/users/gid-map" (builtins.toJSON (mapAttrs (n: _: gidOf cfg n) cfg.users.groups))
      # Those that no option gives an id.
      + here "$out/users/auto-users" (concatStringsSep " " (filter (n: cfg.users.users.${n}.uid or null == null) (attrNames cfg.users.users)))
      + here "$out/users/auto-groups" (concatStringsSep " " (filter (n: cfg.users.groups.${n}.gid or null == null) (attrNames cfg.users.groups)))
    );

  # --- toplevel -----------------------------------------------------------------------------------------------------
  snippets =
    cfg: etcTree: dry:
    let
      homes = filter (n: let u = cfg.users.users.${n}; in u.createHome or (isNormal u)) (attrNames cfg.users.users);
      standard = {
        "00-binsh" = "mkdir -p /bin /usr/bin\nln -sfn ${sw}/bin/bash /bin/sh\nln -sfn ${sw}/bin/env /usr/bin/env";
        "01-etc" = substitute ./etc.sh { etc = etcTree; };
        # The store's files are read-only, and so would their copies be; login and passwd want to write.
        "02-users" = substitute ./users.sh { users = "${etcTree}/users"; mutable = if cfg.users.mutableUsers then "1" else ""; }
        + concatStringsSep "" (map (n: let u = cfg.users.users.${n}; in "install -d -m 0700 -o ${n} -g ${u.group or "users"} ${homeOf n u}\n") homes)
        + concatStringsSep "" (map (n: let file = cfg.users.users.${n}.hashedPasswordFile; in ''
          if [ -e ${file} ]; then
            sed -i "s#^${n}:[^:]*:#${n}:$(cat ${file}):#" /etc/shadow
          else
            echo "warning: password file ‘${file}’ does not exist"
          fi
        '') (filter (n: cfg.users.users.${n} ? hashedPasswordFile) (attrNames cfg.users.users)));
        "03-var" = "mkdir -p /var/lib /var/log /var/cache /var/empty /home /srv /mnt\n[ -e /var/run ] || ln -sfn /run /var/run";
        "04-wrappers" = ''
          mkdir -p /run/wrappers
          mountpoint -q /run/wrappers || mount -t tmpfs -o mode=755,nodev tmpfs /run/wrappers
          mkdir -p /run/wrappers/bin
          (cd ${dist}/usr/bin && install -m 4755 su mount umount passwd newgrp /run/wrappers/bin/)
        '';
        "05-linger" = "mkdir -p /var/lib/systemd/linger\n" + concatStringsSep "" (map (n: "touch /var/lib/systemd/linger/${n}\n") (filter (n: cfg.users.users.${n}.linger or false) (attrNames cfg.users.users)));
        "05-modprobe" = "echo ${dist}/usr/sbin/modprobe > /proc/sys/kernel/modprobe";
        "06-hostname" = "echo ${cfg.networking.hostName} > /proc/sys/kernel/hostname";
      };
      custom = cfg.system.activationScripts;
      supportsDry = v: isAttrs v && v.supportsDryActivation or false;
      wrap = n: text: ''
        #### Activation script snippet ${n}:
        _localstatus=0
        ${text}

        if (( _localstatus > 0 )); then
          printf "Activation script snippet '%s' failed (%s)\n" "${n}" "$_localstatus"
        fi
      '';
      textOf = v: if isAttrs v then v.text else v;
      bare = n: builtins.substring 3 (-1) n;
    in
    if dry then
      lines (attrValuesWith (n: v: if supportsDry v then wrap n (textOf v) else "#### Activation script snippet ${n} does not support dry activation.") custom)
    else
      lines (attrValuesWith (n: text: wrap (bare n) text) standard ++ attrValuesWith (n: v: wrap n (textOf v)) custom);

  speedups = [
    # Without hardware virtualisation these save seconds; none changes what the machine does.
    "mitigations=off" "init_on_alloc=0" "nokaslr" "tsc=reliable" "no_timer_check" "random.trust_cpu=on" "quiet" "cryptomgr.notests" "audit=0"
  ];

  # The mounts are the same whoever does them.
  mounts =
    cfg: root:
    substitute ./stage-1-mounts.sh {
      inherit dist root;
      before = cfg.nixbox.stage1 or "";
      mountStore =
        (
          if cfg.nixbox.store or "9p" == "virtiofs" then
            "busybox mount -t virtiofs nix-store ${root}/nix/.ro-store || fail"
          else
            "busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=16384,cache=loose nix-store ${root}/nix/.ro-store || fail"
        )
        + "\nfor tag in xchg shared; do busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=16384 $tag ${root}/tmp/$tag || fail; done";
    };
  # system.etc.overlay: /etc is there before stage 2, what is written to it above what the system brings.
  overlayEtc =
    cfg: etcTree:
    optional (cfg.system.etc.overlay.enable or false) ''
      busybox mkdir -p /sysroot/etc /sysroot/.rw-etc/upper /sysroot/.rw-etc/work
      busybox mount -t overlay -o lowerdir=/sysroot${etcTree}/etc,upperdir=/sysroot/.rw-etc/upper,workdir=/sysroot/.rw-etc/work overlay /sysroot/etc || fail
    '';
  stage1 =
    cfg: etcTree:
    if cfg.boot.initrd.systemd.enable then
      packages.initrdSystemd {
        script = run "mounts.sh" { } (here "$out" (substitute ./stage-1-systemd.sh {
          mounts = mounts cfg "/sysroot";
          after = overlayEtc cfg etcTree + cfg.nixbox.stage1After or "";
        }));
        activation = if cfg.nixbox.activatesInInitrd or false then ./initrd-activation.sh else null;
      }
    else
      packages.initrd {
        name = cfg.nixbox.store or "9p";
        script = run "stage-1.sh" { } (here "$out" (substitute ./stage-1.sh { mounts = mounts cfg "/mnt-root"; }));
      };

  # nixos/modules/system/activation/pre-switch-check.nix.
  preSwitchChecks = cfg:
    "#!${sw}/bin/bash\nset -euo pipefail\nexport PATH=${sw}/bin\n"
    + concatStringsSep "" (attrValuesWith (n: text: ''
      set +e
      (
      set -e
      ${text}
      ) >&2
      _rc=$?
      set -e
      if [ "$_rc" -ne 0 ]; then
        echo "Pre-switch check '${n}' failed" >&2
        exit 1
      fi
    '') (cfg.system.preSwitchChecks // { switchInhibitors = builtins.readFile ./switch-inhibitors.sh; }));

  toplevel =
    cfg: fileSystems:
    let
      etcTree = etc cfg fileSystems;
      vars = { inherit sw dist; systemConfig = builtins.placeholder "out"; };
      bashless = cfg.system.nixos-init.enable or false;
    in
    run "nixos-system-${cfg.system.name}-25.11.test" { } (
      ''
        mkdir -p $out/bin
        ln -s ${cfg.nixbox.kernel or kernel}/vmlinux $out/kernel
        ln -s ${cfg.nixbox.initrd or (stage1 cfg etcTree)} $out/initrd
        ln -s ${cfg.nixbox.kernel or kernel} $out/kernel-modules
        ln -s ${sw} $out/sw
        ln -s ${etcTree}/etc $out/etc
        ln -s ${dist}/usr $out/systemd
        echo -n "25.11.test" > $out/nixos-version
        echo -n x86_64-linux > $out/system
        echo -n "systemd 257" > $out/init-interface-version
        echo -n "${concatStringsSep " " (speedups ++ cfg.boot.kernelParams ++ [ "loglevel=4" "lsm=landlock,yama,bpf" ])}" > $out/kernel-params
      ''
      + here "$out/init" (cfg.nixbox.init or (substitute (if bashless then ./init-bashless.sh else ./stage-2.sh) vars))
      + "chmod 755 $out/init\n"
      + (
        if bashless then
          "ln -s ${etcTree}/users $out/users\n"
        else
          here "$out/activate" (substitute ./activate.sh (vars // { snippets = snippets cfg etcTree false; current = "ln -sfn \"$systemConfig\" /run/current-system"; }))
          + here "$out/dry-activate" (substitute ./activate.sh (vars // { snippets = snippets cfg etcTree true; current = ""; }))
          + here "$out/pre-switch-checks" (preSwitchChecks cfg)
          + here "$out/switch-inhibitors" (builtins.toJSON cfg.system.switch.inhibitors)
          + here "$out/bin/switch-to-configuration" (substitute ./switch-to-configuration.sh vars)
          + "chmod 755 $out/activate $out/dry-activate $out/pre-switch-checks $out/bin/switch-to-configuration\n"
      )
      + optional (cfg.nixbox.noInit or false) "rm $out/init\n"
      # As NixOS's system builder does it.
      + optional (cfg ? specialisation) (
        "mkdir $out/specialisation\n"
        + concatStringsSep "" (attrValuesWith (n: s: "ln -s ${s.configuration.system.build.toplevel} \"$out/specialisation/${n}\"\n") cfg.specialisation)
      )
    );

  # --- runner ---------------------------------------------------------------------------------------------------
  registration = run "closure-info" { } "mkdir $out\n: > $out/registration";

  runner =
    cfg: top:
    let
      v = cfg.virtualisation;
      ownStore = cfg.nixbox.ownStore or false;
      # But for what travels in the image.
      closure = run "own-store-paths" { exportReferencesGraph = [ "graph" top ]; } ''
        mkdir $out
        grep '^/nix/store/' graph | grep -v '\.drv$' | grep -vxF -e ${kernel} -e ${dist} -e ${sw} | sort -u > $out/paths
      '';
      vars = {
        inherit tools image;
        inherit (cfg.system) name;
        shellName = replaceStrings [ "-" "." ] [ "_" "_" ] cfg.system.name;
        inherit (v) diskSize memorySize cores;
        toplevel = top;
        regInfo = registration;
        forwardPorts = concatStringsSep "" (map (f: "hostfwd=${f.proto or "tcp"}::${toString f.host.port}-:${toString f.guest.port},") v.forwardPorts);
        consoles = if v.graphics then "console=ttyS0,115200n8 console=tty0" else "console=tty0 console=ttyS0,115200n8";
        options = concatStringsSep " \\\n    " (
          (if v.graphics then [ "-usb -device usb-tablet,bus=usb-bus.0" "-device virtio-keyboard" ] else [ "-nographic" ]) ++ v.qemu.options
        );
        storeShare =
          if ownStore then
            "-virtfs local,path=\"$TMPDIR\"/own-store,security_model=none,mount_tag=nix-store"
          else
            cfg.nixbox.storeShare or "-virtfs local,path=/nix/store,security_model=none,mount_tag=nix-store";
        # As virtualisation.useNixStoreImage has it: what the system is made of, and nothing else of the host's store.
        beforeStart =
          if ownStore then
            "mkdir \"$TMPDIR\"/own-store\nwhile read -r path; do cp -a \"$path\" \"$TMPDIR\"/own-store/; done < ${closure}/paths\nchmod -R u+w \"$TMPDIR\"/own-store"
          else
            cfg.nixbox.beforeStart or "";
      };
    in
    run "nixos-vm" { } (
      "mkdir -p $out/bin\n"
      + here "$out/bin/run-${cfg.system.name}-vm" (cfg.nixbox.runner or (substitute ./run-vm.sh vars))
      + "chmod 755 $out/bin/run-${cfg.system.name}-vm\nln -s ${top} $out/system\n"
    )
    // { meta.mainProgram = "run-${cfg.system.name}-vm"; };

  # disko's own VM (lib/interactive-vm.nix of disko): a script that makes an overlay of each disk's image and starts the
  # runner. Each of these disks holds one file system, by whose label it is mounted; the root stays the VM's.
  diskoVm = disks: vm:
    let
      images = run "disko-images" { } (lines (map (name: "${tools}/bin/qemu-img create -f raw ${name}.raw 64M\n${tools}/bin/mkfs.ext4 -L ${name} ${name}.raw\nmkdir -p $out\n${tools}/bin/qemu-img convert -f raw -O qcow2 ${name}.raw $out/${name}.qcow2") disks));
      overlay = name: "qemu-img create -f qcow2 -b ${images}/${name}.qcow2 -F qcow2 \"$tmp\"/${name}.qcow2";
    in
    run "disko-vm" { } (
      here "$out/bin/disko-vm" ''
        #!${tools}/bin/bash
        set -efux
        PATH=${tools}/bin
        export tmp=$(mktemp -d)
        trap 'rm -rf "$tmp"' EXIT
        ${lines (map overlay disks)}
        set +f
        ${vm}/bin/run-*-vm "$@"''
      + "chmod 755 $out/bin/disko-vm\n"
    );

  # Each reads a description and gives what is laid under it: what options of it mean. Lists are joined, so that two
  # modules can both add units.
  modules = [ (import ./sound.nix { inherit dist sw; }) (import ./graphical.nix { inherit dist sw run here; }) (import ./bashless.nix { inherit dist; }) ];
  joinLists = a: b: a // mapAttrs (n: v: if a ? ${n} && isList a.${n} && isList v then a.${n} ++ v else if isAttrs v && !(v ? type) && a ? ${n} && isAttrs a.${n} then joinLists a.${n} v else v) b;
  # What modules give is stronger than a default and weaker than what a description says.
  withModules =
    defaults: description:
    let
      cfg = recursiveUpdate defaults description;
      given = builtins.foldl' joinLists { } (map (module: module cfg) modules);
      both = recursiveUpdate (recursiveUpdate defaults given) description;
      join = n: (given.systemd.${n} or [ ]) ++ cfg.systemd.${n};
    in
    recursiveUpdate both {
      systemd = {
        upstreamSystemUnits = join "upstreamSystemUnits";
        upstreamUserUnits = join "upstreamUserUnits";
        tmpfiles.rules = (given.systemd.tmpfiles.rules or [ ]) ++ cfg.systemd.tmpfiles.rules;
      };
    };

  hostFileSystems = cfg: {
    "/" = { device = "/dev/disk/by-label/host-root"; fsType = "ext4"; };
  } // cfg.fileSystems;
  vmFileSystems = cfg: {
    "/" = { device = "/dev/disk/by-label/nixos"; fsType = "ext4"; };
  } // (cfg.virtualisation.fileSystems or { });

  checkAssertions =
    cfg: value:
    let failed = filter (a: !a.assertion) cfg.assertions;
    in if failed == [ ] then value else throw "\nFailed assertions:\n${lines (map (a: "- ${a.message}") failed)}";
in
rec {
  inherit recursiveUpdate;

  # mkGuest { name; config ? {}; vm ? {}; host ? {}; nixbox ? {}; specialisations ? {} }:
  #   config  options, laid over the defaults
  #   vm      options that only the VM variant has (virtualisation.vmVariant)
  #   host    options that only the host's own system has, hidden in the VM
  #   nixbox  how the test machine itself is put together (a different runner, store, stage 1)
  #   specialisations  by name, options laid over `config`: each is a whole machine, in the host's own system
  mkGuest =
    { name, config ? { }, vm ? { }, host ? { }, nixbox ? { }, specialisations ? { } }:
    let
      # In NixOS the option's value is the evaluated `config` itself.
      special = options: {
        inheritParentConfig = true;
        configuration = (mkGuest { inherit name vm host nixbox; config = recursiveUpdate config options; }).config;
      };
      specialisation = if specialisations == { } then { } else { specialisation = mapAttrs (_: special) specialisations; };
      base = recursiveUpdate config { inherit nixbox; };
      vmConfig = withModules (defaults name) (recursiveUpdate base vm);
      hostConfig = withModules (defaults name) (recursiveUpdate base host) // specialisation;
      vmTop = toplevel vmConfig (vmFileSystems vmConfig);
      # The VM's file systems stand for the host's, as NixOS has it.
      variant = recursiveUpdate (removeAttrs vmConfig [ "fileSystems" ]) {
        fileSystems = vmFileSystems vmConfig;
        system.build = { toplevel = vmTop; vm = runner vmConfig vmTop; };
      };
      visible = c: removeAttrs c [ "nixbox" ];
      disks = nixbox.disko or [ ];
      onDisks = recursiveUpdate vmConfig {
        virtualisation.qemu.options = vmConfig.virtualisation.qemu.options ++ map (name: "-drive file=\"$tmp\"/${name}.qcow2,if=virtio,werror=report") disks;
        fileSystems = vmFileSystems vmConfig // listToAttrs (map (name: { name = "/${name}"; value = { device = "/dev/disk/by-label/${name}"; fsType = "ext4"; } // (nixbox.diskoMount or { }); }) disks);
      };
      withDisko = if disks == [ ] then { } else {
        system.build.vmWithDisko = diskoVm disks (runner onDisks (toplevel onDisks onDisks.fileSystems));
        virtualisation.vmVariantWithDisko = visible onDisks;
      };
    in
    {
      config = visible (
        recursiveUpdate (recursiveUpdate hostConfig withDisko) {
          fileSystems = hostFileSystems hostConfig;
          system.build = {
            toplevel = checkAssertions hostConfig (toplevel hostConfig (hostFileSystems hostConfig));
            inherit (variant.system.build) vm;
          };
          virtualisation.vmVariant = visible variant;
        }
      );
      options = { };
      _type = "configuration";
      class = "nixos";
    };
}
