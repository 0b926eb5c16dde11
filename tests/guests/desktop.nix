# The machines of the set `desktop`: greeters and light desktops. The form is that of machines.nix.
{ mkGuest, packages }:
let
  inherit (packages) dist sw run;
  inherit (import ./guest.nix packages) recursiveUpdate;
  inherit (import ./seat.nix { inherit mkGuest packages; }) guest seated on;

  # Sway, entered without a login.
  sway = recursiveUpdate seated {
    programs.sway.enable = true;
    services.greetd = {
      enable = true;
      settings = {
        initial_session = { command = "sway"; user = "alice"; };
        default_session = { command = "${sw}/bin/agreety --cmd sway"; };
      };
    };
    # As home-manager writes it for a program of the session.
    systemd.user.services.window-log = {
      description = "Log of the windows that came and went";
      wantedBy = [ "graphical-session.target" ];
      partOf = [ "graphical-session.target" ];
      after = [ "graphical-session.target" ];
      serviceConfig = { ExecStart = "${sw}/bin/swaymsg --type subscribe --monitor '[\"window\"]'"; Restart = "on-failure"; };
    };
  };

  healthy = [
    (guest "sway" { exit = 0; slow = true; } (on sway { }))
  ];
in
builtins.listToAttrs healthy
