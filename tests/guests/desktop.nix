# The machines of the set `desktop`: greeters and light desktops. The form is that of machines.nix.
{ mkGuest, packages }:
let
  inherit (packages) dist sw run;
  inherit (import ./guest.nix packages) recursiveUpdate;
  inherit (import ./seat.nix { inherit mkGuest packages; }) guest screen seated swayOn on;

  alices = command: { inherit command; user = "alice"; };
  agreety = { command = "${sw}/bin/agreety --cmd sway"; };
  # Sway, entered as greetd's settings say.
  swayBy = swayOn seated;
  # Without a login, by this command.
  swayAs = command: swayBy { initial_session = alices command; default_session = agreety; };
  sway = swayAs "sway";
  # What breaks a desktop needs neither sound nor portals beside it.
  silent = desktop: recursiveUpdate desktop { services.pipewire.enable = false; security.rtkit.enable = false; xdg.portal.enable = false; };
  quietSway = silent sway;
  # Sway's configuration, with more of it.
  swayWith = name: text: { environment.etc."sway/config.d/${name}.conf".text = text; };
  # A script of sway's configuration.
  execs = name: text: swayWith name "exec sh ${builtins.toFile "${name}.sh" text}";
  # program NAME SCRIPT: a package with a program that processes are named after.
  program = name: script: run name { } "mkdir -p $out/bin\n${script}";
  waits = "${sw}/bin/sleep infinity";

  # A program that locks the screen, for alice alone.
  locker.system.activationScripts.locker = ''
    mkdir -p /etc/profiles/per-user/alice/bin
    ln -sf ${program "swaylock" "ln -s ${sw}/bin/true $out/bin/swaylock\n"}/bin/swaylock /etc/profiles/per-user/alice/bin/swaylock
  '';

  healthy = [
    (guest "sway" { exit = 0; } (on sway { }))
  ];

  traps = [
    # Black all over and nothing on it, as its owner wants it.
    (guest "sway-plain" { exit = 0; slow = true; } (on quietSway {
      environment.etc."sway/config".text = "output * bg #000000 solid_color\ninclude /etc/sway/config.d/*";
    }))
    # A clock that ticks, and a cursor that blinks.
    (guest "sway-blinks" { exit = 0; slow = true; } (on quietSway (swayWith "terminal" "exec foot --override=cursor.blink=yes")))
    # A slip in its configuration: it goes on without that line, under a bar that says so.
    (guest "sway-config-error" { exit = 0; slow = true; warns = [ "desktop.compositor" ]; cause = "bindsymm"; } (on quietSway (
      swayWith "typo" "bindsymm Mod4+x exec foot"
    )))
    # Nobody is greeted: alice is logged in on a console, and the login shell starts sway there.
    (guest "tty-sway" { exit = 0; slow = true; } (on (silent screen) {
      programs.sway.enable = true;
      services.getty.autologinUser = "alice";
      environment.etc.profile.text = "export PATH=/run/wrappers/bin:/run/current-system/sw/bin LANG=C.UTF-8 XDG_DATA_DIRS=/run/current-system/sw/share\n[ \"$(tty)\" = /dev/tty1 ] && exec sway";
    }))
    # Who logs in on a console starts X by hand; and keys of a backlight that no VM has.
    (guest "startx" { exit = 0; slow = true; notTested = [ "illum.service" ]; } (on (silent screen) {
      services.xserver = { enable = true; displayManager.startx.enable = true; windowManager.dwm.enable = true; };
      services.displayManager.enable = false;
      systemd.services.illum = {
        description = "Backlight Adjustment Service";
        wantedBy = [ "multi-user.target" ];
        serviceConfig.Restart = "on-failure";
        script = "echo \"no backlight entries found in '/sys/class/backlight'\" >&2\nexit 2";
      };
    }))
    # A locker that is let in by a service of its own.
    (guest "sway-locks" { exit = 0; slow = true; } (on quietSway (recursiveUpdate locker { environment.etc."pam.d/swaylock".text = "auth include login"; })))
    # It says that it draws only with a graphics card's help, as Hyprland does.
    (guest "sway-refuses" { exit = 0; slow = true; notTested = [ "the session of alice" ]; } (on (silent (swayAs "env WLR_RENDERER=gles2 sway")) { }))
  ];

  compositors = [
    (guest "sway-crash" { exit = 1; slow = true; fails = [ "desktop.compositor" ]; cause = [ "sway crashed" "once" ]; } (on quietSway (
      execs "crash" "pkill -SEGV -x sway"
    )))
    # Who names a person as the greeter's user has the session started again and again.
    (guest "sway-crash-loop" { exit = 1; slow = true; fails = [ "desktop.compositor" ]; cause = [ "sway crashed" "times" ]; } (on
      (silent (swayBy { default_session = alices "sway"; }))
      # However fast the machine is, systemd does not give up first.
      (recursiveUpdate (execs "crash" "pkill -SEGV -x sway") { systemd.services.greetd.unitConfig.StartLimitIntervalSec = 0; })
    ))
    # NixOS/nixpkgs#223331: it has the card and comes no further.
    (guest "sway-hung" { exit = 1; slow = true; fails = [ "desktop.compositor" ]; cause = [ "sway runs but serves no display" ]; } (on
      (silent (swayAs "${program "hung" ''
        printf '%s\n' '#!${sw}/bin/bash' 'exec 3<>/dev/dri/card0' 'read -r event <&3' > $out/bin/sway
        chmod 755 $out/bin/sway
      ''}/bin/sway"))
      { }
    ))
    (guest "sway-frozen" { exit = 1; slow = true; fails = [ "desktop.compositor" ]; cause = [ "sway is stopped" ]; } (on quietSway (
      execs "freeze" "sleep 6; pkill -STOP -x sway"
    )))
    # Alive, and no monitor is the one that it was told to use.
    (guest "sway-black" { exit = 1; slow = true; fails = [ "desktop.picture" ]; cause = [ "one flat colour (black)" "no monitors available" ]; } (on quietSway (
      swayWith "outputs" "output * disable\noutput DP-3 enable"
    )))
  ];

  sessions = [
    # Nobody installed it, which the shell says on a terminal that the login screen then wipes.
    (guest "sway-exits" { exit = 1; slow = true; fails = [ "desktop.session" ]; cause = [ "the session of alice ended after" "Hyprland: not found" ]; } (on (silent (swayAs "Hyprland")) { }))
    # The user's own profile thinks better of it.
    (guest "sway-fallback" { exit = 1; slow = true; fails = [ "desktop.session" ]; cause = [ "fell back to labwc" ]; } (on quietSway {
      system.activationScripts.profile = ''
        echo '[ -z "$XDG_VTNR" ] || [ -e /dev/dri/renderD128 ] || exec ${program "labwc" "ln -s ${dist}/usr/libexec/sway/sway $out/bin/labwc\n"}/bin/labwc' > /home/alice/.profile
      '';
    }))
    # Something starts a login on the terminal of the session. wlroots' fall-back from EGL may be its last line, and is not
    # why it ended.
    (guest "sway-getty" { exit = 1; slow = true; fails = [ "services.settled" "desktop.session" ]; cause = [ "getty@tty1.service took tty1" ]; } (on quietSway {
      systemd.services.rescue-login = {
        description = "A login on the first terminal";
        wantedBy = [ "graphical.target" ];
        after = [ "greetd.service" ];
        serviceConfig.Type = "oneshot";
        script = ''
          until loginctl list-sessions --no-legend | grep -q alice; do sleep 0.5; done
          sleep 3
          systemctl start --no-block getty@tty1.service
        '';
      };
    }))
    # Whoever locks the screen does not come in again: PAM knows no such service.
    (guest "sway-locked-out" { exit = 0; slow = true; warns = [ "users.login" ]; cause = [ "swaylock locks the screen and lets nobody in again" "/etc/pam.d/swaylock" ]; } (on quietSway locker))
    (guest "sway-no-user" { exit = 1; slow = true; fails = [ "desktop.session" "services.failed-units" ]; cause = [ "bob is to be logged in automatically, but there is no such user" ]; } (on quietSway {
      services.greetd.settings.initial_session.user = "bob";
    }))
  ];

  units = [
    (guest "sway-portal-dead" { exit = 1; slow = true; fails = [ "desktop.units" ]; cause = [ "org.freedesktop.portal.Desktop does not answer" "xdg-desktop-portal.service" ]; } (on quietSway {
      xdg.portal.enable = true;
      systemd.user.services.xdg-desktop-portal.serviceConfig.ExecStart = [ "" "${sw}/bin/false" ];
    }))
    # It waits in vain for PipeWire's, which a configuration without PipeWire has not.
    (guest "sway-portal-slow" { exit = 0; slow = true; warns = [ "desktop.units" ]; cause = [ "answers only after" "desktop.wlr: Timeout was reached" ]; } (on quietSway {
      xdg.portal.enable = true;
    }))
    (guest "sway-unit-failed" { exit = 1; fails = [ "desktop.units" ]; cause = [ "window-log.service of alice failed" ]; } (on quietSway {
      systemd.user.services.window-log.serviceConfig = { ExecStart = "${sw}/bin/swaymsg --type windows"; Restart = "no"; };
    }))
    # systemd never gives up on it: it waits for too long in between.
    (guest "sway-unit-restarts" { exit = 1; slow = true; fails = [ "desktop.units" ]; cause = [ "window-log.service of alice fails and is restarted again and again" ]; } (on quietSway {
      systemd.user.services.window-log.serviceConfig = { ExecStart = "${sw}/bin/swaymsg --type windows"; Restart = "always"; RestartSec = 5; };
    }))
    # nix-community/home-manager#5407: the variable comes after the target.
    (guest "sway-unit-skipped" { exit = 1; slow = true; fails = [ "desktop.units" ]; cause = [ "lock-idle.service" "ConditionEnvironment=WAYLAND_DISPLAY" ]; } (on quietSway (recursiveUpdate
      (execs "nixos" "systemctl --user start sway-session.target; dbus-update-activation-environment --systemd WAYLAND_DISPLAY SWAYSOCK XDG_CURRENT_DESKTOP")
      {
        systemd.user.services = {
          window-log.enable = false;
          lock-idle = {
            description = "Locks the screen when nobody is there";
            wantedBy = [ "graphical-session.target" ];
            after = [ "graphical-session.target" ];
            unitConfig.ConditionEnvironment = "WAYLAND_DISPLAY";
            serviceConfig.ExecStart = waits;
          };
        };
      }
    )))
    # nix-community/home-manager#8547: nobody starts it.
    (guest "sway-target-dead" { exit = 1; slow = true; fails = [ "desktop.units" ]; cause = [ "graphical-session.target is not active" "lock-idle.service" "polkit-agent.service" "window-log.service" ]; } (on quietSway (recursiveUpdate
      (swayWith "nixos" "exec dbus-update-activation-environment --systemd WAYLAND_DISPLAY SWAYSOCK XDG_CURRENT_DESKTOP")
      {
        systemd.user.services = {
          lock-idle = { wantedBy = [ "graphical-session.target" ]; serviceConfig.ExecStart = waits; };
          polkit-agent = { wantedBy = [ "graphical-session.target" ]; serviceConfig.ExecStart = waits; };
        };
      }
    )))
    # nix-community/home-manager#4484: the compositor is killed, the user comes in again, and the target never went.
    (guest "sway-stale-target" { exit = 1; slow = true; fails = [ "desktop.units" ]; cause = [ "graphical-session.target stayed active" ]; } (on
      (silent (swayBy { initial_session = alices "sway"; default_session = alices "sway"; }))
      (recursiveUpdate
        (execs "crash" ''
          [ ! -e "$XDG_RUNTIME_DIR/crashed" ] || exit 0
          until systemctl --user --quiet is-active window-log.service; do sleep 0.2; done
          : > "$XDG_RUNTIME_DIR/crashed"
          pkill -KILL -x sway
        '')
        { systemd.user.services.window-log.serviceConfig = { ExecStart = "-${sw}/bin/swaymsg --type subscribe --monitor '[\"window\"]'"; Restart = "no"; }; }
      )
    ))
  ];
in
builtins.listToAttrs (healthy ++ traps ++ compositors ++ sessions ++ units)
