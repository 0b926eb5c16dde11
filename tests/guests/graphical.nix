# What NixOS's modules for desktops make of their options (programs/wayland, services/display-managers,
# services/x11): a function from a description to what is laid under it.
{ dist, sw, run, here }:
let
  inherit (builtins) attrNames concatStringsSep filter isAttrs isList listToAttrs map mapAttrs toJSON;
  when = cond: value: if cond then value else { };
  # Lists are joined: each part below adds units and rules of its own.
  recursive = a: b: a // mapAttrs (n: v: if isList v && a ? ${n} && isList a.${n} then a.${n} ++ v else if isAttrs v && !(v ? type) && a ? ${n} && isAttrs a.${n} then recursive a.${n} v else v) b;
  merge = builtins.foldl' recursive { };
  lines = concatStringsSep "\n";
  at = path: fallback: set: builtins.foldl' (value: name: if isAttrs value && value ? ${name} then value.${name} else fallback) set path;

  # Strings and numbers are written in TOML as they are in JSON.
  toml = sections: lines (map (n: "[${n}]\n" + lines (map (k: "${k} = ${toJSON sections.${n}.${k}}") (attrNames sections.${n})) + "\n") (attrNames sections));
  ini = sections: lines (map (n: "[${n}]\n" + lines (map (k: "${k}=${toString sections.${n}.${k}}") (attrNames sections.${n})) + "\n") (attrNames sections));

  # security.pam.services.NAME = { startSession = true; allowNullPassword = true; }
  pamSession = ''
    session required pam_env.so conffile=/etc/pam/environment readenv=0
    session required pam_unix.so
    session required pam_loginuid.so
    session required pam_limits.so conf=/etc/security/limits.conf
    session optional pam_systemd.so'';
  pamLogin = ''
    account required pam_unix.so
    auth sufficient pam_unix.so nullok likeauth try_first_pass
    auth required pam_deny.so
    password sufficient pam_unix.so nullok yescrypt
    ${pamSession}'';
  pamAutologin = ''
    auth requisite pam_nologin.so
    auth required pam_succeed_if.so uid >= 1000 quiet
    auth required pam_permit.so
    account sufficient pam_unix.so
    password requisite pam_unix.so nullok yescrypt
    ${pamSession}'';
  # Of the greeter's own session: whoever the display manager says is let in.
  pamGreeter = ''
    auth required pam_permit.so
    account required pam_permit.so
    password required pam_deny.so
    session required pam_env.so conffile=/etc/pam/environment readenv=0
    session required pam_unix.so
    session optional pam_systemd.so'';

  # Sessions as packages bring them. Debian's files say the programs' names, which are found by PATH.
  upstreamSession = kind: name: { inherit kind name; source = "${dist}/upstream/${kind}/${name}.desktop"; };

  # A window manager's configuration as somebody would have it who took the default one and a wallpaper.
  swayConfig = ''
    set $mod Mod4
    output * bg /run/current-system/sw/share/backgrounds/xfce/xfce-blue.jpg fill
    floating_modifier $mod normal
    bindsym $mod+Return exec foot
    bindsym $mod+Shift+q kill
    bindsym $mod+Shift+c reload
    bindsym $mod+Shift+e exec swaymsg exit
    bindsym $mod+1 workspace number 1
    bindsym $mod+2 workspace number 2
    bar {
      position top
      status_command while date +'%Y-%m-%d %H:%M:%S'; do sleep 1; done
    }
    include /etc/sway/config.d/*
  '';
in
cfg:
let
  greetd = cfg.services.greetd or { };
  dm = cfg.services.displayManager or { };
  x = cfg.services.xserver or { };
  lightdm = at [ "displayManager" "lightdm" ] { } x;
  # NixOS moved GDM and GNOME out of xserver in 25.11; both names are read, as there.
  gdm = at [ "gdm" "enable" ] false dm == true || at [ "displayManager" "gdm" "enable" ] false x == true;
  gnome = at [ "desktopManager" "gnome" "enable" ] false cfg.services == true || at [ "desktopManager" "gnome" "enable" ] false x == true;
  xfce = at [ "desktopManager" "xfce" "enable" ] false x == true;
  sway = at [ "programs" "sway" "enable" ] false cfg == true;
  isX = x.enable or false && (lightdm.enable or false || xfce);
  autologin = dm.autoLogin or { };
  autologinUser = if autologin.enable or (autologin ? user && autologin.user != null) then autologin.user else null;
  desktop = sway || xfce || gnome;

  sessions =
    (if sway then [ (upstreamSession "wayland-sessions" "sway") ] else [ ])
    ++ (if xfce then [ (upstreamSession "xsessions" "xfce") ] else [ ])
    ++ (if gnome then map (upstreamSession "wayland-sessions") [ "gnome" "gnome-wayland" ] else [ ])
    ++ (dm.sessionPackages or [ ]);

  # services.displayManager.sessionData: where a display manager looks for sessions, and what it starts them by.
  desktops = run "desktops" { } (
    "mkdir -p $out/share/wayland-sessions $out/share/xsessions\n"
    + concatStringsSep "" (
      map (s: if s ? text then here "$out/share/${s.kind}/${s.name}.desktop" s.text else "ln -s ${s.source} $out/share/${s.kind}/${s.name}.desktop\n") sessions
    )
  );
  # As NixOS's xsession-wrapper: the environment a login shell would have, the session's own units, the session.
  sessionWrapper = run "xsession-wrapper" { } (
    here "$out" ''
      #!${sw}/bin/bash
      if [ -z "$_DID_SYSTEMD_CAT" ]; then
        export _DID_SYSTEMD_CAT=1
        exec ${sw}/bin/systemd-cat -t xsession "$0" "$@"
      fi
      . /etc/profile
      cd "$HOME"
      ${sw}/bin/dbus-update-activation-environment --systemd --all
      systemctl --user import-environment DISPLAY XAUTHORITY XDG_SESSION_ID XDG_CURRENT_DESKTOP
      if [ "$XDG_SESSION_TYPE" = x11 ]; then systemctl --user start nixos-fake-graphical-session.target; fi
      eval "$@"
      status=$?
      systemctl --user stop nixos-fake-graphical-session.target graphical-session.target
      exit $status
    ''
    + "chmod 755 $out\n"
  );
  displayManager = serviceConfig: extra: {
    description = "Display Manager";
    after = [ "systemd-logind.service" "systemd-user-sessions.service" "acpid.service" ];
    wants = [ "systemd-user-sessions.service" ];
    unitConfig = { StartLimitIntervalSec = 30; StartLimitBurst = 3; };
    restartIfChanged = false;
    serviceConfig = { Restart = "always"; RestartSec = "200ms"; SyslogIdentifier = "display-manager"; } // serviceConfig;
  } // extra;
in
merge [
  # --- greetd ---
  (when (greetd.enable or false) {
    systemd = {
      defaultUnit = "graphical.target";
      services.greetd = {
        description = "Greeter daemon";
        aliases = [ "display-manager.service" ];
        wantedBy = [ "graphical.target" ];
        wants = [ "systemd-user-sessions.service" ];
        after = [ "systemd-user-sessions.service" "plymouth-quit-wait.service" "getty@tty1.service" ];
        conflicts = [ "getty@tty1.service" ];
        restartIfChanged = false;
        serviceConfig = {
          Type = "idle";
          ExecStart = "${sw}/bin/greetd --config /etc/greetd/config.toml";
          IgnoreSIGPIPE = false;
          SendSIGHUP = true;
          TimeoutStopSec = "30s";
          KeyringMode = "shared";
        }
        # Each restart would log in again.
        // when (greetd.restart or (!(greetd.settings ? initial_session))) { Restart = "on-success"; };
      };
      services."autovt@tty1".enable = false;
    };
    users.users.greeter = { isSystemUser = true; uid = 994; group = "greeter"; };
    users.groups.greeter.gid = 994;
    environment.etc = {
      "greetd/config.toml".text = toml (recursive { terminal.vt = 1; default_session.user = "greeter"; } greetd.settings);
      "pam.d/greetd".text = pamLogin;
    };
  })

  # --- display managers of NixOS's display-manager.service ---
  (when (lightdm.enable or false) {
    systemd = {
      defaultUnit = "graphical.target";
      services = {
        display-manager = displayManager { ExecStart = "${sw}/bin/lightdm"; BusName = "org.freedesktop.DisplayManager"; KeyringMode = "shared"; KillMode = "mixed"; IgnoreSIGPIPE = false; } {
          conflicts = [ "getty@tty7.service" ];
        };
        "autovt@tty7".enable = false;
      };
      tmpfiles.rules = [ "d /run/lightdm 0711 lightdm lightdm -" "d /var/cache/lightdm 0711 root lightdm -" "d /var/lib/lightdm 1770 lightdm lightdm -" "d /var/lib/lightdm/data 1770 lightdm lightdm -" "d /var/log/lightdm 1775 root lightdm -" ];
    };
    users.users.lightdm = { isSystemUser = true; uid = 78; group = "lightdm"; home = "/var/lib/lightdm"; };
    users.groups.lightdm.gid = 78;
    environment.etc = {
      "lightdm/lightdm.conf".text = ini {
        LightDM = {
          greeter-user = "lightdm";
          greeters-directory = toString (lightdm.greeter.package or "${dist}/usr/share/xgreeters");
          sessions-directory = "${desktops}/share/xsessions:${desktops}/share/wayland-sessions";
        };
        "Seat:*" = {
          xserver-command = "${sw}/bin/X";
          session-wrapper = sessionWrapper;
          greeter-session = lightdm.greeter.name or "lightdm-gtk-greeter";
        }
        // when (dm ? defaultSession && dm.defaultSession != null) { user-session = dm.defaultSession; }
        // when (autologinUser != null) { autologin-user = autologinUser; autologin-user-timeout = 0; autologin-session = dm.defaultSession or "xfce"; };
      } + lightdm.extraConfig or "";
      "lightdm/users.conf".text = ini { UserList = { minimum-uid = 1000; hidden-users = "nobody"; hidden-shells = "/run/current-system/sw/bin/nologin"; }; };
      "lightdm/lightdm-gtk-greeter.conf".text = ini { greeter = { theme-name = "Adwaita"; background = "${dist}/usr/share/backgrounds/xfce/xfce-blue.jpg"; }; };
      "pam.d/lightdm".text = pamLogin;
      "pam.d/lightdm-greeter".text = pamGreeter;
      "pam.d/lightdm-autologin".text = pamAutologin;
    };
  })
  (when gdm {
    systemd = {
      defaultUnit = "graphical.target";
      services = {
        display-manager = displayManager { ExecStart = "${dist}/usr/sbin/gdm3"; BusName = "org.gnome.DisplayManager"; KeyringMode = "shared"; KillMode = "mixed"; IgnoreSIGPIPE = false; } {
          conflicts = [ "getty@tty1.service" ];
          after = [ "systemd-logind.service" "systemd-user-sessions.service" "getty@tty1.service" ];
        };
        "autovt@tty1".enable = false;
      };
      upstreamSystemUnits = [ "accounts-daemon.service" ];
      tmpfiles.rules = [ "d /run/gdm 0711 root gdm -" "d /var/lib/gdm3 0700 gdm gdm -" "d /var/log/gdm3 0711 root gdm -" "d /var/lib/AccountsService/users 0755 root root -" "d /var/lib/AccountsService/icons 0755 root root -" ];
    };
    users.users.gdm = { isSystemUser = true; uid = 132; group = "gdm"; home = "/var/lib/gdm3"; description = "GDM user"; };
    users.groups.gdm.gid = 132;
    environment.etc = {
      "gdm3/daemon.conf".text = ini { daemon = { User = "gdm"; Group = "gdm"; WaylandEnable = "true"; } // when (autologinUser != null) { AutomaticLoginEnable = "true"; AutomaticLogin = autologinUser; }; };
      "pam.d/gdm-password".text = pamLogin;
      "pam.d/gdm-autologin".text = pamAutologin;
      "pam.d/gdm-launch-environment".text = pamGreeter;
    };
  })

  # --- desktops ---
  (when sway {
    environment.etc = {
      "sway/config".text = swayConfig;
      "sway/config.d/nixos.conf".text = ''
        # Import the most important environment variables into the D-Bus and systemd
        # user environments (e.g. required for screen sharing and Pinentry prompts):
        exec dbus-update-activation-environment --systemd DISPLAY WAYLAND_DISPLAY SWAYSOCK XDG_CURRENT_DESKTOP
        # enable systemd-integration
        exec "systemctl --user import-environment {,WAYLAND_}DISPLAY SWAYSOCK; systemctl --user start sway-session.target"
        exec swaymsg -t subscribe '["shutdown"]' && systemctl --user stop sway-session.target
      '';
      "xdg/xdg-desktop-portal/sway-portals.conf".text = ini { preferred = { default = "wlr;gtk"; "org.freedesktop.impl.portal.ScreenCast" = "wlr"; "org.freedesktop.impl.portal.Screenshot" = "wlr"; "org.freedesktop.impl.portal.Inhibit" = "none"; }; };
    };
    systemd.user.targets.sway-session = {
      description = "sway compositor session";
      bindsTo = [ "graphical-session.target" ];
      wants = [ "graphical-session-pre.target" ];
      after = [ "graphical-session-pre.target" ];
    };
    programs.xwayland.enable = true;
  })
  (when (desktop || isX) {
    hardware.graphics.enable = true;
    security.polkit.enable = true;
    systemd.upstreamSystemUnits = [ "polkit.service" ];
    users.users.polkitd = { uid = 28; group = "polkitd"; isSystemUser = true; description = "PolKit daemon"; };
    users.groups.polkitd.gid = 28;
    fonts.enableDefaultPackages = true;
    environment.etc = {
      "fonts".source = "${dist}/etc/fonts";
      "tmpfiles.d/x11.conf".source = "${dist}/upstream/tmpfiles.d/x11.conf";
    };
    systemd.user.targets.nixos-fake-graphical-session = {
      description = "Fake graphical-session target for non-systemd-aware sessions";
      bindsTo = [ "graphical-session.target" ];
      unitConfig.StopWhenUnneeded = false;
    };
    # The document portal mounts by it.
    system.activationScripts.fusermount = "install -m 4755 ${dist}/usr/libexec/fusermount3 /run/wrappers/bin/fusermount3";
  })
  (when xfce {
    # Programs of NixOS find these below the system's path; startxfce4 of Debian knows but this place.
    environment.etc = {
      "xdg/xfce4".source = "${dist}/etc/xdg/xfce4";
      "xdg/menus".source = "${dist}/etc/xdg/menus";
      "xdg/autostart/xfsettingsd.desktop".source = "${dist}/etc/xdg/autostart/xfsettingsd.desktop";
    };
  })
  (when gnome {
    systemd = {
      upstreamSystemUnits = [ "upower.service" "colord.service" ];
      # Which of its services this session has.
      upstreamUserUnits = [ "gnome-session@gnome.target.d" ];
    };
    environment.etc."xdg/autostart".source = "${dist}/etc/xdg/autostart";
    users.users.colord = { isSystemUser = true; uid = 993; group = "colord"; home = "/var/lib/colord"; };
    users.groups.colord.gid = 993;
    programs.xwayland.enable = true;
  })
  (when (sway || gnome) { xdg.portal.enable = true; })
  (when (isX || gdm) {
    environment.etc = { "X11".source = "${dist}/etc/X11"; };
  })
  (when (desktop || isX || greetd.enable or false || gdm) {
    services.displayManager = { enable = true; sessionData = { inherit desktops; wrapper = sessionWrapper; }; };
    environment.etc = listToAttrs (map (kind: { name = "display-manager/${kind}"; value.source = "${desktops}/share/${kind}"; }) [ "wayland-sessions" "xsessions" ]);
  })
]
