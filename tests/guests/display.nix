# The machines whose display manager is what matters: with and without a login. The form is that of machines.nix.
{ mkGuest, packages }:
let
  inherit (packages) dist sw run;
  inherit (import ./guest.nix packages) recursiveUpdate;
  inherit (import ./seat.nix { inherit mkGuest packages; }) guest screen on;

  # LightDM with its usual greeter, and XFCE to log in to.
  lightdm = recursiveUpdate screen {
    services.xserver = {
      enable = true;
      displayManager.lightdm.enable = true;
      desktopManager.xfce.enable = true;
    };
  };
  xfce = recursiveUpdate lightdm {
    services.displayManager = { autoLogin = { enable = true; user = "alice"; }; defaultSession = "xfce"; };
  };
  # greetd's own greeter, text on a terminal, and sway to log in to.
  text = recursiveUpdate screen {
    programs.sway.enable = true;
    services.greetd = { enable = true; settings.default_session.command = "${sw}/bin/agreety --cmd sway"; };
  };

  healthy = [
    (guest "greeter" { exit = 0; slow = true; } (on lightdm {
      # What a display manager starts X sessions by starts its target, by whatever way somebody logs in.
      systemd.user.services.clipboard = {
        description = "Keeps what was copied";
        wantedBy = [ "graphical-session.target" ];
        partOf = [ "graphical-session.target" ];
        after = [ "graphical-session.target" ];
        serviceConfig.ExecStart = "${sw}/bin/sleep infinity";
      };
    }))
    (guest "greeter-text" { exit = 0; slow = true; } (on text { }))
    (guest "x11" { exit = 0; slow = true; } (on xfce { }))
  ];

  # What is broken has no portal: it has nothing to do with it, and takes long to start.
  broken = desktop: config: on (recursiveUpdate desktop { xdg.portal.enable = false; }) config;
  greeterFails = cause: { exit = 1; slow = true; fails = [ "desktop.greeter" ]; inherit cause; };
  sessionFails = cause: { exit = 1; slow = true; fails = [ "desktop.session" ]; inherit cause; };
  # A greeter of greetd's that needs a compositor, as gtkgreet and ReGreet do.
  inSway = lines: "sway --config ${run "greeter.conf" { } "printf '%s\\n' ${builtins.concatStringsSep " " (map (line: "'${line}'") lines)} > $out"}";
  script = name: text: run name { } "cat > $out <<'NIXBOX_END_OF_FILE'\n#!${sw}/bin/bash\n${text}\nNIXBOX_END_OF_FILE\nchmod 755 $out";
  # LightDM with a greeter of this name and command.
  withGreeter = name: command: recursiveUpdate lightdm {
    services.xserver.desktopManager.xfce.enable = false;
    programs.sway.enable = true;
    services.xserver.displayManager.lightdm.greeter = {
      inherit name;
      package = run "greeters" { } "mkdir $out\nprintf '[Desktop Entry]\\nName=${name}\\nExec=%s\\nType=Application\\n' '${command}' > $out/${name}.desktop";
    };
  };

  greeters = [
    # desk-gdm50-no-gnome-session: what should ask for a password was not installed with what shows it.
    (guest "greeter-missing" (greeterFails "gtkgreet") (broken text { services.greetd.settings.default_session.command = inSway [ "exec gtkgreet -l" ]; }))
    # desk-gdm-oh-no-screen: a page that nobody can log in on, shown where the session's systemd could not be reached.
    (guest "greeter-oh-no" (greeterFails "Failed to execute program org.freedesktop.systemd1") (
      broken (withGreeter "oh-no" "${script "oh-no" ''
        ${sw}/bin/systemd-cat -t gnome-session ${sw}/bin/dbus-run-session -- ${sw}/bin/dbus-send --session --print-reply \
          --dest=org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.DBus.Peer.Ping && exit
        exec ${run "gnome-session-failed" { } "mkdir $out\ncp ${dist}/usr/bin/xterm $out/gnome-session-failed"}/gnome-session-failed \
          -bg gray90 -geometry 80x24+300+200 -e ${sw}/bin/bash -c "echo 'Oh no! Something has gone wrong.'; exec sleep infinity"
      ''}") { }
    ))
    # On a terminal that nobody is shown: something has switched to another one.
    (guest "greeter-hidden" (greeterFails "the login screen is on vt 2, but vt 1" // { slow = false; }) (broken text {
      services.greetd.settings.terminal.vt = 2;
      systemd.services.first-terminal = {
        description = "Show the first terminal";
        wantedBy = [ "graphical.target" ];
        after = [ "greetd.service" ];
        serviceConfig.Type = "oneshot";
        script = ''
          until loginctl list-sessions --no-legend | grep -q greeter; do sleep 0.2; done
          busctl call org.freedesktop.login1 /org/freedesktop/login1/seat/seat0 org.freedesktop.login1.Seat SwitchTo u 1
        '';
      };
    }))
    # greetd waits until its terminal is shown, and nothing shows it.
    (guest "greeter-waits" (greeterFails "greetd.service is active, but there is no login screen") (broken text { services.greetd.settings.terminal = { vt = 2; switch = false; }; }))
    # Its PAM service opens no session with systemd: the greeter's compositor has no XDG_RUNTIME_DIR, and says so on its terminal.
    (guest "greeter-no-runtime-dir" { exit = 1; slow = true; fails = [ "services.failed-units" ]; cause = [ "greetd.service failed" "XDG_RUNTIME_DIR is not set in the environment" ]; } (broken text {
      services.greetd.settings.default_session.command = inSway [ "exec true" ];
      environment.etc."pam.d/greetd".text = "account required pam_unix.so\nauth sufficient pam_unix.so nullok\nauth required pam_deny.so\nsession required pam_unix.so";
    }))
    # desk-greeter-clean-exit-loop: told as the loop that it is, and by what it means to who sits there.
    (guest "greeter-loop" { exit = 1; slow = true; fails = [ "desktop.greeter" "services.restart-loop" ]; cause = "greeter exited without creating a session"; } (
      # Slowly, so that systemd's own limit (five in ten seconds) is not reached on any host.
      broken text { services.greetd.settings.default_session.command = "${sw}/bin/sleep 3"; }
    ))
  ];

  # The driver that X is told to use was never installed, which stands in X's own log.
  driverless = guest "x11-no-driver" { exit = 1; slow = true; fails = [ "services.failed-units" ]; cause = [ "display-manager.service" "Failed to load module" ]; } (broken lightdm {
    environment.etc."X11".source = run "x11" { } ''
      cp -r ${dist}/etc/X11 $out
      chmod -R u+w $out
      printf 'Section "Device"\n Identifier "card"\n Driver "nvidia"\nEndSection\n' > $out/xorg.conf
    '';
  });

  # desk-greeter-races-dri: the card appears when the display manager has given up. A race that is always lost here.
  races = guest "greeter-races" { exit = 1; slow = true; fails = [ "services.failed-units" ]; cause = "display-manager.service"; } (broken lightdm {
    services.xserver.displayManager.lightdm.extraConfig = "[LightDM]\nlogind-check-graphical=false\n";
    environment.etc."modprobe.d/late.conf".text = "blacklist bochs\nblacklist virtio_gpu";
    systemd.services.late-card = {
      description = "The driver of the graphics card, late";
      wantedBy = [ "multi-user.target" ];
      serviceConfig.Type = "oneshot";
      script = ''
        until systemctl is-failed --quiet display-manager.service; do sleep 0.5; done
        modprobe -a bochs virtio_gpu
      '';
    };
  });

  sessions = [
    # desk-gdm50-default-session-loop: the login is accepted, and what it starts is not there.
    (guest "session-missing" (sessionFails "niri-session") (broken lightdm {
      services.xserver.desktopManager.xfce.enable = false;
      services.displayManager = {
        sessionPackages = [ { kind = "wayland-sessions"; name = "niri"; text = "[Desktop Entry]\nName=Niri\nExec=niri-session\nType=Application\nDesktopNames=niri"; } ];
        autoLogin = { enable = true; user = "alice"; };
        defaultSession = "niri";
      };
    }))
    # desk-works-until-reboot-xsession: the session was moved into a home, where the display manager does not look.
    (guest "session-none" (sessionFails "no session is offered") (broken lightdm { services.xserver.desktopManager.xfce.enable = false; }))
    # desk-wrong-display-manager-type: what needs Wayland, in an X session.
    (guest "x11-wayland-unit" { exit = 1; slow = true; fails = [ "desktop.units" ]; cause = [ "hyprpaper.service" "ConditionEnvironment=WAYLAND_DISPLAY" ]; } (broken xfce {
      systemd.user.services.hyprpaper = {
        description = "Wallpaper of Hyprland";
        wantedBy = [ "graphical-session.target" ];
        partOf = [ "graphical-session.target" ];
        after = [ "graphical-session.target" ];
        unitConfig.ConditionEnvironment = "WAYLAND_DISPLAY";
        serviceConfig.ExecStart = "${sw}/bin/sleep infinity";
      };
    }))
  ];
in
builtins.listToAttrs (healthy ++ greeters ++ [ driverless races ] ++ sessions)
