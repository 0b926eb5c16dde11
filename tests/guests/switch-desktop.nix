# Pairs whose machines have a desktop with somebody in it; the form is that of switch.nix.
{ mkGuest, packages }:
let
  inherit (packages) sw;
  inherit (import ./guest.nix packages) recursiveUpdate;
  inherit (import ./seat.nix { inherit mkGuest packages; }) screen swayOn;

  machine = name: expect: config: {
    inherit name;
    value = {
      expect = { slow = true; } // expect;
      machine = mkGuest { inherit name; config = recursiveUpdate { networking.hostName = "machine"; } config; };
    };
  };
  # sway, entered without a login.
  sway = swayOn screen {
    initial_session = { command = "sway"; user = "alice"; };
    default_session.command = "${sw}/bin/agreety --cmd sway";
  };
  # The same behind a login screen: nobody is there until somebody logs in, and stays through the switch.
  greeter = swayOn screen { default_session.command = "${sw}/bin/agreety --cmd sway"; };
  to = name: expect: config: machine name ({ switchFrom = "switch-sway"; } // expect) (recursiveUpdate sway config);
  ends = cause: { exit = 1; fails = [ "switch.session-survived" "desktop.session" ]; inherit cause; phase = "switched"; };
  # The store of these holds what they were built of, and no more: what is switched to has to be sent, into tar, since there is
  # no nix. Of this set, for the sake of tar.
  own = name: expect: services: {
    inherit name;
    value = {
      expect = { slow = true; } // expect;
      machine = mkGuest { inherit name; nixbox.ownStore = true; config = { networking.hostName = "machine"; systemd.services = services; }; };
    };
  };
  metrics = { description = "Metrics"; script = "exec sleep infinity"; wantedBy = [ "multi-user.target" ]; };
in
builtins.listToAttrs [
  (own "switch-own-store-base" { exit = 0; } { })
  (own "switch-own-store" { exit = 0; switchFrom = "switch-own-store-base"; } { inherit metrics; })
  (machine "switch-sway" { exit = 0; } sway)
  (to "switch-sway-clean" { exit = 0; } { systemd.user.services.window-log.environment.COLOUR = "green"; })
  (machine "switch-greeter-base" { exit = 0; } greeter)
  (machine "switch-greeter" { exit = 0; switchFrom = "switch-greeter-base"; } (recursiveUpdate greeter { systemd.user.services.window-log.environment.COLOUR = "green"; }))
  # The greeter's own settings: NixOS leaves what shows a session alone, until somebody thinks better of it (65477, 40218).
  (to "switch-display-manager" (ends [ "greetd.service" ]) { systemd.services.greetd = { restartIfChanged = true; environment.COLOUR = "green"; }; })
  (to "trap-switch-display-manager" { exit = 0; } { systemd.services.greetd.environment.COLOUR = "green"; })
  # 74626, 308925: without the system's bus there is no logind to hold the screen and the keyboard by.
  (to "switch-bus-stopped" { exit = 1; fails = [ "switch.outcome" "switch.session-survived" "switch.way-back" ]; cause = [ "dbus" "stopped by the switch" ]; phase = "switched"; } {
    system.activationScripts.new-bus = "[ -z \"\${NIXOS_ACTION-}\" ] || systemctl stop dbus.socket dbus.service";
  })
]
