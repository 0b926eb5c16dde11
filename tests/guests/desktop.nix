# The machines of the set `desktop`: greeters and light desktops. The form is that of machines.nix.
{ mkGuest, packages }:
let
  inherit (packages) dist sw run;
  inherit (import ./guest.nix packages) recursiveUpdate;

  guest = name: expect: description: {
    inherit name;
    value = {
      inherit expect;
      machine = mkGuest ({ inherit name; } // description);
    };
  };

  alice = { isNormalUser = true; uid = 1000; extraGroups = [ "wheel" ]; initialPassword = "alice"; description = "Alice"; };
  # What every desktop has: a screen, a user, sound.
  seated = {
    users.users.alice = alice;
    services.pipewire = { enable = true; audio.enable = true; pulse.enable = true; alsa.enable = true; };
    security.rtkit.enable = true;
    virtualisation = { graphics = true; memorySize = 2048; };
  };
  # with DESKTOP CONFIG: a machine of that desktop, CONFIG laid over.
  on = desktop: config: { config = recursiveUpdate desktop config; };

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
