# What the machines with a screen have in common, whichever file they are in.
{ mkGuest, packages }:
let
  inherit (packages) sw;
  inherit (import ./guest.nix packages) recursiveUpdate;
in
rec {
  guest = name: expect: description: {
    inherit name;
    value = {
      inherit expect;
      machine = mkGuest ({ inherit name; } // description);
    };
  };

  # A screen, and somebody to sit in front of it.
  screen = {
    users.users.alice = { isNormalUser = true; uid = 1000; extraGroups = [ "wheel" ]; initialPassword = "alice"; description = "Alice"; };
    virtualisation = { graphics = true; memorySize = 2048; };
  };
  # What a desktop has beside that: sound.
  seated = recursiveUpdate screen {
    services.pipewire = { enable = true; audio.enable = true; pulse.enable = true; alsa.enable = true; };
    security.rtkit.enable = true;
  };
  # Sway on a machine, with a unit of its session, as home-manager writes one; who enters it is said by greetd's settings.
  swayOn = machine: settings: recursiveUpdate machine {
    programs.sway.enable = true;
    services.greetd = { enable = true; inherit settings; };
    systemd.user.services.window-log = {
      description = "Log of the windows that came and went";
      wantedBy = [ "graphical-session.target" ];
      partOf = [ "graphical-session.target" ];
      after = [ "graphical-session.target" ];
      serviceConfig = { ExecStart = "${sw}/bin/swaymsg --type subscribe --monitor '[\"window\"]'"; Restart = "on-failure"; };
    };
  };
  # on DESKTOP CONFIG: a machine of that desktop, CONFIG laid over.
  on = desktop: config: { config = recursiveUpdate desktop config; };
}
